/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/entry.h"

#include "definition/chain.h"
#include "engine/host.h"

#define OF_THE_JOB (VMIG_MAY_BE_BASE | VMIG_MAY_BE_OVERLAY)

static gboolean is_the_guest(const VmigDomainXml *definition, const VmigJob *job)
{
    return g_strcmp0(vmig_domain_xml_facts(definition)->metadata_job, job->id) == 0;
}

static gboolean fail_entry(const VmigJob *job, VmigRole role, const char *what, GError **error)
{
    vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "%s: the definition of '%s' does not fit state %s of job %s: %s",
              job->host[role] != NULL ? job->host[role] : vmig_role_name(role), job->domain, job->state, job->id, what);
    if (error != NULL && *error != NULL)
        vmig_error_set_hint(*error,
                            "vmig-snap doctor on that host compares the definition with the job. Undo the change if "
                            "you know it (virsh domblklist %s), then run vmig-snap resume %s.",
                            job->uuid, job->id);
    return FALSE;
}

gboolean vmig_entry_admits(const VmigDomainXml *definition, const VmigJob *job, VmigRole role, GError **error)
{
    guint may = vmig_job_expected(job, role);

    if (!is_the_guest(definition, job))
        return TRUE;
    if ((may & OF_THE_JOB) == 0)
        return fail_entry(job, role, "the guest must not be defined there yet", error);
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        guint is = vmig_chain_may_be(vmig_chain_in(definition, disk, role));
        if (is == 0 || (is & may) != 0)
            continue;
        g_autofree char *what =
            g_strdup_printf("disk %s is on its %s", disk->target, is == VMIG_MAY_BE_BASE ? "base" : "overlay");
        return fail_entry(job, role, what, error);
    }
    return TRUE;
}

static gboolean check_host(VmigMachine *m, VmigRole role, GError **error)
{
    gboolean has_overlay = role == VMIG_SOURCE || !vmig_job_merges_by_mirror(m->job);
    guint names = has_overlay ? OF_THE_JOB : VMIG_MAY_BE_BASE;

    if ((vmig_job_expected(m->job, role) & names) == names)
        return TRUE; /* nothing that the definition could name is excluded */
    g_autoptr(VmigDomainXml) live = vmig_host_definition(m, role, VMIG_XML_LIVE, NULL);
    return live == NULL || vmig_entry_admits(live, m->job, role, error);
}

gboolean vmig_entry_check(VmigMachine *m, VmigState state, GError **error)
{
    return (!vmig_state_is(state, VMIG_STATE_NEEDS_SOURCE) || check_host(m, VMIG_SOURCE, error)) &&
           (!vmig_state_is(state, VMIG_STATE_NEEDS_DEST) || check_host(m, VMIG_DEST, error));
}
