/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Collects the facts of both hosts and carries out the decision of the table. */
#include "flows/migrate/resolve.h"

#include "flows/migrate/ours.h"
#include "flows/migrate/overlay.h"
#include "engine/host.h"
#include "engine/texts.h"
#include "os/fault.h"

#define ALARM_LOOKS 5
#define ABORT_DEADLINE (60 * G_USEC_PER_SEC)
/* libvirt 9.0 can miss the end of the job that it aborts until it is asked again. */
#define ABORT_AGAIN G_USEC_PER_SEC

/* The user suspended the guest, not libvirt's migration and not the job: it stays suspended. */
static gboolean user_suspended(const VmigMachine *m, const VmigDomainInfo *info)
{
    return info->run == VMIG_RUN_PAUSED && (m->job->was_paused || (info->by_user && !m->job->suspended));
}

/* After the token is transferred, the source stays paused: a paused source counts as stopped, whatever paused it. If
 * another guest has the UUID, the job's guest counts as off. */
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

/* *stranger: the domain there is not proven to be the one that the job's migration brought. */
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

/* Reads the journals instead of relying on this process's memory: a write that failed may still be on disk (the last
 * sync of a commit). If the source's journal cannot be read after a try to transfer the token, the token counts as
 * transferred. */
static VmigToken token_seen(VmigMachine *m)
{
    g_autoptr(VmigJob) here = NULL;
    g_autoptr(VmigJob) there = NULL;
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, NULL);
    VmigHost *dest = vmig_host_at(m, VMIG_DEST, NULL);

    gboolean asked = dest != NULL && vmig_node_record_get(dest->node, m->job->id, &there, NULL);
    if (there != NULL && there->owner == VMIG_DEST)
        return VMIG_TOKEN_DEST;
    if (source != NULL && vmig_node_record_get(source->node, m->job->id, &here, NULL) && here != NULL) {
        /* A journal that was replaced by an older one is not trusted while the destination's cannot be read. */
        gboolean given = here->owner == VMIG_DEST || (!asked && vmig_node_was_given(source->node, m->job));
        return given ? VMIG_TOKEN_SOURCE_ONLY : VMIG_TOKEN_NONE;
    }
    return m->job->owner == VMIG_DEST || m->token_tried ? VMIG_TOKEN_SOURCE_ONLY : VMIG_TOKEN_NONE;
}

/* The guard has watched the overlays since before the migration. It begins a new watch only when nothing is on the
 * destination. It takes the overlays only if QEMU has not had them again since it released them. */
static gboolean fence_stands(VmigMachine *m)
{
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, NULL);
    gboolean held = FALSE;

    return m->source_fenced || (source != NULL && vmig_node_fence_take(source->node, m->job, 0, &held, NULL) && held);
}

/* Only the mirrored overlays arrived. Before libvirt's migration job protected an overlay, the user may have put
 * another file over it, or a snapshot into it. Then the guest on the destination is incomplete. If the source cannot be
 * queried, this is unknown, and the guest there does not count unless the operator vouches for it. */
static void look_for_more(VmigMachine *m, VmigFacts *facts)
{
    g_autoptr(GError) error = NULL;

    if (vmig_host_require_persistent(m, VMIG_SOURCE, VMIG_CHAIN_OVERLAY, &error) &&
        vmig_host_require_no_snapshot(m, VMIG_SOURCE, &error))
        return;
    if (g_error_matches(error, VMIG_ERROR, VMIG_ERROR_INTERFERENCE)) {
        vmig_machine_note(m, "the guest did not arrive completely: %s", error->message);
        facts->revoked = TRUE;
    } else if (!m->source_fenced) {
        vmig_machine_note(m, "cannot determine whether the guest arrived completely: %s", error->message);
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
    /* Only in this case do these facts matter. */
    facts->fenced = fence_stands(m);
    if (!facts->revoked)
        look_for_more(m, facts);
}

/* The guest runs on both hosts, and each copy writes to its own disks. The copy without the token is suspended, which
 * can be undone. Everything else is left to the operator. */
static gboolean hold_second_runner(VmigMachine *m, const VmigFacts *facts, GError **error)
{
    if (facts->source != VMIG_SEEN_RUNNING || facts->dest != VMIG_SEEN_RUNNING)
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL, "the guest's state on the two hosts is contradictory");
    VmigRole role = facts->token == VMIG_TOKEN_NONE ? VMIG_DEST : VMIG_SOURCE;
    VmigHost *loser = vmig_host_at(m, role, error);
    if (loser == NULL || !vmig_ours_require(m, role, error) ||
        !loser->hypervisor->ops->suspend(loser->hypervisor, m->job->uuid, error)) {
        g_prefix_error(error,
                       "cannot suspend the guest on the host without the token, although it runs on both hosts: ");
        return FALSE;
    }
    vmig_machine_note(m, "the guest ran on both hosts: it was suspended on %s, which does not own it",
                      loser->hypervisor->host);
    return TRUE;
}

/* Only the domain that the job's migration brought is ended. Another guest with its UUID is reported and left alone. */
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

/* The domain is off by now. Before the migration ends, libvirt has no persistent definition of it. If there is one, it
 * may belong to another guest that was defined meanwhile. */
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
        vmig_machine_note(m, "the destination does not answer; a guest left there cannot run without the token");
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
    /* When a migration breaks off, libvirt itself ends the domain that arrives: it may have been faster. */
    if (!ended && info != NULL && info->run != VMIG_RUN_SHUTOFF) {
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    return info == NULL || undefine_arrived(m, hv, error);
}

/* The user suspended the guest since the job began, so it stays suspended. This also applies if libvirt resumed it when
 * it gave up its migration, because the guest was running when the migration began
 * (qemuMigrationSrcRestoreDomainState()). */
static gboolean keep_suspended(VmigMachine *m, VmigHypervisor *hv, GError **error)
{
    g_autoptr(VmigDomainInfo) info = NULL;

    if (!hv->ops->find(hv, m->job->uuid, &info, error))
        return FALSE;
    if (info != NULL && !m->job->was_paused && user_suspended(m, info)) {
        m->job->was_paused = TRUE;
        vmig_machine_note(m, "%s: a user suspended '%s' during the job: it stays suspended", hv->host, m->job->domain);
        return vmig_machine_save(m, error);
    }
    if (info == NULL || !m->job->was_paused || info->run != VMIG_RUN_RUNNING || !info->cancelled)
        return TRUE;
    vmig_machine_note(m, "%s: libvirt resumed '%s', which a user had suspended: it was suspended again", hv->host,
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
    vmig_node_hurry(dest->node, TRUE); /* until the guest runs there */
    if (source != NULL)
        vmig_node_hurry(source->node, TRUE);
    if (source != NULL && !vmig_node_token_put(source->node, m->job, VMIG_DEST, error))
        return FALSE;
    m->job->owner = VMIG_DEST;
    return vmig_fault("token.source", error) && write_there(dest->node, m->job, error) &&
           vmig_fault("token.dest", error);
}

static gboolean write_token(VmigNode *node, const VmigJob *job, GError **error)
{
    return vmig_node_token_put(node, job, VMIG_DEST, error);
}

gboolean vmig_resolve_give_token(VmigMachine *m, GError **error)
{
    return give(m, write_token, error);
}

static gboolean write_all(VmigNode *node, const VmigJob *job, GError **error)
{
    return vmig_node_catch_up(node, job, VMIG_DEST, error);
}

/* The journal there may be an older one by now, from before the destination's last overlays or from before the job. */
static gboolean give_token_later(VmigMachine *m, GError **error)
{
    VmigHost *dest = vmig_host_at(m, VMIG_DEST, error);

    return dest != NULL && vmig_texts_send(m, dest->node, error) && give(m, write_all, error);
}

/* Aborts a migration that still runs (peer to peer, started by a process that died) and waits for its end. The fence is
 * dropped first: the token is not transferred, and a QEMU that cannot get its overlays back dies. */
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

/* Must be durable before the source may continue: from its next write on, whatever arrived is stale, and the
 * destination may be unreachable. Only a new try reverses this, and it begins with nothing on the destination. */
static gboolean revoke_arrived(VmigMachine *m, GError **error)
{
    m->token_tried = FALSE; /* both journals were read: it was not transferred */
    m->job->revoked = TRUE;
    return vmig_journal_save(m->journal, m->job, error);
}

/* The source does not wait for a libvirtd on the destination that does not answer: without the token, and revoked,
 * whatever is left there never runs. A new try and the end of the way back remove it. */
static gboolean remove_arrived_if_reached(VmigMachine *m, GError **error)
{
    g_autoptr(GError) why = NULL;

    if (vmig_resolve_remove_arrived(m, &why))
        return TRUE;
    if (!g_error_matches(why, VMIG_ERROR, VMIG_ERROR_CONNECTION)) {
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    vmig_machine_note(m, "cannot remove the guest from the destination yet: %s", why->message);
    return TRUE;
}

/* A process that died may have asked libvirt to migrate just before, and libvirt may not have begun. Once the holds are
 * back it never will: libvirt refuses to migrate a guest with block jobs. */
static gboolean bar_migration(VmigMachine *m, VmigSeen source, GError **error)
{
    VmigChain chain;

    if (m->job->overlays == VMIG_OVERLAYS_UNUSED || source != VMIG_SEEN_RUNNING)
        return TRUE;
    if (!vmig_host_chain(m, VMIG_SOURCE, m->job->disks->pdata[0], VMIG_XML_LIVE, &chain, error))
        return FALSE;
    if (chain == VMIG_CHAIN_BASE && m->job->merge < VMIG_MERGE_PIVOTING && !vmig_host_note_diverged(m, error))
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
    /* Every disk has a hold or a foreign block job. Other changes to the disks are examined on the way back. They do
     * not affect the question of who has the guest. */
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
