/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The only gate for deletes: it has the only unlink of the project. */
#include "store/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/file-id.h"
#include "store/beneath.h"

/* The file that is at a path now. */
typedef struct {
    int folder_fd; /* -1: not even the directory exists */
    char *name;
    gboolean exists;
    mode_t mode;
    guint64 dev, ino;
    gint64 born_ns;
    guint64 folder_dev;
} Found;

static void found_clear(Found *found)
{
    if (found->folder_fd >= 0)
        close(found->folder_fd);
    g_free(found->name);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Found, found_clear)
#define FOUND_INIT                                                                                                     \
    {                                                                                                                  \
        .folder_fd = -1                                                                                                \
    }

static gboolean refuse(GError **error, const char *path, const char *why)
{
    return vmig_fail(error, VMIG_ERROR_GATE, "`vmig-snap doctor` compares the journal with the disk.", "%s: %s", path,
                     why);
}

static gboolean kind_is(const VmigJournalFile *file, const char *kinds)
{
    g_auto(GStrv) list = g_strsplit(kinds, " ", -1);

    return g_strv_contains((const char *const *)list, file->kind);
}

static gboolean state_is(const VmigJournalFile *file, const char *states)
{
    g_auto(GStrv) list = g_strsplit(states, " ", -1);

    return g_strv_contains((const char *const *)list, file->state);
}

/* Requires a single spelling for each file, because the journal compares paths as text. */
static gboolean check_path(const char *path, GError **error)
{
    /* For a path without "..", "." and "//" this is the same text. */
    g_autofree char *plain = g_canonicalize_filename(path, "/");

    if (strcmp(path, plain) == 0 && path[1] != '\0' && path[1] != '/')
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "'%s' is not a plain absolute path", path);
}

/* All later operations use this descriptor, so that they act on the same directory. */
static gboolean look(VmigJournal *journal, const char *path, Found *found, GError **error)
{
    struct statx sx;

    if (!check_path(path, error))
        return FALSE;
    found->name = g_path_get_basename(path);
    found->folder_fd = vmig_beneath_folder(vmig_journal_roots(journal), path);
    if (found->folder_fd < 0)
        return errno == ENOENT || vmig_beneath_fail(error, errno, path);
    if (statx(found->folder_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &sx) < 0)
        return vmig_fail_errno(error, errno, "cannot stat the directory of %s", path);
    found->folder_dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
    if (statx(found->folder_fd, found->name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &sx) < 0)
        return errno == ENOENT || vmig_fail_errno(error, errno, "cannot stat %s", path);
    found->exists = TRUE;
    found->mode = sx.stx_mode;
    found->dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
    found->ino = sx.stx_ino;
    if ((sx.stx_mask & STATX_BTIME) != 0)
        found->born_ns = sx.stx_btime.tv_sec * 1000000000 + sx.stx_btime.tv_nsec;
    return TRUE;
}

static gboolean type_fits(const VmigJournalFile *file, const Found *found)
{
    return kind_is(file, "socket") ? S_ISSOCK(found->mode) : S_ISREG(found->mode);
}

/* Inode numbers are reused at once (ext4), so the birth time must be equal too if the file system has one. If it is
 * equal, a different device number after a reboot is acceptable: device numbers are assigned anew at each boot. */
static gboolean is_same(const VmigJournalFile *file, const Found *found, const char *boot)
{
    gboolean both_born = file->born_ns != 0 && found->born_ns != 0;

    if (file->ino != found->ino || (both_born && file->born_ns != found->born_ns))
        return FALSE;
    return file->dev == found->dev || (both_born && g_strcmp0(file->boot, boot) != 0);
}

static void set_identity(VmigJournalFile *file, const Found *found, const char *boot)
{
    file->dev = found->dev;
    file->ino = found->ino;
    file->born_ns = found->born_ns;
    g_free(file->boot);
    file->boot = g_strdup(boot);
}

static void set_state(VmigJournalFile *file, const char *state)
{
    g_free(file->state);
    file->state = g_strdup(state);
}

/* If the process died before it recorded the identity of its file, the name must show that it belongs to the job. */
static gboolean carries_id(const VmigJournalFile *file)
{
    g_autofree char *name = g_path_get_basename(file->path);
    g_autofree char *folder = g_path_get_dirname(file->path);
    g_autofree char *folder_name = g_path_get_basename(folder);

    return strstr(name, file->job) != NULL || (kind_is(file, "socket") && strstr(folder_name, file->job) != NULL);
}

/* The reason to keep an existing file, or NULL. Every permission to delete is decided here. */
static const char *why_not(const VmigJournalFile *file, const Found *found, const char *boot)
{
    if (state_is(file, "removed"))
        return "the job's file was removed before; the present file is another one";
    if (!state_is(file, "redundant") && !kind_is(file, "part hold socket"))
        return "it was not declared redundant";
    if (!type_fits(file, found))
        return "it has another type than the file that was created";
    if (file->ino != 0)
        return is_same(file, found, boot) ? NULL : "it is another file than the one that was created";
    if (!kind_is(file, "part hold overlay socket"))
        return "it was never recorded as created";
    return carries_id(file) ? NULL : "it was never recorded as created, and its name does not contain the job's id";
}

/* An overlay with a snapshot is never removed: the user made a snapshot of the guest while the overlay was on top. The
 * count is in the qcow2 header, big-endian at offset 60 (docs/interop/qcow2.txt). */
static gboolean check_no_snapshots(const VmigJournalFile *file, const Found *found, GError **error)
{
    guint8 head[64] = {0};
    guint32 count = 0;

    if (!kind_is(file, "overlay"))
        return TRUE;
    int fd = openat(found->folder_fd, found->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    gssize n = fd < 0 ? -1 : pread(fd, head, sizeof head, 0);
    int errnum = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return vmig_fail_errno(error, errnum, "cannot read the header of %s", file->path);
    memcpy(&count, head + 60, sizeof count);
    if (memcmp(head, "QFI\xfb", 4) == 0 && count != 0)
        return refuse(error, file->path, "the overlay contains internal snapshots");
    return TRUE;
}

static gboolean sync_folder(const Found *found, const char *path, GError **error)
{
    if (found->folder_fd < 0 || fsync(found->folder_fd) == 0)
        return TRUE;
    return vmig_fail_errno(error, errno, "cannot sync the directory of %s", path);
}

/* An empty mount point lacks the file too, which does not prove that the file is gone. */
static gboolean check_gone(const VmigJournalFile *file, const Found *found, const char *boot, GError **error)
{
    gboolean same_boot = file->ino != 0 && g_strcmp0(file->boot, boot) == 0;

    if (same_boot && found->folder_fd >= 0 && found->folder_dev != file->dev)
        return refuse(error, file->path,
                      "it was created on another file system than the one that is mounted there now");
    return TRUE;
}

static gboolean need(VmigJournal *journal, const char *job_id, const char *path, VmigJournalFile **ret, GError **error)
{
    return vmig_journal_file_get(journal, job_id, path, ret, error) &&
           (*ret != NULL || refuse(error, path, "the journal does not list it as a file of this job"));
}

gboolean vmig_gate_intend(VmigJournal *journal, const char *job_id, const char *path, const char *kind, GError **error)
{
    g_autoptr(VmigJournalFile) old = NULL;
    g_autoptr(VmigJournalFile) file = vmig_journal_file_new(job_id, path, kind, "intended");
    g_auto(Found) found = FOUND_INIT;

    if (!kind_is(file, "part copy overlay hold socket"))
        return refuse(error, path, "no job creates a file of that kind");
    if (!look(journal, path, &found, error) || !vmig_journal_file_get(journal, job_id, path, &old, error))
        return FALSE;
    if (old != NULL && state_is(old, "intended") && strcmp(old->kind, kind) == 0 && old->ino == 0)
        return TRUE;
    if (old != NULL && !state_is(old, "removed"))
        return refuse(error, path, "the journal already lists it as another file of this job");
    if (found.exists)
        return vmig_fail(error, VMIG_ERROR_DESTINATION_EXISTS, NULL, "%s exists, and this job did not create it", path);
    return vmig_journal_file_put(journal, file, NULL, error);
}

gboolean vmig_gate_made(VmigJournal *journal, const char *job_id, const char *path, GError **error)
{
    const char *boot = vmig_journal_boot_id(journal);
    g_autoptr(VmigJournalFile) file = NULL;
    g_auto(Found) found = FOUND_INIT;

    if (!need(journal, job_id, path, &file, error) || !look(journal, path, &found, error))
        return FALSE;
    if (!found.exists || !type_fits(file, &found))
        return refuse(error, path,
                      found.exists ? "it has another type than the file to be created" : "it does not exist");
    if (state_is(file, "made verified"))
        return is_same(file, &found, boot) || refuse(error, path, "it is another file than the one that was created");
    if (!state_is(file, "intended") || file->ino != 0)
        return refuse(error, path, "the journal does not say that it was to be created");
    set_identity(file, &found, boot);
    set_state(file, "made");
    return vmig_journal_file_put(journal, file, NULL, error);
}

gboolean vmig_gate_verified(VmigJournal *journal, const char *job_id, const char *path, GError **error)
{
    g_autoptr(VmigJournalFile) file = NULL;
    g_auto(Found) found = FOUND_INIT;

    if (!need(journal, job_id, path, &file, error) || !look(journal, path, &found, error))
        return FALSE;
    if (!state_is(file, "made verified"))
        return refuse(error, path, "it is not recorded as created");
    if (!found.exists || !is_same(file, &found, vmig_journal_boot_id(journal)))
        return refuse(error, path, "it is another file than the one that was created");
    set_state(file, "verified");
    return vmig_journal_file_put(journal, file, NULL, error);
}

gboolean vmig_gate_redundant(VmigJournal *journal, const char *job_id, const char *path, const char *reason,
                             GError **error)
{
    g_autoptr(VmigJournalFile) file = NULL;

    if (reason == NULL || *reason == '\0')
        return refuse(error, path, "a file cannot be declared redundant without a reason");
    if (!need(journal, job_id, path, &file, error))
        return FALSE;
    if (state_is(file, "redundant removed"))
        return TRUE;
    set_state(file, "redundant");
    g_free(file->reason);
    file->reason = g_strdup(reason);
    return vmig_journal_file_put(journal, file, NULL, error);
}

gboolean vmig_gate_adopt(VmigJournal *journal, const char *job_id, const char *path, guint64 dev, guint64 ino,
                         const char *kind, GError **error)
{
    g_autoptr(VmigJournalFile) old = NULL;
    g_autoptr(VmigJournalFile) file = vmig_journal_file_new(job_id, path, kind, "made");
    g_auto(Found) found = FOUND_INIT;

    if (!kind_is(file, "base"))
        return refuse(error, path, "only a base can be adopted");
    if (!look(journal, path, &found, error) || !vmig_journal_file_get(journal, job_id, path, &old, error))
        return FALSE;
    if (old != NULL && !kind_is(old, "base"))
        return refuse(error, path, "the journal already lists it as another file of this job");
    if (!found.exists || !S_ISREG(found.mode) || !vmig_file_id_is((VmigFileId){found.dev, found.ino}, dev, ino))
        return refuse(error, path, "it is not the file that the job verified");
    if (old != NULL && !state_is(old, "removed"))
        return is_same(old, &found, vmig_journal_boot_id(journal)) ||
               refuse(error, path, "it is another file than the one that was adopted");
    set_identity(file, &found, vmig_journal_boot_id(journal));
    return vmig_journal_file_put(journal, file, NULL, error);
}

/* Before the unlink the owner of the directory could put another file there: no system call removes a name only if it
 * still refers to a given inode. But the owner could remove that file too, and its name contains the job's id. */
gboolean vmig_gate_remove(VmigJournal *journal, const char *job_id, const char *path, GError **error)
{
    const char *boot = vmig_journal_boot_id(journal);
    g_autoptr(VmigJournalFile) file = NULL;
    g_auto(Found) found = FOUND_INIT;

    if (!need(journal, job_id, path, &file, error) || !look(journal, path, &found, error))
        return FALSE;
    if (found.exists) {
        const char *why = why_not(file, &found, boot);
        if (why != NULL)
            return refuse(error, path, why);
        if (!check_no_snapshots(file, &found, error))
            return FALSE;
        if (unlinkat(found.folder_fd, found.name, 0) < 0)
            return vmig_fail_errno(error, errno, "cannot remove %s", path);
    } else if (!check_gone(file, &found, boot, error)) {
        return FALSE;
    }
    /* Also for a file that was already gone: the process that unlinked it may have died before it synced. */
    if (!sync_folder(&found, path, error))
        return FALSE;
    set_state(file, "removed");
    return vmig_journal_file_put(journal, file, NULL, error);
}

static gboolean sync_file(const Found *found, const char *path, GError **error)
{
    int fd = openat(found->folder_fd, found->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    gboolean ok = fd >= 0 && fsync(fd) == 0;
    int errnum = errno;

    if (fd >= 0)
        close(fd);
    return ok || vmig_fail_errno(error, errnum, "cannot sync %s", path);
}

/* The target's row, with its future identity, so that a later process can recognize the file. */
static VmigJournalFile *target_row(const VmigJournalFile *from, const char *to)
{
    const char *kind = kind_is(from, "part") ? "copy" : kind_is(from, "copy") ? "part" : from->kind;
    VmigJournalFile *row = vmig_journal_file_new(from->job, to, kind, "intended");

    row->dev = from->dev;
    row->ino = from->ino;
    row->born_ns = from->born_ns;
    row->boot = g_strdup(from->boot);
    return row;
}

/* Before the rename the owner of the directory may have put another file there. That file is moved back. */
static gboolean check_moved(const Found *source, const Found *target, const char *from, GError **error)
{
    struct statx sx;

    if (statx(target->folder_fd, target->name, AT_SYMLINK_NOFOLLOW, STATX_INO, &sx) == 0 && sx.stx_ino == source->ino)
        return TRUE;
    (void)renameat2(target->folder_fd, target->name, source->folder_fd, source->name, RENAME_NOREPLACE);
    return refuse(error, from, "another file replaced it while it was renamed");
}

static gboolean move(const Found *source, const Found *target, const char *from, const char *to, GError **error)
{
    if (!sync_file(source, from, error))
        return FALSE;
    if (renameat2(source->folder_fd, source->name, target->folder_fd, target->name, RENAME_NOREPLACE) == 0)
        return check_moved(source, target, from, error);
    if (errno == EEXIST)
        return vmig_fail(error, VMIG_ERROR_DESTINATION_EXISTS, NULL, "%s exists", to);
    return vmig_fail_errno(error, errno, "cannot rename %s to %s", from, to);
}

/* *done is TRUE if an earlier call has already recorded the rename. */
static gboolean check_rename(const VmigJournalFile *row, const VmigJournalFile *old, const Found *target,
                             const char *boot, gboolean *done, GError **error)
{
    *done = FALSE;
    if (!kind_is(row, "part copy overlay hold"))
        return refuse(error, row->path, "a file of this kind has no other name");
    if (state_is(row, "removed") && old != NULL && state_is(old, "made verified") && target->exists &&
        is_same(old, target, boot) && old->ino == row->ino) {
        *done = TRUE;
        return TRUE;
    }
    if (!state_is(row, "made verified"))
        return refuse(error, row->path, "it is not recorded as created");
    if (old != NULL && !state_is(old, "removed") && !(state_is(old, "intended") && old->ino == row->ino))
        return refuse(error, old->path, "the journal already lists it as another file of this job");
    return TRUE;
}

/* Does the part of the rename that is not done yet. */
static gboolean act_rename(VmigJournal *journal, const VmigJournalFile *row, const VmigJournalFile *new,
                           const Found *source, const Found *target, gboolean intended, GError **error)
{
    const char *boot = vmig_journal_boot_id(journal);

    if (source->exists) {
        if (!is_same(row, source, boot))
            return refuse(error, row->path, "it is another file than the one that was created");
        if (target->exists)
            return vmig_fail(error, VMIG_ERROR_DESTINATION_EXISTS, NULL, "%s exists", new->path);
        if (!vmig_journal_file_put(journal, new, NULL, error) || !move(source, target, row->path, new->path, error))
            return FALSE;
    } else if (!intended || !target->exists || !is_same(new, target, boot)) {
        return refuse(error, row->path, "it disappeared without being renamed");
    }
    return sync_folder(source, row->path, error) && sync_folder(target, new->path, error);
}

gboolean vmig_gate_rename(VmigJournal *journal, const char *job_id, const char *from, const char *to, GError **error)
{
    g_autoptr(VmigJournalFile) row = NULL;
    g_autoptr(VmigJournalFile) old = NULL;
    g_auto(Found) source = FOUND_INIT;
    g_auto(Found) target = FOUND_INIT;
    gboolean done = FALSE;

    if (!need(journal, job_id, from, &row, error) || !look(journal, from, &source, error) ||
        !look(journal, to, &target, error) || !vmig_journal_file_get(journal, job_id, to, &old, error) ||
        !check_rename(row, old, &target, vmig_journal_boot_id(journal), &done, error))
        return FALSE;
    if (done)
        return TRUE;
    g_autoptr(VmigJournalFile) new = target_row(row, to);
    if (!act_rename(journal, row, new, &source, &target, old != NULL && state_is(old, "intended"), error))
        return FALSE;
    set_state(new, kind_is(new, "part") ? "made" : row->state); /* the proof of its content is no longer valid */
    set_state(row, "removed");
    return vmig_journal_file_put(journal, new, row, error);
}

/* Marks the base's row as removed, because the file no longer has that name. */
static gboolean note_taken(VmigJournal *journal, const char *job_id, const char *from, GError **error)
{
    g_autoptr(VmigJournalFile) base = NULL;

    if (!vmig_journal_file_get(journal, job_id, from, &base, error))
        return FALSE;
    if (base == NULL || !kind_is(base, "base") || state_is(base, "removed"))
        return TRUE;
    set_state(base, "removed");
    g_free(base->reason);
    base->reason = g_strdup("an earlier job kept it; this job began its base copy with it");
    return vmig_journal_file_put(journal, base, NULL, error);
}

gboolean vmig_gate_take(VmigJournal *journal, const char *job_id, const char *from, const char *to, guint64 dev,
                        guint64 ino, GError **error)
{
    g_autoptr(VmigJournalFile) row = NULL;
    g_auto(Found) source = FOUND_INIT;
    g_auto(Found) target = FOUND_INIT;

    if (!need(journal, job_id, to, &row, error) || !look(journal, from, &source, error) ||
        !look(journal, to, &target, error))
        return FALSE;
    if (!kind_is(row, "part") || !state_is(row, "intended made"))
        return refuse(error, to, "the journal does not say that it is to be created");
    if (!source.exists && target.exists) /* a process that died has renamed it */
        return sync_folder(&source, from, error) && sync_folder(&target, to, error) &&
               note_taken(journal, job_id, from, error);
    if (target.exists)
        return vmig_fail(error, VMIG_ERROR_DESTINATION_EXISTS, NULL, "%s exists", to);
    return vmig_gate_adopt(journal, job_id, from, dev, ino, "base", error) && move(&source, &target, from, to, error) &&
           sync_folder(&source, from, error) && sync_folder(&target, to, error) &&
           note_taken(journal, job_id, from, error);
}

/* Adds the file at that path, if its name shows that it belongs to the job. */
static gboolean add_found(VmigJournal *journal, GPtrArray *files, const char *job_id, const char *path,
                          const char *kind, GError **error)
{
    g_auto(Found) found = FOUND_INIT;
    g_autoptr(VmigJournalFile) old = NULL;

    if (path == NULL)
        return TRUE;
    g_autoptr(VmigJournalFile) file = vmig_journal_file_new(job_id, path, kind, "made");
    if (!look(journal, path, &found, error) || !vmig_journal_file_get(journal, job_id, path, &old, error))
        return FALSE;
    /* A record that gives a base copy the name of an overlay does not turn it into one. */
    if (old != NULL && !state_is(old, "removed") && strcmp(old->kind, kind) != 0)
        return refuse(error, path, "the journal already lists it as another file of this job");
    if (!found.exists || !type_fits(file, &found) || !carries_id(file))
        return TRUE;
    set_identity(file, &found, vmig_journal_boot_id(journal));
    g_ptr_array_add(files, g_steal_pointer(&file));
    return TRUE;
}

gboolean vmig_gate_catch_up(VmigJournal *journal, const VmigJob *record, VmigRole here, GError **error)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_journal_file_free);

    for (guint i = 0; i < record->disks->len; i++) {
        const VmigDisk *disk = record->disks->pdata[i];
        if (!add_found(journal, files, record->id, vmig_disk_overlay(disk, here), "overlay", error) ||
            !add_found(journal, files, record->id, vmig_disk_hold(disk, here), "hold", error))
            return FALSE;
    }
    return vmig_journal_catch_up(journal, record, here, files, error);
}
