/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks whether a definition has other disks than the planned one. */
#include "definition/domain-private.h"

#include <string.h>

#include "core/names.h"

/* A medium that was ejected since the plan does not matter. */
static gboolean is_as_planned(const VmigDomainDisk *now, const VmigDomainDisk *planned)
{
    gboolean medium = strcmp(now->device, "cdrom") == 0 || strcmp(now->device, "floppy") == 0;

    if (planned == NULL || (medium && now->source_text == NULL))
        return planned != NULL || medium;
    return strcmp(now->type, planned->type) == 0 && g_strcmp0(now->source_text, planned->source_text) == 0;
}

gboolean vmig_domain_xml_as_planned(const char *now_text, const char *planned_text, const VmigJob *job, GError **error)
{
    g_autoptr(VmigDomainXml) now = vmig_domain_xml_parse(now_text, error);
    g_autoptr(VmigDomainXml) planned = now != NULL ? vmig_domain_xml_parse(planned_text, error) : NULL;

    if (planned == NULL)
        return FALSE;
    for (guint i = 0; i < now->facts.disks->len; i++) {
        const VmigDomainDisk *disk = now->facts.disks->pdata[i];
        if (vmig_job_disk(job, disk->target) != NULL ||
            is_as_planned(disk, vmig_domain_xml_disk(planned, disk->target)))
            continue;
        g_autofree char *source = vmig_text_escape(disk->source_text != NULL ? disk->source_text : "nothing", -1);
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, "Run the command again.",
                         "disk %s (%s) was attached or changed after the plan", disk->target, source);
    }
    return TRUE;
}
