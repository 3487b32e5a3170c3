/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The machine's loop: record the state in the journal, do its step, decide the next state. */
#include "engine/machine.h"

#include "core/job-facts.h"
#include "engine/settings.h"

#include "engine/entry.h"
#include "engine/host.h"
#include "engine/records.h"
#include "engine/texts.h"
#include "os/fault.h"

/* A step's before_wait() is called only if the next try is further away than this. */
#define FAR_APART (30 * G_USEC_PER_SEC)

VmigNode *vmig_machine_peer(VmigMachine *m)
{
    return m->env->host[vmig_role_other(m->here)].node;
}

/* Writes the record to the other host's journal. A host that cannot be reached gets it when it is reachable again. */
static gboolean tell_peer(VmigMachine *m, GError **error)
{
    VmigNode *peer = vmig_machine_peer(m);

    if (peer == NULL || !m->peer_recorded)
        return TRUE;
    m->texts_there = m->texts_there || vmig_texts_send(m, peer, error);
    return m->texts_there && vmig_node_record_put(peer, m->job, error);
}

/* Events of other guests on the same hosts are ignored. */
static void attend(VmigMachine *m)
{
    vmig_hypervisor_attend(m->env->source.hypervisor, m->job->uuid);
    vmig_hypervisor_attend(m->env->dest.hypervisor, m->job->uuid);
}

/* Reconnects before the next try, and takes the lock and the run directory on the other host again. */
void vmig_machine_reconnect(VmigMachine *m)
{
    g_autoptr(GError) error = NULL;

    if (m->env->reconnect == NULL)
        return;
    m->texts_there = FALSE;
    if (!m->env->reconnect(m->env, &error)) {
        vmig_machine_note(m, "%s", error->message);
        return;
    }
    attend(m);
    /* The lock there ended with the connection: another process may have continued the job, or may be doing so now. */
    VmigNode *peer = vmig_machine_peer(m);
    if (peer != NULL && (!vmig_machine_lock(m, peer, &error) || !vmig_records_agree(m, &error) ||
                         (!vmig_state_is_final(vmig_job_state(m->job)) && !vmig_node_rundir(peer, m->job, &error))))
        vmig_machine_note(m, "%s", error->message);
    m->lost_lock = g_error_matches(error, VMIG_ERROR, VMIG_ERROR_LOCKED);
}

/* The time of the next try, for people. */
static char *clock_text(VmigMachine *m, gint64 in_us)
{
    gint64 wall = m->env->clock->ops->wall(m->env->clock) + in_us;
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc(wall / G_USEC_PER_SEC);

    return time != NULL ? g_date_time_format(time, "%Y-%m-%d %H:%M:%S UTC") : NULL;
}

/* On the way back the recorded reason stays the one that caused it. It also stays while the hosts are asked who has the
 * guest. */
static gboolean keeps_reason(VmigState state)
{
    return vmig_state_phase(state) == VMIG_PHASE_BACK || vmig_state_is(state, VMIG_STATE_DECIDES);
}

/* A flow may use a long wait to bring something back meanwhile, such as the metadata of the snapshots. */
static void before_wait(VmigMachine *m, VmigState state)
{
    if (m->flow->steps[state->index].before_wait != NULL)
        m->flow->steps[state->index].before_wait(m);
}

static gboolean try_again(VmigMachine *m, VmigState state, const GError *why)
{
    if (!vmig_state_may_retry(state) || g_error_matches(why, VMIG_ERROR, VMIG_ERROR_CANCELLED))
        return FALSE;
    if (vmig_machine_must_leave(m))
        return FALSE;
    /* A guest that is off does not come back by waiting, and the job then holds nothing up. */
    if (vmig_state_phase(state) == VMIG_PHASE_FORWARD && g_error_matches(why, VMIG_ERROR, VMIG_ERROR_GUEST_GONE))
        return FALSE;
    g_autoptr(GError) unsaved = NULL;
    gint64 now = vmig_machine_now(m);
    g_autoptr(VmigRetryDecision) decision =
        vmig_retry_decide(m->policy, why, &m->retries, now, m->env->random->ops->unit(m->env->random));
    vmig_journal_note(m->journal, m->job->id, decision->reason, NULL);
    if (decision->action == VMIG_RETRY_GIVE_UP)
        return FALSE;
    vmig_retry_count(&m->retries, decision, now);
    m->job->attempt++;
    if (!keeps_reason(state))
        vmig_job_set_error(m->job, why);
    g_autofree char *when = clock_text(m, decision->at_us - now);
    g_free(m->job->next_try);
    m->job->next_try = g_steal_pointer(&when);
    if (m->reporter.retry != NULL)
        m->reporter.retry(m->reporter.user, m->job, why, decision->at_us - now);
    if (!vmig_machine_save(m, &unsaved))
        vmig_machine_note(m, "cannot record the retry on both hosts: %s; the job continues", unsaved->message);
    if (decision->at_us - now > FAR_APART)
        before_wait(m, state);
    m->flow->await_retry(m, why, decision->at_us);
    g_clear_pointer(&m->job->next_try, g_free);
    vmig_machine_save(m, NULL); /* only status reads it */
    if (g_error_matches(why, VMIG_ERROR, VMIG_ERROR_CONNECTION))
        vmig_machine_reconnect(m);
    return TRUE;
}

/* Decides what follows a failed step. The reason for going back is the first failure, not one on the way back. */
static VmigState after_failure(VmigMachine *m, VmigState state, GError *why)
{
    vmig_job_set_last(m->job, why);
    if (try_again(m, state, why))
        return state;
    VmigState to = vmig_state_on_failure(state);
    gboolean parks = vmig_state_is(to, VMIG_STATE_WAITS);
    if (!parks && vmig_state_may_retry(state) && m->policy->then == VMIG_THEN_PARK &&
        vmig_retry_row(why) != VMIG_RETRY_NEVER) {
        to = vmig_state_next_that(state, VMIG_STATE_WAITS);
        parks = TRUE;
    }
    if (parks) {
        before_wait(m, state);
        g_free(m->job->parked_state);
        m->job->parked_state = g_strdup(vmig_state_name(state));
    }
    if (!parks || m->job->error_code == NULL || vmig_state_phase(state) != VMIG_PHASE_BACK)
        vmig_job_set_error(m->job, why);
    else
        vmig_machine_note(m, "%s", why->message);
    return to;
}

/* Whether the new state keeps the reason for going back or parking. */
static gboolean still_has_reason(VmigState from, VmigState to)
{
    gboolean asks = vmig_state_is(to, VMIG_STATE_DECIDES) && !vmig_state_is(from, VMIG_STATE_WAITS);
    gboolean ends_badly = vmig_state_end(to) == VMIG_END_BACK || vmig_state_end(to) == VMIG_END_ASIDE;

    return vmig_state_phase(to) == VMIG_PHASE_BACK || asks || vmig_state_is(to, VMIG_STATE_WAITS) || ends_badly;
}

/* Makes the new state durable before any of its work is done. Staying in a state (a retry) is no transition. */
static gboolean enter(VmigMachine *m, VmigState to, GError **error)
{
    VmigState from = vmig_job_state(m->job);

    if (to != from) {
        g_assert(vmig_state_may_follow(from, to));
        m->job->attempt = 1;
        g_clear_pointer(&m->job->next_try, g_free);
        if (!vmig_state_is(to, VMIG_STATE_WAITS))
            vmig_job_set_last(m->job, NULL);
        m->retries = (VmigRetryState){0};
        if (!still_has_reason(from, to))
            vmig_job_set_error(m->job, NULL);
        m->job->migration_begun = m->job->migration_begun || vmig_state_is(to, VMIG_STATE_HANDS_OVER);
        if (vmig_state_phase(to) == VMIG_PHASE_AFTER)
            vmig_job_note_arrival(m->job);
    }
    if (!m->recorded) {
        if (!vmig_journal_create_job(m->journal, m->job, VMIG_SOURCE, error))
            return FALSE;
        m->recorded = TRUE;
        vmig_job_forget_xml(m->job);
    }
    if (vmig_state_is_final(to))
        m->job->ended = (guint64)(m->env->clock->ops->wall(m->env->clock) / G_USEC_PER_SEC);
    if (!vmig_journal_commit_transition(m->journal, m->job, to, NULL, error))
        return FALSE;
    g_autoptr(GError) peer_error = NULL;
    /* The other host's record may lag behind. It is sent again in the next state, and only its token is relied on. */
    if (!tell_peer(m, &peer_error))
        vmig_machine_note(m, "cannot update the other host's record: %s", peer_error->message);
    if (m->reporter.state != NULL)
        m->reporter.state(m->reporter.user, m->job);
    return TRUE;
}

/* Checks the hosts that a state cannot do without. States without such a flag check for themselves. */
static gboolean hosts_answer(VmigMachine *m, VmigState state, GError **error)
{
    return (!vmig_state_is(state, VMIG_STATE_NEEDS_SOURCE) || vmig_host_at(m, VMIG_SOURCE, error) != NULL) &&
           (!vmig_state_is(state, VMIG_STATE_NEEDS_DEST) || vmig_host_at(m, VMIG_DEST, error) != NULL);
}

/* A process on the source sends the bases and starts the migration: the paths and sockets are local to it. A process on
 * the destination that finds the job before the switchover can only lead it back. */
static gboolean goes_forward_here(VmigMachine *m, VmigState state, GError **error)
{
    if (m->here == VMIG_SOURCE || !vmig_state_is(state, VMIG_STATE_FROM_SOURCE))
        return TRUE;
    return vmig_fail(
        error, VMIG_ERROR_INTERRUPTED, "Run the migration again on the source.",
        "the process on the source died before the switchover, and the destination cannot continue job %s in its place",
        m->job->id);
}

/* Runs the step of one state between its two fault points. A job cancelled before the switchover fails here. */
static gboolean do_step(VmigMachine *m, VmigState state, VmigState *next, GError **error)
{
    g_autofree char *entered = g_strdup_printf("%s.enter", vmig_state_name(state));
    g_autofree char *left = g_strdup_printf("%s.leave", vmig_state_name(state));

    *next = vmig_state_next(state);
    if (!vmig_machine_check_cancel(m, error) || !goes_forward_here(m, state, error) || !hosts_answer(m, state, error) ||
        !vmig_entry_check(m, state, error) || !vmig_journal_begin_transition(m->journal, m->job, *next, NULL, error) ||
        !vmig_fault(g_intern_string(entered), error))
        return FALSE;
    /* A hold does not survive a restart of the host, and any libvirt client may end it. */
    if (vmig_state_is(state, VMIG_STATE_HOLDS) && !m->flow->hold(m, error))
        return FALSE;
    m->taken_over = FALSE;
    if (!m->flow->steps[state->index].run(m, next, error))
        return FALSE;
    return vmig_fault(g_intern_string(left), error);
}

/* Takes the locks before the job is in any journal. If another operation has them, there is nothing to undo, and the
 * other operation's work must not be undone. */
static gboolean begin_job(VmigMachine *m, GError **error)
{
    /* A process died right after it recorded the job. Nothing was changed, and there is nothing to continue from. */
    if (m->recorded) {
        g_autoptr(GError) why = NULL;
        vmig_fail(&why, VMIG_ERROR_INTERRUPTED, "Run the migration again.",
                  "the process that planned the migration died before any change was made");
        vmig_job_set_error(m->job, why);
        return enter(m, vmig_state_on_failure(vmig_job_state(m->job)), error);
    }
    const VmigHost *source = &m->env->source;
    const VmigHost *dest = &m->env->dest;

    if (!vmig_machine_lock(m, source->node, error))
        return FALSE;
    if (vmig_machine_lock(m, dest->node, error) && m->flow->may_begin(m, error) &&
        enter(m, vmig_state_next(vmig_job_state(m->job)), error))
        return TRUE;
    /* may_begin() may have reconnected, or found that the destination no longer answers. */
    if (dest->node != NULL)
        vmig_node_unlock(dest->node, m->job, NULL);
    vmig_node_unlock(source->node, m->job, NULL);
    return FALSE;
}

/* Takes the locks that ended with the previous process. If the other host does not answer, the guest is still attended
 * to: a step that needs that host will fail and say so. */
static gboolean take_over(VmigMachine *m, GError **error)
{
    VmigNode *peer = vmig_machine_peer(m);
    VmigNode *own = m->env->host[m->here].node;

    /* This host's lock comes first. Once it is held, whatever another process of this host still holds there belongs to
     * a dead process. */
    if (!vmig_machine_lock(m, own, error) || (peer != NULL && !vmig_machine_lock(m, peer, error)))
        return FALSE;
    m->taken_over = TRUE;
    if (!vmig_records_agree(m, error))
        return FALSE;
    /* The request was based on a record that may have been out of date. */
    if (m->only_back && !vmig_records_may_go_back(m->job, error))
        return FALSE;
    if (m->set_aside && !vmig_state_is_final(vmig_job_state(m->job)))
        return m->flow->set_aside(m, error) && enter(m, vmig_state_of_end(m->flow->states, VMIG_END_ASIDE), error);
    VmigState state = vmig_job_work_state(m->job);
    /* No process watched the migration. The decision table determines whether it ended, and how. */
    if (vmig_state_is(state, VMIG_STATE_HANDS_OVER))
        state = vmig_state_next_that(state, VMIG_STATE_DECIDES);
    if (vmig_state_is_final(state))
        return TRUE;
    if (!vmig_state_may_follow(vmig_job_state(m->job), state))
        return state == vmig_job_state(m->job) ||
               vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL,
                         "the record of job %s does not say in which state to continue", m->job->id);
    return enter(m, state, error);
}

/* Releases the locks, but only after the journals record the end of the job: before that another process would find it
 * unfinished and unlocked. A lock that is not released here ends with its holder. */
static gboolean release(VmigMachine *m)
{
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, NULL);
    VmigHost *dest = vmig_host_at(m, VMIG_DEST, NULL);

    /* Also removes the run directory that this process made on a host where the job had already ended. */
    if (dest != NULL) {
        vmig_node_rundir_remove(dest->node, m->job, NULL);
        vmig_node_unlock(dest->node, m->job, NULL);
    }
    if (source != NULL) {
        vmig_node_rundir_remove(source->node, m->job, NULL);
        vmig_node_unlock(source->node, m->job, NULL);
    }
    return TRUE;
}

static void tell_recorded(VmigMachine *m)
{
    if (m->reporter.recorded != NULL)
        m->reporter.recorded(m->reporter.user, m->job);
}

gboolean vmig_machine_run(VmigMachine *m, GError **error)
{
    VmigState state = vmig_job_state(m->job);

    if (vmig_state_is_final(state))
        return TRUE;
    gboolean is_new = vmig_state_is_first(state);
    if (!is_new)
        tell_recorded(m);
    if (is_new ? !begin_job(m, error) : !take_over(m, error))
        return FALSE;
    if (is_new)
        tell_recorded(m);
    m->flow->begin(m);
    for (;;) {
        g_autoptr(GError) why = NULL;
        VmigState next;

        state = vmig_job_state(m->job);
        if (vmig_state_is_final(state))
            return release(m);
        if (vmig_state_is(state, VMIG_STATE_WAITS))
            return TRUE;
        if (!do_step(m, state, &next, &why)) {
            if (g_error_matches(why, VMIG_ERROR, VMIG_ERROR_CRASHED)) {
                g_propagate_error(error, g_steal_pointer(&why));
                return FALSE;
            }
            next = after_failure(m, state, why);
            if (m->lost_lock)
                return vmig_fail(error, VMIG_ERROR_LOCKED, "See vmig-snap status on both hosts.",
                                 "another process continued job %s after the connection was lost", m->job->id);
            if (next == state)
                continue; /* in whatever state the record is now */
        }
        if (next != state && !enter(m, next, error))
            return FALSE;
    }
}

VmigMachine *vmig_machine_new(const VmigFlow *flow, VmigEnv *env, VmigJournal *journal, VmigRole here,
                              const VmigPolicy *policy, const VmigReporter *reporter, VmigJob *job)
{
    VmigMachine *m = g_new0(VmigMachine, 1);

    g_mutex_init(&m->wanted_lock);
    m->flow = flow;
    m->env = env;
    m->journal = journal;
    m->here = here;
    m->policy = policy;
    m->job = job;
    /* The journal decides, not the state: a process may have died right after it recorded the job. */
    g_autoptr(VmigJob) known = vmig_journal_load(journal, job->id, NULL);
    m->recorded = known != NULL;
    m->peer_recorded = m->recorded;
    if (reporter != NULL)
        m->reporter = *reporter;
    attend(m);
    return m;
}

void vmig_machine_free(VmigMachine *m)
{
    vmig_job_free(m->job);
    g_mutex_clear(&m->wanted_lock);
    g_free(m);
}

void vmig_machine_cancel(VmigMachine *m)
{
    g_atomic_int_set(&m->cancelled, 1);
    if (m->env->copier != NULL)
        m->env->copier->ops->cancel(m->env->copier);
}

void vmig_machine_set_bandwidth(VmigMachine *m, guint64 bytes_per_s)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&m->wanted_lock);

    m->wanted = TRUE;
    m->wanted_bandwidth = bytes_per_s;
    if (m->env->copier != NULL)
        m->env->copier->ops->set_bandwidth(m->env->copier, bytes_per_s);
}

/* On the way back only the source's journal counts. A destination that answers but cannot store the record must not
 * hold up the guest. A destination that does not answer is waited for. If the destination contradicts the record,
 * saving fails. */
static gboolean cannot_keep(const VmigMachine *m, const GError *why)
{
    return m->here == VMIG_SOURCE && vmig_state_phase(vmig_job_state(m->job)) == VMIG_PHASE_BACK &&
           (g_error_matches(why, VMIG_ERROR, VMIG_ERROR_NO_SPACE) ||
            g_error_matches(why, VMIG_ERROR, VMIG_ERROR_UNSUPPORTED) ||
            g_error_matches(why, VMIG_ERROR, VMIG_ERROR_JOURNAL) ||
            g_error_matches(why, VMIG_ERROR, VMIG_ERROR_JOURNAL_DAMAGED) ||
            g_error_matches(why, VMIG_ERROR, VMIG_ERROR_IO));
}

gboolean vmig_machine_save(VmigMachine *m, GError **error)
{
    vmig_settings_adopt(m);
    g_autoptr(GError) untold = NULL;

    if (!vmig_journal_save(m->journal, m->job, error))
        return FALSE;
    if (tell_peer(m, &untold))
        return TRUE;
    if (cannot_keep(m, untold)) {
        vmig_machine_note(m, "cannot update the other host's record: %s", untold->message);
        return TRUE;
    }
    g_propagate_error(error, g_steal_pointer(&untold));
    return FALSE;
}

gboolean vmig_machine_check_cancel(VmigMachine *m, GError **error)
{
    VmigState state = vmig_job_state(m->job);

    if (!g_atomic_int_get(&m->cancelled) || vmig_state_phase(state) != VMIG_PHASE_FORWARD ||
        vmig_state_is(state, VMIG_STATE_DECIDES))
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_CANCELLED, NULL, "cancelled by the operator");
}

gboolean vmig_machine_must_leave(VmigMachine *m)
{
    VmigState state = vmig_job_state(m->job);
    g_autoptr(GError) gone = NULL;
    VmigRun run;

    if (!g_atomic_int_get(&m->cancelled))
        return FALSE;
    /* Asking the hosts changes nothing, and after the switchover every state can be continued later. */
    if (vmig_state_is(state, VMIG_STATE_DECIDES) || vmig_state_phase(state) == VMIG_PHASE_AFTER)
        return TRUE;
    /* A shutdown ends libvirt, too. Its next start continues the job. */
    return !vmig_host_run(m, m->here, &run, &gone) && g_error_matches(gone, VMIG_ERROR, VMIG_ERROR_CONNECTION);
}

void vmig_machine_progress(VmigMachine *m, const char *disk, guint64 done, guint64 total, guint64 rate)
{
    vmig_machine_tell(m, (VmigProgress){.disk = disk, .done = done, .total = total, .rate = rate});
}

void vmig_machine_tell(VmigMachine *m, VmigProgress progress)
{
    progress.phase = m->job->state;
    if (m->reporter.progress != NULL)
        m->reporter.progress(m->reporter.user, m->job, &progress);
}

void vmig_machine_note(VmigMachine *m, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    if (m->reporter.note != NULL)
        m->reporter.note(m->reporter.user, m->job, text);
}

gint64 vmig_machine_now(VmigMachine *m)
{
    return m->env->clock->ops->now(m->env->clock);
}

gint64 vmig_machine_stall_limit(VmigMachine *m)
{
    return m->env->stall_limit > 0 ? m->env->stall_limit : VMIG_STALL_LIMIT;
}

void vmig_machine_wait(VmigMachine *m, gint64 microseconds)
{
    m->env->clock->ops->wait(m->env->clock, vmig_machine_now(m) + MAX(microseconds, 0));
    if (vmig_settings_adopt(m) && m->recorded && !vmig_journal_save(m->journal, m->job, NULL))
        vmig_machine_note(m, "cannot write the new limit to the journal; it applies until this process ends");
}
