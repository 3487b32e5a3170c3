/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "flows/migrate/pivot-truth.h"

#include "definition/domain-xml.h"
#include "flows/migrate/ours.h"
#include "os/fault.h"

/* libvirt changes its definitions only when it handles QEMU's event about a pivot. While a pivot whose caller is gone
 * still runs, the live definition is given out at once, but QEMU's files only after it: libvirt holds the domain's job
 * lock for the pivot, and a monitor command waits for that lock. So the two answers may be of different times. They
 * contradict each other only if they still do after this time. */
#define NOTED_LIMIT (5 * G_USEC_PER_SEC)
#define NOTED_POLL (G_USEC_PER_SEC / 20)

static gboolean fail_orphan(VmigMachine *m, const VmigHost *host, const VmigOrphanFacts *orphan, GError **error)
{
    const char *why = orphan->why != NULL                   ? orphan->why
                      : orphan->kind == VMIG_ORPHAN_RUNNING ? "its CPUs are running"
                                                            : "the job did not suspend it";

    vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL,
              "%s: libvirt reports that '%s' is off, but its QEMU, process %" G_GINT64_FORMAT
              ", still runs and has the disks open. It is not ended, because %s",
              host->hypervisor->host, m->job->domain, orphan->pid, why);
    if (error != NULL && *error != NULL)
        vmig_error_set_hint(*error,
                            "Shut the guest down from inside, or end the process (kill -TERM %" G_GINT64_FORMAT
                            "); then run vmig-snap resume. No data on its disks is lost by that.",
                            orphan->pid);
    return FALSE;
}

/* Durable before the guest is ended, so that any process that continues from here starts it again. Only a running guest
 * was suspended. */
static gboolean note_end(VmigMachine *m, GError **error)
{
    m->job->start_again = TRUE;
    return vmig_machine_save(m, error);
}

/* A guest that is off is no longer suspended: whoever starts it finds it running. */
static gboolean note_off(VmigMachine *m, GError **error)
{
    if (!m->job->suspended)
        return TRUE;
    m->job->suspended = FALSE;
    return vmig_machine_save(m, error);
}

gboolean vmig_truth_end_orphan(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_autoptr(VmigOrphanFacts) orphan = host != NULL ? vmig_node_orphan(host->node, m->job, error) : NULL;

    if (orphan == NULL)
        return FALSE;
    if (orphan->kind == VMIG_ORPHAN_NONE)
        return note_off(m, error);
    if (orphan->kind != VMIG_ORPHAN_SUSPENDED || !m->job->suspended || m->job->merge < VMIG_MERGE_PIVOTING)
        return fail_orphan(m, host, orphan, error);
    vmig_machine_note(m,
                      "%s: libvirt has forgotten '%s', whose QEMU (process %" G_GINT64_FORMAT
                      ") was suspended by the job and has not run since: it is ended, and the guest is started again",
                      host->hypervisor->host, m->job->domain, orphan->pid);
    if (!note_end(m, error) || !vmig_node_orphan_end(host->node, m->job, error))
        return FALSE;
    return note_off(m, error);
}

/* --- the definition --- */

gboolean vmig_truth_mend_definition(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_autoptr(GPtrArray) behind = g_ptr_array_new();
    g_autoptr(VmigDomainXml) live = vmig_host_definition(m, role, VMIG_XML_LIVE, error);
    g_autoptr(VmigDomainXml) next = live != NULL ? vmig_host_definition(m, role, VMIG_XML_PERSISTENT, error) : NULL;
    g_autofree char *xml = NULL;

    if (host == NULL || next == NULL)
        return FALSE;
    for (guint i = 0; i < m->job->disks->len; i++) {
        VmigDisk *disk = m->job->disks->pdata[i];
        if (vmig_chain_in(live, disk, role) == VMIG_CHAIN_BASE && vmig_chain_in(next, disk, role) == VMIG_CHAIN_OVERLAY)
            g_ptr_array_add(behind, disk);
    }
    if (behind->len == 0)
        return TRUE;
    if (!host->hypervisor->ops->domain_xml(host->hypervisor, m->job->uuid, VMIG_XML_PERSISTENT, &xml, error))
        return FALSE;
    /* Only these disks: another disk may still be on its overlay. */
    VmigJob part = *m->job;
    part.disks = behind;
    g_autofree char *mended = vmig_domain_xml_on_bases(xml, &part, role, error);
    if (mended == NULL || !host->hypervisor->ops->define(host->hypervisor, mended, error))
        return FALSE;
    vmig_machine_note(m, "%s: libvirt left %u disk(s) of '%s' on the overlay in the persistent definition: corrected",
                      host->hypervisor->host, behind->len, m->job->domain);
    return TRUE;
}

/* --- QEMU's view --- */

static gboolean end_known(VmigMachine *m, VmigHost *host, VmigRole role, const VmigDisk *disk, GError **error)
{
    g_autoptr(VmigDomainInfo) info = NULL;

    if (!host->hypervisor->ops->find(host->hypervisor, m->job->uuid, &info, error) ||
        !vmig_ours_require(m, role, error))
        return FALSE;
    if (info == NULL || (info->run != VMIG_RUN_IO_ERROR && !(m->job->suspended && info->run == VMIG_RUN_PAUSED)))
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, "Shut the guest down, then run vmig-snap resume.",
                         "%s: disk %s of '%s' is not on the file that libvirt reports", host->hypervisor->host,
                         disk->target, m->job->domain);
    vmig_machine_note(m,
                      "%s: disk %s of '%s' is not on the file that libvirt reports: the guest, which is paused, is "
                      "destroyed and started again",
                      host->hypervisor->host, disk->target, m->job->domain);
    if (!note_end(m, error) || !host->hypervisor->ops->destroy(host->hypervisor, m->job->uuid, info->id, error))
        return FALSE;
    m->job->suspended = FALSE;
    return vmig_machine_save(m, error) &&
           vmig_fail(error, VMIG_ERROR_JOB_LOST, NULL, "%s: '%s' had to be destroyed to merge its disks",
                     host->hypervisor->host, m->job->domain);
}

/* *differs: this disk, if QEMU and libvirt have it on different files; else it stays. */
static gboolean ask_disk(VmigMachine *m, VmigRole role, VmigDisk *disk, const VmigDomainXml *live,
                         const VmigDisk **differs, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    const char *overlay = vmig_disk_overlay(disk, role), *base = vmig_file_path(vmig_disk_base(disk), role);
    VmigChain chain = vmig_chain_in(live, disk, role);
    g_autofree char *file = NULL;

    if (host == NULL || !host->hypervisor->ops->disk_file(host->hypervisor, m->job->uuid, disk->target, &file, error))
        return FALSE;
    gboolean on_base = g_strcmp0(file, base) == 0;
    if (!on_base && g_strcmp0(file, overlay) != 0)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, "Check virsh domblklist, then run vmig-snap resume.",
                         "%s: QEMU has disk %s of '%s' on %s, which does not belong to the job", host->hypervisor->host,
                         disk->target, m->job->domain, file);
    if (on_base != (chain == VMIG_CHAIN_BASE))
        *differs = disk;
    else if (on_base)
        disk->pivoted = TRUE;
    return TRUE;
}

/* *differs: the first disk that differs, or NULL. */
static gboolean ask_disks(VmigMachine *m, VmigRole role, const VmigDisk **differs, GError **error)
{
    g_autoptr(VmigDomainXml) live = vmig_host_definition(m, role, VMIG_XML_LIVE, error);

    *differs = NULL;
    if (live == NULL || !vmig_fault("pivot.asked", error))
        return FALSE;
    for (guint i = 0; *differs == NULL && i < m->job->disks->len; i++)
        if (!ask_disk(m, role, m->job->disks->pdata[i], live, differs, error))
            return FALSE;
    return TRUE;
}

gboolean vmig_truth_ask_qemu(VmigMachine *m, VmigRole role, GError **error)
{
    const VmigDisk *differs = NULL;
    gint64 until = 0;

    for (;;) {
        if (!ask_disks(m, role, &differs, error))
            return FALSE;
        if (differs == NULL)
            return vmig_machine_save(m, error) && vmig_truth_mend_definition(m, role, error);
        /* From QEMU's first answer: that may have waited longer than the limit. */
        if (until == 0)
            until = vmig_machine_now(m) + NOTED_LIMIT;
        if (vmig_machine_now(m) >= until)
            break;
        vmig_machine_wait(m, NOTED_POLL);
    }
    VmigHost *host = vmig_host_at(m, role, error);
    return host != NULL && end_known(m, host, role, differs, error);
}
