/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CLEANUP: the destination is complete and verified. Only now is anything removed from the source. */
#include "flows/migrate/cleanup.h"

#include "flows/migrate/migrate-flow.h"
#include "flows/migrate/commit.h"
#include "flows/migrate/ours.h"
#include "flows/migrate/source-images.h"
#include "verify/verify.h"
#include "os/fault.h"

#define SOURCE_DEADLINE (120 * G_USEC_PER_SEC)

static gboolean clean_destination(VmigMachine *m, GError **error)
{
    VmigHost *dest = vmig_host_at(m, VMIG_DEST, error);

    if (dest == NULL || !vmig_host_require_on_bases(m, VMIG_DEST, error) ||
        !vmig_host_set_snapshot_attribute(m, VMIG_DEST, FALSE, error))
        return FALSE;
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        if ((disk->at[VMIG_DEST].hold != NULL &&
             !vmig_node_remove(dest->node, m->job, disk->at[VMIG_DEST].hold, "the hold ended", error)) ||
            (disk->at[VMIG_DEST].overlay != NULL &&
             !vmig_node_remove(dest->node, m->job, disk->at[VMIG_DEST].overlay,
                               "committed into the base and pivoted, both definitions verified", error)))
            return FALSE;
    }
    return TRUE;
}

/* The mark is removed last. If a host's journal is replaced by a backup from before the job, only the mark still shows
 * that the guest came with the job. */
static gboolean remove_mark(VmigMachine *m, GError **error)
{
    VmigHost *dest = vmig_host_at(m, VMIG_DEST, error);

    return dest != NULL && dest->hypervisor->ops->set_metadata(dest->hypervisor, m->job->uuid, NULL, error) &&
           vmig_node_sync_config(dest->node, error);
}

static gboolean destroy_source(VmigMachine *m, VmigHypervisor *hv, GError **error)
{
    g_autoptr(VmigDomainInfo) info = NULL;

    if (!hv->ops->find(hv, m->job->uuid, &info, error))
        return FALSE;
    return info == NULL || info->run == VMIG_RUN_SHUTOFF ||
           (vmig_ours_require(m, VMIG_SOURCE, error) && hv->ops->destroy(hv, m->job->uuid, info->id, error));
}

/* The source's QEMU exits once libvirt's Confirm phase has arrived. A QEMU that is still there is stopped and fenced.
 * It never runs again, because the destination has the token. */
static gboolean end_source_guest(VmigMachine *m, GError **error)
{
    VmigHypervisor *hv = m->env->source.hypervisor;
    gint64 until = vmig_machine_now(m) + SOURCE_DEADLINE;
    VmigDomainJob job;
    VmigRun run;

    /* The result of the call no longer matters: the guest is on the destination. */
    hv->ops->migrate_end(hv, NULL);
    for (;;) {
        if (!vmig_host_run(m, VMIG_SOURCE, &run, error))
            return FALSE;
        if (run == VMIG_RUN_SHUTOFF || run == VMIG_RUN_ABSENT)
            return TRUE;
        if (!hv->ops->domain_job(hv, m->job->uuid, &job, error))
            return FALSE;
        if (job == VMIG_DOMAIN_JOB_NONE)
            return destroy_source(m, hv, error);
        if (vmig_machine_now(m) > until)
            return vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "the source's libvirt does not end its migration");
        vmig_machine_wait(m, G_USEC_PER_SEC / 2);
    }
}

static gboolean remove_source_files(VmigMachine *m, GError **error)
{
    VmigNode *node = m->env->source.node;

    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        if (!vmig_node_remove(node, m->job, disk->at[VMIG_SOURCE].hold, "the hold ended", error) ||
            !vmig_node_remove(node, m->job, disk->at[VMIG_SOURCE].overlay,
                              "mirrored to the destination, committed and verified there", error))
            return FALSE;
    }
    return m->job->options.keep_source ? vmig_images_note_users(m) : vmig_images_remove(m, error);
}

/* If another guest has the UUID on the source by now, it does not belong to the job. The gate protects its files. */
static gboolean undefine_source(VmigMachine *m, VmigHost *source, GError **error)
{
    g_autoptr(GError) stranger = NULL;
    VmigWhose whose;
    VmigRun run;

    if (!vmig_ours_look(m, VMIG_SOURCE, &whose, error))
        return FALSE;
    if (whose == VMIG_WHOSE_FOREIGN) {
        vmig_ours_fail(m, VMIG_SOURCE, &stranger);
        vmig_machine_note(m, "%s", stranger->message);
        return TRUE;
    }
    if (!end_source_guest(m, error) || !vmig_ours_require(m, VMIG_SOURCE, error) ||
        !vmig_host_run(m, VMIG_SOURCE, &run, error))
        return FALSE;
    return run != VMIG_RUN_SHUTOFF || source->hypervisor->ops->undefine(source->hypervisor, m->job->uuid, error);
}

gboolean vmig_cleanup_end_source(VmigMachine *m, GError **error)
{
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, error);

    return source != NULL && undefine_source(m, source, error) && vmig_node_guard_stop(source->node, m->job, error);
}

static gboolean clean_source(VmigMachine *m, GError **error)
{
    if (m->peer_forgot) {
        vmig_machine_note(m, "the source has no record of the job: the job's files there are kept; vmig-snap doctor on "
                             "the source lists them");
        return TRUE;
    }
    if (!vmig_cleanup_end_source(m, error) || !vmig_fault("cleanup.undefined", error) || !remove_source_files(m, error))
        return FALSE;
    m->job->source_clean = TRUE;
    return vmig_machine_save(m, error);
}

/* A source that does not answer keeps its leftovers until it does. The guest does not wait for that. */
static gboolean source_answers(VmigMachine *m, GError **error)
{
    if (m->job->source_clean || vmig_host_at(m, VMIG_SOURCE, NULL) != NULL)
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_PARKED, "Bring the source back, then run vmig-snap resume on either host.",
                     "'%s' is complete on the destination, with every snapshot; the source does not answer, so the "
                     "job's files there were not removed yet",
                     m->job->domain);
}

static void on_progress(gpointer user, const VmigProgress *progress)
{
    VmigMachine *m = user;

    if (m->reporter.progress != NULL)
        m->reporter.progress(m->reporter.user, m->job, progress);
}

/* The operator knows what differs, or does not want to wait. The source's images are kept for inspection. */
static gboolean give_up_verifying(VmigMachine *m, GError **error)
{
    m->job->options.verify = FALSE;
    m->job->options.keep_source = TRUE;
    vmig_machine_note(m, "the job ends without the verification, as the operator stated; the source's images are kept");
    return vmig_machine_save(m, error);
}

/* --verify: nothing is removed until every snapshot was found equal. The record keeps the hashes for later comparisons,
 * when the source's images are gone. If this host cannot start a machine for the comparison, the job is not held up. */
static gboolean verify(VmigMachine *m, GError **error)
{
    VmigVerifyRequest request = {
        .source = m->env->source,
        .dest = m->env->dest,
        .job = m->job,
        .one_at_a_time = m->env->one_at_a_time,
        .progress = on_progress,
        .user = m,
    };

    if (!m->job->options.verify || m->job->source_clean)
        return TRUE;
    /* Both journals must have the hashes before anything is removed. An earlier try may have failed to write them to
     * the other host, whose record counts if the connection breaks. */
    if (m->job->verified)
        return vmig_machine_save(m, error);
    if (m->without_verify)
        return give_up_verifying(m, error);
    g_autoptr(VmigVerdict) verdict = vmig_verify(&request, error);
    g_autoptr(GError) why = NULL;
    if (verdict == NULL)
        return FALSE;
    for (guint i = 0; i < verdict->notes->len; i++)
        vmig_machine_note(m, "%s", (const char *)verdict->notes->pdata[i]);
    if (!vmig_verdict_to_error(verdict, m->job, &why) && !g_error_matches(why, VMIG_ERROR, VMIG_ERROR_NOT_REVERTABLE)) {
        vmig_error_set_hint(why,
                            "No file was removed. vmig-snap verify --job %s lists the differences; vmig-snap resume "
                            "verifies again, and with --without-verify ends the job without it.",
                            m->job->id);
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    if (why != NULL)
        vmig_machine_note(m, "%s", why->message);
    vmig_verdict_record(verdict, m->job);
    m->job->verified = TRUE;
    return vmig_machine_save(m, error);
}

gboolean vmig_step_cleanup(VmigMachine *m, VmigState *next G_GNUC_UNUSED, GError **error)
{
    /* This is the source, and only the end of the job is not recorded yet: see records.c. */
    if (m->peer_forgot && m->here == VMIG_SOURCE)
        return vmig_node_rundir_remove(m->env->source.node, m->job, error);
    if (m->job->options.verify && !source_answers(m, error))
        return FALSE;
    if (!verify(m, error) || !clean_destination(m, error) || !source_answers(m, error) ||
        (!m->job->source_clean && !clean_source(m, error)) || !remove_mark(m, error))
        return FALSE;
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, error);
    if (source == NULL)
        return FALSE;
    /* The guest may have been waiting for the space of the overlays. */
    return vmig_room_require_relief(m, VMIG_DEST, error) && vmig_node_rundir_remove(m->env->dest.node, m->job, error) &&
           (m->peer_forgot || vmig_node_rundir_remove(m->env->source.node, m->job, error));
}
