/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* OVERLAY: freeze the bases under one atomic external snapshot, and hold them frozen.
 *
 * Three holds, each against another hand: the parked block copy makes libvirt refuse every block operation and
 * snapshot, for root too; the guard's image locks make QEMU and qemu-img refuse to write the base; snapshot='no' (LOCK)
 * makes a plain snapshot-create leave the disk out. */
#include "flow/overlay.h"

#include "core/domain-xml.h"
#include "flow/side.h"
#include "host/fault.h"

/* The gate must know the names before libvirt makes the files. */
static gboolean make_overlays(VmigMachine *m, GError **error)
{
    VmigHost *source = &m->world->source;
    VmigHypervisor *hv = source->hypervisor;
    g_autofree char *live = NULL;

    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        if (!vmig_storage_intend(source->storage, m->job, disk->overlay, "overlay", error))
            return FALSE;
    }
    if (!hv->ops->domain_xml(hv, m->job->uuid, VMIG_XML_LIVE, &live, error))
        return FALSE;
    g_autofree char *xml = vmig_overlay_snapshot_xml(m->job, live, error);
    return xml != NULL && hv->ops->overlay(hv, m->job->uuid, xml, error);
}

/* All disks get theirs in one transaction of QEMU's: the first tells for all. */
static gboolean have_overlays(VmigMachine *m, GError **error)
{
    VmigChain chain;

    if (!vmig_side_chain(m, VMIG_SIDE_SOURCE, m->job->disks->pdata[0], VMIG_XML_LIVE, &chain, error) ||
        (chain != VMIG_CHAIN_OVERLAY && !make_overlays(m, error)))
        return FALSE;
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        if (!vmig_storage_made(m->world->source.storage, m->job, disk->overlay, error))
            return FALSE;
    }
    /* libvirt syncs the definition but not its folder: after a power loss the guest would start on its bases, without
     * what it wrote since. */
    if (!vmig_side_require_persistent(m, VMIG_SIDE_SOURCE, VMIG_CHAIN_OVERLAY, error) ||
        !vmig_storage_sync_config(m->world->source.storage, error))
        return FALSE;
    m->job->frozen = TRUE;
    return vmig_machine_save(m, error);
}

static gboolean park_disk(VmigMachine *m, const VmigDisk *disk, GError **error)
{
    VmigHost *source = &m->world->source;
    VmigHypervisor *hv = source->hypervisor;
    VmigBlockJob job;

    if (!hv->ops->block_job(hv, m->job->uuid, disk->target, &job, error))
        return FALSE;
    if (job.kind == VMIG_BLOCK_JOB_COPY)
        return TRUE;
    if (job.kind != VMIG_BLOCK_JOB_NONE)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, "End that job (virsh blockjob --abort), then try again.",
                         "somebody started a block job on disk %s", disk->target);
    g_autofree char *xml = vmig_block_copy_xml(disk->park);
    return vmig_storage_remove(source->storage, m->job, disk->park, "left by an earlier try", error) &&
           vmig_storage_intend(source->storage, m->job, disk->park, "park", error) &&
           hv->ops->park(hv, m->job->uuid, disk->target, xml, error) &&
           vmig_storage_made(source->storage, m->job, disk->park, error);
}

gboolean vmig_overlay_park(VmigMachine *m, GError **error)
{
    for (guint i = 0; i < m->job->disks->len; i++)
        if (!park_disk(m, m->job->disks->pdata[i], error))
            return FALSE;
    /* From here on libvirt refuses; what was done before must not have been anything. */
    return vmig_side_require_chain(m, VMIG_SIDE_SOURCE, VMIG_CHAIN_OVERLAY, error) &&
           vmig_side_require_no_snapshot(m, VMIG_SIDE_SOURCE, error);
}

gboolean vmig_overlay_unpark(VmigMachine *m, GError **error)
{
    VmigHost *source = &m->world->source;
    VmigHypervisor *hv = source->hypervisor;

    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        VmigBlockJob job;
        if (!hv->ops->block_job(hv, m->job->uuid, disk->target, &job, error))
            return FALSE;
        if (job.kind == VMIG_BLOCK_JOB_COPY && !hv->ops->block_cancel(hv, m->job->uuid, disk->target, error))
            return FALSE;
        if (!vmig_storage_remove(source->storage, m->job, disk->park, "the parked copy ended", error))
            return FALSE;
    }
    return TRUE;
}

/* QEMU reopens the old top read-only and ignores an error of that (qcow2_reopen_prepare): the lock byte says the truth.
 * Then nobody else may write either. */
static gboolean freeze_bases(VmigMachine *m, GError **error)
{
    VmigStorage *storage = m->world->source.storage;
    g_autoptr(GPtrArray) paths = g_ptr_array_new();

    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++) {
            VmigFile *file = disk->files->pdata[k];
            VmigImageLocks locks;
            if (!vmig_storage_locks(storage, file->source, &locks, error))
                return FALSE;
            if (locks.writer)
                return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "somebody still writes to the frozen base %s",
                                 file->source);
            g_ptr_array_add(paths, file->source);
        }
    }
    g_ptr_array_add(paths, NULL);
    return vmig_storage_freeze(storage, m->job, (const char *const *)paths->pdata, error);
}

gboolean vmig_overlay_hold(VmigMachine *m, GError **error)
{
    VmigRun run;

    if (!vmig_side_run(m, VMIG_SIDE_SOURCE, &run, error))
        return FALSE;
    if (run == VMIG_RUN_SHUTOFF || run == VMIG_RUN_ABSENT || run == VMIG_RUN_CRASHED)
        return vmig_fail(error, VMIG_ERROR_GUEST_GONE, NULL, "'%s' does not run any more", m->job->domain);
    return vmig_overlay_park(m, error) && vmig_fault("overlay.parked", error) && freeze_bases(m, error);
}

/* Their identity, once frozen, is what the copy must still find at its end. */
static gboolean note_identities(VmigMachine *m, GError **error)
{
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++) {
            VmigFile *file = disk->files->pdata[k];
            if (!vmig_storage_stat(m->world->source.storage, file->source, &file->size, &file->dev, &file->ino,
                                   &file->mtime_ns, error))
                return FALSE;
        }
    }
    return vmig_machine_save(m, error);
}

gboolean vmig_step_overlay(VmigMachine *m, VmigState *next G_GNUC_UNUSED, GError **error)
{
    return have_overlays(m, error) && vmig_fault("overlay.made", error) && vmig_overlay_hold(m, error) &&
           note_identities(m, error);
}
