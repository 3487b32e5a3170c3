/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Block jobs. A job is over when libvirt's XML no longer has its <mirror>; events only end a wait early. */
#include <string.h>

#include "definition/domain-xml.h"
#include "drivers/libvirt/libvirt-private.h"

#define MIB (1024 * 1024)

gboolean vmig_libvirt_hold(VmigHypervisor *hv, const char *uuid, const char *target, const char *disk_xml,
                           GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);
    virTypedParameterPtr params = NULL;
    int n = 0, max = 0;

    if (domain == NULL)
        return FALSE;
    /* One byte per second: the job must make libvirt refuse all other jobs, not copy. TRANSIENT_JOB permits it on a
     * persistent domain (qemuDomainBlockCopyCommon). */
    virTypedParamsAddULLong(&params, &n, &max, VIR_DOMAIN_BLOCK_COPY_BANDWIDTH, 1);
    int rc = virDomainBlockCopy(domain, target, disk_xml, params, (unsigned)n,
                                VIR_DOMAIN_BLOCK_COPY_SHALLOW | VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB);
    virTypedParamsFree(params, n);
    return rc == 0 || vmig_libvirt_fail(self, error, "cannot start a hold on disk %s", target);
}

/* Looked up by UUID once per connection: PIVOT polls each disk while the guest is suspended. If the domain is gone
 * meanwhile, the call made with it fails. */
static virDomainPtr found_domain(VmigLibvirt *self, const char *uuid, GError **error)
{
    virConnectPtr conn = vmig_libvirt_connection(self, error);
    char known[VIR_UUID_STRING_BUFLEN] = "";

    if (conn == NULL)
        return NULL;
    if (self->block_domain != NULL)
        virDomainGetUUIDString(self->block_domain, known);
    if (strcmp(known, uuid) != 0) {
        g_clear_pointer(&self->block_domain, virDomainFree);
        self->block_domain = vmig_libvirt_domain(self, uuid, error);
    }
    if (self->block_domain != NULL)
        virDomainRef(self->block_domain);
    return self->block_domain;
}

static VmigBlockJobKind kind_of(const char *job)
{
    if (job == NULL)
        return VMIG_BLOCK_JOB_OTHER;
    if (strcmp(job, "copy") == 0)
        return VMIG_BLOCK_JOB_COPY;
    return strcmp(job, "active-commit") == 0 ? VMIG_BLOCK_JOB_COMMIT : VMIG_BLOCK_JOB_OTHER;
}

/* The disk's job in the definition, plus its progress, which only QEMU knows: one libvirt call. */
static gboolean ask_job(VmigLibvirt *self, const char *uuid, const VmigDomainDisk *disk, VmigBlockJob *ret,
                        GError **error)
{
    g_autoptr(virDomain) domain = found_domain(self, uuid, error);
    const char *target = disk->target;
    virDomainBlockJobInfo info;

    if (domain == NULL)
        return FALSE;
    if (disk->mirror) {
        ret->kind = kind_of(disk->mirror_job);
        ret->ready = disk->mirror_ready;
        ret->file = g_strdup(disk->mirror_file);
    }
    int rc = virDomainGetBlockJobInfo(domain, target, &info, VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES);
    if (rc < 0)
        return vmig_libvirt_fail(self, error, "cannot query the block job of disk %s", target);
    if (rc > 0) {
        ret->done = info.cur;
        ret->total = info.end;
        if (ret->kind == VMIG_BLOCK_JOB_NONE)
            ret->kind =
                info.type == VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT ? VMIG_BLOCK_JOB_COMMIT : VMIG_BLOCK_JOB_OTHER;
    }
    return TRUE;
}

gboolean vmig_libvirt_block_job(VmigHypervisor *hv, const char *uuid, const char *target, const VmigDomainDisk *seen,
                                VmigBlockJob *ret, GError **error)
{
    g_autofree char *xml = NULL;

    vmig_block_job_clear(ret);
    *ret = (VmigBlockJob){0};
    if (seen != NULL)
        return ask_job((VmigLibvirt *)hv, uuid, seen, ret, error);
    if (!hv->ops->domain_xml(hv, uuid, VMIG_XML_LIVE, &xml, error))
        return FALSE;
    g_autoptr(VmigDomainXml) doc = vmig_domain_xml_parse(xml, error);
    if (doc == NULL)
        return FALSE;
    const VmigDomainDisk *disk = vmig_domain_xml_disk(doc, target);
    if (disk == NULL)
        return vmig_fail(error, VMIG_ERROR_UNKNOWN_DISK, NULL, "%s: the domain has no disk %s", hv->host, target);
    return ask_job((VmigLibvirt *)hv, uuid, disk, ret, error);
}

gboolean vmig_libvirt_block_commit(VmigHypervisor *hv, const char *uuid, const char *target, const char *base,
                                   guint64 bandwidth, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);

    if (domain == NULL)
        return FALSE;
    vmig_libvirt_block_end(hv, uuid, target); /* of an earlier one */
    /* Always name the base: NULL would commit to the bottom of the chain (qemuBlockCommit). */
    if (virDomainBlockCommit(domain, target, base, NULL, (unsigned long)bandwidth,
                             VIR_DOMAIN_BLOCK_COMMIT_ACTIVE | VIR_DOMAIN_BLOCK_COMMIT_BANDWIDTH_BYTES) == 0)
        return TRUE;
    return vmig_libvirt_fail(self, error, "cannot commit disk %s into %s", target, base);
}

gboolean vmig_libvirt_block_cancel(VmigHypervisor *hv, const char *uuid, const char *target, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_auto(VmigBlockJob) job = {0};

    if (!vmig_libvirt_block_job(hv, uuid, target, NULL, &job, error))
        return FALSE;
    if (job.kind == VMIG_BLOCK_JOB_NONE)
        return TRUE;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);
    if (domain == NULL)
        return FALSE;
    if (virDomainBlockJobAbort(domain, target, 0) == 0)
        return TRUE;
    g_autoptr(GError) why = NULL;
    vmig_libvirt_fail(self, &why, "cannot end the block job of disk %s", target);
    /* The job may have ended by itself between the check and the call. */
    if (vmig_libvirt_block_job(hv, uuid, target, NULL, &job, NULL) && job.kind == VMIG_BLOCK_JOB_NONE)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

gboolean vmig_libvirt_block_pivot(VmigHypervisor *hv, const char *uuid, const char *target, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = found_domain(self, uuid, error);

    if (domain == NULL)
        return FALSE;
    if (virDomainBlockJobAbort(domain, target, VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT) == 0)
        return TRUE;
    return vmig_libvirt_fail(self, error, "cannot pivot disk %s", target);
}

gboolean vmig_libvirt_block_speed(VmigHypervisor *hv, const char *uuid, const char *target, guint64 bandwidth,
                                  GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);

    if (domain == NULL)
        return FALSE;
    if (target == NULL) {
        /* In MiB. libvirt has no value for "unlimited"; this is its largest. */
        unsigned long most = G_MAXINT64 / MIB, mib = (unsigned long)(bandwidth / MIB);
        return virDomainMigrateSetMaxSpeed(domain, bandwidth > 0 ? MAX(mib, 1) : most, 0) == 0 ||
               vmig_libvirt_fail(self, error, "cannot set the speed of the migration");
    }
    if (virDomainBlockJobSetSpeed(domain, target, (unsigned long)bandwidth,
                                  VIR_DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES) == 0)
        return TRUE;
    return vmig_libvirt_fail(self, error, "cannot set the speed of disk %s's block job", target);
}
