/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PIVOT on the destination and BACK_PIVOT on the source share this code. The guest is suspended during the pivot.
 * Overlay and base are then equal, so after a crash at any point either definition is right. */
#include "flows/migrate/commit-private.h"
#include "flows/migrate/migrate-flow.h"
#include "flows/migrate/ours.h"
#include "flows/migrate/pivot-truth.h"
#include "os/fault.h"

#define POLL (G_USEC_PER_SEC / 50)
#define COMMITS_LOST_LIMIT 5
#define READY_LIMIT (10 * G_USEC_PER_SEC)

/* While the guest is suspended nothing is written, so the commit is in step after a moment. */
static gboolean wait_in_step(VmigMachine *m, VmigRole role, GError **error)
{
    gint64 until = vmig_machine_now(m) + READY_LIMIT;
    gboolean ready = FALSE;

    while (vmig_machine_now(m) < until) {
        if (!vmig_commit_look(m, role, &ready, error))
            return FALSE;
        if (ready)
            return TRUE;
        vmig_machine_wait(m, POLL);
    }
    return vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "the commit does not become ready while the guest is suspended");
}

/* Both definitions must name the bases: the live one, and the persistent one that a start after a crash would use. */
static gboolean verify_on_bases(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);

    return host != NULL && vmig_truth_mend_definition(m, role, error) && vmig_host_require_on_bases(m, role, error) &&
           vmig_node_sync_config(host->node, error);
}

/* Each disk on its base is recorded before the guest may run there. From then on its overlay is stale, and an offline
 * commit of the overlay would revert the guest's disk. */
static gboolean pivot_disks(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_autoptr(GError) why = NULL;
    g_autoptr(VmigDomainXml) live = host != NULL ? vmig_host_definition(m, role, VMIG_XML_LIVE, &why) : NULL;

    for (guint i = 0; live != NULL && why == NULL && i < m->job->disks->len; i++) {
        VmigDisk *disk = m->job->disks->pdata[i];
        VmigChain chain = vmig_chain_in(live, disk, role);
        if (chain != VMIG_CHAIN_BASE && !vmig_fault("pivot.before", &why))
            break;
        if (chain != VMIG_CHAIN_BASE &&
            !host->hypervisor->ops->block_pivot(host->hypervisor, m->job->uuid, disk->target, &why))
            break;
        disk->pivoted = TRUE;
    }
    gboolean saved = host != NULL && vmig_machine_save(m, why == NULL ? &why : NULL);
    if (why != NULL)
        g_propagate_error(error, g_steal_pointer(&why));
    return saved && (error == NULL || *error == NULL) && vmig_fault("pivot.pivoted", error);
}

static gboolean suspend(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    VmigRun run;

    if (host == NULL || !vmig_host_run(m, role, &run, error))
        return FALSE;
    /* Recorded beforehand: a process that finds the guest suspended after a crash resumes it. */
    vmig_job_reach_merge(m->job, VMIG_MERGE_PIVOTING);
    m->job->suspended = m->job->suspended || run == VMIG_RUN_RUNNING;
    if (!vmig_machine_save(m, error))
        return FALSE;
    if (run != VMIG_RUN_RUNNING)
        return TRUE;
    return host->hypervisor->ops->suspend(host->hypervisor, m->job->uuid, error) &&
           vmig_fault("pivot.suspended", error);
}

static gboolean unsuspend(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    VmigRun run;

    if (host == NULL || !m->job->suspended)
        return host != NULL;
    if (!vmig_host_run(m, role, &run, error) ||
        (run == VMIG_RUN_PAUSED && !host->hypervisor->ops->resume(host->hypervisor, m->job->uuid, error)))
        return FALSE;
    if (run == VMIG_RUN_SHUTOFF && (!vmig_truth_end_orphan(m, role, error) ||
                                    (m->job->merge == VMIG_MERGE_DONE && !vmig_commit_start_again(m, role, error))))
        return FALSE;
    m->job->suspended = FALSE;
    return vmig_machine_save(m, error);
}

/* If the pivot could not be recorded, or was done although it reported an error, only the definition that libvirt
 * rewrote shows that the overlays are stale. It must be durable before the guest writes into its bases. */
static gboolean may_run_on(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);

    return host != NULL && (m->job->merge < VMIG_MERGE_PIVOTING || vmig_node_sync_config(host->node, error));
}

/* Checks that QEMU, libvirt and the definition agree. For a pivot with an unknown result, before the guest runs. */
static gboolean is_as_believed(VmigMachine *m, VmigRole role, GError **error)
{
    VmigRun run;

    if (m->job->merge < VMIG_MERGE_PIVOTING)
        return TRUE;
    if (!vmig_host_run(m, role, &run, error))
        return FALSE;
    /* A guest that QEMU paused on a full or failed disk may continue too once there is room. */
    return (run != VMIG_RUN_PAUSED && run != VMIG_RUN_IO_ERROR) || vmig_truth_ask_qemu(m, role, error);
}

/* While the guest is suspended, libvirt is asked for its state and six definitions, however many disks there are. For
 * each disk there are two calls that QEMU has to answer: its block job and the pivot. */
static gboolean pivot(VmigMachine *m, VmigRole role, GError **error)
{
    /* An earlier try, or a process that is gone, was interrupted during the pivot. */
    gboolean again = m->job->merge >= VMIG_MERGE_PIVOTING;
    g_autoptr(GError) why = NULL;
    VmigRun run;

    if (!vmig_ours_require_no_stranger(m, role, error) || !vmig_host_run(m, role, &run, error))
        return FALSE;
    if (run == VMIG_RUN_SHUTOFF)
        return vmig_truth_end_orphan(m, role, error) &&
               (m->job->merge == VMIG_MERGE_DONE ? vmig_commit_start_again(m, role, error)
                                                 : vmig_commit_offline(m, role, error));
    if (run == VMIG_RUN_ABSENT)
        return vmig_fail(error, VMIG_ERROR_JOB_LOST, NULL, "'%s' is no longer defined", m->job->domain);
    vmig_host_note_checkpoints(m, role);
    /* This is the last check of the overlays before they are abandoned. */
    gboolean done = suspend(m, role, &why) && (!again || is_as_believed(m, role, &why)) &&
                    wait_in_step(m, role, &why) && vmig_host_require_no_snapshot(m, role, &why) &&
                    pivot_disks(m, role, &why) && verify_on_bases(m, role, &why);
    if (done) {
        vmig_job_reach_merge(m->job, VMIG_MERGE_DONE);
        done = vmig_machine_save(m, &why);
    }
    if (why != NULL && g_error_matches(why, VMIG_ERROR, VMIG_ERROR_CRASHED)) {
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    /* The job never leaves the guest suspended, unless it would lose its writes by running. */
    g_autoptr(GError) stays = NULL;
    if ((!done && (!is_as_believed(m, role, &stays) || !may_run_on(m, role, &stays))) || !unsuspend(m, role, &stays)) {
        if (why == NULL)
            why = g_steal_pointer(&stays);
        else
            vmig_machine_note(m, "%s", stays->message);
        done = FALSE;
    }
    if (!done)
        g_propagate_error(error, g_steal_pointer(&why));
    return done;
}

/* A commit that ended just before its pivot, or that is not in step, is repeated a limited number of times. */
static gboolean may_commit_again(VmigMachine *m, const GError *why)
{
    gboolean can = vmig_commit_is_ended(why) || g_error_matches(why, VMIG_ERROR, VMIG_ERROR_TIMEOUT);

    if (!can || ++m->commits_lost > COMMITS_LOST_LIMIT)
        return FALSE;
    vmig_machine_note(m, "%s", why->message);
    return TRUE;
}

/* With merge "mirror" the guest arrived on its base copies: there is no pivot. */
static gboolean is_there(VmigMachine *m, GError **error)
{
    VmigRun run;

    if (!vmig_host_run(m, VMIG_DEST, &run, error) ||
        (run == VMIG_RUN_ABSENT && !vmig_commit_define_again(m, VMIG_DEST, error)))
        return FALSE;
    if (run == VMIG_RUN_SHUTOFF || run == VMIG_RUN_ABSENT)
        return m->job->merge == VMIG_MERGE_DONE ? vmig_commit_start_again(m, VMIG_DEST, error)
                                                : vmig_commit_offline(m, VMIG_DEST, error);
    if (!verify_on_bases(m, VMIG_DEST, error))
        return FALSE;
    vmig_job_reach_merge(m->job, VMIG_MERGE_DONE);
    return vmig_machine_save(m, error);
}

gboolean vmig_step_pivot(VmigMachine *m, VmigState *next, GError **error)
{
    g_autoptr(GError) why = NULL;

    if (vmig_job_merges_by_mirror(m->job))
        return is_there(m, error);
    if (pivot(m, VMIG_DEST, &why))
        return TRUE;
    if (may_commit_again(m, why)) {
        *next = VMIG_MIGRATE(COMMIT);
        return TRUE;
    }
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

gboolean vmig_step_back_pivot(VmigMachine *m, VmigState *next, GError **error)
{
    g_autoptr(GError) why = NULL;
    VmigBackWork work;

    if (!vmig_commit_back_work(m, &work, error))
        return FALSE;
    if (work == VMIG_BACK_NOTHING && m->job->merge < VMIG_MERGE_PIVOTING)
        return TRUE;
    if (pivot(m, VMIG_SOURCE, &why))
        return TRUE;
    if (may_commit_again(m, why)) {
        *next = VMIG_MIGRATE(BACK_COMMIT);
        return TRUE;
    }
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}
