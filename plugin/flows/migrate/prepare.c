/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PREPARE: makes the destination's overlays and the whole record durable there. DROP_METADATA: removes the metadata
 * from the source. */
#include "flows/migrate/prepare.h"

#include "flows/migrate/migrate-flow.h"
#include "definition/domain-xml.h"
#include "definition/snapshot-tree.h"
#include "flows/migrate/redefine.h"
#include "engine/host.h"
#include "os/fault.h"

/* The target of a mirror must exist with the exact size (QEMU: "Source and target image have different sizes"). It must
 * also be new, because it must not contain data from an earlier try. */
gboolean vmig_prepare_fresh_overlays(VmigMachine *m, GError **error)
{
    for (guint i = 0; !vmig_job_merges_by_mirror(m->job) && i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        const VmigFile *base = vmig_disk_base(disk);
        if (!vmig_node_create_overlay(m->env->dest.node, m->job, disk->at[VMIG_DEST].overlay, disk->virtual_size,
                                      base->path[VMIG_DEST], base->format, error))
            return FALSE;
    }
    return TRUE;
}

/* The definitions for the destination are made from the source's current ones. Changes since the plan that do not
 * concern the job, such as an attached interface, are kept. A changed disk is refused, because it was not planned. */
static gboolean write_definitions(VmigMachine *m, GError **error)
{
    VmigHypervisor *hv = m->env->source.hypervisor;
    g_autofree char *live = NULL;
    g_autofree char *persistent = NULL;

    if (!vmig_host_require_persistent(m, VMIG_SOURCE, VMIG_CHAIN_OVERLAY, error) ||
        !vmig_host_require_planned(m, error) ||
        !hv->ops->domain_xml(hv, m->job->uuid, VMIG_XML_MIGRATABLE, &live, error) ||
        !hv->ops->domain_xml(hv, m->job->uuid, VMIG_XML_PERSISTENT_MIGRATABLE, &persistent, error))
        return FALSE;
    g_clear_pointer(&m->job->dest_xml, g_free);
    g_clear_pointer(&m->job->dest_persistent_xml, g_free);
    m->job->dest_xml = vmig_domain_xml_for_destination(live, m->job, TRUE, error);
    if (m->job->dest_xml == NULL)
        return FALSE;
    m->job->dest_persistent_xml = vmig_domain_xml_for_destination(persistent, m->job, FALSE, error);
    return m->job->dest_persistent_xml != NULL;
}

/* The destination makes its definitions from the same text. A text that cannot be converted must be found while there
 * is still a way back. */
static gboolean check_definitions(VmigMachine *m, GError **error)
{
    for (guint i = 0; i < m->job->snapshots->len; i++) {
        const VmigSnapshot *snapshot = m->job->snapshots->pdata[i];
        g_autofree char *xml = vmig_journal_text(m->journal, m->job->id, snapshot->text, error);
        g_autofree char *there = xml != NULL ? vmig_snapshot_xml_for_destination(xml, m->job, error) : NULL;
        if (there == NULL)
            return FALSE;
    }
    return TRUE;
}

/* The definition may have grown since PLAN, which left room for a usual definition. A record that is too large to send
 * would stop the job in the middle of its way forward. */
static gboolean check_size(VmigMachine *m, GError **error)
{
    if (vmig_job_record_size(m->job) <= VMIG_JOB_RECORD_MAX)
        return TRUE;
    g_clear_pointer(&m->job->dest_xml, g_free);
    g_clear_pointer(&m->job->dest_persistent_xml, g_free);
    return vmig_fail(error, VMIG_ERROR_UNSUPPORTED, "Make the definition smaller, then run the migration again.",
                     "cannot send job %s to the destination: since the plan the definition of '%s' has grown so much "
                     "that the job's record is larger than %d MiB",
                     m->job->id, m->job->domain, VMIG_JOB_RECORD_MAX >> 20);
}

gboolean vmig_step_prepare(VmigMachine *m, VmigState *next G_GNUC_UNUSED, GError **error)
{
    if (!write_definitions(m, error) || !check_size(m, error) || !check_definitions(m, error) ||
        !vmig_prepare_fresh_overlays(m, error) || !vmig_fault("prepare.overlays", error))
        return FALSE;
    return vmig_machine_save(m, error);
}

/* Every snapshot that is still there must be a recorded one. A snapshot that was added or changed since belongs to the
 * user. */
static gboolean check_snapshots(VmigMachine *m, GPtrArray *now, GError **error)
{
    for (guint i = 0; i < now->len; i++) {
        const VmigSnapshot *snapshot = now->pdata[i];
        gboolean known = FALSE;
        for (guint k = 0; k < m->job->snapshots->len && !known; k++) {
            const VmigSnapshot *recorded = m->job->snapshots->pdata[k];
            known =
                g_strcmp0(recorded->name, snapshot->name) == 0 && recorded->creation_time == snapshot->creation_time;
        }
        if (!known)
            return vmig_fail(error, VMIG_ERROR_INTERFERENCE, "Run the command again.",
                             "snapshot '%s' was created or redefined during the job", snapshot->name);
    }
    return TRUE;
}

gboolean vmig_prepare_drop_metadata(VmigMachine *m, GError **error)
{
    VmigHypervisor *hv = m->env->source.hypervisor;
    g_autoptr(GPtrArray) now = NULL;

    if (!hv->ops->snapshots(hv, m->job->uuid, &now, error) || !check_snapshots(m, now, error))
        return FALSE;
    /* Leaf first: deleting a parent would change the <parent> of its children (virDomainSnapshotDelete). */
    for (guint i = now->len > 0 ? m->job->snapshots->len : 0; i > 0; i--) {
        const VmigSnapshot *snapshot = m->job->snapshots->pdata[i - 1];
        if (!hv->ops->snapshot_forget(hv, m->job->uuid, snapshot->name, error) ||
            !vmig_fault("drop_metadata.one", error))
            return FALSE;
    }
    return TRUE;
}

gboolean vmig_step_drop_metadata(VmigMachine *m, VmigState *next G_GNUC_UNUSED, GError **error)
{
    return vmig_prepare_drop_metadata(m, error);
}

void vmig_prepare_give_back(VmigMachine *m)
{
    g_autoptr(GError) error = NULL;

    if (!vmig_redefine_snapshots(m, VMIG_SOURCE, &error))
        vmig_machine_note(m, "the source's libvirt does not list the snapshots at the moment: %s", error->message);
}
