/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sets a job aside: the guest was changed in such a way that the job can neither be finished nor undone without a loss
 * of wanted data. The guest stays on its owner, with its current disks. Holds, marks and vetoes are removed. No file is
 * removed. */
#include "flows/migrate/set-aside.h"

#include "core/names.h"
#include "core/parks.h"
#include "flows/migrate/cleanup.h"
#include "flows/migrate/ours.h"
#include "flows/migrate/overlay.h"
#include "flows/migrate/redefine.h"
#include "flows/migrate/resolve.h"
#include "engine/host.h"
#include "os/fault.h"

static gboolean may_be(const VmigMachine *m, GError **error)
{
    if (!vmig_job_waits(m->job))
        return vmig_fail(error, VMIG_ERROR_UNSUPPORTED, "vmig-snap resume reports whether the job can be continued.",
                         "cannot set job %s aside: it is in state %s, not parked", m->job->id, m->job->state);
    if (vmig_park_of(m->job).exits & VMIG_EXIT_BY_SET_ASIDE)
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_UNSUPPORTED, "vmig-snap status lists the commands that end it.",
                     "cannot set job %s aside: it is parked in %s and can be ended in another way", m->job->id,
                     m->job->parked_state);
}

/* Only the owner may run the guest, and from now on no process enforces that. */
static gboolean end_other_copy(VmigMachine *m, VmigRole other, GError **error)
{
    if (other == VMIG_SOURCE)
        return vmig_cleanup_end_source(m, error);
    VmigHost *dest = vmig_host_at(m, VMIG_DEST, error);
    g_autoptr(GError) why = NULL;
    if (dest == NULL || vmig_resolve_remove_arrived(m, &why))
        return dest != NULL;
    if (!g_error_matches(why, VMIG_ERROR, VMIG_ERROR_INTERFERENCE)) {
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    vmig_machine_note(m, "%s", why->message); /* another guest with that UUID */
    return TRUE;
}

/* The job's block jobs are the holds, and the commits once the record says that the commit started. Ending a commit
 * before its pivot leaves the guest on its overlay. */
static gboolean end_block_jobs(VmigMachine *m, VmigHost *host, VmigRole role, GError **error)
{
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        g_autoptr(GError) why = NULL;
        g_auto(VmigBlockJob) job = {0};
        VmigChain chain;
        if (!vmig_host_chain(m, role, disk, VMIG_XML_LIVE, &chain, error))
            return FALSE;
        /* A disk that was changed outside vmig-snap may not have this device anymore. */
        if (!vmig_ours_block_job(m, role, disk, NULL, &job, &why)) {
            if (chain != VMIG_CHAIN_OTHER) {
                g_propagate_error(error, g_steal_pointer(&why));
                return FALSE;
            }
            continue;
        }
        gboolean ours = job.kind == VMIG_BLOCK_JOB_COPY ||
                        (job.kind == VMIG_BLOCK_JOB_COMMIT && m->job->merge > VMIG_MERGE_NOT_BEGUN);
        if (ours && chain == VMIG_CHAIN_OVERLAY &&
            !host->hypervisor->ops->block_cancel(host->hypervisor, m->job->uuid, disk->target, error))
            return FALSE;
    }
    return TRUE;
}

/* The job paused the guest: for a pivot, or because it had just arrived. */
static gboolean let_run(VmigMachine *m, VmigHost *host, VmigRun run, GError **error)
{
    VmigState parked = vmig_job_work_state(m->job);
    gboolean arrived = parked != NULL && vmig_state_guest(parked) == VMIG_GUEST_ARRIVED && !m->job->was_paused;

    return run != VMIG_RUN_PAUSED || (!m->job->suspended && !arrived) ||
           host->hypervisor->ops->resume(host->hypervisor, m->job->uuid, error);
}

static gboolean release_guest(VmigMachine *m, VmigHost *host, VmigRole role, GError **error)
{
    VmigHypervisor *hv = host->hypervisor;
    g_autoptr(GError) tree = NULL;
    VmigRun run;

    if (!vmig_host_run(m, role, &run, error))
        return FALSE;
    if (run == VMIG_RUN_ABSENT)
        return vmig_fail(error, VMIG_ERROR_GUEST_GONE, "Define it again (virsh define), then repeat the command.",
                         "%s: cannot set job %s aside: '%s' is not defined there", hv->host, m->job->id,
                         m->job->domain);
    gboolean live = run != VMIG_RUN_SHUTOFF && run != VMIG_RUN_CRASHED;
    if ((role == VMIG_SOURCE &&
         (!vmig_node_fence_drop(host->node, m->job, error) || !vmig_node_thaw(host->node, m->job, error))) ||
        (live && !end_block_jobs(m, host, role, error)) || !vmig_node_guard_stop(host->node, m->job, error) ||
        !let_run(m, host, run, error) || !vmig_host_require_defined(m, role, error))
        return FALSE;
    /* Best effort: a tree that the user changed is kept. */
    if (!vmig_redefine_snapshots(m, role, &tree)) {
        if (g_error_matches(tree, VMIG_ERROR, VMIG_ERROR_CONNECTION)) {
            g_propagate_error(error, g_steal_pointer(&tree));
            return FALSE;
        }
        vmig_machine_note(m, "%s", tree->message);
    }
    return vmig_host_set_snapshot_attribute(m, role, FALSE, error) &&
           hv->ops->set_autostart(hv, m->job->uuid, m->job->autostart, error) &&
           hv->ops->set_metadata(hv, m->job->uuid, NULL, error) && vmig_node_sync_config(host->node, error);
}

static void tell_files(VmigMachine *m, VmigHost *host, GString *text)
{
    g_auto(GStrv) left = vmig_node_leftovers(host->node, m->job, NULL);

    for (char **path = left; path != NULL && *path != NULL; path++) {
        g_autofree char *shown = vmig_text_escape(*path, -1);
        g_string_append_printf(text, "%s%s", path == left ? "" : ", ", shown);
    }
    if (left == NULL || left[0] == NULL)
        g_string_append(text, "none");
}

/* Reports where everything is, for the operator who has to clean up. */
static void tell(VmigMachine *m, VmigHost *owner, VmigRole role)
{
    VmigHost *other = &m->env->host[vmig_role_other(role)];
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "'%s' is on %s, on the disks that virsh domblklist names", m->job->domain,
                           owner->hypervisor->host);
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        const char *overlay = vmig_disk_overlay(disk, role);
        g_autofree char *base = vmig_text_escape(vmig_file_path(vmig_disk_base(disk), role), -1);
        g_autofree char *shown = vmig_text_escape(overlay, -1);
        g_string_append_printf(text, "; %s: its snapshots are in %s%s%s", disk->target, base,
                               overlay != NULL && !disk->pivoted ? ", and the writes since the job began may be in "
                                                                 : "",
                               overlay != NULL && !disk->pivoted ? shown : "");
    }
    g_string_append(text, ". The job's files there: ");
    tell_files(m, owner, text);
    g_string_append_printf(text, "; on %s: ", other->hypervisor->host);
    tell_files(m, other, text);
    g_string_append(text, ". None was removed; an overlay is part of the guest's disk until it is committed "
                          "(virsh blockcommit --active --pivot).");
    vmig_machine_note(m, "%s", text->str);
    vmig_journal_note(m->journal, m->job->id, text->str, NULL);
    g_free(m->job->error_hint);
    m->job->error_hint = g_string_free(text, FALSE);
}

gboolean vmig_set_aside(VmigMachine *m, GError **error)
{
    VmigRole role = m->job->owner;
    VmigHost *owner = vmig_host_at(m, role, error);

    if (role != m->here)
        return vmig_fail(error, VMIG_ERROR_UNSUPPORTED, "Run the command on that host.",
                         "cannot set job %s aside from here: '%s' is on %s", m->job->id, m->job->domain,
                         m->job->host[role]);
    if (owner == NULL || vmig_host_at(m, vmig_role_other(role), error) == NULL || !may_be(m, error) ||
        !end_other_copy(m, vmig_role_other(role), error) || !vmig_fault("aside.other", error) ||
        !release_guest(m, owner, role, error) || !vmig_fault("aside.released", error))
        return FALSE;
    tell(m, owner, role);
    return vmig_node_rundir_remove(m->env->dest.node, m->job, error) &&
           vmig_node_rundir_remove(m->env->source.node, m->job, error) && vmig_fault("aside.told", error);
}
