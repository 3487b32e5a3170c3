/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* COMMIT on the destination and BACK_COMMIT on the source share this code. Its other parts: commit-end.c why a commit
 * ended early, commit-space.c space, commit-offline.c a guest that is off, commit-pivot.c PIVOT and BACK_PIVOT.
 *
 * A commit can be repeated: data that is already in the base is written again. Once it has started, the overlay must
 * not be dropped.
 */
#include "core/amount.h"
#include "flows/migrate/migrate-flow.h"
#include "flows/migrate/commit-private.h"
#include "flows/migrate/ours.h"
#include "flows/migrate/overlay.h"
#include "engine/settings.h"
#include "os/fault.h"

#define POLL (G_USEC_PER_SEC / 2)
/* Time without a copied byte: after half of it the commit gets unlimited speed, after all of it the try has failed. */
#define STALL_LIMIT (2 * vmig_machine_stall_limit(m))
/* Time without a new minimum of the data left to copy: the guest writes faster than the commit copies. */
#define SLOW_LIMIT (60 * G_USEC_PER_SEC)
#define CONVERGE_LIMIT (5 * 60 * G_USEC_PER_SEC)
/* The amount that can still be copied during the short suspension of the pivot. */
#define PIVOT_MOST (256ull * 1024 * 1024)

gboolean vmig_commit_note_start(VmigMachine *m, GError **error)
{
    if (m->job->merge > VMIG_MERGE_NOT_BEGUN)
        return TRUE;
    m->job->merge = VMIG_MERGE_COMMITTING;
    return vmig_machine_save(m, error);
}

/* *room: all disks are known to fit. Checked once for all disks, because the guest may be paused meanwhile. */
static gboolean start_disk(VmigMachine *m, VmigRole role, VmigDisk *disk, const VmigDomainXml *live, gboolean *room,
                           GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    VmigChain chain = vmig_chain_in(live, disk, role);
    g_auto(VmigBlockJob) job = {0};

    if (host == NULL)
        return FALSE;
    if (chain == VMIG_CHAIN_BASE)
        return TRUE;
    if (chain == VMIG_CHAIN_OTHER)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL,
                         "%s: disk %s: the backing chain was changed outside vmig-snap", host->hypervisor->host,
                         disk->target);
    if (!vmig_ours_block_job(m, role, disk, vmig_domain_xml_disk(live, disk->target), &job, error))
        return FALSE;
    if (job.kind == VMIG_BLOCK_JOB_COMMIT)
        return TRUE;
    if (!*room && !vmig_commit_require_room(m, role, disk, error))
        return FALSE;
    *room = TRUE;
    /* The hold protects the disk until just before the commit job does. */
    if (job.kind == VMIG_BLOCK_JOB_COPY) {
        if (!vmig_overlay_release_disk(m, role, disk, error))
            return FALSE;
    } else if (job.kind != VMIG_BLOCK_JOB_NONE)
        return vmig_ours_refuse_block_job(m, role, disk, VMIG_ERROR_BLOCK_JOB, error);
    return host->hypervisor->ops->block_commit(host->hypervisor, m->job->uuid, disk->target,
                                               vmig_domain_file_name(vmig_disk_base(disk), role),
                                               vmig_settings_share(m->job), error);
}

gboolean vmig_commit_start(VmigMachine *m, VmigRole role, GError **error)
{
    gboolean room = FALSE;

    if (!vmig_host_require_no_snapshot(m, role, error) || !vmig_commit_note_start(m, error))
        return FALSE;
    /* The guest may be paused, so the definition is fetched once for all disks. Starting the commit of one disk does
     * not affect the others. */
    g_autoptr(VmigDomainXml) live = vmig_host_definition(m, role, VMIG_XML_LIVE, error);
    if (live == NULL)
        return FALSE;
    for (guint i = 0; i < m->job->disks->len; i++)
        if (!start_disk(m, role, m->job->disks->pdata[i], live, &room, error))
            return FALSE;
    return vmig_fault("commit.started", error);
}

typedef struct {
    guint64 done, left;
    gboolean ready; /* committed and in step, or already on the base */
} Look;

static gboolean look_at_disk(VmigMachine *m, VmigRole role, const VmigDisk *disk, const VmigDomainXml *live, Look *look,
                             GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_auto(VmigBlockJob) job = {0};

    if (host == NULL || !vmig_ours_block_job(m, role, disk, vmig_domain_xml_disk(live, disk->target), &job, error))
        return FALSE;
    if (job.kind == VMIG_BLOCK_JOB_COMMIT) {
        look->ready = look->ready && job.ready;
        look->done += job.done;
        look->left += job.total - MIN(job.done, job.total);
        vmig_machine_progress(m, disk->target, job.done, job.total, 0);
        return TRUE;
    }
    return vmig_chain_in(live, disk, role) == VMIG_CHAIN_BASE || vmig_commit_ended(m, role, disk, error);
}

static gboolean look(VmigMachine *m, VmigRole role, Look *ret, GError **error)
{
    g_autoptr(VmigDomainXml) live = vmig_host_definition(m, role, VMIG_XML_LIVE, error);

    *ret = (Look){.ready = TRUE};
    for (guint i = 0; live != NULL && i < m->job->disks->len; i++)
        if (!look_at_disk(m, role, m->job->disks->pdata[i], live, ret, error))
            return FALSE;
    return live != NULL;
}

gboolean vmig_commit_look(VmigMachine *m, VmigRole role, gboolean *ready, GError **error)
{
    Look now;

    if (!look(m, role, &now, error))
        return FALSE;
    *ready = now.ready;
    return TRUE;
}

/* The progress of the commits, measured at each look. */
typedef struct {
    gint64 moved, shrunk; /* when something was last copied; when less was left than ever before */
    guint64 done, least;
    gboolean hurried;
} Pace;

static gboolean hurry(VmigMachine *m, VmigRole role, Pace *pace, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    gint64 now = vmig_machine_now(m);

    if (host == NULL || pace->hurried || (now - pace->moved < STALL_LIMIT / 2 && now - pace->shrunk < SLOW_LIMIT))
        return host != NULL;
    pace->hurried = TRUE;
    vmig_machine_note(m, "the commit does not catch up with the guest's writes: its limit is removed");
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        g_auto(VmigBlockJob) job = {0};
        if (!vmig_ours_block_job(m, role, disk, NULL, &job, error) ||
            (job.kind == VMIG_BLOCK_JOB_COMMIT &&
             !host->hypervisor->ops->block_speed(host->hypervisor, m->job->uuid, disk->target, 0, error)))
            return FALSE;
    }
    return TRUE;
}

/* FALSE if this try has failed. *enough: the rest can be copied during the pivot's suspension. libvirt's job is left
 * running: it holds the disk, and the next try finds it. */
static gboolean keep_pace(VmigMachine *m, Pace *pace, const Look *now, gboolean *enough, GError **error)
{
    gint64 time = vmig_machine_now(m);

    *enough = FALSE;
    if (now->done != pace->done)
        pace->moved = time;
    if (now->left < pace->least)
        pace->shrunk = time;
    pace->done = now->done;
    pace->least = MIN(pace->least, now->left);
    if (time - pace->moved > STALL_LIMIT)
        return vmig_fail(error, VMIG_ERROR_STALLED, "Check the storage; the guest continues to run.",
                         "the commit made no progress for %d s", (int)(STALL_LIMIT / G_USEC_PER_SEC));
    if (time - pace->shrunk <= CONVERGE_LIMIT)
        return TRUE;
    *enough = now->left <= PIVOT_MOST;
    if (*enough)
        return TRUE;
    g_autofree char *left = vmig_amount_format(now->left);
    return vmig_fail(error, VMIG_ERROR_STALLED, "Reduce the guest's writes for a while.",
                     "the guest writes faster than the commit copies: %s are left, and the amount does not decrease",
                     left);
}

static gboolean wait_ready(VmigMachine *m, VmigRole role, GError **error)
{
    Pace pace = {.moved = vmig_machine_now(m), .shrunk = vmig_machine_now(m), .least = G_MAXUINT64};
    gboolean enough = FALSE;

    for (;;) {
        Look now;
        if (!look(m, role, &now, error))
            return FALSE;
        if (now.ready)
            return TRUE;
        if (!keep_pace(m, &pace, &now, &enough, error) || enough || !hurry(m, role, &pace, error))
            return enough;
        vmig_room_relieve(m, role);
        vmig_machine_wait(m, POLL);
    }
}

static gboolean commit_live(VmigMachine *m, VmigRole role, GError **error)
{
    g_autoptr(GError) why = NULL;

    /* Between the hold and the commit job another client could have changed the disk. Now the commit keeps others out,
     * so check that nothing was changed. */
    if (vmig_commit_start(m, role, &why) && vmig_host_require_chain(m, role, VMIG_CHAIN_OURS, &why) &&
        vmig_host_require_no_snapshot(m, role, &why) && wait_ready(m, role, &why))
        return TRUE;
    why = vmig_commit_blame_room(m, role, g_steal_pointer(&why));
    if (vmig_commit_is_ended(why))
        vmig_overlay_hold_disks(m, role);
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

static gboolean commit(VmigMachine *m, VmigRole role, GError **error)
{
    VmigRun run;

    if (!vmig_host_run(m, role, &run, error))
        return FALSE;
    if (m->job->merge == VMIG_MERGE_DONE && role == VMIG_DEST)
        return vmig_host_require_on_bases(m, role, error) && vmig_commit_start_again(m, role, error);
    if (run == VMIG_RUN_ABSENT && !vmig_commit_define_again(m, role, error))
        return FALSE;
    if (run == VMIG_RUN_SHUTOFF || run == VMIG_RUN_ABSENT)
        return vmig_commit_offline(m, role, error);
    if (run == VMIG_RUN_CRASHED)
        return vmig_fail(error, VMIG_ERROR_GUEST_GONE, NULL, "'%s' no longer exists", m->job->domain);
    /* The guest arrived on its base copies: there is nothing to commit. */
    if (role == VMIG_DEST && vmig_job_merges_by_mirror(m->job))
        return vmig_host_require_on_bases(m, role, error);
    return commit_live(m, role, error);
}

gboolean vmig_step_commit(VmigMachine *m, VmigState *next G_GNUC_UNUSED, GError **error)
{
    return commit(m, VMIG_DEST, error);
}

gboolean vmig_step_back_commit(VmigMachine *m, VmigState *next G_GNUC_UNUSED, GError **error)
{
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, error);
    VmigBackWork work;

    if (source == NULL || !vmig_commit_back_work(m, &work, error))
        return FALSE;
    /* The guard's locks go first: they would block the commit too. */
    if (!vmig_node_fence_drop(source->node, m->job, error) || !vmig_node_thaw(source->node, m->job, error))
        return FALSE;
    if (work == VMIG_BACK_OFFLINE)
        return vmig_commit_offline(m, VMIG_SOURCE, error);
    return work == VMIG_BACK_NOTHING || commit(m, VMIG_SOURCE, error);
}
