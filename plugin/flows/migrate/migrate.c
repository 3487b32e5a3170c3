/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* MIGRATE: libvirt moves the guest, while this process watches both hosts and transfers the token. UNCERTAIN: decides
 * how to continue if the migration broke off.
 *
 * The order makes it safe. The guard watches the overlays from before the migration. Only then do the holds end. The
 * chain is checked again once libvirt's own migration job protects the disks. The guest arrives paused. Then the fence
 * is taken, which proves that the source did not run again meanwhile. The token is written while the fence is held.
 *
 * The fence is not taken before the guest has arrived. QEMU releases its images before it has sent its last bytes
 * (migration_completion() of QEMU 7.2 inactivates them first). If the migration fails in between, QEMU takes the images
 * back and resumes the guest. A QEMU that cannot get them back dies.
 */
#include "core/setup-cause.h"
#include "definition/domain-xml.h"
#include "flows/migrate/migrate-flow.h"
#include "flows/migrate/prepare.h"
#include "flows/migrate/ours.h"
#include "flows/migrate/overlay.h"
#include "flows/migrate/copy.h"
#include "flows/migrate/resolve.h"
#include "engine/host.h"
#include "flows/migrate/stall.h"
#include "os/fault.h"

#define POLL (G_USEC_PER_SEC / 5)
#define LOOK_ANYWAY (10 * G_USEC_PER_SEC)

typedef struct {
    gint64 deadline; /* 0: none */
    gint64 began;
    gint64 looked; /* when the destination was last queried */
    VmigStall stall;
    gboolean verified;
    gboolean aborted;
    gboolean arrived;
    gboolean given;
} Watch;

/* Written to the journal too: if QEMU took its overlay back for an instant, an operator may later look for the reason
 * there. */
static void note_slow(VmigMachine *m, const char *why)
{
    g_autofree char *text =
        g_strdup_printf("%s: the guard cannot run with real-time priority (SCHED_FIFO: %s). To allow it, a unit that "
                        "runs vmig-snap must not have RestrictRealtime=yes, and root needs CAP_SYS_NICE",
                        m->job->host[VMIG_SOURCE], why);

    vmig_journal_note(m->journal, m->job->id, text, NULL);
    vmig_machine_note(m, "%s", text);
}

static gboolean arm_fence(VmigMachine *m, GError **error)
{
    g_autoptr(GPtrArray) overlays = g_ptr_array_new();
    g_autofree char *slow = NULL;

    for (guint i = 0; i < m->job->disks->len; i++)
        g_ptr_array_add(overlays, ((VmigDisk *)m->job->disks->pdata[i])->at[VMIG_SOURCE].overlay);
    g_ptr_array_add(overlays, NULL);
    /* The guard's observations during an earlier try do not count for this one. */
    if (!vmig_node_fence_drop(m->env->source.node, m->job, error) ||
        !vmig_node_fence_arm(m->env->source.node, m->job, (const char *const *)overlays->pdata, &slow, error))
        return FALSE;
    if (slow != NULL)
        note_slow(m, slow);
    return TRUE;
}

/* The user may have suspended or resumed the guest since the plan. It arrives in the state that it has now. */
static gboolean note_run_state(VmigMachine *m, GError **error)
{
    VmigRun run;

    if (!vmig_host_run(m, VMIG_SOURCE, &run, error))
        return FALSE;
    if ((run != VMIG_RUN_PAUSED && run != VMIG_RUN_RUNNING) || m->job->was_paused == (run == VMIG_RUN_PAUSED))
        return TRUE;
    m->job->was_paused = run == VMIG_RUN_PAUSED;
    return vmig_machine_save(m, error);
}

/* Nothing of an earlier try is left on the destination, so whatever arrives from here on is new. */
static gboolean forget_revoked(VmigMachine *m, GError **error)
{
    if (!m->job->revoked)
        return TRUE;
    m->job->revoked = FALSE;
    return vmig_machine_save(m, error);
}

static gboolean begin(VmigMachine *m, GError **error)
{
    VmigHypervisor *hv = m->env->source.hypervisor;
    g_autoptr(GPtrArray) targets = g_ptr_array_new();
    const VmigOptions *options = &m->job->options;

    for (guint i = 0; i < m->job->disks->len; i++)
        g_ptr_array_add(targets, ((VmigDisk *)m->job->disks->pdata[i])->target);
    g_ptr_array_add(targets, NULL);
    VmigMigrateParams params = {
        .peer_uri = m->env->peer_uri,
        .migrate_uri = m->env->migrate_uri,
        .disks_uri = m->env->disks_uri,
        .dest_xml = m->job->dest_xml,
        .persistent_xml = m->job->dest_persistent_xml,
        .disks = (const char *const *)targets->pdata,
        /* libvirt's limit applies to each mirror and to the memory. The shares of all mirrors add up to the job's
         * limit. */
        .bandwidth = options->bandwidth / MAX(m->job->disks->len, 1),
        .max_downtime = options->max_downtime,
        .parallel = options->parallel,
        .auto_converge = options->auto_converge,
        .tls = g_strcmp0(options->transport, "tls") == 0,
    };
    if (m->token_tried || m->job->owner == VMIG_DEST)
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL,
                         "the guest already belongs to the destination: it is not migrated again");
    hv->ops->migrate_end(hv, NULL); /* the call of an earlier try, if there was one */
    if (!vmig_resolve_remove_arrived(m, error) || !vmig_ours_require_none(m, VMIG_DEST, error) ||
        !forget_revoked(m, error) || !vmig_copy_prove_again(m, error) || !vmig_prepare_fresh_overlays(m, error) ||
        !vmig_prepare_drop_metadata(m, error) || !note_run_state(m, error) || !vmig_copy_note_written(m, error) ||
        !arm_fence(m, error) || !vmig_fault("migrate.watched", error) || !vmig_overlay_release(m, error) ||
        !vmig_fault("migrate.released", error) || !vmig_machine_check_cancel(m, error))
        return FALSE;
    return hv->ops->migrate_begin(hv, m->job->uuid, &params, error);
}

static void tell(VmigMachine *m, const VmigMigrateStatus *status)
{
    if (!status->job_seen)
        return;
    m->job->bytes_mirrored = MAX(m->job->bytes_mirrored, status->disk_done);
    m->job->bytes_memory = MAX(m->job->bytes_memory, status->memory_done);
    if (status->memory_total + status->disk_total > 0)
        vmig_machine_progress(m, NULL, status->memory_done + status->disk_done,
                              status->memory_total + status->disk_total, status->memory_rate + status->disk_rate);
}

/* Whether the source can no longer run the guest and has not run it since it stopped: the guard has watched its
 * overlays and has them now. Without a guard only libvirt's confirmation counts. That QEMU is gone now does not prove
 * that the guest did not run on before. */
static gboolean fence_source(VmigMachine *m, gboolean *fenced, GError **error)
{
    VmigHypervisor *hv = m->env->source.hypervisor;
    g_autoptr(VmigDomainInfo) info = NULL;

    *fenced = FALSE;
    if (vmig_node_fence_take(m->env->source.node, m->job, G_USEC_PER_SEC, fenced, NULL) && *fenced)
        return TRUE;
    if (!hv->ops->find(hv, m->job->uuid, &info, error))
        return FALSE;
    *fenced = info != NULL && info->run == VMIG_RUN_SHUTOFF && info->migrated;
    return TRUE;
}

static gboolean look_at_destination(VmigMachine *m, Watch *w, GError **error)
{
    gboolean fenced = FALSE;
    VmigRun run;

    if (!vmig_host_run(m, VMIG_DEST, &run, error))
        return FALSE;
    if (run != VMIG_RUN_PAUSED)
        return TRUE;
    w->arrived = TRUE;
    if (!vmig_fault("migrate.arrived", error) || !vmig_ours_require(m, VMIG_DEST, error) ||
        !fence_source(m, &fenced, error))
        return FALSE;
    if (!fenced)
        return TRUE;
    /* The last check before the token is written. An overlay with a snapshot must not be given away, nor an overlay
     * that was not on top during the migration. If the migration was short, the chain was not checked before. */
    if ((!w->verified && !vmig_host_require_chain(m, VMIG_SOURCE, VMIG_CHAIN_OVERLAY, error)) ||
        !vmig_host_require_no_snapshot(m, VMIG_SOURCE, error) || !vmig_fault("migrate.fenced", error) ||
        !vmig_resolve_give_token(m, error))
        return FALSE;
    w->given = TRUE;
    return TRUE;
}

static gboolean abort_once(VmigMachine *m, Watch *w)
{
    VmigHypervisor *hv = m->env->source.hypervisor;
    g_autoptr(GError) error = NULL;

    /* After a try to transfer the token the journals say who has the guest. Until they are read the fence stays,
     * otherwise libvirt resumes the source. The migration is at its end anyway. */
    if (w->aborted || m->token_tried)
        return TRUE;
    /* Drops the fence first: the source is to run again, and can only do so without the fence. No token was
     * transferred, so nothing runs on the destination. Without a fence whatever arrived is discarded. */
    vmig_node_fence_drop(m->env->source.node, m->job, NULL);
    w->aborted = hv->ops->migrate_abort(hv, &error);
    if (!w->aborted)
        vmig_machine_note(m, "%s", error->message);
    return w->aborted;
}

/* When libvirt aborts, it waits for its mirrors, and a mirror waits for the data that it sent to the stalled QEMU on
 * the destination. So that QEMU is ended first. It never ran and never will, because the destination has no token. */
static void end_stalled(VmigMachine *m)
{
    g_autoptr(GError) error = NULL;

    if (!vmig_resolve_remove_arrived(m, &error))
        vmig_machine_note(m, "%s", error->message);
}

/* The guest cannot have arrived before the source's CPUs stopped. Until then the destination is not queried: on a slow
 * shared connection a query waits behind the memory traffic. Because an event can get lost, the destination is queried
 * now and then anyway. */
static gboolean may_have_arrived(VmigMachine *m, Watch *w)
{
    VmigHypervisor *hv = m->env->source.hypervisor;
    gint64 now = vmig_machine_now(m);

    if (hv->ops->stopped_for != NULL && hv->ops->stopped_for(hv) == 0 && now - w->looked < LOOK_ANYWAY)
        return FALSE;
    w->looked = now;
    return TRUE;
}

/* The first bytes may take long: a hook on the destination, or a QEMU that starts there with much memory, is not
 * counted. So their limit is higher. While the CPUs are stopped the guest runs nowhere, and little is left to send. */
static gboolean check_stall(VmigMachine *m, Watch *w, const VmigMigrateStatus *status, gboolean stopped, GError **error)
{
    gint64 limit = vmig_machine_stall_limit(m);
    guint64 moved = status->memory_done + status->disk_done;

    if (w->arrived)
        return TRUE;
    if (stopped)
        return vmig_stall_check(m, &w->stall, G_MAXUINT64, MAX(limit, 10000 * (gint64)m->job->options.max_downtime),
                                "the switchover", error);
    return vmig_stall_check(m, &w->stall, moved, moved > 0 ? 2 * limit : 10 * limit, "the migration", error);
}

/* Checks both hosts once. *running: continue watching. */
static gboolean watch_once(VmigMachine *m, Watch *w, gboolean *running, GError **error)
{
    VmigHypervisor *hv = m->env->source.hypervisor;
    VmigMigrateStatus status;

    /* With the CPUs stopped it is too late to cancel: the guest is about to arrive, and an abort would meet QEMU
     * halfway. */
    gboolean stopped = hv->ops->stopped_for != NULL && hv->ops->stopped_for(hv) > 0;
    if (!stopped && !vmig_machine_check_cancel(m, error))
        return FALSE;
    /* Query the destination first: once the guest is there, every earlier query adds to the downtime. */
    if (may_have_arrived(m, w) && !look_at_destination(m, w, error))
        return FALSE;
    if (w->given)
        return TRUE;
    if (!hv->ops->migrate_poll(hv, &status, error))
        return FALSE;
    tell(m, &status);
    *running = status.running;
    if (*running && !check_stall(m, w, &status, stopped, error))
        return FALSE;
    if (status.job_seen && !w->verified) {
        if (!vmig_fault("migrate.running", error) ||
            !vmig_host_require_chain(m, VMIG_SOURCE, VMIG_CHAIN_OVERLAY, error) ||
            !vmig_host_require_no_snapshot(m, VMIG_SOURCE, error))
            return FALSE;
        w->verified = TRUE;
    }
    if (w->deadline > 0 && vmig_machine_now(m) > w->deadline && !w->arrived)
        return vmig_fail(error, VMIG_ERROR_TIMEOUT, "Increase --timeout, or try --auto-converge.",
                         "the migration took longer than --timeout allows");
    return TRUE;
}

/* Records when the source's CPUs stopped, if no poll came between that and the arrival. */
static void note_stop(VmigMachine *m)
{
    VmigHypervisor *hv = m->env->source.hypervisor;
    gint64 stopped_for = hv->ops->stopped_for != NULL ? hv->ops->stopped_for(hv) : 0;

    if (stopped_for > 0 && m->stopped_at == 0)
        m->stopped_at = vmig_machine_now(m) - stopped_for;
}

/* If the destination's QEMU refused the guest's state, every other try would end in the same way after the same time.
 * libvirt before 12 does not always say so. Takes why; returns the error to report. */
static GError *explain(VmigMachine *m, const Watch *w, GError *why)
{
    VmigRefusalArgs args = {.job = m->job->id, .domain = m->job->domain};
    g_auto(VmigRefusalReply) reply = {0};
    GError *explained = NULL;

    args.seconds = (guint64)((vmig_machine_now(m) - w->began) / G_USEC_PER_SEC + 1);
    if (!g_error_matches(why, VMIG_ERROR, VMIG_ERROR_HYPERVISOR) ||
        !vmig_call_stream_refusal(m->env->dest.node, &args, &reply, NULL))
        return why;
    g_autoptr(VmigSetupCause) cause = vmig_setup_cause(reply.reason);
    if (cause == NULL || !cause->lasts)
        return why;
    vmig_fail(&explained, VMIG_ERROR_SETUP, cause->remedy, "%s: QEMU did not load the guest's state: %s",
              m->job->host[VMIG_DEST], reply.reason);
    g_error_free(why);
    return explained;
}

static gboolean watch(VmigMachine *m, Watch *w, GError **error)
{
    VmigHypervisor *hv = m->env->source.hypervisor;
    g_autoptr(GError) why = NULL;
    gboolean running = TRUE;

    while (running && !w->given) {
        if (!watch_once(m, w, &running, &why))
            break;
        if (running && !w->given)
            vmig_machine_wait(m, POLL);
    }
    /* The migration ended without an error between two polls: check once more what arrived. */
    if (why == NULL && !w->given && !w->arrived)
        look_at_destination(m, w, &why);
    note_stop(m);
    if (w->given)
        return TRUE;
    if (g_error_matches(why, VMIG_ERROR, VMIG_ERROR_STALLED) && !m->token_tried)
        end_stalled(m);
    if (why != NULL)
        abort_once(m, w);
    g_autoptr(GError) verdict = NULL;
    gboolean ended = hv->ops->migrate_end(hv, &verdict);
    if (why != NULL) {
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    if (!ended) {
        g_propagate_error(error, explain(m, w, g_steal_pointer(&verdict)));
        return FALSE;
    }
    return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL,
                     "the migration ended, but the guest is not on the destination");
}

/* Until the token is transferred, a failure leads back: the source runs again, and its holds are restored before a
 * retry. */
static gboolean undo(VmigMachine *m, VmigState *next, GError **error)
{
    g_autoptr(GError) why = NULL;
    VmigDecision decision;

    /* The connection may be broken, and both hosts must be queried. */
    vmig_machine_reconnect(m);
    /* A process on the destination may have continued the job meanwhile. Its record counts, and the job continues from
     * there. */
    if (vmig_job_state(m->job) != VMIG_MIGRATE(MIGRATE)) {
        *next = vmig_job_state(m->job);
        return TRUE;
    }
    /* An agent that has not ended yet still holds the lock. A retry would begin by removing the guest that arrived,
     * which may have the token by now. So there is no retry. */
    if (m->lost_lock) {
        *next = VMIG_MIGRATE(UNCERTAIN);
        return TRUE;
    }
    if (vmig_resolve(m, &decision, &why)) {
        if (decision == VMIG_DECIDE_BACK && vmig_overlay_hold_all(m, &why))
            return FALSE; /* keep the caller's error: retry, or roll back */
        if (decision == VMIG_DECIDE_FORWARD) {
            *next = VMIG_MIGRATE(ACTIVATE);
            return TRUE;
        }
    }
    if (g_error_matches(why, VMIG_ERROR, VMIG_ERROR_INTERFERENCE)) {
        g_clear_error(error);
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    if (why != NULL)
        vmig_machine_note(m, "%s", why->message);
    *next = VMIG_MIGRATE(UNCERTAIN);
    return TRUE;
}

gboolean vmig_step_migrate(VmigMachine *m, VmigState *next, GError **error)
{
    g_autoptr(GError) why = NULL;
    Watch w = {0};

    m->stopped_at = 0;
    w.began = vmig_machine_now(m);
    gboolean begun = begin(m, &why);
    w.looked = vmig_machine_now(m);
    if (m->job->options.timeout > 0)
        w.deadline = w.looked + (gint64)m->job->options.timeout * G_USEC_PER_SEC;
    if (begun && watch(m, &w, &why))
        return TRUE;
    if (g_error_matches(why, VMIG_ERROR, VMIG_ERROR_CRASHED)) {
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    g_autofree char *message = g_strdup(why->message);
    if (undo(m, next, &why)) {
        /* Otherwise the retry reports it, or it becomes the reason for going back. */
        vmig_machine_note(m, "%s", message);
        if (*next == VMIG_MIGRATE(UNCERTAIN))
            vmig_job_set_error(m->job, why);
        return TRUE;
    }
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

/* Fails with an error that is retried: libvirtd may be restarting, or the ssh connection may be broken. */
static gboolean fail_waiting(VmigMachine *m, GError **error)
{
    gboolean source = m->seen.source == VMIG_SEEN_UNREACHABLE;
    gboolean dest = m->seen.dest == VMIG_SEEN_UNREACHABLE;
    g_autofree char *both =
        g_strdup_printf("%s and %s do not answer", m->job->host[VMIG_SOURCE], m->job->host[VMIG_DEST]);
    g_autofree char *one =
        g_strdup_printf("%s does not answer", source ? m->job->host[VMIG_SOURCE] : m->job->host[VMIG_DEST]);
    const char *who = source && dest ? both : source || dest ? one : "the guest is still being transferred";

    if (!m->job->migration_begun)
        return vmig_fail(error, VMIG_ERROR_CONNECTION,
                         "Bring the host back. A process that works on the job then continues by itself; otherwise run "
                         "vmig-snap resume.",
                         "the job is rolled back, but %s; the migration had not begun: the guest is on %s", who,
                         m->job->host[VMIG_SOURCE]);
    return vmig_fail(error, VMIG_ERROR_CONNECTION,
                     "Bring both hosts back, then run vmig-snap resume. If the source is off for good: vmig-snap "
                     "resume --source-is-fenced HOST.",
                     "the migration failed and %s, so it is unknown which host has the guest", who);
}

gboolean vmig_step_uncertain(VmigMachine *m, VmigState *next, GError **error)
{
    VmigDecision decision;

    if (!vmig_resolve(m, &decision, error))
        return FALSE;
    switch (decision) {
    case VMIG_DECIDE_FORWARD:
        *next = VMIG_MIGRATE(ACTIVATE);
        return TRUE;
    case VMIG_DECIDE_BACK:
        /* The job was parked between two tries: this is the next one. */
        if (g_strcmp0(m->job->parked_state, vmig_state_name(VMIG_MIGRATE(MIGRATE))) == 0) {
            g_clear_pointer(&m->job->parked_state, g_free);
            *next = VMIG_MIGRATE(MIGRATE);
            return vmig_overlay_hold(m, error);
        }
        if (m->job->error_code == NULL) {
            g_autoptr(GError) why = NULL;
            vmig_fail(&why, VMIG_ERROR_INTERRUPTED, "Run the migration again.",
                      "the process that migrated the guest died before the switchover");
            vmig_job_set_error(m->job, why);
        }
        *next = VMIG_MIGRATE(ROLLBACK);
        return TRUE;
    case VMIG_DECIDE_DOWN:
        *next = m->job->owner == VMIG_DEST ? VMIG_MIGRATE(ACTIVATE) : VMIG_MIGRATE(ROLLBACK);
        return TRUE;
    case VMIG_DECIDE_ALARM:
        return vmig_fail(
            error, VMIG_ERROR_CONTRADICTION,
            "Do not start or resume the guest on any host; check both hosts (virsh list, vmig-snap status).",
            "the guest's state on the two hosts is contradictory: no change was made, every file is kept");
    case VMIG_DECIDE_ADOPT:
    case VMIG_DECIDE_WAIT:
    default:
        if (m->seen.stranger)
            return vmig_ours_fail(m, VMIG_DEST, error);
        return fail_waiting(m, error);
    }
}
