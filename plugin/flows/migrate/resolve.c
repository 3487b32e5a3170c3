/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The facts of both hosts, and what the decision table says done. */
#include "flows/migrate/resolve.h"

#include "flows/migrate/ours.h"
#include "flows/migrate/overlay.h"
#include "engine/host.h"
#include "engine/texts.h"
#include "os/fault.h"

#define ALARM_LOOKS 5
#define ABORT_DEADLINE (60 * G_USEC_PER_SEC)
#define ABORT_AGAIN G_USEC_PER_SEC /* libvirt 9.0 can miss the end of what it aborts until it is asked again */

/* Suspended by its user, not by libvirt's migration and not by us: it stays so. */
static gboolean user_suspended(const VmigMachine *m, const VmigDomainInfo *info)
{
    return info->run == VMIG_RUN_PAUSED && (m->job->was_paused || (info->by_user && !m->job->suspended));
}

/* Once the token is given nobody resumes the source any more: a paused one is one, whoever paused it. Another guest
 * under the UUID is not this one: this one is off. */
static VmigSeen source_seen(VmigMachine *m, VmigToken token, gboolean *confirmed)
{
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, NULL);
    g_autoptr(VmigDomainInfo) info = NULL;
    VmigDomainJob job;
    VmigWhose whose;

    if (m->source_fenced)
        return VMIG_SEEN_ABSENT;
    if (source == NULL || !source->hypervisor->ops->find(source->hypervisor, m->job->uuid, &info, NULL))
        return VMIG_SEEN_UNREACHABLE;
    if (info == NULL || info->run == VMIG_RUN_SHUTOFF || info->run == VMIG_RUN_CRASHED) {
        *confirmed = info != NULL && info->migrated;
        return VMIG_SEEN_ABSENT;
    }
    if (!vmig_ours_look(m, VMIG_SOURCE, &whose, NULL))
        return VMIG_SEEN_UNREACHABLE;
    if (whose == VMIG_WHOSE_FOREIGN || whose == VMIG_WHOSE_NONE)
        return VMIG_SEEN_ABSENT;
    if (!source->hypervisor->ops->domain_job(source->hypervisor, m->job->uuid, &job, NULL))
        return VMIG_SEEN_UNREACHABLE;
    if (job == VMIG_DOMAIN_JOB_MIGRATION)
        return VMIG_SEEN_MIGRATING;
    if (info->run == VMIG_RUN_MIGRATING ||
        (info->run == VMIG_RUN_PAUSED && (!user_suspended(m, info) || token != VMIG_TOKEN_NONE)))
        return VMIG_SEEN_STOPPED;
    return VMIG_SEEN_RUNNING;
}

/* *stranger: what is there is not proven to be what the job's migration brought. */
static VmigSeen dest_seen(VmigMachine *m, gboolean *stranger)
{
    VmigWhose whose;
    VmigRun run;

    if (!vmig_ours_look(m, VMIG_DEST, &whose, NULL) || !vmig_host_run(m, VMIG_DEST, &run, NULL))
        return VMIG_SEEN_UNREACHABLE;
    *stranger = whose == VMIG_WHOSE_FOREIGN || whose == VMIG_WHOSE_DOUBTFUL;
    if (whose == VMIG_WHOSE_FOREIGN)
        return VMIG_SEEN_ABSENT;
    switch (run) {
    case VMIG_RUN_RUNNING:
    case VMIG_RUN_IO_ERROR:
        return VMIG_SEEN_RUNNING;
    case VMIG_RUN_PAUSED:
        return VMIG_SEEN_STOPPED;
    case VMIG_RUN_MIGRATING:
        return VMIG_SEEN_MIGRATING;
    case VMIG_RUN_ABSENT:
    case VMIG_RUN_SHUTOFF:
    case VMIG_RUN_CRASHED:
    default:
        return VMIG_SEEN_ABSENT;
    }
}

/* What the journals say, not what this process remembers: a write that failed may be there all the same (the last sync
 * of a commit). A source's journal that cannot be read after a try to give the token away counts as given. */
static VmigToken token_seen(VmigMachine *m)
{
    g_autoptr(VmigJob) here = NULL;
    g_autoptr(VmigJob) there = NULL;
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, NULL);
    VmigHost *dest = vmig_host_at(m, VMIG_DEST, NULL);

    gboolean asked = dest != NULL && vmig_node_record_get(dest->node, m->job->id, &there, NULL);
    if (there != NULL && vmig_job_token_is_dest(there))
        return VMIG_TOKEN_DEST;
    if (source != NULL && vmig_node_record_get(source->node, m->job->id, &here, NULL) && here != NULL) {
        /* A journal that was replaced by an older one is not taken at its word while the other one cannot be read. */
        gboolean given = vmig_job_token_is_dest(here) || (!asked && vmig_node_was_given(source->node, m->job));
        return given ? VMIG_TOKEN_SOURCE_ONLY : VMIG_TOKEN_NONE;
    }
    return vmig_job_token_is_dest(m->job) || m->token_tried ? VMIG_TOKEN_SOURCE_ONLY : VMIG_TOKEN_NONE;
}

/* The guard has watched the overlays since before the migration, and begins anew only when nothing is on the
 * destination. It takes them only where QEMU has not had them again since it let go of them. */
static gboolean fence_stands(VmigMachine *m)
{
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, NULL);
    gboolean held = FALSE;

    return m->source_fenced || (source != NULL && vmig_node_fence_take(source->node, m->job, 0, &held, NULL) && held);
}

/* What arrived is only the overlays as they were mirrored. If somebody put a file of his own over one, or a snapshot
 * into it, before libvirt's migration job held, that is not the guest. A source that cannot be asked does not say that
 * it is the guest either, unless the operator answers for it. */
static void look_for_more(VmigMachine *m, VmigFacts *facts)
{
    g_autoptr(GError) error = NULL;

    if (vmig_host_require_persistent(m, VMIG_SOURCE, VMIG_CHAIN_OVERLAY, &error) &&
        vmig_host_require_no_snapshot(m, VMIG_SOURCE, &error))
        return;
    if (g_error_matches(error, VMIG_ERROR, VMIG_ERROR_INTERFERENCE)) {
        vmig_machine_note(m, "what arrived is not the whole guest: %s", error->message);
        facts->revoked = TRUE;
    } else if (!m->source_fenced) {
        vmig_machine_note(m, "cannot tell whether what arrived is the whole guest: %s", error->message);
        facts->source = VMIG_SEEN_UNREACHABLE;
    }
}

static void look(VmigMachine *m, VmigFacts *facts)
{
    *facts = (VmigFacts){.token = token_seen(m), .revoked = m->job->revoked};
    facts->source = source_seen(m, facts->token, &facts->confirmed);
    facts->dest = dest_seen(m, &facts->stranger);
    if (facts->source != VMIG_SEEN_ABSENT || facts->dest != VMIG_SEEN_STOPPED || facts->token != VMIG_TOKEN_NONE)
        return;
    /* Nowhere else these matter. */
    facts->fenced = fence_stands(m);
    if (!facts->revoked)
        look_for_more(m, facts);
}

/* Two running copies: each goes on writing into its own disks. The one that does not own the guest is held, which can
 * be undone; all else is for people. */
static gboolean hold_second_runner(VmigMachine *m, const VmigFacts *facts, GError **error)
{
    if (facts->source != VMIG_SEEN_RUNNING || facts->dest != VMIG_SEEN_RUNNING)
        return vmig_fail(error, VMIG_ERROR_STATE, NULL, "the guest is where it must not be");
    VmigRole role = facts->token == VMIG_TOKEN_NONE ? VMIG_DEST : VMIG_SOURCE;
    VmigHost *loser = vmig_host_at(m, role, error);
    if (loser == NULL || !vmig_ours_require(m, role, error) ||
        !loser->hypervisor->ops->suspend(loser->hypervisor, m->job->uuid, error)) {
        g_prefix_error(error, "the guest runs on both hosts, and the one without the token cannot be suspended: ");
        return FALSE;
    }
    vmig_machine_note(m, "the guest ran on both hosts: %s, which does not own it, was suspended",
                      loser->hypervisor->host);
    return TRUE;
}

/* Only what the job's migration brought is ended; another guest under its UUID is told of, and stays. */
static gboolean may_end(VmigMachine *m, gboolean *may, GError **error)
{
    g_autoptr(GError) stranger = NULL;
    VmigWhose whose;

    if (!vmig_ours_look(m, VMIG_DEST, &whose, error))
        return FALSE;
    *may = whose == VMIG_WHOSE_OURS;
    if (!*may && whose != VMIG_WHOSE_NONE) {
        vmig_ours_fail(m, VMIG_DEST, &stranger);
        vmig_machine_note(m, "%s", stranger->message);
    }
    return TRUE;
}

/* By now it is off. Before the migration's end libvirt has no definition of its own of it: one that is there may be
 * another guest's, which was defined meanwhile. */
static gboolean undefine_arrived(VmigMachine *m, VmigHypervisor *hv, GError **error)
{
    g_autoptr(GError) why = NULL;
    gboolean may = FALSE;

    if (!may_end(m, &may, error))
        return FALSE;
    if (!may || hv->ops->undefine(hv, m->job->uuid, &why) || g_error_matches(why, VMIG_ERROR, VMIG_ERROR_NO_DOMAIN))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

gboolean vmig_resolve_remove_arrived(VmigMachine *m, GError **error)
{
    VmigHost *dest = vmig_host_at(m, VMIG_DEST, NULL);
    g_autoptr(VmigDomainInfo) info = NULL;
    g_autoptr(GError) why = NULL;
    gboolean may = FALSE;

    if (dest == NULL) {
        vmig_machine_note(m, "the destination does not answer; what may be left there never runs without the token");
        return TRUE;
    }
    VmigHypervisor *hv = dest->hypervisor;
    if (!hv->ops->find(hv, m->job->uuid, &info, error))
        return FALSE;
    if (info == NULL)
        return TRUE;
    if (!may_end(m, &may, error))
        return FALSE;
    if (!may)
        return TRUE;
    gboolean ended = info->run == VMIG_RUN_SHUTOFF || hv->ops->destroy(hv, m->job->uuid, info->id, &why);
    g_clear_pointer(&info, vmig_domain_info_free);
    if (!hv->ops->find(hv, m->job->uuid, &info, error))
        return FALSE;
    /* libvirt ends by itself what arrives when its migration breaks off: it may have been faster. */
    if (!ended && info != NULL && info->run != VMIG_RUN_SHUTOFF) {
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    return info == NULL || undefine_arrived(m, hv, error);
}

/* Its user suspended it since the job began: it stays so, also where libvirt let it run on by itself when it gave its
 * migration up, because it ran when that began (qemuMigrationSrcRestoreDomainState()). */
static gboolean keep_suspended(VmigMachine *m, VmigHypervisor *hv, GError **error)
{
    g_autoptr(VmigDomainInfo) info = NULL;

    if (!hv->ops->find(hv, m->job->uuid, &info, error))
        return FALSE;
    if (info != NULL && !m->job->was_paused && user_suspended(m, info)) {
        m->job->was_paused = TRUE;
        vmig_machine_note(m, "%s: its user suspended '%s' meanwhile: it stays suspended", hv->host, m->job->domain);
        return vmig_machine_save(m, error);
    }
    if (info == NULL || !m->job->was_paused || info->run != VMIG_RUN_RUNNING || !info->cancelled)
        return TRUE;
    vmig_machine_note(m, "%s: libvirt let '%s' run on, which its user had suspended: it is suspended again", hv->host,
                      m->job->domain);
    return hv->ops->suspend(hv, m->job->uuid, error);
}

static gboolean let_source_run(VmigMachine *m, VmigSeen seen, GError **error)
{
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, error);

    if (source == NULL || !vmig_node_fence_drop(source->node, m->job, error))
        return FALSE;
    if (seen != VMIG_SEEN_STOPPED)
        return keep_suspended(m, source->hypervisor, error);
    return source->hypervisor->ops->resume(source->hypervisor, m->job->uuid, error);
}

typedef gboolean (*WriteThere)(VmigNode *node, const VmigJob *job, GError **error);

static gboolean give(VmigMachine *m, WriteThere write_there, GError **error)
{
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, NULL);
    VmigHost *dest = vmig_host_at(m, VMIG_DEST, error);

    if (dest == NULL)
        return FALSE;
    m->token_tried = TRUE;
    vmig_node_hurry(dest->node, TRUE); /* until it runs there */
    if (source != NULL)
        vmig_node_hurry(source->node, TRUE);
    if (source != NULL && !vmig_node_token_put(source->node, m->job, "destination", error))
        return FALSE;
    g_free(m->job->token);
    m->job->token = g_strdup("destination");
    return vmig_fault("token.source", error) && write_there(dest->node, m->job, error) &&
           vmig_fault("token.dest", error);
}

static gboolean write_token(VmigNode *node, const VmigJob *job, GError **error)
{
    return vmig_node_token_put(node, job, "destination", error);
}

gboolean vmig_resolve_give_token(VmigMachine *m, GError **error)
{
    return give(m, write_token, error);
}

static gboolean write_all(VmigNode *node, const VmigJob *job, GError **error)
{
    return vmig_node_catch_up(node, job, VMIG_ROLE_DESTINATION, error);
}

/* The journal there may be an older one by now, of before the destination's last overlays, or of before the job. */
static gboolean give_token_later(VmigMachine *m, GError **error)
{
    VmigHost *dest = vmig_host_at(m, VMIG_DEST, error);

    return dest != NULL && vmig_texts_send(m, dest->node, error) && give(m, write_all, error);
}

/* A migration that still runs (of a process that died, peer to peer) is ended; its end is awaited. The fence first: the
 * token is not given, and a QEMU that cannot have its overlays back dies. */
static gboolean abort_running(VmigMachine *m, GError **error)
{
    VmigHypervisor *hv = m->env->source.hypervisor;
    gint64 until = vmig_machine_now(m) + ABORT_DEADLINE, again = 0;
    VmigDomainJob job;

    if (!vmig_node_fence_drop(m->env->source.node, m->job, error))
        return FALSE;
    for (;;) {
        if (vmig_machine_now(m) >= again) {
            if (!hv->ops->abort_job(hv, m->job->uuid, error))
                return FALSE;
            again = vmig_machine_now(m) + ABORT_AGAIN;
        }
        if (!hv->ops->domain_job(hv, m->job->uuid, &job, error))
            return FALSE;
        if (job != VMIG_DOMAIN_JOB_MIGRATION)
            return TRUE;
        if (vmig_machine_now(m) > until)
            break;
        vmig_machine_wait(m, G_USEC_PER_SEC / 5);
    }
    return vmig_fail(error, VMIG_ERROR_TIMEOUT, VMIG_HINT_RESTART_LIBVIRT,
                     "libvirt on the source does not end its migration");
}

/* Before the source may go on: from its next write on, what arrived is stale, and the destination may not be there to
 * be told. Undone only by a new try, which begins with nothing on the destination. */
static gboolean revoke_arrived(VmigMachine *m, GError **error)
{
    m->token_tried = FALSE; /* both journals were read: it was not given */
    m->job->revoked = TRUE;
    return vmig_journal_save(m->journal, m->job, error);
}

/* The source is not held up for a libvirtd there that does not answer: without the token, and revoked, what is left
 * there never runs. Whoever needs it gone (a new try, the end of the way back) asks again. */
static gboolean remove_arrived_if_reached(VmigMachine *m, GError **error)
{
    g_autoptr(GError) why = NULL;

    if (vmig_resolve_remove_arrived(m, &why))
        return TRUE;
    if (!g_error_matches(why, VMIG_ERROR, VMIG_ERROR_CONNECTION)) {
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    vmig_machine_note(m, "what arrived is left for later: %s", why->message);
    return TRUE;
}

/* A process that died may have asked libvirt to migrate a moment ago, and libvirt may not have begun. With the parked
 * copies back it never will: it refuses to migrate a guest with block jobs. */
static gboolean bar_migration(VmigMachine *m, VmigSeen source, GError **error)
{
    VmigChain chain;

    if (!m->job->frozen || source != VMIG_SEEN_RUNNING)
        return TRUE;
    if (!vmig_host_chain(m, VMIG_SOURCE, m->job->disks->pdata[0], VMIG_XML_LIVE, &chain, error))
        return FALSE;
    if (chain == VMIG_CHAIN_BASE && !m->job->pivoting && !vmig_host_note_diverged(m, error))
        return FALSE;
    if (chain != VMIG_CHAIN_OVERLAY)
        return TRUE;
    if (!vmig_node_fence_drop(m->env->source.node, m->job, error))
        return FALSE;
    g_autoptr(GError) why = NULL;
    if (vmig_overlay_hold_all(m, &why))
        return TRUE;
    if (!g_error_matches(why, VMIG_ERROR, VMIG_ERROR_INTERFERENCE)) {
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    /* The copies hold all disks, or somebody's block job does. What else was done to them is looked at on the way back;
     * who has the guest does not depend on it. */
    vmig_machine_note(m, "%s", why->message);
    return TRUE;
}

gboolean vmig_resolve(VmigMachine *m, VmigDecision *ret, GError **error)
{
    gboolean barred = FALSE;

    for (guint tries = 0;; tries++) {
        VmigFacts facts;
        look(m, &facts);
        m->seen = facts;
        *ret = vmig_uncertain_decide(&facts);
        if (*ret == VMIG_DECIDE_ALARM) {
            g_autoptr(GError) why = NULL;
            if (hold_second_runner(m, &facts, &why))
                return TRUE;
            /* A QEMU that libvirt is ending counts as running until it is gone. */
            if (tries < ALARM_LOOKS && !g_error_matches(why, VMIG_ERROR, VMIG_ERROR_CRASHED)) {
                vmig_machine_wait(m, G_USEC_PER_SEC / 5);
                continue;
            }
            vmig_machine_note(m, "%s", why->message);
        }
        if (*ret == VMIG_DECIDE_ADOPT && tries < 3) {
            if (!abort_running(m, error))
                return FALSE;
            continue;
        }
        if (*ret == VMIG_DECIDE_BACK && !barred) {
            g_autoptr(GError) busy = NULL;
            barred = bar_migration(m, facts.source, &busy);
            if (!barred && tries >= 3) {
                g_propagate_error(error, g_steal_pointer(&busy));
                return FALSE;
            }
            continue;
        }
        if (*ret == VMIG_DECIDE_BACK)
            return revoke_arrived(m, error) && remove_arrived_if_reached(m, error) &&
                   vmig_fault("rollback.dest", error) && let_source_run(m, facts.source, error);
        if (*ret == VMIG_DECIDE_FORWARD && facts.token != VMIG_TOKEN_DEST)
            return give_token_later(m, error);
        return TRUE;
    }
}
