/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node: examines paths and images. Read-only. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/path-map.h"
#include "image/image-locks.h"
#include "image/image.h"
#include "os/real-path.h"
#include "node/node-local-private.h"
#include "store/beneath.h"
#include "store/gate.h"

int vmig_local_open_folder(VmigLocal *local, const char *path, const char **name, GError **error)
{
    if (!vmig_path_check(path, error))
        return -1;
    int fd = vmig_beneath_folder(local->roots, path);
    if (fd >= 0) {
        *name = strrchr(path, '/') + 1;
    } else if (errno == ENOENT || errno == ENOTDIR || errno == EACCES) {
        g_autofree char *folder = g_path_get_dirname(path);
        vmig_fail(error, VMIG_ERROR_NO_DIRECTORY, NULL, "cannot open the directory '%s': %s", folder,
                  g_strerror(errno));
    } else {
        vmig_beneath_fail(error, errno, path);
    }
    return fd;
}

gboolean vmig_local_stat(VmigLocal *local, const char *path, struct stat *st, gboolean *exists, GError **error)
{
    *exists = vmig_beneath_stat(local->roots, path, st) == 0;
    return *exists || errno == ENOENT || vmig_beneath_fail(error, errno, path);
}

gboolean vmig_local_exists(VmigLocal *local, const char *path)
{
    struct stat st;

    return vmig_beneath_stat(local->roots, path, &st) == 0;
}

char **vmig_local_real_paths(VmigLocal *local, const char *const *paths, GError **error)
{
    g_autoptr(GPtrArray) real = g_ptr_array_new_with_free_func(g_free);

    for (guint i = 0; paths[i] != NULL; i++) {
        g_auto(VmigFd) fd = vmig_image_open(paths[i], local->roots, FALSE, error);
        char *path = fd >= 0 ? vmig_beneath_real_path(fd, error) : NULL;
        if (path == NULL)
            return NULL;
        g_ptr_array_add(real, path);
    }
    g_ptr_array_add(real, NULL);
    return g_strdupv((char **)real->pdata);
}

gboolean vmig_local_check_path(VmigLocal *local, const char *path, GError **error)
{
    const char *name;
    struct stat st;
    g_auto(VmigFd) folder = vmig_local_open_folder(local, path, &name, error);

    if (folder < 0)
        return FALSE;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT || vmig_fail_errno(error, errno, "cannot stat '%s'", path);
    if (S_ISLNK(st.st_mode))
        return vmig_fail(error, VMIG_ERROR_OUTSIDE_ROOTS, NULL, "'%s' is a symbolic link", path);
    if (!S_ISREG(st.st_mode))
        return vmig_fail(error, VMIG_ERROR_DISK_KIND, NULL, "'%s' is not a regular file", path);
    if (st.st_nlink != 1)
        return vmig_fail(error, VMIG_ERROR_OUTSIDE_ROOTS, VMIG_HINT_HARD_LINK, "'%s' has a second name (a hard link)",
                         path);
    return TRUE;
}

gboolean vmig_local_check_unused(VmigLocal *local, const char *path, GError **error)
{
    VmigImageLocks locks = {0};
    g_auto(VmigFd) fd = vmig_beneath_open(local->roots, path, O_RDONLY | O_NONBLOCK, 0);

    if (fd < 0)
        return errno == ENOENT || vmig_beneath_fail(error, errno, path);
    if (!vmig_image_locks_probe_fd(fd, path, &locks, error))
        return FALSE;
    return !locks.writer || vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "'%s' is in use", path);
}

/* File systems that other hosts can mount too, so that their files need not be copied: those of libvirt
 * (virFileIsSharedFSType) and some more. */
static gboolean is_shared_magic(guint64 magic)
{
    static const guint64 magics[] = {
        0x6969,     /* NFS */
        0x517b,     /* SMB */
        0xff534d42, /* CIFS */
        0xfe534d42, /* SMB2 */
        0x00c36400, /* Ceph */
        0x01161970, /* GFS2 */
        0x7461636f, /* OCFS2 */
        0x47504653, /* GPFS */
        0x5346414f, /* AFS */
        0x6b414653, /* kAFS */
        0x73757245, /* Coda */
        0x61636673, /* ACFS */
        0x19830326, /* BeeGFS */
        0x0bd00bd0, /* Lustre */
        0x01021997, /* 9p */
        0xaad7aaea, /* PanFS */
    };

    for (guint i = 0; i < G_N_ELEMENTS(magics); i++)
        if (magics[i] == magic)
            return TRUE;
    return FALSE;
}

/* All FUSE file systems have one magic number, from GlusterFS to a local NTFS. The type is in mountinfo (proc(5)): "36
 * 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - fuse.glusterfs /dev/root rw" */
static gboolean is_shared_fuse(const struct stat *st)
{
    static const char *const types[] = {
        "fuse.glusterfs", "fuse.quobyte", "fuse.ceph", "fuse.ceph-fuse", "fuse.sshfs",     "fuse.mfs", "fuse.moosefs",
        "fuse.lizardfs",  "fuse.juicefs", "fuse.s3fs", "virtiofs",       "fuse.seaweedfs", NULL};
    g_autofree char *text = NULL;
    g_autofree char *device = g_strdup_printf("%u:%u", major(st->st_dev), minor(st->st_dev));

    if (!g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL))
        return FALSE;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i] != NULL; i++) {
        g_auto(GStrv) words = g_strsplit(lines[i], " ", -1);
        guint n = g_strv_length(words), dash = 6;
        while (dash < n && !g_str_equal(words[dash], "-"))
            dash++;
        if (dash + 1 < n && g_str_equal(words[2], device))
            return g_strv_contains(types, words[dash + 1]);
    }
    return FALSE;
}

gboolean vmig_local_is_shared(int fd, const struct stat *st)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) != 0)
        return FALSE;
    guint64 magic = (guint64)fs.f_type & 0xffffffff;
    return is_shared_magic(magic) || (magic == 0x65735546 && is_shared_fuse(st));
}

static void set_folder_facts(VmigPathFacts *facts, int folder)
{
    struct stat st = {0};
    struct statvfs fs = {0};
    gboolean ok = folder >= 0 && fstat(folder, &st) == 0 && fstatvfs(folder, &fs) == 0;
    guint64 available = ok ? (guint64)fs.f_bavail * fs.f_frsize : 0;

    facts->in_roots = TRUE;
    facts->folder_ok = ok && faccessat(folder, ".", W_OK | X_OK, AT_EACCESS) == 0;
    facts->shared = ok && vmig_local_is_shared(folder, &st);
    facts->free_bytes = MIN(available, (guint64)G_MAXINT64);
    facts->filesystem = st.st_dev;
}

static void set_file_facts(VmigPathFacts *facts, int folder, const char *name)
{
    struct stat st = {0};
    gboolean exists = folder >= 0 && fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0;

    facts->exists = exists;
    facts->is_regular = exists && S_ISREG(st.st_mode);
    facts->size = exists ? (guint64)st.st_size : 0;
    facts->dev = st.st_dev;
    facts->ino = st.st_ino;
}

static gboolean set_kept(VmigLocal *local, VmigPathFacts *facts, const char *path, GError **error)
{
    g_auto(VmigKeptImage) kept = {0};

    if (!vmig_local_kept(local, path, &kept, error))
        return FALSE;
    if (kept.job == NULL)
        return TRUE;
    facts->kept_job = g_strdup(kept.job->id);
    facts->kept_domain = g_strdup(kept.job->uuid);
    facts->kept_bytes = kept.bytes;
    facts->kept_why_not = g_steal_pointer(&kept.why_not);
    return TRUE;
}

/* The job that owns the file according to the journal. */
static gboolean set_owner(VmigLocal *local, VmigPathFacts *facts, const char *path, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    g_autoptr(GError) why = NULL;

    if (!vmig_gate_owner(local->journal, path, &facts->owner_job, error))
        return FALSE;
    if (facts->owner_job == NULL)
        return TRUE;
    g_autoptr(VmigJob) job = vmig_journal_load(local->journal, facts->owner_job, &why);
    if (job != NULL)
        facts->owner_state = g_strdup(job->state);
    if (job != NULL || g_error_matches(why, VMIG_ERROR, VMIG_ERROR_NO_JOB))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

/* A path outside the roots is a fact, not an error, because the plan wants all refusals at once. Nothing is opened
 * there. Only its existence is reported (a guest's kernel, firmware or medium), which any user who may start guests
 * here can learn from libvirt as well. */
gboolean vmig_local_do_path(VmigLocal *local, const VmigPathArgs *args, VmigPathFacts *reply, GError **error)
{
    const char *path = args->path;
    const char *name = "";
    g_autoptr(GError) failure = NULL;

    g_auto(VmigFd) folder = vmig_local_open_folder(local, path, &name, &failure);
    gboolean outside = g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_OUTSIDE_ROOTS);
    if (failure != NULL && !outside && !g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_DIRECTORY)) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    if (!set_owner(local, reply, path, error))
        return FALSE;
    set_folder_facts(reply, folder);
    set_file_facts(reply, folder, name);
    if (outside) {
        struct stat st;
        reply->in_roots = FALSE;
        reply->exists = stat(path, &st) == 0;
    }
    return outside || !reply->is_regular || set_kept(local, reply, path, error);
}

/* Escaped if it is not UTF-8. */
static char *text_of(const char *bytes)
{
    return bytes == NULL || g_utf8_validate(bytes, -1, NULL) ? g_strdup(bytes) : vmig_printable(bytes, strlen(bytes));
}

static GPtrArray *snapshots_of(const VmigQcow2 *qcow2)
{
    GPtrArray *array = vmig_message_array(&vmig_image_snapshot_message);

    for (guint i = 0; qcow2 != NULL && i < qcow2->snapshots->len; i++) {
        const VmigQcow2Snapshot *snapshot = qcow2->snapshots->pdata[i];
        VmigImageSnapshot *facts = g_new0(VmigImageSnapshot, 1);
        gsize length;
        const char *bytes = g_bytes_get_data(snapshot->name, &length);
        g_autofree char *name = g_strndup(bytes != NULL ? bytes : "", length);
        facts->id = text_of(snapshot->id);
        facts->name = text_of(name);
        facts->vm_state_size = snapshot->vm_state_size;
        facts->date = snapshot->date_sec;
        g_ptr_array_add(array, facts);
    }
    return array;
}

static VmigImageFacts *image_facts(const VmigImage *image)
{
    VmigImageFacts *facts = g_new0(VmigImageFacts, 1);
    const VmigQcow2 *qcow2 = image->qcow2;

    facts->path = text_of(image->path);
    facts->named = text_of(image->named);
    facts->format = text_of(image->format);
    facts->backing = text_of(image->backing);
    facts->backing_format = text_of(image->backing_format);
    facts->backing_path = text_of(image->backing_path);
    facts->size = image->file_size;
    facts->mode = image->mode;
    facts->allocated = image->allocated;
    facts->virtual_size = image->virtual_size;
    facts->dev = image->id.dev;
    facts->ino = image->id.ino;
    facts->mtime_ns = image->mtime_ns;
    facts->version = qcow2 != NULL ? qcow2->version : 0;
    facts->bitmaps = qcow2 != NULL ? qcow2->n_bitmaps : 0;
    facts->encrypted = qcow2 != NULL && qcow2->crypt_method != 0;
    facts->data_file = qcow2 != NULL && qcow2->data_file;
    facts->dirty = qcow2 != NULL && qcow2->dirty;
    facts->snapshots = snapshots_of(qcow2);
    return facts;
}

gboolean vmig_local_do_survey(VmigLocal *local, const VmigImageArgs *args, VmigSurveyReply *reply, GError **error)
{
    g_autofree char *real = vmig_real_path(args->path, local->roots, error);

    if (real == NULL || !vmig_local_check_path(local, real, error))
        return FALSE;
    g_autoptr(GPtrArray) chain = vmig_image_survey_chain(args->path, args->format, local->roots, error);
    if (chain == NULL)
        return FALSE;
    reply->images = vmig_message_array(&vmig_image_facts_message);
    for (guint i = 0; i < chain->len; i++)
        g_ptr_array_add(reply->images, image_facts(chain->pdata[i]));
    return TRUE;
}

gboolean vmig_local_do_real_path(VmigLocal *local, const VmigPathArgs *args, VmigRealPathReply *reply, GError **error)
{
    g_autofree char *real = vmig_real_path(args->path, local->roots, error);

    reply->path = text_of(real);
    return real != NULL;
}

/* Opens the file for reading; -1 with the error set. */
static int open_file(VmigLocal *local, const char *path, struct stat *st, GError **error)
{
    if (!vmig_path_check(path, error))
        return -1;
    int fd = vmig_image_open(path, local->roots, FALSE, error);
    if (fd >= 0 && fstat(fd, st) != 0) {
        vmig_fail_errno(error, errno, "cannot stat '%s'", path);
        vmig_fd_close(fd);
        return -1;
    }
    return fd;
}

gboolean vmig_local_do_stat(VmigLocal *local, const VmigPathArgs *args, VmigFileFacts *reply, GError **error)
{
    struct stat st;
    g_auto(VmigFd) fd = open_file(local, args->path, &st, error);

    if (fd < 0)
        return FALSE;
    reply->size = (guint64)st.st_size;
    reply->dev = st.st_dev;
    reply->ino = st.st_ino;
    reply->mtime_ns = (guint64)(st.st_mtim.tv_sec * G_GINT64_CONSTANT(1000000000) + st.st_mtim.tv_nsec);
    return TRUE;
}

gboolean vmig_local_do_allocated(VmigLocal *local, const VmigPathArgs *args, VmigAllocatedReply *reply, GError **error)
{
    struct stat st;
    g_auto(VmigFd) fd = open_file(local, args->path, &st, error);

    if (fd < 0)
        return FALSE;
    reply->bytes = (guint64)st.st_blocks * 512;
    return TRUE;
}

gboolean vmig_local_do_count_snapshots(VmigLocal *local, const VmigPathArgs *args, VmigCountReply *reply,
                                       GError **error)
{
    return vmig_path_check(args->path, error) &&
           vmig_image_count_snapshots(args->path, local->roots, &reply->count, error);
}

gboolean vmig_local_do_locks(VmigLocal *local, const VmigPathArgs *args, VmigImageLocks *reply, GError **error)
{
    struct stat st;
    g_auto(VmigFd) fd = open_file(local, args->path, &st, error);

    return fd >= 0 && vmig_image_locks_probe_fd(fd, args->path, reply, error);
}

/* Also checks an image that is open for writing, although the result may be wrong: the flow decides when to ask. */
gboolean vmig_local_do_check(VmigLocal *local, const VmigImageArgs *args, VmigCheckReply *reply, GError **error)
{
    const char *path = args->path;
    VmigImageLocks locks = {0};
    gint64 leaks = 0;

    if (!vmig_local_check_path(local, path, error))
        return FALSE;
    g_auto(VmigFd) fd = vmig_image_open(path, local->roots, FALSE, error);
    if (fd < 0 || !vmig_image_locks_probe_fd(fd, path, &locks, error) ||
        !vmig_image_check(path, local->roots, args->format, locks.writer, &leaks, error))
        return FALSE;
    reply->leaks = (guint64)leaks;
    return TRUE;
}
