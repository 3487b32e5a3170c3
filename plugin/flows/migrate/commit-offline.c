/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commits with qemu-img while the guest is off and an overlay holds data that its base does not. Then points the
 * definition to the bases. */
#include <string.h>

#include "definition/domain-xml.h"
#include "flows/migrate/commit-private.h"
#include "flows/migrate/after-boot.h"
#include "flows/migrate/ours.h"
#include "flows/migrate/pivot-truth.h"

/* Merge "mirror" has no overlay on the destination. */
static gboolean needs_commit(const VmigDisk *disk, VmigRole role)
{
    return !disk->pivoted && vmig_disk_overlay(disk, role) != NULL;
}

/* A pivot was begun, and its progress was not recorded. libvirt has rewritten the definition of a disk that it pivoted.
 * If the guest has not run since, overlay and base are equal and either answer is right. */
static gboolean note_if_on_base(VmigMachine *m, VmigRole role, VmigDisk *disk, GError **error)
{
    VmigChain chain;

    if (disk->pivoted || m->job->merge < VMIG_MERGE_PIVOTING)
        return TRUE;
    if (!vmig_host_chain(m, role, disk, VMIG_XML_PERSISTENT, &chain, error))
        return FALSE;
    disk->pivoted = chain == VMIG_CHAIN_BASE;
    return !disk->pivoted || vmig_machine_save(m, error);
}

/* qemu-img commits into the overlay's backing file. The user may have inserted a layer between the planned base and the
 * overlay. */
static gboolean lies_on_base(VmigMachine *m, VmigHost *host, VmigRole role, const VmigDisk *disk, GError **error)
{
    g_autoptr(GPtrArray) chain = vmig_node_survey(host->node, vmig_disk_overlay(disk, role), "qcow2", error);

    if (chain == NULL)
        return FALSE;
    const VmigImageFacts *below = chain->len > 1 ? chain->pdata[1] : NULL;
    if (below != NULL && g_strcmp0(below->path, vmig_file_path(vmig_disk_base(disk), role)) == 0)
        return TRUE;
    return vmig_fail(
        error, VMIG_ERROR_INTERFERENCE,
        "All files are kept. Correct the chain by hand (qemu-img info --backing-chain), then run vmig-snap resume.",
        "'%s' is off, and the overlay %s has the backing file '%s', which does not belong to the job", m->job->domain,
        vmig_disk_overlay(disk, role), below != NULL ? below->path : "(none)");
}

/* A definition that names neither the overlay nor the base may have a foreign layer on top. */
static gboolean nobody_between(VmigMachine *m, VmigRole role, GError **error)
{
    g_autoptr(VmigDomainXml) persistent = vmig_host_definition(m, role, VMIG_XML_PERSISTENT, error);

    for (guint i = 0; persistent != NULL && i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        if (vmig_chain_in(persistent, disk, role) == VMIG_CHAIN_OTHER && !vmig_host_stands_apart(m, role, disk, error))
            return FALSE;
        if (needs_commit(disk, role) && !lies_on_base(m, vmig_host_at(m, role, NULL), role, disk, error))
            return FALSE;
    }
    return persistent != NULL;
}

/* If a guest panics, libvirt ends it as its definition says and reports that as a crash too. */
static gboolean may_have_panicked(const char *xml)
{
    return strstr(xml, "<panic ") != NULL || strstr(xml, "<panic/>") != NULL;
}

/* Decides whether the guest has to be started again. If its QEMU died on the destination, the guest was running, and no
 * user had asked it to stop. A guest that was shut down or destroyed stays off. So does a guest on the source, where
 * the job is given up anyway. After a restart of libvirtd or of the host the cause is unknown. Then the autostart
 * setting, which the job holds back, shows what the operator wants. */
static gboolean note_death(VmigMachine *m, VmigRole role, const char *xml, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_autoptr(VmigDomainInfo) info = NULL;

    if (role != VMIG_DEST || m->job->was_paused)
        return TRUE;
    if (host == NULL || !host->hypervisor->ops->find(host->hypervisor, m->job->uuid, &info, error))
        return FALSE;
    m->job->start_again = m->job->start_again || (info != NULL && info->run == VMIG_RUN_SHUTOFF &&
                                                  ((info->off == VMIG_OFF_DIED && !may_have_panicked(xml)) ||
                                                   (info->off == VMIG_OFF_UNKNOWN && m->job->autostart)));
    return TRUE;
}

gboolean vmig_commit_start_again(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    VmigRun run;

    if (host == NULL || !m->job->start_again)
        return host != NULL;
    if (!vmig_ours_require_no_stranger(m, role, error) || !vmig_host_run(m, role, &run, error))
        return FALSE;
    if (run == VMIG_RUN_SHUTOFF) {
        /* The record must say that the overlays are stale before the guest writes into its bases. An earlier try may
         * have failed to save it. */
        if (!vmig_machine_save(m, error) || !host->hypervisor->ops->start(host->hypervisor, m->job->uuid, error))
            return FALSE;
        vmig_machine_note(m, "%s: the guest's QEMU had died; its disks are complete, and it was started again",
                          host->hypervisor->host);
    }
    m->job->start_again = FALSE;
    return vmig_machine_save(m, error);
}

/* From here on a definition that names the bases was written by the job. Any user can start the guest from it, before
 * the journal says that the overlays are stale. */
static gboolean note_pivoting(VmigMachine *m, GError **error)
{
    vmig_job_reach_merge(m->job, VMIG_MERGE_PIVOTING);
    return vmig_machine_save(m, error);
}

gboolean vmig_commit_offline(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_autofree char *xml = NULL;

    vmig_host_note_checkpoints(m, role);
    if (host == NULL || !vmig_ours_require_no_stranger(m, role, error) || !vmig_truth_end_orphan(m, role, error) ||
        !nobody_between(m, role, error) || !vmig_host_require_no_snapshot(m, role, error) ||
        !vmig_commit_note_start(m, error))
        return FALSE;
    for (guint i = 0; i < m->job->disks->len; i++) {
        VmigDisk *disk = m->job->disks->pdata[i];
        if (!note_if_on_base(m, role, disk, error))
            return FALSE;
        if (needs_commit(disk, role) &&
            !vmig_node_commit_offline(host->node, m->job, vmig_disk_overlay(disk, role), error))
            return FALSE;
    }
    if (!host->hypervisor->ops->domain_xml(host->hypervisor, m->job->uuid, VMIG_XML_PERSISTENT, &xml, error) ||
        !note_pivoting(m, error))
        return FALSE;
    g_autofree char *on_bases = vmig_domain_xml_on_bases(xml, m->job, role, error);
    if (on_bases == NULL || !host->hypervisor->ops->define(host->hypervisor, on_bases, error) ||
        !vmig_node_sync_config(host->node, error))
        return FALSE;
    vmig_job_reach_merge(m->job, VMIG_MERGE_DONE);
    return note_death(m, role, xml, error) && vmig_machine_save(m, error) && vmig_commit_start_again(m, role, error);
}

/* A host that lost power soon after the switchover may have lost the definition too: the record has it. */
gboolean vmig_commit_define_again(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    const char *xml = role == VMIG_DEST ? m->job->dest_persistent_xml : NULL;

    if (xml == NULL)
        return vmig_fail(error, VMIG_ERROR_GUEST_GONE, NULL, "'%s' is no longer defined", m->job->domain);
    return host != NULL && host->hypervisor->ops->define(host->hypervisor, xml, error);
}

static gboolean overlay_exists(VmigMachine *m, VmigHost *source, gboolean *exists, GError **error)
{
    *exists = FALSE;
    for (guint i = 0; i < m->job->disks->len && !*exists; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        g_autoptr(VmigPathFacts) facts = vmig_node_path(source->node, disk->at[VMIG_SOURCE].overlay, error);
        if (facts == NULL)
            return FALSE;
        *exists = facts->exists;
    }
    return TRUE;
}

/* Either the guest's writes on its bases are newer than those in the overlays, or the user wants them instead. Only an
 * operator can decide. The guest may be off later, so the journal keeps what was seen. */
static gboolean fail_diverged(VmigMachine *m, GError **error)
{
    return vmig_fail(error, VMIG_ERROR_INTERFERENCE,
                     "The overlays are kept. Decide which state of the disks counts; then remove the overlays by hand "
                     "and run vmig-snap resume.",
                     "'%s' ran on its bases, or they were changed, although its last writes are in the overlays: a "
                     "user reverted it, or it was started from a definition older than a power loss",
                     m->job->domain);
}

static gboolean back_work_live(VmigMachine *m, gboolean exists, VmigBackWork *ret, GError **error)
{
    g_autoptr(VmigDomainXml) live = vmig_host_definition(m, VMIG_SOURCE, VMIG_XML_LIVE, error);
    gboolean any = FALSE;

    if (live == NULL)
        return FALSE;
    for (guint i = 0; i < m->job->disks->len; i++)
        any = any || vmig_chain_in(live, m->job->disks->pdata[i], VMIG_SOURCE) != VMIG_CHAIN_BASE;
    *ret = any ? VMIG_BACK_LIVE : VMIG_BACK_NOTHING;
    if (any || !exists || m->job->overlays == VMIG_OVERLAYS_UNUSED || m->job->merge >= VMIG_MERGE_PIVOTING)
        return TRUE;
    return vmig_host_note_diverged(m, error) && fail_diverged(m, error);
}

/* The guest was not seen on its bases. But a base was modified after it was frozen, and the job has committed nothing.
 * Then a reverted guest wrote to it and is off again, or qemu-img did. The test is "newer", not "different": a power
 * loss can take back a time stamp that was not on disk yet. */
static gboolean require_frozen(VmigMachine *m, VmigHost *source, GError **error)
{
    if (m->job->overlays != VMIG_OVERLAYS_IN_USE || m->job->merge > VMIG_MERGE_NOT_BEGUN)
        return TRUE;
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigFile *base = vmig_disk_base(m->job->disks->pdata[i]);
        guint64 size, dev, ino, mtime_ns;
        if (!vmig_node_stat(source->node, base->path[VMIG_SOURCE], &size, &dev, &ino, &mtime_ns, error))
            return FALSE;
        if (base->mtime_ns == 0 || (ino == base->ino && mtime_ns <= base->mtime_ns))
            continue;
        vmig_machine_note(m, "%s was written to although it was frozen", base->path[VMIG_SOURCE]);
        return vmig_host_note_diverged(m, error);
    }
    return TRUE;
}

/* The reason why the definition names a base was not seen either: libvirt does that at a revert. The job's definition
 * named the overlay, durably, before the bases counted as frozen. */
static gboolean require_defined_on_overlays(VmigMachine *m, GError **error)
{
    if (m->job->overlays != VMIG_OVERLAYS_IN_USE || m->job->merge >= VMIG_MERGE_PIVOTING)
        return TRUE;
    g_autoptr(VmigDomainXml) persistent = vmig_host_definition(m, VMIG_SOURCE, VMIG_XML_PERSISTENT, error);
    if (persistent == NULL)
        return FALSE;
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        if (vmig_chain_in(persistent, disk, VMIG_SOURCE) != VMIG_CHAIN_BASE)
            continue;
        vmig_machine_note(m, "the definition of disk %s names its base, and vmig-snap did not write that",
                          disk->target);
        return vmig_host_note_diverged(m, error);
    }
    return TRUE;
}

/* The overlays exist, but the journal does not say that they receive the guest's writes. It says so only once the
 * definition names them durably. If the definition names the bases and the host was not rebooted, libvirt wrote that:
 * at a revert, which discards the writes since the snapshot, or because the overlays were never attached. After a
 * reboot this test proves nothing, because a power loss can restore the old definition of a guest that wrote into the
 * overlays. */
static gboolean overlays_are_out(VmigMachine *m, gboolean *ret, GError **error)
{
    *ret = FALSE;
    if (m->job->overlays != VMIG_OVERLAYS_UNUSED || m->job->merge > VMIG_MERGE_NOT_BEGUN || !vmig_after_boot_same(m))
        return TRUE;
    g_autoptr(VmigDomainXml) persistent = vmig_host_definition(m, VMIG_SOURCE, VMIG_XML_PERSISTENT, error);
    if (persistent == NULL)
        return FALSE;
    *ret = TRUE;
    for (guint i = 0; i < m->job->disks->len; i++)
        *ret = *ret && vmig_chain_in(persistent, m->job->disks->pdata[i], VMIG_SOURCE) == VMIG_CHAIN_BASE;
    return TRUE;
}

gboolean vmig_commit_back_work(VmigMachine *m, VmigBackWork *ret, GError **error)
{
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, error);
    gboolean exists;
    VmigRun run;

    *ret = VMIG_BACK_NOTHING;
    if (source == NULL || !overlay_exists(m, source, &exists, error) || !vmig_host_run(m, VMIG_SOURCE, &run, error))
        return FALSE;
    if (m->job->merge == VMIG_MERGE_DONE)
        return TRUE;
    if (run == VMIG_RUN_ABSENT || run == VMIG_RUN_CRASHED)
        return vmig_fail(error, VMIG_ERROR_GUEST_GONE, "Define it again (virsh define), then run vmig-snap resume.",
                         "'%s' is no longer defined on the source", m->job->domain);
    if (run != VMIG_RUN_SHUTOFF)
        return back_work_live(m, exists, ret, error);
    gboolean out = FALSE;
    if (exists && !overlays_are_out(m, &out, error))
        return FALSE;
    *ret = exists && !out ? VMIG_BACK_OFFLINE : VMIG_BACK_NOTHING;
    if (exists && (!require_frozen(m, source, error) || !require_defined_on_overlays(m, error)))
        return FALSE;
    return !exists || m->job->overlays != VMIG_OVERLAYS_DIVERGED || fail_diverged(m, error);
}
