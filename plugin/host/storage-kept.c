/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's storage: images that a finished job kept when the guest left, as seeds for its way back. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "host/image.h"
#include "host/leftovers.h"
#include "host/storage-local-private.h"
#include "store/gate.h"

void vmig_kept_image_clear(VmigKeptImage *kept)
{
    g_clear_pointer(&kept->job, vmig_job_free);
    g_clear_pointer(&kept->why_not, g_free);
    *kept = (VmigKeptImage){0};
}

static const VmigFile *find_file(const VmigJob *job, const char *path)
{
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++)
            if (g_strcmp0(((const VmigFile *)disk->files->pdata[k])->source, path) == 0)
                return disk->files->pdata[k];
    }
    return NULL;
}

/* The newest job that moved a guest away from that path decides, whatever it did with the image. */
static gboolean find_job(VmigLocal *local, const char *path, VmigJob **ret, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    g_autoptr(GPtrArray) jobs = vmig_journal_list(local->journal, TRUE, error);

    *ret = NULL;
    for (guint i = 0; jobs != NULL && *ret == NULL && i < jobs->len; i++) {
        const VmigJob *job = jobs->pdata[i];
        if (vmig_job_state(job) != VMIG_STATE_DONE || find_file(job, path) == NULL)
            continue;
        g_autofree char *role = vmig_journal_role(local->journal, job->id, error);
        if (role == NULL)
            return FALSE;
        if (g_str_equal(role, VMIG_ROLE_SOURCE))
            *ret = vmig_job_copy(job);
    }
    return jobs != NULL;
}

/* Another image on it, one that no definition names. Those of the same job are the chain itself. */
static char *lies_below(VmigLocal *local, const VmigJob *job)
{
    g_autoptr(GPtrArray) chain = g_ptr_array_new();
    g_autoptr(GPtrArray) roots = g_ptr_array_new();
    gboolean whole = FALSE;

    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++)
            g_ptr_array_add(chain, ((const VmigFile *)disk->files->pdata[k])->source);
    }
    g_ptr_array_add(chain, NULL);
    for (guint i = 0; i < local->roots->len; i++)
        g_ptr_array_add(roots, local->roots->pdata[i]);
    g_ptr_array_add(roots, NULL);
    g_autofree char *image =
        vmig_scan_for_overlay((const char *const *)roots->pdata, (const char *const *)chain->pdata, &whole);
    if (image != NULL)
        return g_strdup_printf("the image %s lies on it", image);
    return whole ? NULL : g_strdup("the image roots hold more than can be looked through");
}

static gboolean look_for_reason(VmigLocal *local, const char *path, VmigKeptImage *kept, GError **error)
{
    const VmigFile *file = find_file(kept->job, path);
    gboolean held = FALSE;
    struct stat st;
    g_auto(VmigFd) fd = vmig_image_open(path, local->roots, FALSE, error);

    if (fd < 0)
        return FALSE;
    if (fstat(fd, &st) != 0)
        return vmig_fail_errno(error, errno, "looking at %s", path);
    if (!vmig_image_is_held_fd(fd, path, &held, error))
        return FALSE;
    kept->dev = st.st_dev;
    kept->ino = st.st_ino;
    kept->bytes = (guint64)st.st_blocks * 512;
    if (!kept->job->options.keep_source)
        kept->why_not = g_strdup("that job was not to keep it");
    else if (!vmig_stat_is(&st, file->ino, file->size, file->mtime_ns))
        kept->why_not = g_strdup("it is not as it was left: somebody used it since");
    else if (held)
        kept->why_not = g_strdup("it is in use");
    else
        kept->why_not = lies_below(local, kept->job);
    return TRUE;
}

gboolean vmig_local_kept(VmigLocal *local, const char *path, VmigKeptImage *kept, GError **error)
{
    *kept = (VmigKeptImage){0};
    return find_job(local, path, &kept->job, error) && (kept->job == NULL || look_for_reason(local, path, kept, error));
}

/* Its old identity ends with a new time of change, so that no journal takes it for the kept image any more. */
static gboolean mark(VmigLocal *local, const char *part, GError **error)
{
    const char *name = NULL;
    g_auto(VmigFd) folder = vmig_local_open_folder(local, part, &name, error);

    if (folder < 0)
        return FALSE;
    if (utimensat(folder, name, NULL, AT_SYMLINK_NOFOLLOW) == 0)
        return TRUE;
    return vmig_fail_errno(error, errno, "setting the time of %s", part);
}

gboolean vmig_local_take_kept(VmigLocal *local, const char *job, const char *kept_job, const char *path,
                              const char *part, GError **error)
{
    g_auto(VmigKeptImage) kept = {0};

    gboolean there = vmig_local_exists(local, path);
    if (!vmig_local_exists(local, part)) {
        if (!there)
            return TRUE; /* it went; what is missing is sent */
        if (!vmig_local_kept(local, path, &kept, error))
            return FALSE;
        if (kept.job == NULL || !g_str_equal(kept.job->id, kept_job) || kept.why_not != NULL)
            return vmig_fail(error, VMIG_ERROR_DESTINATION_EXISTS, "Move that file away, and resume.",
                             "%s cannot be the seed any more: %s", path,
                             kept.why_not != NULL ? kept.why_not : "the journal does not know it");
    } else if (there) {
        return TRUE; /* the part was begun without it; "place" will tell */
    }
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    return vmig_gate_take(local->journal, job, path, part, kept.dev, kept.ino, error) && mark(local, part, error);
}
