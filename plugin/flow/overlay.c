/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* OVERLAY: freeze the bases under one atomic external snapshot, and hold them frozen.
 *
 * Three holds, each against another hand: the parked block copy makes libvirt refuse every block operation and
 * snapshot, for root too; the guard's image locks make QEMU and qemu-img refuse to write the base; snapshot='no' (LOCK)
 * makes a plain snapshot-create leave the disk out. */
#include "flow/overlay.h"

#include "flow/migrate-flow.h"
#include "core/domain-xml.h"
#include "core/path-map.h"
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

/* Those of the plan are older than the guest's last writes: none is known until they are noted. */
static void forget_identities(VmigMachine *m)
{
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++)
            ((VmigFile *)disk->files->pdata[k])->mtime_ns = 0;
    }
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
    forget_identities(m);
    return vmig_machine_save(m, error);
}

static const char *park_path(VmigDisk *disk, VmigSide side)
{
    return side == VMIG_SIDE_SOURCE ? disk->park : disk->dest_park;
}

static gboolean park_disk(VmigMachine *m, VmigSide side, VmigDisk *disk, GError **error)
{
    VmigHost *host = vmig_side_host(m, side, error);
    VmigBlockJob job;

    if (host == NULL ||
        !host->hypervisor->ops->block_job(host->hypervisor, m->job->uuid, disk->target, NULL, &job, error))
        return FALSE;
    if (job.kind == VMIG_BLOCK_JOB_COPY)
        return TRUE;
    if (job.kind != VMIG_BLOCK_JOB_NONE)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, "End that job (virsh blockjob --abort), then try again.",
                         "somebody started a block job on disk %s", disk->target);
    const char *path = park_path(disk, side);
    g_autofree char *xml = vmig_block_copy_xml(path);
    return vmig_storage_remove(host->storage, m->job, path, "left by an earlier try", error) &&
           vmig_storage_intend(host->storage, m->job, path, "park", error) &&
           host->hypervisor->ops->park(host->hypervisor, m->job->uuid, disk->target, xml, error) &&
           vmig_storage_made(host->storage, m->job, path, error);
}

gboolean vmig_overlay_park(VmigMachine *m, GError **error)
{
    for (guint i = 0; i < m->job->disks->len; i++)
        if (!park_disk(m, VMIG_SIDE_SOURCE, m->job->disks->pdata[i], error))
            return FALSE;
    /* From here on libvirt refuses; what was done before must not have been anything. */
    return vmig_side_require_chain(m, VMIG_SIDE_SOURCE, VMIG_CHAIN_OVERLAY, error) &&
           vmig_side_require_no_snapshot(m, VMIG_SIDE_SOURCE, error);
}

/* Until the next try, or while the job is parked. The record knows the file's name before there is a file. */
static gboolean hold_disk(VmigMachine *m, VmigSide side, VmigDisk *disk, GError **error)
{
    VmigChain chain;

    if (!vmig_side_chain(m, side, disk, VMIG_XML_LIVE, &chain, error))
        return FALSE;
    if (chain != VMIG_CHAIN_OVERLAY)
        return TRUE;
    if (side == VMIG_SIDE_DEST && disk->dest_park == NULL) {
        disk->dest_park = vmig_park_path(vmig_disk_base(disk)->dest, m->job->id);
        if (!vmig_machine_save(m, error))
            return FALSE;
    }
    return park_disk(m, side, disk, error);
}

void vmig_overlay_hold_disks(VmigMachine *m, VmigSide side)
{
    for (guint i = 0; i < m->job->disks->len; i++) {
        VmigDisk *disk = m->job->disks->pdata[i];
        g_autoptr(GError) error = NULL;
        if (!hold_disk(m, side, disk, &error))
            vmig_machine_note(m, "until the next try nothing keeps others off disk %s: %s", disk->target,
                              error->message);
    }
}

gboolean vmig_overlay_unpark_disk(VmigMachine *m, VmigSide side, VmigDisk *disk, GError **error)
{
    VmigHost *host = vmig_side_host(m, side, error);
    VmigBlockJob job;

    if (host == NULL ||
        !host->hypervisor->ops->block_job(host->hypervisor, m->job->uuid, disk->target, NULL, &job, error))
        return FALSE;
    if (job.kind == VMIG_BLOCK_JOB_COPY &&
        !host->hypervisor->ops->block_cancel(host->hypervisor, m->job->uuid, disk->target, error))
        return FALSE;
    const char *path = park_path(disk, side);
    return path == NULL || vmig_storage_remove(host->storage, m->job, path, "the parked copy ended", error);
}

gboolean vmig_overlay_unpark(VmigMachine *m, GError **error)
{
    for (guint i = 0; i < m->job->disks->len; i++)
        if (!vmig_overlay_unpark_disk(m, VMIG_SIDE_SOURCE, m->job->disks->pdata[i], error))
            return FALSE;
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
    VmigHost *source = vmig_side_host(m, VMIG_SIDE_SOURCE, error);
    g_autoptr(VmigDomainInfo) info = NULL;

    if (source == NULL || !source->hypervisor->ops->find(source->hypervisor, m->job->uuid, &info, error))
        return FALSE;
    if (info == NULL || info->run == VMIG_RUN_SHUTOFF || info->run == VMIG_RUN_CRASHED)
        return vmig_fail(error, VMIG_ERROR_GUEST_GONE, NULL, "'%s' does not run any more", m->job->domain);
    /* libvirt does not refuse it; its bitmap is in the overlay, and what libvirt knows of it would stay behind. */
    if (info->checkpoints > 0)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, "Delete it (virsh checkpoint-delete), then migrate again.",
                         "somebody made a checkpoint of '%s'", m->job->domain);
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
