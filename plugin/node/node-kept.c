/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node: images that a finished job kept when the guest left, as base copies for the way back. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "image/image.h"
#include "node/node-local-private.h"
#include "store/gate.h"

void vmig_kept_image_clear(VmigKeptImage *kept)
{
    g_clear_pointer(&kept->job, vmig_job_free);
    g_clear_pointer(&kept->why_not, g_free);
    *kept = (VmigKeptImage){0};
}

static const VmigFile *find_file(const VmigJob *job, const char *path)
{
    for (guint i = 0; i < job->artifacts->len; i++) {
        const VmigArtifact *artifact = job->artifacts->pdata[i];
        for (guint k = 0; k < artifact->files->len; k++)
            if (g_strcmp0(((const VmigFile *)artifact->files->pdata[k])->path[VMIG_SOURCE], path) == 0)
                return artifact->files->pdata[k];
    }
    return NULL;
}

/* The newest job that moved a guest away from this path decides, whatever it did with the image. */
static gboolean find_job(VmigLocal *local, const char *path, VmigJob **ret, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    g_autoptr(GPtrArray) jobs = vmig_journal_list(local->journal, TRUE, error);

    *ret = NULL;
    for (guint i = 0; jobs != NULL && *ret == NULL && i < jobs->len; i++) {
        const VmigJob *job = jobs->pdata[i];
        if (vmig_job_end(job) != VMIG_END_MOVED || find_file(job, path) == NULL)
            continue;
        VmigRole role;
        if (!vmig_journal_role(local->journal, job->id, &role, error))
            return FALSE;
        if (role == VMIG_SOURCE)
            *ret = vmig_job_copy(job);
    }
    return jobs != NULL;
}

/* The images that the job left are backing files of each other, which must not count as another guest's use. */
static char **images_of(const VmigJob *job)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new();

    for (guint i = 0; i < job->artifacts->len; i++) {
        const VmigArtifact *artifact = job->artifacts->pdata[i];
        for (guint k = 0; k < artifact->files->len; k++)
            g_ptr_array_add(paths, g_strdup(((const VmigFile *)artifact->files->pdata[k])->path[VMIG_SOURCE]));
    }
    g_ptr_array_add(paths, NULL);
    return (char **)g_ptr_array_steal(paths, NULL);
}

static gboolean look_for_reason(VmigLocal *local, const char *path, VmigKeptImage *kept, GError **error)
{
    const VmigFile *file = find_file(kept->job, path);
    g_auto(GStrv) leaving = images_of(kept->job);
    struct stat st;
    g_auto(VmigFd) fd = vmig_image_open(path, local->roots, FALSE, error);

    if (fd < 0)
        return FALSE;
    if (fstat(fd, &st) != 0)
        return vmig_fail_errno(error, errno, "cannot stat %s", path);
    kept->bytes = (guint64)st.st_blocks * 512;
    if (!kept->job->options.keep_source)
        kept->why_not = g_strdup("that job was not to keep it");
    else
        kept->why_not = vmig_local_image_user(local, file, path, (const char *const *)leaving);
    return TRUE;
}

gboolean vmig_local_kept(VmigLocal *local, const char *path, VmigKeptImage *kept, GError **error)
{
    *kept = (VmigKeptImage){0};
    return find_job(local, path, &kept->job, error) && (kept->job == NULL || look_for_reason(local, path, kept, error));
}

/* A new mtime ends the file's old identity, so that no journal takes it for the kept image any more. */
static gboolean mark(VmigLocal *local, const char *part, GError **error)
{
    const char *name = NULL;
    g_auto(VmigFd) folder = vmig_local_open_folder(local, part, &name, error);

    if (folder < 0)
        return FALSE;
    if (utimensat(folder, name, NULL, AT_SYMLINK_NOFOLLOW) == 0)
        return TRUE;
    return vmig_fail_errno(error, errno, "cannot set the time of %s", part);
}

static gboolean take(VmigLocal *local, const char *job, const char *path, const char *part, VmigKeptImage *kept,
                     GError **error)
{
    const VmigFile *file = find_file(kept->job, path);
    g_auto(GStrv) leaving = images_of(kept->job);
    struct stat st;

    g_auto(VmigFd) fd = vmig_local_claim(local, file, path, (const char *const *)leaving, &kept->why_not);
    if (fd < 0)
        return vmig_fail(error, VMIG_ERROR_DESTINATION_EXISTS, "Move that file away, then run vmig-snap resume.",
                         "%s can no longer be used as the base copy: %s", path, kept->why_not);
    if (fstat(fd, &st) != 0)
        return vmig_fail_errno(error, errno, "cannot stat %s", path);
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    return vmig_gate_take(local->journal, job, path, part, st.st_dev, st.st_ino, error) && mark(local, part, error);
}

/* For a process that died after the rename but before the gate or the time was updated. */
static gboolean take_again(VmigLocal *local, const char *job, const char *path, const char *part, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);

    return vmig_gate_take(local->journal, job, path, part, 0, 0, error) && mark(local, part, error);
}

gboolean vmig_local_take_kept(VmigLocal *local, const char *job, const char *kept_job, const char *path,
                              const char *part, GError **error)
{
    g_auto(VmigKeptImage) kept = {0};

    gboolean there = vmig_local_exists(local, path);
    if (vmig_local_exists(local, part))
        return there ||
               take_again(local, job, path, part, error); /* started without it: vmig_local_do_place() will check */
    if (!there)
        return TRUE; /* it was removed; the missing data is sent */
    if (!find_job(local, path, &kept.job, error))
        return FALSE;
    if (kept.job == NULL || !g_str_equal(kept.job->id, kept_job) || !kept.job->options.keep_source)
        return vmig_fail(error, VMIG_ERROR_DESTINATION_EXISTS, "Move that file away, then run vmig-snap resume.",
                         "%s can no longer be used as the base copy: the journal does not list it", path);
    return take(local, job, path, part, &kept, error);
}
