/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One thread fetches pages while the connections work on earlier ones, so that the destination reads and hashes in
 * parallel with the source. */
#include "copy/copier-known.h"

#define AHEAD (4 * VMIG_PAGE_BLOCKS) /* blocks with leaves that are fetched but not taken yet: 1 MiB */

/* Represents a block that is a hole on the destination. */
static char hole_mark;

struct VmigKnown {
    const VmigCopyEvents *events;
    guint index;
    guint64 size;
    guint64 blocks;
    GMutex lock; /* for the members below */
    GCond changed;
    gpointer *entries; /* VmigKnownBlock, &hole_mark, or NULL: taken */
    guint64 fetched;   /* blocks below it are known */
    guint waiting;     /* blocks with leaves that no connection has taken */
    gboolean stopped;
    GError *error;
    GThread *thread;
};

static void put_hole(gpointer user, guint64 first, guint64 count)
{
    VmigKnown *known = user;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&known->lock);

    for (guint64 i = first; i < first + count; i++)
        known->entries[i] = &hole_mark;
}

static void put_block(gpointer user, guint64 index, VmigKnownBlock *block)
{
    VmigKnown *known = user;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&known->lock);

    known->entries[index] = block;
    known->waiting++;
}

static gboolean wait_for_room(VmigKnown *known)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&known->lock);

    while (!known->stopped && known->waiting >= AHEAD)
        g_cond_wait(&known->changed, &known->lock);
    return !known->stopped && known->fetched < known->blocks;
}

static gboolean fetch_page(VmigKnown *known, GError **error)
{
    VmigPageReader reader = {put_hole, put_block, known};
    g_autoptr(GBytes) page = NULL;
    guint64 next = 0;

    if (!known->events->known(known->events->user, known->index, known->fetched, &page, error) ||
        !vmig_page_read(page, known->size, known->fetched, &reader, &next, error))
        return FALSE;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&known->lock);
    known->fetched = next;
    g_cond_broadcast(&known->changed);
    return TRUE;
}

static gpointer fetch(gpointer data)
{
    VmigKnown *known = data;
    GError *error = NULL;

    while (wait_for_room(known))
        if (!fetch_page(known, &error)) {
            g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&known->lock);
            known->error = error;
            g_cond_broadcast(&known->changed);
            return NULL;
        }
    return NULL;
}

VmigKnown *vmig_known_new(guint64 size, const VmigCopyEvents *events, guint index)
{
    VmigKnown *known = g_new0(VmigKnown, 1);

    known->events = events;
    known->index = index;
    known->size = size;
    known->blocks = size / VMIG_HASH_BLOCK + (size % VMIG_HASH_BLOCK != 0);
    known->entries = g_new0(gpointer, known->blocks);
    g_mutex_init(&known->lock);
    g_cond_init(&known->changed);
    known->thread = g_thread_new("vmig-known", fetch, known);
    return known;
}

gboolean vmig_known_take(VmigKnown *known, guint64 index, VmigKnownBlock **ret, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&known->lock);

    g_assert(index < known->blocks);
    while (index >= known->fetched && known->error == NULL && !known->stopped)
        g_cond_wait(&known->changed, &known->lock);
    if (index >= known->fetched)
        return known->error != NULL ? (g_propagate_error(error, g_error_copy(known->error)), FALSE)
                                    : vmig_fail(error, VMIG_ERROR_CANCELLED, NULL, "the copy was stopped");
    gpointer entry = g_steal_pointer(&known->entries[index]);
    *ret = entry != &hole_mark ? entry : NULL;
    if (*ret != NULL) {
        known->waiting--;
        g_cond_broadcast(&known->changed);
    }
    return TRUE;
}

void vmig_known_stop(VmigKnown *known)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&known->lock);

    known->stopped = TRUE;
    g_cond_broadcast(&known->changed);
}

void vmig_known_free(VmigKnown *known)
{
    if (known == NULL)
        return;
    vmig_known_stop(known);
    g_thread_join(known->thread);
    for (guint64 i = 0; i < known->blocks; i++)
        if (known->entries[i] != &hole_mark)
            g_free(known->entries[i]);
    g_free(known->entries);
    g_clear_error(&known->error);
    g_mutex_clear(&known->lock);
    g_cond_clear(&known->changed);
    g_free(known);
}
