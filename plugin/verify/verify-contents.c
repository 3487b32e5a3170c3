/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads the snapshots of one image on both hosts, and compares them block by block. */
#include <string.h>

#include "verify/verify-private.h"

gboolean vmig_verify_is_fatal(const GError *error)
{
    static const VmigErrorCode codes[] = {
        VMIG_ERROR_CANCELLED, VMIG_ERROR_CONNECTION, VMIG_ERROR_TIMEOUT,  VMIG_ERROR_PROTOCOL,
        VMIG_ERROR_CRASHED,   VMIG_ERROR_INJECTED,   VMIG_ERROR_INTERNAL, VMIG_ERROR_HYPERVISOR,
    };

    for (guint i = 0; i < G_N_ELEMENTS(codes); i++)
        if (g_error_matches(error, VMIG_ERROR, (int)codes[i]))
            return TRUE;
    return error->domain != VMIG_ERROR;
}

static VmigProgress *progress_of(VmigVerifyMeter *meter, const char *target)
{
    VmigProgress *progress = g_hash_table_lookup(meter->disks, target);

    if (progress == NULL) {
        progress = g_new0(VmigProgress, 1);
        progress->phase = "VERIFY";
        progress->disk = target;
        g_hash_table_insert(meter->disks, (gpointer)target, progress);
    }
    return progress;
}

void vmig_verify_meter_expect(VmigVerifyMeter *meter, const char *target, guint64 bytes)
{
    progress_of(meter, target)->total += bytes;
}

void vmig_verify_meter_add(VmigVerifyMeter *meter, const char *target, guint64 bytes)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&meter->mutex);
    VmigProgress *progress = progress_of(meter, target);

    progress->done = MIN(progress->done + bytes, progress->total);
    meter->bytes += bytes;
    if (meter->request->progress != NULL)
        meter->request->progress(meter->request->user, progress);
}

/* One host's copy of a file, read snapshot by snapshot. */
typedef struct {
    VmigVerifyMeter *meter;
    const char *target;
    VmigNode *node;     /* NULL: nothing is to be read there */
    VmigContentAsk ask; /* of the snapshot that is being read */
    guint64 size;
    VmigTreeHash *hash;
    VmigTreeHash *before; /* of the previous snapshot, for blocks that are the same */
    char *before_id;
    guint64 before_size;
    GError *error;
} Reading;

static void reading_clear(Reading *r)
{
    g_clear_pointer(&r->hash, vmig_tree_hash_free);
    g_clear_pointer(&r->before, vmig_tree_hash_free);
    g_clear_pointer(&r->before_id, g_free);
    g_clear_error(&r->error);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Reading, reading_clear)

static gboolean check_cancelled(const VmigVerifyRequest *request, GError **error)
{
    if (request->cancelled == NULL || !request->cancelled(request->user))
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_CANCELLED, NULL, "the verification was interrupted; nothing was changed");
}

static guint64 bytes_before(guint64 block, guint64 size)
{
    return MIN(block * VMIG_HASH_BLOCK, size);
}

/* Runs in a thread of its own for one of the two hosts. */
static gpointer read_snapshot(gpointer data)
{
    Reading *r = data;
    guint64 next = 0;

    r->hash = vmig_tree_hash_new(r->size, r->ask.key);
    while (next < vmig_tree_hash_blocks(r->hash)) {
        guint64 first = next;
        if (!check_cancelled(r->meter->request, &r->error) ||
            !vmig_node_content_page(r->node, &r->ask, r->hash, r->ask.like != NULL ? r->before : NULL, &next,
                                    &r->error))
            return NULL;
        vmig_verify_meter_add(r->meter, r->target, bytes_before(next, r->size) - bytes_before(first, r->size));
    }
    return NULL;
}

static void prepare(Reading *r, const char *id, VmigContentKind kind, guint64 size)
{
    g_clear_pointer(&r->hash, vmig_tree_hash_free);
    g_clear_error(&r->error);
    r->ask.id = id;
    r->ask.kind = kind;
    r->ask.like = kind == VMIG_CONTENT_DISK && r->before != NULL && r->before_size == size ? r->before_id : NULL;
    r->size = size;
}

static void keep_as_before(Reading *r)
{
    g_clear_pointer(&r->before, vmig_tree_hash_free);
    g_free(r->before_id);
    r->before = g_steal_pointer(&r->hash);
    r->before_id = g_strdup(r->ask.id);
    r->before_size = r->size;
}

/* Reads both at the same time, if that is allowed and both are to be read. */
static void read_both(Reading *left, Reading *arrived)
{
    GThread *thread = NULL;

    if (left->node != NULL && !left->meter->request->one_at_a_time)
        thread = g_thread_new("vmig-verify", read_snapshot, left);
    else if (left->node != NULL)
        read_snapshot(left);
    if (left->error == NULL || thread != NULL)
        read_snapshot(arrived);
    if (thread != NULL)
        g_thread_join(thread);
}

/* The position of the first block that differs, for people. */
static char *first_difference(const Reading *left, const Reading *arrived)
{
    guint8 a[VMIG_HASH_BYTES], b[VMIG_HASH_BYTES];

    for (guint64 i = 0; left->hash != NULL && i < vmig_tree_hash_blocks(left->hash); i++)
        if (vmig_tree_hash_get_digest(left->hash, i, a) && vmig_tree_hash_get_digest(arrived->hash, i, b) &&
            memcmp(a, b, sizeof a) != 0)
            return g_strdup_printf(", first in the %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT,
                                   (guint64)vmig_tree_hash_block_length(left->hash, i), i * VMIG_HASH_BLOCK);
    return g_strdup("");
}

/* One file during its comparison. */
typedef struct {
    VmigVerdict *verdict;
    VmigVerifiedFile *file;
    Reading left, arrived;
} Pair;

static void pair_clear(Pair *pair)
{
    reading_clear(&pair->left);
    reading_clear(&pair->arrived);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Pair, pair_clear)

/* A file that cannot be read on the destination did not arrive whole. If the source's cannot be read, there is nothing
 * to compare with. If a table changes during the reading, neither is known. */
static gboolean take_error(Pair *pair, Reading *r, const VmigContent *content, const char *what, GError **error)
{
    const VmigVerifiedFile *file = pair->file;

    if (r->error == NULL)
        return TRUE;
    if (vmig_verify_is_fatal(r->error)) {
        g_propagate_error(error, g_steal_pointer(&r->error));
        return FALSE;
    }
    gboolean changed = g_error_matches(r->error, VMIG_ERROR, VMIG_ERROR_INTERFERENCE);
    gboolean unable = g_error_matches(r->error, VMIG_ERROR, VMIG_ERROR_UNSUPPORTED);
    gboolean unproven = changed || unable || r == &pair->left;
    vmig_differences_add(unproven ? pair->verdict->unproven : pair->verdict->differences, VMIG_DIFFERS_IMAGE,
                         file->target, file->file->path[VMIG_DEST], content->name,
                         "disk %s: cannot read the %s of snapshot %s '%s': %s", file->target, what, content->id,
                         content->name, r->error->message);
    return TRUE;
}

static gboolean compare_one(Pair *pair, VmigContent *left, VmigContent *arrived, VmigContentKind kind, GError **error)
{
    gboolean disk = kind == VMIG_CONTENT_DISK;
    const char *what = disk ? "content" : "memory";
    guint64 size = disk ? left->disk_size : left->vm_state_size;
    char **left_hash = disk ? &left->disk_hash : &left->memory_hash;
    char **arrived_hash = disk ? &arrived->disk_hash : &arrived->memory_hash;

    if (size == 0 && !disk)
        return TRUE;
    prepare(&pair->left, left->id, kind, size);
    prepare(&pair->arrived, left->id, kind, size);
    read_both(&pair->left, &pair->arrived);
    gboolean read = pair->left.error == NULL && pair->arrived.error == NULL;
    if (!take_error(pair, &pair->left, left, what, error) || !take_error(pair, &pair->arrived, left, what, error))
        return FALSE;
    if (!read)
        return TRUE;
    *arrived_hash = vmig_tree_hash_finish(pair->arrived.hash, error);
    if (pair->left.node != NULL)
        *left_hash = vmig_tree_hash_finish(pair->left.hash, error);
    if (*arrived_hash == NULL || (pair->left.node != NULL && *left_hash == NULL))
        return FALSE;
    g_autofree char *where = first_difference(&pair->left, &pair->arrived);
    if (g_strcmp0(*left_hash, *arrived_hash) != 0)
        vmig_differences_add(pair->verdict->differences, disk ? VMIG_DIFFERS_CONTENT : VMIG_DIFFERS_MEMORY,
                             pair->file->target, pair->file->file->path[VMIG_DEST], left->name,
                             "disk %s: the %s of snapshot %s '%s' differs%s", pair->file->target, what, left->id,
                             left->name, where);
    if (disk && pair->left.hash != NULL)
        keep_as_before(&pair->left);
    if (disk)
        keep_as_before(&pair->arrived);
    return TRUE;
}

static gboolean has_hashes(const VmigContent *content)
{
    return content->disk_hash != NULL && (content->vm_state_size == 0 || content->memory_hash != NULL);
}

static gboolean compare_snapshot(Pair *pair, VmigContent *left, GError **error)
{
    VmigContent *arrived = vmig_content_find(pair->file->arrived, left->id);

    /* If the snapshot is missing or has another size, this is already reported, and its content cannot be equal. */
    if (arrived == NULL || arrived->disk_size != left->disk_size || arrived->vm_state_size != left->vm_state_size)
        return TRUE;
    if (pair->left.node == NULL && !has_hashes(left)) {
        vmig_differences_add(pair->verdict->unproven, VMIG_DIFFERS_CONTENT, pair->file->target,
                             pair->file->file->path[VMIG_DEST], left->name,
                             "disk %s: the original content of snapshot %s '%s' is not known", pair->file->target,
                             left->id, left->name);
        return TRUE;
    }
    return compare_one(pair, left, arrived, VMIG_CONTENT_DISK, error) &&
           compare_one(pair, left, arrived, VMIG_CONTENT_MEMORY, error);
}

gboolean vmig_verify_contents(VmigVerdict *verdict, VmigVerifiedFile *file, const char *left_stamp,
                              const char *arrived_stamp, VmigVerifyMeter *meter, GError **error)
{
    const VmigVerifyRequest *request = meter->request;
    Reading reading = {.meter = meter, .target = file->target};
    g_auto(Pair) pair = {verdict, file, reading, reading};

    pair.left.node = file->against == VMIG_AGAINST_IMAGE ? request->source.node : NULL;
    pair.left.ask = (VmigContentAsk){.path = file->file->path[VMIG_SOURCE], .stamp = left_stamp, .key = &meter->key};
    pair.arrived.node = request->dest.node;
    pair.arrived.ask =
        (VmigContentAsk){.path = file->file->path[VMIG_DEST], .stamp = arrived_stamp, .key = &meter->key};
    for (guint i = 0; i < file->left->len; i++)
        if (!compare_snapshot(&pair, file->left->pdata[i], error))
            return FALSE;
    return TRUE;
}
