/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes a page for a file: several threads read and hash its blocks. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "copy/known-blocks.h"

#define ALIGNMENT 4096
#define THREADS 4

/* A block with data. */
typedef struct {
    guint64 index;
    VmigKnownBlock *known;
    guint64 holes; /* number of hole blocks before it */
} Entry;

typedef struct {
    VmigTreeHash *hash;
    int fd, direct;
    guint64 size;
    Entry entries[VMIG_PAGE_BLOCKS];
    guint count;
    gint next; /* atomic: the next entry that no thread has taken */
    GMutex lock;
    GError *error; /* under lock; the first one */
} Making;

static gboolean make_entry(Making *making, Entry *entry, guint8 *buffer, GError **error)
{
    gsize length = vmig_tree_hash_block_length(making->hash, entry->index);
    guint8 digest[VMIG_HASH_BYTES];

    if (!vmig_block_read(making->fd, making->direct, making->size, entry->index, buffer, error))
        return FALSE;
    vmig_tree_hash_set_block(making->hash, entry->index, buffer, length);
    vmig_tree_hash_get_digest(making->hash, entry->index, digest);
    entry->known = vmig_known_block_new(digest, vmig_tree_hash_seed(making->hash), buffer, length);
    return TRUE;
}

static gpointer make_entries(gpointer data)
{
    Making *making = data;
    guint8 *buffer = aligned_alloc(ALIGNMENT, VMIG_HASH_BLOCK);
    GError *error = NULL;
    guint i;

    if (buffer == NULL)
        g_error("out of memory");
    while (error == NULL && (i = (guint)g_atomic_int_add(&making->next, 1)) < making->count)
        make_entry(making, &making->entries[i], buffer, &error);
    free(buffer);
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&making->lock);
    if (making->error == NULL)
        making->error = error;
    else
        g_clear_error(&error);
    return NULL;
}

static void run_threads(Making *making)
{
    g_autoptr(GPtrArray) others = g_ptr_array_new();

    for (guint i = 1; i < MIN(THREADS, making->count); i++)
        g_ptr_array_add(others, g_thread_new("vmig-page", make_entries, making));
    make_entries(making);
    for (guint i = 0; i < others->len; i++)
        g_thread_join(others->pdata[i]);
}

/* Collects the blocks of the page; *holes: the number of hole blocks at its end. */
static gboolean collect(Making *making, guint64 first, guint64 *holes, guint64 *next, GError **error)
{
    guint64 blocks = vmig_tree_hash_blocks(making->hash), index = first;
    g_autoptr(VmigBlockWalk) walk = vmig_block_walk_new_at(making->fd, making->size, first);
    VmigBlockRun run;

    *holes = 0;
    while (making->count < VMIG_PAGE_BLOCKS && index < blocks && *holes < VMIG_PAGE_HOLES) {
        if (!vmig_block_walk_next(walk, &run, error))
            return FALSE;
        if (run.hole) {
            guint64 most = VMIG_PAGE_HOLES - *holes;
            *holes += MIN(run.count, most);
            index += MIN(run.count, most);
            continue;
        }
        making->entries[making->count++] = (Entry){.index = index++, .holes = *holes};
        *holes = 0;
    }
    *next = index;
    return TRUE;
}

static GBytes *write_page(const Making *making, guint64 holes)
{
    GByteArray *page = g_byte_array_new();

    for (guint i = 0; i < making->count; i++) {
        const Entry *entry = &making->entries[i];
        if (entry->holes > 0)
            vmig_page_put_holes(page, entry->holes);
        vmig_page_put_block(page, entry->known, vmig_tree_hash_block_length(making->hash, entry->index));
    }
    if (holes > 0)
        vmig_page_put_holes(page, holes);
    return g_byte_array_free_to_bytes(page);
}

gboolean vmig_page_make(VmigTreeHash *hash, int fd, guint64 size, guint64 first, GBytes **page, guint64 *next,
                        GError **error)
{
    Making making = {.hash = hash, .fd = fd, .direct = vmig_open_direct(fd, O_RDONLY), .size = size};
    guint64 holes, after;

    g_mutex_init(&making.lock);
    gboolean ok = collect(&making, first, &holes, &after, error);
    if (ok) {
        run_threads(&making);
        if (making.error != NULL)
            g_propagate_error(error, making.error);
        ok = making.error == NULL;
    }
    if (ok) {
        *page = write_page(&making, holes);
        *next = after;
    }
    for (guint i = 0; i < making.count; i++)
        g_free(making.entries[i].known);
    if (making.direct >= 0)
        close(making.direct);
    g_mutex_clear(&making.lock);
    return ok;
}
