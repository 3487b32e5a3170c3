/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The definition of a guest that is off, put from the overlays onto the bases. */
#include "core/domain-private.h"

static void put_on_base(xmlNode *node, const VmigDisk *disk, VmigSide side)
{
    const VmigFile *base = vmig_disk_base(disk);
    xmlNode *chain = vmig_xml_child(node, "backingStore");

    vmig_xml_set(vmig_xml_child(node, "source"), "file", side == VMIG_SIDE_DEST ? base->dest : base->source);
    vmig_xml_set(vmig_xml_child(node, "source"), "index", NULL);
    if (vmig_xml_child(node, "driver") != NULL)
        vmig_xml_set(vmig_xml_child(node, "driver"), "type", base->format);
    /* Without a chain libvirt reads it from the headers at the next start. */
    if (chain != NULL)
        vmig_xml_remove(chain);
    vmig_xml_set(node, "snapshot", disk->snapshot);
}

char *vmig_domain_xml_on_bases(const char *text, const VmigJob *job, VmigSide side, GError **error)
{
    g_autoptr(VmigDomainXml) xml = vmig_domain_xml_parse(text, error);

    if (xml == NULL)
        return NULL;
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        xmlNode *node = vmig_disk_node_find(xmlDocGetRootElement(xml->xml->doc), disk->target);
        if (node == NULL || vmig_xml_child(node, "source") == NULL) {
            vmig_fail(error, VMIG_ERROR_XML, NULL, "the domain's XML has no disk '%s' in a file", disk->target);
            return NULL;
        }
        put_on_base(node, disk, side);
    }
    return vmig_xml_to_string(xml->xml);
}
