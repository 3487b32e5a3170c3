/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LOCK: takes the operation lock on both hosts, puts the job's mark into the guest's definition, and checks the guest
 * again. */
#include "definition/domain-xml.h"
#include "flows/migrate/migrate-flow.h"
#include "definition/snapshot-tree.h"
#include "engine/host.h"

/* The guest may have been changed between the plan and the lock. */
static gboolean still_as_planned(VmigMachine *m, GError **error)
{
    VmigHypervisor *hv = m->env->source.hypervisor;
    g_autoptr(VmigDomainInfo) info = NULL;
    g_autoptr(GPtrArray) snapshots = NULL;
    g_autofree char *difference = NULL;

    if (!hv->ops->find(hv, m->job->uuid, &info, error))
        return FALSE;
    if (info == NULL || (info->run != VMIG_RUN_RUNNING && info->run != VMIG_RUN_PAUSED))
        return vmig_fail(error, VMIG_ERROR_GUEST_GONE, NULL, "%s: '%s' is no longer running", hv->host, m->job->domain);
    if (!vmig_host_require_chain(m, VMIG_SOURCE, VMIG_CHAIN_BASE, error) ||
        !hv->ops->snapshots(hv, m->job->uuid, &snapshots, error))
        return FALSE;
    if (!vmig_snapshot_tree_equal(m->job->snapshots, snapshots, &difference))
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, "Run the command again.",
                         "the snapshots changed between the plan and the lock: %s", difference);
    return vmig_host_require_persistent(m, VMIG_SOURCE, VMIG_CHAIN_BASE, error) && vmig_host_require_planned(m, error);
}

gboolean vmig_machine_lock(VmigMachine *m, VmigNode *node, GError **error)
{
    gboolean here = node == (m->env->host[m->here].node);

    return vmig_node_lock(node, m->job, here ? NULL : m->env->tool, error);
}

gboolean vmig_step_lock(VmigMachine *m, VmigState *next G_GNUC_UNUSED, GError **error)
{
    VmigHypervisor *hv = m->env->source.hypervisor;

    if (!vmig_machine_lock(m, m->env->source.node, error) || !vmig_machine_lock(m, m->env->dest.node, error) ||
        !vmig_node_rundir(m->env->source.node, m->job, error) || !vmig_node_rundir(m->env->dest.node, m->job, error) ||
        !still_as_planned(m, error))
        return FALSE;
    /* From here on the destination's journal records the files that will be made there. */
    m->peer_recorded = TRUE;
    g_free(m->job->source_boot);
    m->job->source_boot = m->here == VMIG_DEST ? NULL : g_strdup(vmig_journal_boot_id(m->journal));
    if (!vmig_machine_save(m, error))
        return FALSE;
    /* If the host reboots from here on, libvirt must not start the guest by itself: resume decides which definition to
     * start. */
    if (!hv->ops->set_autostart(hv, m->job->uuid, FALSE, error))
        return FALSE;
    g_autofree char *mark = vmig_metadata_xml(m->job);
    return hv->ops->set_metadata(hv, m->job->uuid, mark, error) &&
           vmig_host_set_snapshot_attribute(m, VMIG_SOURCE, TRUE, error) &&
           vmig_node_sync_config(m->env->source.node, error);
}
