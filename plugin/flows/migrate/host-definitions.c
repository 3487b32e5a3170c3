/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The definition for the next start, during and after the job. Changes that the user made meanwhile are kept. But it
 * must not name an overlay that is about to be removed. */
#include "definition/domain-xml.h"
#include "engine/host.h"

gboolean vmig_host_require_planned(VmigMachine *m, GError **error)
{
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, error);
    g_autofree char *live = NULL;
    g_autofree char *persistent = NULL;

    if (source == NULL ||
        !source->hypervisor->ops->domain_xml(source->hypervisor, m->job->uuid, VMIG_XML_LIVE, &live, error) ||
        !source->hypervisor->ops->domain_xml(source->hypervisor, m->job->uuid, VMIG_XML_PERSISTENT, &persistent, error))
        return FALSE;
    return vmig_domain_xml_as_planned(live, m->job->live_xml, m->job, error) &&
           vmig_domain_xml_as_planned(persistent, m->job->persistent_xml, m->job, error);
}

static gboolean is_overlay(const VmigJob *job, VmigRole role, const char *file)
{
    for (guint i = 0; i < job->disks->len; i++)
        if (file != NULL && g_strcmp0(file, vmig_disk_overlay(job->disks->pdata[i], role)) == 0)
            return TRUE;
    return FALSE;
}

gboolean vmig_host_require_next_start(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_autoptr(VmigDomainXml) xml = host != NULL ? vmig_host_definition(m, role, VMIG_XML_PERSISTENT, error) : NULL;

    if (xml == NULL)
        return FALSE;
    GPtrArray *disks = vmig_domain_xml_facts(xml)->disks;
    for (guint i = 0; i < disks->len; i++) {
        const VmigDomainDisk *now = disks->pdata[i];
        if (is_overlay(m->job, role, now->source))
            return vmig_fail(
                error, VMIG_ERROR_INTERFERENCE, "Check virsh dumpxml --inactive, then run vmig-snap resume.",
                "%s: the persistent definition of disk %s does not name its base", host->hypervisor->host, now->target);
    }
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        const VmigDomainDisk *now = vmig_domain_xml_disk(xml, disk->target);
        if (now == NULL || !vmig_domain_names_file(now->source, vmig_disk_base(disk), role))
            vmig_machine_note(m,
                              "%s: the definition of disk %s for the next start was changed during the job: it names "
                              "%s, and is not changed back",
                              host->hypervisor->host, disk->target,
                              now == NULL                ? "no disk"
                              : now->source_text != NULL ? now->source_text
                                                         : "no source");
    }
    return TRUE;
}

/* A file that is layered over one of the job's files would change or break with the commit. */
static gboolean is_on_ours(VmigMachine *m, VmigRole role, const char *file)
{
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++)
            if (g_strcmp0(vmig_file_path(disk->files->pdata[k], role), file) == 0)
                return TRUE;
    }
    return is_overlay(m->job, role, file);
}

gboolean vmig_host_stands_apart(VmigMachine *m, VmigRole role, const VmigDisk *disk, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_autoptr(VmigDomainXml) xml = host != NULL ? vmig_host_definition(m, role, VMIG_XML_PERSISTENT, error) : NULL;
    g_autoptr(GError) why = NULL;

    if (xml == NULL)
        return FALSE;
    const VmigDomainDisk *now = vmig_domain_xml_disk(xml, disk->target);
    if (now == NULL || now->source_text == NULL)
        return TRUE;
    const char *format = now->driver_type != NULL ? now->driver_type : "raw";
    g_autoptr(GPtrArray) chain = now->source != NULL ? vmig_node_survey(host->node, now->source, format, &why) : NULL;
    gboolean apart = chain != NULL;
    for (guint i = 0; apart && i < chain->len; i++)
        apart = !is_on_ours(m, role, ((const VmigImageFacts *)chain->pdata[i])->path);
    return apart ||
           vmig_fail(error, VMIG_ERROR_INTERFERENCE,
                     "Merge that layer (qemu-img commit), define the disk on its overlay, then run vmig-snap resume.",
                     "'%s' is off, and the definition of disk %s names a file that does not belong to the job",
                     m->job->domain, disk->target);
}
