/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node: the QEMU of a job's guest that libvirt has lost track of. This host's own journal says which files
 * are the job's, and whether the job suspended the guest. */
#include "core/job.h"
#include "drivers/libvirt/orphan-qemu.h"
#include "node/node-local-private.h"
#include "store/journal.h"

/* Loads the job from this host's journal; it must be about this guest. */
static VmigJob *load(VmigLocal *local, const char *id, const char *uuid, VmigRole *here, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    g_autoptr(VmigJob) job = vmig_journal_load(local->journal, id, error);

    if (job == NULL || !vmig_journal_role(local->journal, id, here, error))
        return NULL;
    if (g_strcmp0(job->uuid, uuid) != 0) {
        vmig_fail(error, VMIG_ERROR_GATE, NULL, "according to the journal, job %s belongs to another guest", id);
        return NULL;
    }
    return g_steal_pointer(&job);
}

/* For each disk, the two files that its QEMU may have on top. */
static GPtrArray *files_of(const VmigJob *job, VmigRole here)
{
    GPtrArray *disks = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);

    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        const VmigFile *base = vmig_disk_base(disk);
        const char *on_base = vmig_file_path(base, here);
        const char *overlay = vmig_disk_overlay(disk, here);
        char **files = g_new0(char *, 3);
        files[0] = g_strdup(on_base != NULL ? on_base : overlay);
        files[1] = files[0] != NULL && on_base != NULL ? g_strdup(overlay) : NULL;
        g_ptr_array_add(disks, files);
    }
    return disks;
}

gboolean vmig_local_do_orphan(VmigLocal *local, const VmigGuestArgs *args, VmigOrphanFacts *reply, GError **error)
{
    g_auto(VmigOrphan) orphan = {0};
    VmigRole here = VMIG_SOURCE;
    g_autoptr(VmigJob) job = load(local, args->job, args->uuid, &here, error);

    if (job == NULL)
        return FALSE;
    g_autoptr(GPtrArray) disks = files_of(job, here);
    if (!vmig_orphan_look(local->libvirt_run_dir, job->domain, args->uuid, disks, &orphan, error))
        return FALSE;
    reply->kind = orphan.kind;
    reply->pid = orphan.pid;
    reply->why = g_steal_pointer(&orphan.why);
    return TRUE;
}

gboolean vmig_local_do_orphan_end(VmigLocal *local, const VmigGuestArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                                  GError **error)
{
    VmigRole here = VMIG_SOURCE;
    g_autoptr(VmigJob) job = load(local, args->job, args->uuid, &here, error);

    if (job == NULL)
        return FALSE;
    if (!job->suspended || job->merge < VMIG_MERGE_PIVOTING || job->owner != here)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL,
                         "according to the journal, job %s has not suspended '%s' on this host for a pivot", args->job,
                         job->domain);
    g_autoptr(GPtrArray) disks = files_of(job, here);
    return vmig_orphan_end(local->libvirt_run_dir, job->domain, args->uuid, disks, error);
}
