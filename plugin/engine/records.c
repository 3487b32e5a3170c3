/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decides whose record counts when a process takes a job over or reaches the other host again.
 *
 * The token is written on the source first, then on the destination, and ACTIVATE is entered after both. Two cases are
 * therefore traces of a journal that was replaced by an older one: only the destination has the token, or the
 * destination lacks it while the source is in ACTIVATE or beyond. In both cases the host that has the token is right:
 * it is never given back, and a source that gave it away never runs the guest again.
 */
#include "engine/records.h"

#include "engine/texts.h"

/* How far past the switchover a record is. 0: not past it. 1: past it by its token, but not by its state. An end that
 * no state on the way leads to ranks above all others. */
static guint rank(const VmigJob *job)
{
    VmigState state = vmig_job_work_state(job);

    if (job->owner == VMIG_SOURCE || state == NULL)
        return 0;
    if (!vmig_state_is_final(state) && vmig_state_phase(state) != VMIG_PHASE_AFTER)
        return 1;
    int progress = vmig_state_progress(state);
    return progress >= 0 ? (guint)progress : G_MAXUINT;
}

gboolean vmig_records_may_go_back(const VmigJob *job, GError **error)
{
    VmigState state = vmig_job_work_state(job);

    if (job->owner == VMIG_DEST || state == NULL || vmig_state_phase(state) == VMIG_PHASE_AFTER)
        return vmig_fail(
            error, VMIG_ERROR_UNSUPPORTED, "vmig-snap resume continues the job.",
            "job %s is past the switchover (state %s): the destination owns '%s', and the job can only go forward",
            job->id, job->state, job->domain);
    return TRUE;
}

/* Fetches the other host's record. *there is NULL if it has none, or if this host's record suffices without it. */
static gboolean ask_there(VmigMachine *m, VmigJob **there, GError **error)
{
    VmigNode *peer = vmig_machine_peer(m);

    *there = NULL;
    /* A failed request proves nothing: the other host's record may be the newer one and must not be overwritten. */
    if (peer != NULL)
        return vmig_node_record_get(peer, m->job->id, there, error);
    if (m->here == VMIG_SOURCE && rank(m->job) > 0)
        return vmig_fail(error, VMIG_ERROR_CONNECTION, "Bring the destination back and run vmig-snap resume again.",
                         "the destination, which owns the guest of job %s and has the valid record, does not answer",
                         m->job->id);
    if (m->here == VMIG_DEST && rank(m->job) == 0 && !m->source_fenced)
        return vmig_fail(error, VMIG_ERROR_CONNECTION, "Bring the source back and run vmig-snap resume again.",
                         "job %s did not reach the switchover according to this host's journal, and the source, which "
                         "then has the valid record, does not answer",
                         m->job->id);
    return TRUE;
}

/* The source enters a state before it informs the destination. If the destination's record is further, the source's
 * journal is an older one. UNCERTAIN does not count as further, because another MIGRATE may follow it. */
static gboolean is_behind(const VmigJob *job, const VmigJob *there)
{
    VmigState own = vmig_job_work_state(job), beyond = vmig_job_work_state(there);

    if (own == NULL || beyond == NULL || vmig_state_phase(own) != VMIG_PHASE_FORWARD ||
        vmig_state_phase(beyond) != VMIG_PHASE_FORWARD)
        return FALSE;
    return vmig_state_progress(own) >= 0 && vmig_state_progress(own) < vmig_state_progress(beyond);
}

/* Past the switchover the record that is further is right. If both are equally far, the owner's record is the newer
 * one, or the same. Before the switchover the source's record counts, and the destination does nothing without the
 * source. */
static gboolean counts_more(const VmigMachine *m, const VmigJob *there)
{
    guint own = rank(m->job), other = rank(there);

    if (own == 0 && other <= 1)
        return other == 1 || (m->here == VMIG_DEST ? !is_behind(there, m->job) : is_behind(m->job, there));
    return other > 1 && (other > own || (other == own && m->here == VMIG_SOURCE));
}

static gboolean take(VmigMachine *m, VmigJob *there, GError **error)
{
    g_autoptr(VmigJob) job = there;
    VmigRole role;
    VmigNode *own = m->env->host[m->here].node;

    if (!vmig_journal_role(m->journal, m->job->id, &role, error))
        return FALSE;
    /* A token that only the source's journal shows may not have been transferred: the decision table examines it. */
    if (m->here == VMIG_DEST && rank(job) == 1) {
        job->owner = VMIG_SOURCE;
    }
    gboolean given = job->owner == VMIG_DEST;
    if (!vmig_texts_fetch(m, vmig_machine_peer(m), job, error))
        return FALSE;
    if ((given && m->job->owner == VMIG_SOURCE) || (!given && m->here == VMIG_SOURCE)) {
        vmig_machine_note(m, "this host's journal was replaced by an older one: the other host's record is used");
        if (!vmig_node_catch_up(own, job, role, error))
            return FALSE;
    }
    if ((given && !vmig_journal_set_token(m->journal, job->id, VMIG_DEST, error)) ||
        !vmig_journal_put(m->journal, job, role, error))
        return FALSE;
    vmig_job_free(m->job);
    m->job = g_steal_pointer(&job);
    return TRUE;
}

/* A token that only the source's journal shows before ACTIVATE may never have been transferred: the decision table
 * handles that. The source has the job before the destination does. */
static gboolean peer_is_older(const VmigMachine *m, const VmigJob *there)
{
    if (there != NULL && there->owner == VMIG_DEST)
        return FALSE;
    if (m->here == VMIG_SOURCE)
        return rank(m->job) > 1;
    return there == NULL || m->job->owner == VMIG_DEST || is_behind(there, m->job);
}

/* Whether the job can end without a host that lost its journal and refuses any record of the job.
 *
 * On the destination: a source whose guest is undefined has nothing left that could run. On the source: the guest on
 * the destination no longer carries the job's mark, as the last act of CLEANUP leaves it, and by this record the source
 * is clean too. Only the end is not recorded yet.
 */
static gboolean needs_no_peer(const VmigMachine *m)
{
    return m->here == VMIG_DEST
               ? rank(m->job) > 1
               : vmig_state_is(vmig_job_work_state(m->job), VMIG_STATE_COMPLETE) && m->job->source_clean;
}

static gboolean goes_on_alone(VmigMachine *m, GError *why, GError **error)
{
    g_autoptr(GError) refused = why;

    if (!needs_no_peer(m) || !g_error_matches(refused, VMIG_ERROR, VMIG_ERROR_FORGOTTEN)) {
        g_propagate_error(error, g_steal_pointer(&refused));
        return FALSE;
    }
    if (!m->peer_forgot)
        vmig_machine_note(m, "%s", refused->message);
    m->peer_forgot = TRUE;
    m->peer_recorded = FALSE;
    return TRUE;
}

gboolean vmig_records_agree(VmigMachine *m, GError **error)
{
    g_autoptr(GError) why = NULL;
    VmigNode *peer = vmig_machine_peer(m);
    g_autoptr(VmigJob) there = NULL;

    if (!ask_there(m, &there, error))
        return FALSE;
    if (there != NULL && counts_more(m, there))
        return take(m, g_steal_pointer(&there), error);
    if (peer == NULL || !peer_is_older(m, there))
        return TRUE;
    vmig_machine_note(m, "%s: the journal was replaced by an older one: it receives this host's record", peer->host);
    return (vmig_texts_send(m, peer, &why) && vmig_node_catch_up(peer, m->job, vmig_role_other(m->here), &why)) ||
           goes_on_alone(m, g_steal_pointer(&why), error);
}
