/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* OVERLAY: freezes the bases under one atomic external snapshot, and keeps them frozen.
 *
 * Three means protect them, each from another threat. The hold makes libvirt refuse every block operation and snapshot,
 * even for root. The guard's image locks make QEMU and qemu-img refuse to write to the base. snapshot='no' (set in
 * LOCK) makes a plain snapshot-create leave the disk out.
 */
#include "flows/migrate/overlay.h"

#include "flows/migrate/migrate-flow.h"
#include "flows/migrate/ours.h"
#include "definition/domain-xml.h"
#include "core/path-map.h"
#include "engine/host.h"
#include "os/fault.h"

/* The gate must know the names before libvirt makes the files. */
static gboolean make_overlays(VmigMachine *m, GError **error)
{
    VmigHost *source = &m->env->source;
    VmigHypervisor *hv = source->hypervisor;
    g_autofree char *live = NULL;

    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        if (!vmig_node_intend(source->node, m->job, disk->at[VMIG_SOURCE].overlay, "overlay", error))
            return FALSE;
    }
    if (!hv->ops->domain_xml(hv, m->job->uuid, VMIG_XML_LIVE, &live, error))
        return FALSE;
    g_autofree char *xml = vmig_overlay_snapshot_xml(m->job, live, error);
    return xml != NULL && hv->ops->overlay(hv, m->job->uuid, xml, error);
}

/* The identities from the plan are older than the guest's last writes. They are unknown until recorded again. */
static void forget_identities(VmigMachine *m)
{
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++)
            ((VmigFile *)disk->files->pdata[k])->mtime_ns = 0;
    }
}

/* QEMU creates all overlays in one transaction, so the first disk shows whether they exist. */
static gboolean have_overlays(VmigMachine *m, GError **error)
{
    VmigChain chain;

    if (!vmig_host_chain(m, VMIG_SOURCE, m->job->disks->pdata[0], VMIG_XML_LIVE, &chain, error) ||
        (chain != VMIG_CHAIN_OVERLAY && !make_overlays(m, error)))
        return FALSE;
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        if (!vmig_node_made(m->env->source.node, m->job, disk->at[VMIG_SOURCE].overlay, error))
            return FALSE;
    }
    /* libvirt syncs the definition but not its directory. After a power loss the guest could start on its bases,
     * without its later writes. */
    if (!vmig_host_require_persistent(m, VMIG_SOURCE, VMIG_CHAIN_OVERLAY, error) ||
        !vmig_node_sync_config(m->env->source.node, error))
        return FALSE;
    m->job->overlays = VMIG_OVERLAYS_IN_USE;
    forget_identities(m);
    return vmig_machine_save(m, error);
}

static gboolean start_hold(VmigMachine *m, VmigRole role, VmigDisk *disk, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_auto(VmigBlockJob) job = {0};

    if (host == NULL || !vmig_ours_block_job(m, role, disk, NULL, &job, error))
        return FALSE;
    if (job.kind == VMIG_BLOCK_JOB_COPY)
        return TRUE;
    if (job.kind != VMIG_BLOCK_JOB_NONE)
        return vmig_ours_refuse_block_job(m, role, disk, VMIG_ERROR_INTERFERENCE, error);
    const char *path = vmig_disk_hold(disk, role);
    g_autofree char *xml = vmig_block_copy_xml(path);
    return vmig_node_remove(host->node, m->job, path, "left by an earlier try", error) &&
           vmig_node_intend(host->node, m->job, path, "hold", error) &&
           host->hypervisor->ops->hold(host->hypervisor, m->job->uuid, disk->target, xml, error) &&
           vmig_node_made(host->node, m->job, path, error);
}

gboolean vmig_overlay_hold_all(VmigMachine *m, GError **error)
{
    for (guint i = 0; i < m->job->disks->len; i++)
        if (!start_hold(m, VMIG_SOURCE, m->job->disks->pdata[i], error))
            return FALSE;
    /* From here on libvirt refuses other operations. Check that nothing was changed before. */
    return vmig_host_require_chain(m, VMIG_SOURCE, VMIG_CHAIN_OVERLAY, error) &&
           vmig_host_require_no_snapshot(m, VMIG_SOURCE, error);
}

/* Used until the next try, or while the job is parked. The record has the file's name before the file exists. */
static gboolean hold_disk(VmigMachine *m, VmigRole role, VmigDisk *disk, GError **error)
{
    VmigChain chain;

    if (!vmig_host_chain(m, role, disk, VMIG_XML_LIVE, &chain, error))
        return FALSE;
    if (chain != VMIG_CHAIN_OVERLAY)
        return TRUE;
    if (role == VMIG_DEST && disk->at[VMIG_DEST].hold == NULL) {
        disk->at[VMIG_DEST].hold = vmig_hold_path(vmig_disk_base(disk)->path[VMIG_DEST], m->job->id);
        if (!vmig_machine_save(m, error))
            return FALSE;
    }
    return start_hold(m, role, disk, error);
}

void vmig_overlay_hold_disks(VmigMachine *m, VmigRole role)
{
    for (guint i = 0; i < m->job->disks->len; i++) {
        VmigDisk *disk = m->job->disks->pdata[i];
        g_autoptr(GError) error = NULL;
        if (!hold_disk(m, role, disk, &error))
            vmig_machine_note(m, "until the next try disk %s is not protected from other operations: %s", disk->target,
                              error->message);
    }
}

gboolean vmig_overlay_release_disk(VmigMachine *m, VmigRole role, VmigDisk *disk, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_auto(VmigBlockJob) job = {0};

    if (host == NULL || !vmig_ours_block_job(m, role, disk, NULL, &job, error))
        return FALSE;
    if (job.kind == VMIG_BLOCK_JOB_COPY &&
        !host->hypervisor->ops->block_cancel(host->hypervisor, m->job->uuid, disk->target, error))
        return FALSE;
    const char *path = vmig_disk_hold(disk, role);
    return path == NULL || vmig_node_remove(host->node, m->job, path, "the hold ended", error);
}

gboolean vmig_overlay_release(VmigMachine *m, GError **error)
{
    for (guint i = 0; i < m->job->disks->len; i++)
        if (!vmig_overlay_release_disk(m, VMIG_SOURCE, m->job->disks->pdata[i], error))
            return FALSE;
    return TRUE;
}

/* QEMU reopens the old top read-only and ignores an error of that (qcow2_reopen_prepare()). Its lock byte shows whether
 * it still writes. If it does not, the guard's locks keep every other process from writing too. */
static gboolean freeze_bases(VmigMachine *m, GError **error)
{
    VmigNode *node = m->env->source.node;
    g_autoptr(GPtrArray) paths = g_ptr_array_new();

    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++) {
            VmigFile *file = disk->files->pdata[k];
            VmigImageLocks locks;
            if (!vmig_node_locks(node, file->path[VMIG_SOURCE], &locks, error))
                return FALSE;
            if (locks.writer)
                return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL,
                                 "another process still writes to the frozen base %s", file->path[VMIG_SOURCE]);
            g_ptr_array_add(paths, file->path[VMIG_SOURCE]);
        }
    }
    g_ptr_array_add(paths, NULL);
    return vmig_node_freeze(node, m->job, (const char *const *)paths->pdata, error);
}

gboolean vmig_overlay_hold(VmigMachine *m, GError **error)
{
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, error);
    g_autoptr(VmigDomainInfo) info = NULL;

    if (source == NULL || !source->hypervisor->ops->find(source->hypervisor, m->job->uuid, &info, error))
        return FALSE;
    if (info == NULL || info->run == VMIG_RUN_SHUTOFF || info->run == VMIG_RUN_CRASHED)
        return vmig_fail(error, VMIG_ERROR_GUEST_GONE, NULL, "'%s' is no longer running", m->job->domain);
    /* libvirt does not refuse a new checkpoint. Its bitmap is in the overlay, and libvirt's metadata of it would stay
     * behind. */
    if (info->checkpoints > 0)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE,
                         "Delete the checkpoint (virsh checkpoint-delete), then migrate again.",
                         "a user created a checkpoint of '%s'", m->job->domain);
    return vmig_overlay_hold_all(m, error) && vmig_fault("overlay.held", error) && freeze_bases(m, error);
}

/* Records the identity of the frozen files. The copy checks it again at its end. */
static gboolean note_identities(VmigMachine *m, GError **error)
{
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++) {
            VmigFile *file = disk->files->pdata[k];
            if (!vmig_node_stat(m->env->source.node, file->path[VMIG_SOURCE], &file->size, &file->dev, &file->ino,
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
