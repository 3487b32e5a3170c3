/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ACTIVATE: the destination has the token. Starts the commit while the guest is paused, so that libvirt refuses all
 * other block operations from the guest's first instruction there. Then resumes the guest. With merge "mirror" an
 * operation on its disks can no longer lose data, so the guest is just resumed. */
#include "flows/migrate/commit.h"
#include "flows/migrate/migrate-flow.h"
#include "flows/migrate/ours.h"
#include "engine/host.h"
#include "os/fault.h"

static gboolean resume_guest(VmigMachine *m, GError **error)
{
    VmigHypervisor *hv = m->env->dest.hypervisor;

    if (!hv->ops->resume(hv, m->job->uuid, error))
        return FALSE;
    vmig_node_hurry(m->env->dest.node, FALSE);
    if (m->env->source.node != NULL)
        vmig_node_hurry(m->env->source.node, FALSE);
    if (m->stopped_at > 0)
        m->job->downtime_ms = (guint64)(vmig_machine_now(m) - m->stopped_at) / 1000;
    return TRUE;
}

/* Before the guest runs on the destination, the source's QEMU must be unable to run it again, even if the guard is
 * killed. A source that does not answer gave the token away with its overlays fenced, and nothing there resumes the
 * guest by itself. */
static gboolean end_source(VmigMachine *m, GError **error)
{
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, NULL);
    g_autoptr(GError) failed = NULL;
    g_autofree char *note = NULL;

    if (m->job->merge > VMIG_MERGE_NOT_BEGUN || m->source_fenced)
        return TRUE;
    if (source != NULL && !vmig_node_end_source_qemu(source->node, m->job, &note, &failed)) {
        if (!g_error_matches(failed, VMIG_ERROR, VMIG_ERROR_CONNECTION)) {
            g_propagate_error(error, g_steal_pointer(&failed));
            return FALSE;
        }
        note = g_strdup(failed->message);
    }
    if (note != NULL)
        vmig_machine_note(m, "%s", note);
    return vmig_fault("activate.ended", error);
}

gboolean vmig_step_activate(VmigMachine *m, VmigState *next G_GNUC_UNUSED, GError **error)
{
    g_autoptr(GError) late = NULL;
    VmigRun run;

    if (m->job->owner == VMIG_SOURCE)
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL, "the destination does not have the token");
    if (!end_source(m, error) || !vmig_ours_require(m, VMIG_DEST, error) || !vmig_host_run(m, VMIG_DEST, &run, error))
        return FALSE;
    if (run == VMIG_RUN_ABSENT || run == VMIG_RUN_SHUTOFF)
        vmig_machine_note(m, "the guest stopped after its arrival on the destination; its disks are completed there, "
                             "then it can be started (virsh start)");
    if (run != VMIG_RUN_PAUSED || m->job->was_paused)
        return vmig_fault("activate.resumed", error);
    /* The guest comes first: a commit that cannot start now is started in COMMIT. With merge "mirror" there is nothing
     * to commit: the guest is on its complete base copies. */
    if (!vmig_job_merges_by_mirror(m->job) && !vmig_commit_start(m, VMIG_DEST, &late))
        vmig_machine_note(m, "cannot start the commit while the guest is paused: %s", late->message);
    /* libvirt's definition on the destination must survive a power loss too. Syncing it after the resume keeps it out
     * of the downtime. */
    return resume_guest(m, error) && vmig_fault("activate.resumed", error) &&
           vmig_node_sync_config(m->env->dest.node, error);
}
