/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* REDEFINE and BACK_REDEFINE: define the snapshot metadata again, parents first, and compare it with the record. */
#include "definition/domain-xml.h"
#include "flows/migrate/migrate-flow.h"
#include "definition/snapshot-tree.h"
#include "flows/migrate/ours.h"
#include "flows/migrate/redefine.h"
#include "flows/migrate/after-boot.h"
#include "engine/host.h"
#include "os/fault.h"

static gboolean is_defined(GPtrArray *now, const char *name)
{
    for (guint i = 0; i < now->len; i++)
        if (g_strcmp0(((const VmigSnapshot *)now->pdata[i])->name, name) == 0)
            return TRUE;
    return FALSE;
}

static gboolean has_current(GPtrArray *now)
{
    for (guint i = 0; i < now->len; i++)
        if (((const VmigSnapshot *)now->pdata[i])->current)
            return TRUE;
    return FALSE;
}

/* The source gets its original definition. In the destination's, the files have the destination's paths. */
static char *definition_for(VmigMachine *m, const VmigSnapshot *snapshot, VmigRole role, GError **error)
{
    g_autofree char *xml = vmig_journal_text(m->journal, m->job->id, snapshot->text, error);

    if (xml == NULL || role == VMIG_SOURCE)
        return g_steal_pointer(&xml);
    return vmig_snapshot_xml_for_destination(xml, m->job, error);
}

static gboolean define_missing(VmigMachine *m, VmigHypervisor *hv, VmigRole role, GPtrArray *now, GError **error)
{
    gboolean current_set = has_current(now);

    for (guint i = 0; i < m->job->snapshots->len; i++) {
        const VmigSnapshot *snapshot = m->job->snapshots->pdata[i];
        /* Defining a snapshot and marking it current is one call, so no crash can separate them. */
        if (is_defined(now, snapshot->name) && (current_set || !snapshot->current))
            continue;
        g_autofree char *xml = definition_for(m, snapshot, role, error);
        if (xml == NULL || !hv->ops->snapshot_define(hv, m->job->uuid, xml, snapshot->current, error) ||
            !vmig_fault("redefine.one", error))
            return FALSE;
    }
    return TRUE;
}

gboolean vmig_redefine_snapshots(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_autoptr(GPtrArray) before = NULL;
    g_autoptr(GPtrArray) after = NULL;
    g_autofree char *difference = NULL;

    if (host == NULL || !vmig_ours_require_no_stranger(m, role, error) ||
        !host->hypervisor->ops->snapshots(host->hypervisor, m->job->uuid, &before, error) ||
        !define_missing(m, host->hypervisor, role, before, error))
        return FALSE;
    g_clear_pointer(&before, g_ptr_array_unref); /* keep only one list in memory */
    if (!host->hypervisor->ops->snapshots(host->hypervisor, m->job->uuid, &after, error))
        return FALSE;
    if (vmig_snapshot_tree_equal(m->job->snapshots, after, &difference))
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_INTERFERENCE, "Check virsh snapshot-list --tree, then run vmig-snap resume.",
                     "%s: the snapshot tree differs from the recorded one: %s", host->hypervisor->host, difference);
}

gboolean vmig_step_redefine(VmigMachine *m, VmigState *next G_GNUC_UNUSED, GError **error)
{
    VmigHost *dest = vmig_host_at(m, VMIG_DEST, error);

    return dest != NULL && vmig_host_require_defined(m, VMIG_DEST, error) &&
           vmig_redefine_snapshots(m, VMIG_DEST, error) &&
           vmig_host_set_snapshot_attribute(m, VMIG_DEST, FALSE, error) &&
           dest->hypervisor->ops->set_autostart(dest->hypervisor, m->job->uuid, m->job->autostart, error) &&
           vmig_node_sync_config(dest->node, error) && vmig_after_boot_start(m, VMIG_DEST, error);
}
