/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Moves the definition of a guest that is off from the overlays to the bases. */
#include "definition/domain-private.h"

static void put_on_base(xmlNode *node, const VmigDisk *disk, VmigRole role)
{
    const VmigFile *base = vmig_disk_base(disk);
    xmlNode *chain = vmig_xml_child(node, "backingStore");

    vmig_xml_set(vmig_xml_child(node, "source"), "file", vmig_domain_file_name(base, role));
    vmig_xml_set(vmig_xml_child(node, "source"), "index", NULL);
    if (vmig_xml_child(node, "driver") != NULL)
        vmig_xml_set(vmig_xml_child(node, "driver"), "type", base->format);
    /* Without a chain in the definition, libvirt reads it from the headers at the next start. */
    if (chain != NULL)
        vmig_xml_remove(chain);
    vmig_xml_set(node, "snapshot", disk->next_snapshot);
}

/* Whether the file is the disk's overlay or base on either host. */
static gboolean is_the_jobs(const char *file, const VmigDisk *disk)
{
    const VmigFile *base = vmig_disk_base(disk);
    const char *const ours[] = {disk->at[VMIG_SOURCE].overlay, disk->at[VMIG_DEST].overlay, base->path[VMIG_SOURCE],
                                base->named, base->path[VMIG_DEST]};

    for (guint i = 0; i < G_N_ELEMENTS(ours); i++)
        if (file != NULL && g_strcmp0(file, ours[i]) == 0)
            return TRUE;
    return FALSE;
}

char *vmig_domain_xml_on_bases(const char *text, const VmigJob *job, VmigRole role, GError **error)
{
    g_autoptr(VmigDomainXml) xml = vmig_domain_xml_parse(text, error);

    if (xml == NULL)
        return NULL;
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        xmlNode *node = vmig_disk_node_find(xmlDocGetRootElement(xml->xml->doc), disk->target);
        const VmigDomainDisk *now = vmig_domain_xml_disk(xml, disk->target);
        if (now != NULL && is_the_jobs(now->source, disk))
            put_on_base(node, disk, role);
    }
    return vmig_xml_to_string(xml->xml);
}
