/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Proves that a domain is the guest of this job, by its mark and its disks. */
#include "flows/migrate/ours.h"

#include "core/names.h"
#include "engine/host.h"

static gboolean has_disks(const VmigDomainXml *doc, const VmigJob *job, VmigRole role)
{
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        const VmigDomainDisk *now = vmig_domain_xml_disk(doc, disk->target);
        if (now == NULL || !vmig_chain_has_file_of(now, disk, role))
            return FALSE;
    }
    return job->disks->len > 0;
}

typedef struct {
    gboolean exists;
    gboolean mark;
    gboolean disks;
} Proof;

static gboolean look(VmigMachine *m, VmigRole role, Proof *ret, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_autoptr(GError) why = NULL;
    g_autofree char *xml = NULL;

    *ret = (Proof){0};
    if (host == NULL)
        return FALSE;
    if (!host->hypervisor->ops->domain_xml(host->hypervisor, m->job->uuid, VMIG_XML_LIVE, &xml, &why)) {
        if (g_error_matches(why, VMIG_ERROR, VMIG_ERROR_NO_DOMAIN))
            return TRUE;
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    g_autoptr(VmigDomainXml) doc = vmig_domain_xml_parse(xml, error);
    if (doc == NULL)
        return FALSE;
    ret->exists = TRUE;
    ret->mark = g_strcmp0(vmig_domain_xml_facts(doc)->metadata_job, m->job->id) == 0;
    ret->disks = has_disks(doc, m->job, role);
    return TRUE;
}

gboolean vmig_ours_look(VmigMachine *m, VmigRole role, VmigWhose *ret, GError **error)
{
    Proof proof;

    *ret = VMIG_WHOSE_NONE;
    if (!look(m, role, &proof, error))
        return FALSE;
    if (proof.mark && proof.disks)
        *ret = VMIG_WHOSE_OURS;
    else if (proof.exists)
        *ret = proof.mark || proof.disks ? VMIG_WHOSE_DOUBTFUL : VMIG_WHOSE_FOREIGN;
    return TRUE;
}

/* This is most likely the guest itself, whose mark the user has removed. Advice to undefine it would be wrong. */
static gboolean fail_unmarked(VmigMachine *m, const char *host, GError **error)
{
    vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL,
              "%s: '%s' uses the files of this job, but its definition has lost the job's marker. It is not touched",
              host, m->job->domain);
    if (error != NULL && *error != NULL)
        vmig_error_set_hint(*error,
                            "If it is the guest of this job, restore the marker: virsh metadata %s " VMIG_METADATA_URI
                            " --key " VMIG_METADATA_KEY
                            " --set '<operation job=\"%s\"/>' --current; then run vmig-snap resume.",
                            m->job->uuid, m->job->id);
    return FALSE;
}

gboolean vmig_ours_fail(VmigMachine *m, VmigRole role, GError **error)
{
    const char *host = m->job->host[role];
    Proof proof;

    if (look(m, role, &proof, NULL) && proof.disks && !proof.mark)
        return fail_unmarked(m, host, error);
    vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL,
              "%s: the domain with the UUID of '%s' is not the guest of this job: it was defined or restored there "
              "during the job. It is not touched",
              host, m->job->domain);
    if (error != NULL && *error != NULL)
        vmig_error_set_hint(*error,
                            "Check it: virsh dumpxml %s. Give it another UUID, or undefine it if it is not needed; "
                            "then run vmig-snap resume.",
                            m->job->uuid);
    return FALSE;
}

gboolean vmig_ours_require(VmigMachine *m, VmigRole role, GError **error)
{
    VmigWhose whose;

    if (!vmig_ours_look(m, role, &whose, error))
        return FALSE;
    return whose == VMIG_WHOSE_OURS || whose == VMIG_WHOSE_NONE || vmig_ours_fail(m, role, error);
}

gboolean vmig_ours_require_no_stranger(VmigMachine *m, VmigRole role, GError **error)
{
    VmigWhose whose;

    if (!vmig_ours_look(m, role, &whose, error))
        return FALSE;
    return whose != VMIG_WHOSE_FOREIGN || vmig_ours_fail(m, role, error);
}

gboolean vmig_ours_require_none(VmigMachine *m, VmigRole role, GError **error)
{
    VmigWhose whose;

    if (!vmig_ours_look(m, role, &whose, error))
        return FALSE;
    return whose == VMIG_WHOSE_NONE || vmig_ours_fail(m, role, error);
}

static gboolean is_our_block_job(const VmigBlockJob *job, const VmigDisk *disk, VmigRole role)
{
    if (job->kind == VMIG_BLOCK_JOB_COPY)
        return job->file != NULL && g_strcmp0(job->file, vmig_disk_hold(disk, role)) == 0;
    /* The definition may not have <mirror> yet when QEMU already has the job. */
    return job->file == NULL || vmig_domain_names_file(job->file, vmig_disk_base(disk), role);
}

gboolean vmig_ours_block_job(VmigMachine *m, VmigRole role, const VmigDisk *disk, const VmigDomainDisk *seen,
                             VmigBlockJob *ret, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);

    if (host == NULL ||
        !host->hypervisor->ops->block_job(host->hypervisor, m->job->uuid, disk->target, seen, ret, error))
        return FALSE;
    if (!is_our_block_job(ret, disk, role))
        ret->kind = VMIG_BLOCK_JOB_OTHER;
    return TRUE;
}

gboolean vmig_ours_refuse_block_job(VmigMachine *m, VmigRole role, const VmigDisk *disk, VmigErrorCode code,
                                    GError **error)
{
    g_autofree char *domain = vmig_shell_domain(m->job->domain, m->job->uuid);

    vmig_fail(error, code, NULL, "%s: another user or program started a block job on disk %s", m->job->host[role],
              disk->target);
    if (error != NULL && *error != NULL)
        vmig_error_set_hint(
            *error, "End it when it is no longer needed: virsh blockjob %s %s --abort; then run vmig-snap resume.",
            domain, disk->target);
    return FALSE;
}
