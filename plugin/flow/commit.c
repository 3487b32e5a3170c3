/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* COMMIT and PIVOT on the destination, BACK_COMMIT and BACK_PIVOT on the source: one code.
 *
 * A commit can be repeated: what is in the base already is written again. Once it has started the overlay may not be
 * dropped any more. The pivot happens on a suspended guest: overlay and base are equal then, so that a crash at any
 * line leaves either definition right. */
#include "flow/commit.h"

#include "core/domain-xml.h"
#include "host/fault.h"

#define POLL (G_USEC_PER_SEC / 2)
#define STALL_LIMIT (60 * G_USEC_PER_SEC)
#define CONVERGE_LIMIT (10 * 60 * G_USEC_PER_SEC)
#define COMMITS_LOST_LIMIT 5
#define READY_LIMIT (10 * G_USEC_PER_SEC)

static gboolean note_start(VmigMachine *m, GError **error)
{
    if (m->job->commit_started)
        return TRUE;
    m->job->commit_started = TRUE;
    return vmig_machine_save(m, error);
}

static gboolean start_disk(VmigMachine *m, VmigSide side, const VmigDisk *disk, GError **error)
{
    VmigHost *host = vmig_side_host(m, side, error);
    VmigBlockJob job;
    VmigChain chain;

    if (host == NULL || !vmig_side_chain(m, side, disk, VMIG_XML_LIVE, &chain, error))
        return FALSE;
    if (chain == VMIG_CHAIN_BASE)
        return TRUE;
    if (chain == VMIG_CHAIN_OTHER)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "%s: disk %s is on a chain that nobody of us made",
                         host->hypervisor->host, disk->target);
    if (!host->hypervisor->ops->block_job(host->hypervisor, m->job->uuid, disk->target, &job, error))
        return FALSE;
    if (job.kind == VMIG_BLOCK_JOB_COMMIT)
        return TRUE;
    /* The parked copy holds the disk until the very moment at which the commit does. */
    if (job.kind == VMIG_BLOCK_JOB_COPY && side == VMIG_SIDE_SOURCE) {
        if (!host->hypervisor->ops->block_cancel(host->hypervisor, m->job->uuid, disk->target, error))
            return FALSE;
    } else if (job.kind != VMIG_BLOCK_JOB_NONE)
        return vmig_fail(error, VMIG_ERROR_BLOCK_JOB, "End it (virsh blockjob --abort), then vmig-snap resume.",
                         "%s: disk %s has another block job", host->hypervisor->host, disk->target);
    return host->hypervisor->ops->block_commit(host->hypervisor, m->job->uuid, disk->target,
                                               vmig_side_path(vmig_disk_base(disk), side), m->job->options.bandwidth,
                                               error);
}

gboolean vmig_commit_start(VmigMachine *m, VmigSide side, GError **error)
{
    if (!vmig_side_require_no_snapshot(m, side, error) || !note_start(m, error))
        return FALSE;
    for (guint i = 0; i < m->job->disks->len; i++)
        if (!start_disk(m, side, m->job->disks->pdata[i], error))
            return FALSE;
    return vmig_fault("commit.started", error);
}

/* *ready: committed and in step, or already on the base. */
static gboolean look_at_disk(VmigMachine *m, VmigHost *host, VmigSide side, const VmigDisk *disk, guint64 *done,
                             gboolean *ready, GError **error)
{
    VmigBlockJob job;
    VmigChain chain;

    if (!host->hypervisor->ops->block_job(host->hypervisor, m->job->uuid, disk->target, &job, error))
        return FALSE;
    *ready = job.kind == VMIG_BLOCK_JOB_COMMIT && job.ready;
    *done += job.done;
    if (job.kind == VMIG_BLOCK_JOB_COMMIT) {
        vmig_machine_progress(m, disk->target, job.done, job.total, 0);
        return TRUE;
    }
    if (!vmig_side_chain(m, side, disk, VMIG_XML_LIVE, &chain, error))
        return FALSE;
    *ready = chain == VMIG_CHAIN_BASE;
    return *ready || vmig_fail(error, VMIG_ERROR_JOB_LOST, NULL,
                               "%s: the commit of disk %s ended before it was done (disk full, I/O error, or cancelled "
                               "by somebody)",
                               host->hypervisor->host, disk->target);
}

static gboolean all_ready(VmigMachine *m, VmigSide side, guint64 *done, gboolean *ready, GError **error)
{
    VmigHost *host = vmig_side_host(m, side, error);

    *done = 0;
    *ready = TRUE;
    for (guint i = 0; host != NULL && i < m->job->disks->len; i++) {
        gboolean one;
        if (!look_at_disk(m, host, side, m->job->disks->pdata[i], done, &one, error))
            return FALSE;
        *ready = *ready && one;
    }
    return host != NULL;
}

/* A guest that writes faster than its commit copies: first the commit gets all the speed there is, then the pivot's
 * suspension lets it catch up. */
static gboolean hurry(VmigMachine *m, VmigSide side, gint64 took, gboolean *hurried, gboolean *enough, GError **error)
{
    VmigHost *host = vmig_side_host(m, side, error);

    *enough = took > CONVERGE_LIMIT;
    if (host == NULL || *hurried || took < CONVERGE_LIMIT / 2)
        return host != NULL;
    *hurried = TRUE;
    vmig_machine_note(m, "the guest writes faster than the commit copies: the commit goes without a limit now");
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        if (!host->hypervisor->ops->block_speed(host->hypervisor, m->job->uuid, disk->target, 0, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean wait_ready(VmigMachine *m, VmigSide side, GError **error)
{
    gint64 began = vmig_machine_now(m), moved = began;
    guint64 done = 0, before = 0;
    gboolean ready = FALSE, hurried = FALSE;

    for (;;) {
        if (!all_ready(m, side, &done, &ready, error))
            return FALSE;
        if (ready)
            return TRUE;
        if (done != before)
            moved = vmig_machine_now(m);
        before = done;
        if (vmig_machine_now(m) - moved > STALL_LIMIT)
            return vmig_fail(error, VMIG_ERROR_STALLED, NULL, "the commit made no progress for %d s",
                             (int)(STALL_LIMIT / G_USEC_PER_SEC));
        if (!hurry(m, side, vmig_machine_now(m) - began, &hurried, &ready, error) || ready)
            return ready;
        vmig_machine_wait(m, POLL);
    }
}

/* A pivot was begun and nobody could note how far it came: libvirt rewrote the definition of a disk that it pivoted.
 * Where the guest did not run after it, overlay and base are equal and either answer is right. */
static gboolean note_if_on_base(VmigMachine *m, VmigSide side, VmigDisk *disk, GError **error)
{
    VmigChain chain;

    if (disk->pivoted || !m->job->pivoting)
        return TRUE;
    if (!vmig_side_chain(m, side, disk, VMIG_XML_PERSISTENT, &chain, error))
        return FALSE;
    disk->pivoted = chain == VMIG_CHAIN_BASE;
    return !disk->pivoted || vmig_machine_save(m, error);
}

/* What qemu-img would commit into: somebody may have put a layer of his between the plan and the overlay. */
static gboolean lies_on_base(VmigMachine *m, VmigHost *host, VmigSide side, const VmigDisk *disk, GError **error)
{
    g_autoptr(GPtrArray) chain = vmig_storage_survey(host->storage, vmig_side_overlay(disk, side), "qcow2", error);

    if (chain == NULL)
        return FALSE;
    const VmigImageFacts *below = chain->len > 1 ? chain->pdata[1] : NULL;
    if (below != NULL && g_strcmp0(below->path, vmig_side_path(vmig_disk_base(disk), side)) == 0)
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_INTERFERENCE,
                     "All files are kept. Put the chain in order by hand (qemu-img info --backing-chain), then "
                     "vmig-snap resume.",
                     "'%s' is off, and the overlay %s lies on '%s', which is none of the job's", m->job->domain,
                     vmig_side_overlay(disk, side), below != NULL ? below->path : "nothing");
}

/* A definition that names neither the overlay nor the base has a layer of somebody's on top. */
static gboolean nobody_between(VmigMachine *m, VmigSide side, GError **error)
{
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        VmigChain chain;
        if (!vmig_side_chain(m, side, disk, VMIG_XML_PERSISTENT, &chain, error))
            return FALSE;
        if (chain == VMIG_CHAIN_OTHER)
            return vmig_fail(
                error, VMIG_ERROR_INTERFERENCE,
                "Merge that layer (qemu-img commit), define the disk on its overlay, then vmig-snap resume.",
                "'%s' is off, and the definition of disk %s names a file that is none of the job's", m->job->domain,
                disk->target);
        if (!disk->pivoted && !lies_on_base(m, vmig_side_host(m, side, NULL), side, disk, error))
            return FALSE;
    }
    return TRUE;
}

/* The guest is off: its overlay is committed by qemu-img, and its definition is put on the bases. */
static gboolean commit_offline(VmigMachine *m, VmigSide side, GError **error)
{
    VmigHost *host = vmig_side_host(m, side, error);
    g_autofree char *xml = NULL;

    if (host == NULL || !nobody_between(m, side, error) || !vmig_side_require_no_snapshot(m, side, error) ||
        !note_start(m, error))
        return FALSE;
    for (guint i = 0; i < m->job->disks->len; i++) {
        VmigDisk *disk = m->job->disks->pdata[i];
        if (!note_if_on_base(m, side, disk, error))
            return FALSE;
        if (!disk->pivoted && !vmig_storage_commit_offline(host->storage, m->job, vmig_side_overlay(disk, side), error))
            return FALSE;
    }
    if (!host->hypervisor->ops->domain_xml(host->hypervisor, m->job->uuid, VMIG_XML_PERSISTENT, &xml, error))
        return FALSE;
    g_autofree char *on_bases = vmig_domain_xml_on_bases(xml, m->job, side, error);
    if (on_bases == NULL || !host->hypervisor->ops->define(host->hypervisor, on_bases, error) ||
        !vmig_storage_sync_config(host->storage, error))
        return FALSE;
    m->job->pivoted = TRUE;
    return vmig_machine_save(m, error);
}

/* A host that lost power soon after the switchover may have lost the definition too: the record has it. */
static gboolean define_again(VmigMachine *m, VmigSide side, GError **error)
{
    VmigHost *host = vmig_side_host(m, side, error);
    const char *xml = side == VMIG_SIDE_DEST ? m->job->dest_persistent_xml : NULL;

    if (xml == NULL)
        return vmig_fail(error, VMIG_ERROR_GUEST_GONE, NULL, "'%s' is not defined any more", m->job->domain);
    return host != NULL && host->hypervisor->ops->define(host->hypervisor, xml, error);
}

static gboolean commit(VmigMachine *m, VmigSide side, GError **error)
{
    VmigRun run;

    if (!vmig_side_run(m, side, &run, error))
        return FALSE;
    if (m->job->pivoted && side == VMIG_SIDE_DEST)
        return vmig_side_require_on_bases(m, side, error);
    if (run == VMIG_RUN_ABSENT && !define_again(m, side, error))
        return FALSE;
    if (run == VMIG_RUN_SHUTOFF || run == VMIG_RUN_ABSENT)
        return commit_offline(m, side, error);
    if (run == VMIG_RUN_CRASHED)
        return vmig_fail(error, VMIG_ERROR_GUEST_GONE, NULL, "'%s' is gone", m->job->domain);
    return vmig_commit_start(m, side, error) && wait_ready(m, side, error);
}

/* In step while the guest is suspended: nothing is written any more, so this is a matter of moments. */
static gboolean wait_in_step(VmigMachine *m, VmigSide side, GError **error)
{
    gint64 until = vmig_machine_now(m) + READY_LIMIT;
    gboolean ready = FALSE;
    guint64 done;

    while (vmig_machine_now(m) < until) {
        if (!all_ready(m, side, &done, &ready, error))
            return FALSE;
        if (ready)
            return TRUE;
        vmig_machine_wait(m, POLL / 25);
    }
    return vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "the commit is not in step with the suspended guest");
}

/* Both definitions must name the bases: the live one, and the one that a start after a crash would use. */
static gboolean verify_on_bases(VmigMachine *m, VmigSide side, GError **error)
{
    VmigHost *host = vmig_side_host(m, side, error);

    return host != NULL && vmig_side_require_on_bases(m, side, error) && vmig_storage_sync_config(host->storage, error);
}

/* Each disk that is on its base is noted before the guest may run there: from then on its overlay is stale, and an
 * offline commit of it would take the guest's disk back in time. */
static gboolean pivot_disks(VmigMachine *m, VmigSide side, GError **error)
{
    VmigHost *host = vmig_side_host(m, side, error);
    g_autoptr(GError) why = NULL;

    for (guint i = 0; host != NULL && why == NULL && i < m->job->disks->len; i++) {
        VmigDisk *disk = m->job->disks->pdata[i];
        VmigChain chain;
        if (!vmig_side_chain(m, side, disk, VMIG_XML_LIVE, &chain, &why))
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

static gboolean suspend(VmigMachine *m, VmigSide side, GError **error)
{
    VmigHost *host = vmig_side_host(m, side, error);
    VmigRun run;

    if (host == NULL || !vmig_side_run(m, side, &run, error))
        return FALSE;
    /* Known before it is done: whoever finds the guest suspended after a crash lets it run. */
    m->job->pivoting = TRUE;
    m->job->suspended = m->job->suspended || run == VMIG_RUN_RUNNING;
    if (!vmig_machine_save(m, error))
        return FALSE;
    if (run != VMIG_RUN_RUNNING)
        return TRUE;
    return host->hypervisor->ops->suspend(host->hypervisor, m->job->uuid, error) &&
           vmig_fault("pivot.suspended", error);
}

static gboolean unsuspend(VmigMachine *m, VmigSide side, GError **error)
{
    VmigHost *host = vmig_side_host(m, side, error);
    VmigRun run;

    if (host == NULL || !m->job->suspended)
        return host != NULL;
    if (!vmig_side_run(m, side, &run, error) ||
        (run == VMIG_RUN_PAUSED && !host->hypervisor->ops->resume(host->hypervisor, m->job->uuid, error)))
        return FALSE;
    m->job->suspended = FALSE;
    return vmig_machine_save(m, error);
}

static gboolean pivot(VmigMachine *m, VmigSide side, GError **error)
{
    g_autoptr(GError) why = NULL;
    VmigRun run;

    if (!vmig_side_run(m, side, &run, error))
        return FALSE;
    if (run == VMIG_RUN_SHUTOFF)
        return m->job->pivoted ? TRUE : commit_offline(m, side, error);
    if (run == VMIG_RUN_ABSENT)
        return vmig_fail(error, VMIG_ERROR_JOB_LOST, NULL, "'%s' is not defined any more", m->job->domain);
    gboolean done = suspend(m, side, &why) && wait_in_step(m, side, &why) && pivot_disks(m, side, &why) &&
                    verify_on_bases(m, side, &why);
    if (done) {
        m->job->pivoted = TRUE;
        done = vmig_machine_save(m, &why);
    }
    if (why != NULL && g_error_matches(why, VMIG_ERROR, VMIG_ERROR_CRASHED)) {
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    /* Whatever happened, the guest does not stay suspended because of us. */
    g_autoptr(GError) stays = NULL;
    if (!unsuspend(m, side, &stays)) {
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

gboolean vmig_step_commit(VmigMachine *m, VmigState *next G_GNUC_UNUSED, GError **error)
{
    return commit(m, VMIG_SIDE_DEST, error);
}

/* A commit that was lost just before its pivot is done again, but not for ever. */
static gboolean may_commit_again(VmigMachine *m, const GError *why)
{
    if (!g_error_matches(why, VMIG_ERROR, VMIG_ERROR_JOB_LOST) || ++m->commits_lost > COMMITS_LOST_LIMIT)
        return FALSE;
    vmig_machine_note(m, "%s", why->message);
    return TRUE;
}

gboolean vmig_step_pivot(VmigMachine *m, VmigState *next, GError **error)
{
    g_autoptr(GError) why = NULL;

    if (pivot(m, VMIG_SIDE_DEST, &why))
        return TRUE;
    if (may_commit_again(m, why)) {
        *next = VMIG_STATE_COMMIT;
        return TRUE;
    }
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

/* What BACK_COMMIT and BACK_PIVOT have to do, by the facts and not by the definition alone: after a power loss that may
 * be an older one. */
typedef enum {
    BACK_NOTHING, /* no overlay took a write, or all of them are back in the bases */
    BACK_LIVE,    /* the guest runs on the overlays */
    BACK_OFFLINE, /* the guest is off, and an overlay may hold what its base does not */
} BackWork;

static gboolean overlay_exists(VmigMachine *m, VmigHost *source, gboolean *exists, GError **error)
{
    *exists = FALSE;
    for (guint i = 0; i < m->job->disks->len && !*exists; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        g_autoptr(VmigPathFacts) facts = vmig_storage_path(source->storage, disk->overlay, error);
        if (facts == NULL)
            return FALSE;
        *exists = facts->exists;
    }
    return TRUE;
}

static gboolean back_work_live(VmigMachine *m, gboolean exists, BackWork *ret, GError **error)
{
    gboolean any = FALSE;

    for (guint i = 0; i < m->job->disks->len; i++) {
        VmigChain chain;
        if (!vmig_side_chain(m, VMIG_SIDE_SOURCE, m->job->disks->pdata[i], VMIG_XML_LIVE, &chain, error))
            return FALSE;
        any = any || chain != VMIG_CHAIN_BASE;
    }
    *ret = any ? BACK_LIVE : BACK_NOTHING;
    if (any || !exists || !m->job->frozen || m->job->pivoting)
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_INTERFERENCE,
                     "The overlays are kept. Decide which state of the disks counts; then remove the overlays by hand "
                     "and run vmig-snap resume.",
                     "'%s' runs on its bases although its last writes are in the overlays: somebody reverted it, or it "
                     "was started by a definition older than a power loss",
                     m->job->domain);
}

static gboolean back_work(VmigMachine *m, BackWork *ret, GError **error)
{
    VmigHost *source = vmig_side_host(m, VMIG_SIDE_SOURCE, error);
    gboolean exists;
    VmigRun run;

    *ret = BACK_NOTHING;
    if (source == NULL || !overlay_exists(m, source, &exists, error) ||
        !vmig_side_run(m, VMIG_SIDE_SOURCE, &run, error))
        return FALSE;
    if (m->job->pivoted)
        return TRUE;
    if (run == VMIG_RUN_ABSENT || run == VMIG_RUN_CRASHED)
        return vmig_fail(error, VMIG_ERROR_GUEST_GONE, "Define it again (virsh define), then vmig-snap resume.",
                         "'%s' is gone from the source", m->job->domain);
    if (run != VMIG_RUN_SHUTOFF)
        return back_work_live(m, exists, ret, error);
    *ret = exists ? BACK_OFFLINE : BACK_NOTHING;
    return TRUE;
}

gboolean vmig_step_back_commit(VmigMachine *m, VmigState *next G_GNUC_UNUSED, GError **error)
{
    VmigHost *source = vmig_side_host(m, VMIG_SIDE_SOURCE, error);
    BackWork work;

    if (source == NULL || !back_work(m, &work, error))
        return FALSE;
    /* Our own holds go first: they would keep the commit out too. */
    if (!vmig_storage_fence_drop(source->storage, m->job, error) || !vmig_storage_thaw(source->storage, m->job, error))
        return FALSE;
    if (work == BACK_OFFLINE)
        return commit_offline(m, VMIG_SIDE_SOURCE, error);
    return work == BACK_NOTHING || commit(m, VMIG_SIDE_SOURCE, error);
}

gboolean vmig_step_back_pivot(VmigMachine *m, VmigState *next, GError **error)
{
    g_autoptr(GError) why = NULL;
    BackWork work;

    if (!back_work(m, &work, error))
        return FALSE;
    if (work == BACK_NOTHING && !m->job->pivoting)
        return TRUE;
    if (pivot(m, VMIG_SIDE_SOURCE, &why))
        return TRUE;
    if (may_commit_again(m, why)) {
        *next = VMIG_STATE_BACK_COMMIT;
        return TRUE;
    }
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}
