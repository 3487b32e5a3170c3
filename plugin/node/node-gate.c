/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node: files that a job makes and removes, always through the journal and the gate.
 *
 * The gate proves that a file belongs to the job and was declared redundant. It cannot know whether the guest still
 * runs on it: the functions here check that for every caller.
 */
#include <string.h>
#include <sys/stat.h>

#include "core/path-map.h"
#include "image/image-locks.h"
#include "image/image.h"
#include "node/node-local-private.h"
#include "store/gate.h"

gboolean vmig_local_check_ours(VmigLocal *local, const char *job, const char *path, GError **error)
{
    if (!vmig_local_check_path(local, path, error))
        return FALSE;
    return vmig_path_is_ours(path, job) ||
           vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is not the name of a file of job %s", path, job);
}

gboolean vmig_local_token_is_dest(VmigLocal *local, const char *job, gboolean *ret, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    VmigRole owner = VMIG_SOURCE;
    gboolean ok = vmig_journal_token(local->journal, job, &owner, error);

    *ret = owner == VMIG_DEST;
    return ok;
}

/* Unlike vmig_local_role(): a job that the journal does not have is an error. */
static gboolean recorded_role(VmigLocal *local, const char *job, VmigRole *ret, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);

    return vmig_journal_role(local->journal, job, ret, error);
}

static VmigJob *load_record(VmigLocal *local, const char *job, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);

    return vmig_journal_load(local->journal, job, error);
}

gboolean vmig_local_do_intend(VmigLocal *local, const VmigIntendArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                              GError **error)
{
    const char *job = args->job;
    const char *path = args->path;
    const char *kind = args->kind;

    if (!vmig_local_check_ours(local, job, path, error))
        return FALSE;
    g_autoptr(VmigJob) record = NULL;
    const VmigDisk *disk = NULL;
    if (local->serves_peer && !vmig_local_peer_disk(local, job, path, VMIG_PEER_OVERLAY_OR_HOLD, &record, &disk, error))
        return FALSE;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    return vmig_gate_intend(local->journal, job, path, kind, error);
}

gboolean vmig_local_do_made(VmigLocal *local, const VmigJobPathArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                            GError **error)
{
    const char *job = args->job;
    const char *path = args->path;

    if (!vmig_local_check_path(local, path, error))
        return FALSE;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    return vmig_gate_made(local->journal, job, path, error);
}

/* Once the destination has the token, its base copies are the guest's disks, and so are its overlays until the pivot.
 */
static gboolean check_not_the_guests(VmigLocal *local, const char *job, const VmigJournalFile *file, GError **error)
{
    gboolean dest = FALSE;

    if (g_str_equal(file->kind, "hold") || g_str_equal(file->kind, "part") || g_str_equal(file->kind, "socket"))
        return TRUE;
    if (!vmig_local_token_is_dest(local, job, &dest, error))
        return FALSE;
    VmigRole role;
    if (!recorded_role(local, job, &role, error))
        return FALSE;
    if (!dest || role != VMIG_DEST)
        return TRUE;
    if (g_str_equal(file->kind, "copy"))
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is a disk of the guest by now", file->path);
    g_autoptr(VmigJob) record = load_record(local, job, error);
    if (record == NULL)
        return FALSE;
    if (record->merge != VMIG_MERGE_DONE)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "the guest still uses '%s'", file->path);
    return !local->serves_peer || vmig_local_peer_left_by_guest(local, job, file->path, error);
}

static gboolean get_row(VmigLocal *local, const char *job, const char *path, VmigJournalFile **ret, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);

    return vmig_journal_file_get(local->journal, job, path, ret, error);
}

static gboolean gate_remove(VmigLocal *local, const char *job, const char *path, const char *reason, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);

    return vmig_gate_redundant(local->journal, job, path, reason, error) &&
           vmig_gate_remove(local->journal, job, path, error);
}

static void forget_base_copy(VmigLocal *local, const char *path)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);

    g_hash_table_remove(local->receivers, path);
    g_hash_table_remove(local->hashes, path);
}

static gboolean remove_file(VmigLocal *local, const char *job, const char *path, const char *reason, GError **error)
{
    g_autoptr(VmigJournalFile) row = NULL;
    g_autoptr(GError) failure = NULL;

    if (!vmig_local_check_path(local, path, &failure)) {
        /* Without its folder the file does not exist either. */
        if (g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_DIRECTORY))
            return TRUE;
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    if (!get_row(local, job, path, &row, error))
        return FALSE;
    if (row == NULL && !vmig_local_exists(local, path))
        return TRUE;
    if (row == NULL)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is not a file of job %s", path, job);
    if (g_str_equal(row->kind, "base"))
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is a base, which job %s did not create", path, job);
    /* A receiver would go on writing into the unlinked file. */
    forget_base_copy(local, path);
    return (!vmig_local_exists(local, path) || check_not_the_guests(local, job, row, error)) &&
           vmig_local_check_unused(local, path, error) && gate_remove(local, job, path, reason, error);
}

gboolean vmig_local_do_remove(VmigLocal *local, const VmigRemoveArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                              GError **error)
{
    const char *job = args->job;
    const char *path = args->path;
    const char *reason = args->reason;

    return remove_file(local, job, path, reason, error);
}

/* The record's own description of a base, never the caller's. */
static const VmigFile *find_base(const VmigJob *record, const char *path)
{
    for (guint i = 0; i < record->artifacts->len; i++) {
        const VmigArtifact *artifact = record->artifacts->pdata[i];
        for (guint j = 0; j < artifact->files->len; j++) {
            const VmigFile *file = artifact->files->pdata[j];
            if (g_strcmp0(file->path[VMIG_SOURCE], path) == 0)
                return file;
        }
    }
    return NULL;
}

/* A base is removed only after the other host owns the guest and runs it on its own files. */
static gboolean check_base(const VmigJob *record, VmigRole role, const VmigFile *file, GError **error)
{
    return (role == VMIG_SOURCE && record->owner == VMIG_DEST && record->merge == VMIG_MERGE_DONE) ||
           vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' may still be needed: the destination has not finished the job",
                     file->path[VMIG_SOURCE]);
}

static gboolean unlink_base(VmigLocal *local, const char *job, const VmigFile *file, int fd, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    const char *reason = "the destination runs the guest on a copy that was verified to be equal";
    struct stat st;

    if (fstat(fd, &st) != 0)
        return vmig_fail_errno(error, errno, "cannot stat '%s'", file->path[VMIG_SOURCE]);
    /* The current device number: it may have changed at a reboot, and the claim has compared the rest. */
    return vmig_gate_adopt(local->journal, job, file->path[VMIG_SOURCE], (guint64)st.st_dev, file->ino, "base",
                           error) &&
           vmig_gate_redundant(local->journal, job, file->path[VMIG_SOURCE], reason, error) &&
           vmig_gate_remove(local->journal, job, file->path[VMIG_SOURCE], error);
}

/* *kept says why the image stays; NULL: it was removed. */
static gboolean remove_base(VmigLocal *local, const char *job, const VmigFile *file, char **kept, GError **error)
{
    if (!vmig_local_exists(local, file->path[VMIG_SOURCE]))
        return TRUE;
    g_auto(VmigFd) fd = vmig_local_claim(local, file, file->path[VMIG_SOURCE], NULL, kept);
    return fd < 0 || unlink_base(local, job, file, fd, error);
}

gboolean vmig_local_do_remove_base(VmigLocal *local, const VmigJobPathArgs *args, VmigRemoveBaseReply *reply,
                                   GError **error)
{
    const char *job = args->job;
    const char *path = args->path;

    if (!vmig_local_check_path(local, path, error))
        return FALSE;
    g_autoptr(VmigJob) record = load_record(local, job, error);
    if (record == NULL)
        return FALSE;
    const VmigFile *file = find_base(record, path);
    if (file == NULL)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is not a base of job %s", path, job);
    if (local->serves_peer && record->options.keep_source)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is kept: job %s keeps the source's images", path, job);
    VmigRole role;
    return recorded_role(local, job, &role, error) && check_base(record, role, file, error) &&
           remove_base(local, job, file, &reply->kept, error);
}

/* Each attempt gets a new file: half a mirror must not be the start of the next one. */
static gboolean clear_overlay(VmigLocal *local, const char *job, const char *path, GError **error)
{
    gboolean dest = FALSE;

    if (!vmig_local_token_is_dest(local, job, &dest, error))
        return FALSE;
    if (dest)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "the guest runs on this host: '%s' is not created again", path);
    return remove_file(local, job, path, "a new one replaces it", error);
}

static gboolean intend_file(VmigLocal *local, const char *job, const char *path, const char *kind, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);

    return vmig_gate_intend(local->journal, job, path, kind, error);
}

static gboolean record_made(VmigLocal *local, const char *job, const char *path, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);

    return vmig_gate_made(local->journal, job, path, error);
}

/* The backing file must be a disk that the job copied here, and the overlay the one recorded for it. */
static gboolean check_backing(VmigLocal *local, const char *job, const char *path, const char *backing, GError **error)
{
    g_autoptr(VmigJob) record = NULL;
    g_autoptr(VmigJournalFile) row = NULL;
    const VmigDisk *disk = NULL;

    if (!local->serves_peer)
        return TRUE;
    if (!vmig_local_peer_disk(local, job, path, VMIG_PEER_OVERLAY, &record, &disk, error) ||
        !get_row(local, job, backing, &row, error))
        return FALSE;
    return (g_strcmp0(vmig_disk_base(disk)->path[VMIG_DEST], backing) == 0 && row != NULL &&
            g_str_equal(row->kind, "copy") && !g_str_equal(row->state, "removed")) ||
           vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is not a disk that job %s copied to this host", backing, job);
}

gboolean vmig_local_do_create_overlay(VmigLocal *local, const VmigOverlayArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                                      GError **error)
{
    const char *job = args->job;
    const char *path = args->path;
    const char *backing = args->backing;
    const char *format = args->backing_format;
    guint64 size = args->virtual_size;

    if (!vmig_local_check_ours(local, job, path, error) || !vmig_local_check_path(local, backing, error) ||
        !check_backing(local, job, path, backing, error))
        return FALSE;
    return clear_overlay(local, job, path, error) && intend_file(local, job, path, "overlay", error) &&
           vmig_image_create_overlay(path, local->roots, size, backing, format, error) &&
           vmig_local_give(local, path, 0600, error) && record_made(local, job, path, error);
}

/* Only for an overlay that the job made here, and only into the disk below it in the record. */
static const char *find_overlay_base(const VmigJob *record, VmigRole role, const char *path)
{
    for (guint i = 0; i < record->disks->len; i++) {
        const VmigDisk *disk = record->disks->pdata[i];
        if (g_strcmp0(disk->at[role].overlay, path) == 0)
            return vmig_disk_base(disk)->path[role];
    }
    return NULL;
}

static gboolean is_made_overlay(const VmigJournalFile *row)
{
    return row != NULL && g_str_equal(row->kind, "overlay") && !g_str_equal(row->state, "removed");
}

gboolean vmig_local_do_commit_offline(VmigLocal *local, const VmigJobPathArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                                      GError **error)
{
    const char *job = args->job;
    const char *path = args->path;
    g_autoptr(VmigJournalFile) row = NULL;

    if (!vmig_local_check_ours(local, job, path, error))
        return FALSE;
    VmigRole role;
    g_autoptr(VmigJob) record = vmig_local_role(local, job, &role, error) ? load_record(local, job, error) : NULL;
    if (record == NULL || !get_row(local, job, path, &row, error))
        return FALSE;
    const char *base = find_overlay_base(record, role, path);
    if (base == NULL || !is_made_overlay(row))
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is not an overlay of job %s", path, job);
    return vmig_local_check_unused(local, path, error) && vmig_image_commit_offline(path, local->roots, base, error);
}

/* Excludes bases, which are not the job's, and base copies once the guest runs on them. */
static gboolean is_leftover(VmigLocal *local, const VmigJournalFile *file, gboolean dest)
{
    return !g_str_equal(file->kind, "base") && !(dest && g_str_equal(file->kind, "copy")) &&
           vmig_local_exists(local, file->path);
}

gboolean vmig_local_do_leftovers(VmigLocal *local, const VmigJobArgs *args, VmigLeftoversReply *reply, GError **error)
{
    const char *job = args->job;
    g_autoptr(GError) failure = NULL;
    gboolean dest = FALSE;

    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    if (!vmig_local_token_is_dest(local, job, &dest, &failure)) {
        /* A host that does not have the job has none of its files. */
        if (g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_JOB)) {
            reply->paths = g_new0(char *, 1);
            return TRUE;
        }
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    g_mutex_lock(&local->journal_lock);
    g_autoptr(GPtrArray) files = vmig_gate_list(local->journal, job, error);
    g_mutex_unlock(&local->journal_lock);
    if (files == NULL)
        return FALSE;
    for (guint i = 0; i < files->len; i++) {
        const VmigJournalFile *file = files->pdata[i];
        if (is_leftover(local, file, dest))
            g_ptr_array_add(paths, g_strdup(file->path));
    }
    g_ptr_array_add(paths, NULL);
    reply->paths = (char **)g_ptr_array_free(g_steal_pointer(&paths), FALSE);
    return TRUE;
}
