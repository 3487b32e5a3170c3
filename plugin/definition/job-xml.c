/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* XML that is generated only from the job's record. */
#include "definition/domain-private.h"

#include <string.h>

#include "core/path-map.h"

static xmlDoc *new_doc(const char *root)
{
    xmlDoc *doc = xmlNewDoc((const xmlChar *)"1.0");

    /* Without an encoding libxml2 writes every non-ASCII character of an attribute as a numeric reference. */
    doc->encoding = xmlStrdup((const xmlChar *)"UTF-8");
    if (root != NULL)
        xmlDocSetRootElement(doc, xmlNewDocNode(doc, NULL, (const xmlChar *)root, NULL));
    return doc;
}

static char *doc_to_string(xmlDoc *doc)
{
    return vmig_xml_node_to_string(xmlDocGetRootElement(doc));
}

static void add_text_child(xmlNode *parent, const char *name, const char *text)
{
    xmlNewTextChild(parent, NULL, (const xmlChar *)name, (const xmlChar *)text);
}

static void add_overlay(xmlNode *disk, const char *path)
{
    vmig_xml_set(disk, "snapshot", "external");
    vmig_xml_set(disk, "type", "file");
    vmig_xml_set(vmig_xml_add(disk, "driver"), "type", "qcow2");
    vmig_xml_set(vmig_xml_add(disk, "source"), "file", path);
}

/* Each disk of the job is in the XML, and XML can represent the name of its overlay. */
static gboolean overlays_are_possible(const VmigJob *job, const VmigDomainXml *xml, GError **error)
{
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        if (vmig_domain_xml_disk(xml, disk->target) == NULL)
            return vmig_fail(error, VMIG_ERROR_XML, NULL, "the domain's XML has no disk '%s'", disk->target);
        if (!vmig_xml_text_is_valid(disk->at[VMIG_SOURCE].overlay))
            return vmig_fail(error, VMIG_ERROR_XML, NULL, "disk '%s' has no overlay whose path is allowed in XML",
                             disk->target);
    }
    return TRUE;
}

char *vmig_overlay_snapshot_xml(const VmigJob *job, const char *live_xml, GError **error)
{
    g_autoptr(VmigDomainXml) xml = vmig_domain_xml_parse(live_xml, error);

    if (xml == NULL || !overlays_are_possible(job, xml, error))
        return NULL;
    g_autoptr(xmlDoc) doc = new_doc("domainsnapshot");
    xmlNode *root = xmlDocGetRootElement(doc);
    g_autofree char *name = g_strdup_printf("vmig-snap-%s", job->id);
    add_text_child(root, "name", name);
    xmlNode *disks = vmig_xml_add(root, "disks");
    for (guint i = 0; i < xml->facts.disks->len; i++) {
        const VmigDomainDisk *found = xml->facts.disks->pdata[i];
        const VmigDisk *disk = vmig_job_disk(job, found->target);
        xmlNode *node = vmig_xml_add(disks, "disk");
        vmig_xml_set(node, "name", found->target);
        if (disk != NULL)
            add_overlay(node, disk->at[VMIG_SOURCE].overlay);
        else
            vmig_xml_set(node, "snapshot", "no");
    }
    return doc_to_string(doc);
}

char *vmig_block_copy_xml(const char *path)
{
    g_return_val_if_fail(vmig_xml_text_is_valid(path), NULL);
    g_autoptr(xmlDoc) doc = new_doc("disk");
    xmlNode *disk = xmlDocGetRootElement(doc);

    vmig_xml_set(disk, "type", "file");
    vmig_xml_set(vmig_xml_add(disk, "driver"), "type", "qcow2");
    vmig_xml_set(vmig_xml_add(disk, "source"), "file", path);
    return doc_to_string(doc);
}

/* The element is a hint for people and for recovery. Values that XML cannot represent are left out. */
static void set_hint(xmlNode *node, const char *name, const char *value)
{
    if (vmig_xml_text_is_valid(value))
        vmig_xml_set(node, name, value);
}

xmlNode *vmig_metadata_build(xmlDoc *doc, const VmigJob *job)
{
    xmlNode *node = xmlNewDocNode(doc, NULL, (const xmlChar *)"operation", NULL);
    xmlNs *ns = xmlNewNs(node, (const xmlChar *)VMIG_METADATA_URI, (const xmlChar *)VMIG_METADATA_KEY);

    xmlSetNs(node, ns);
    set_hint(node, "job", job->id);
    set_hint(node, "state", job->state);
    set_hint(node, "token", vmig_role_name(job->owner));
    set_hint(node, "merge", job->options.merge);
    set_hint(node, "source-host", job->host[VMIG_SOURCE]);
    set_hint(node, "dest-host", job->host[VMIG_DEST]);
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        const VmigFile *base = disk->files->len > 0 ? disk->files->pdata[0] : NULL;
        xmlNode *child = xmlAddChild(node, xmlNewDocNode(doc, ns, (const xmlChar *)"disk", NULL));
        set_hint(child, "target", disk->target);
        set_hint(child, "base", base != NULL ? base->path[VMIG_SOURCE] : NULL);
        set_hint(child, "overlay", disk->at[VMIG_SOURCE].overlay);
        set_hint(child, "dest-base", base != NULL ? base->path[VMIG_DEST] : NULL);
        set_hint(child, "dest-overlay", disk->at[VMIG_DEST].overlay);
    }
    return node;
}

static void drop_namespace(xmlNode *node)
{
    node->ns = NULL;
    for (xmlNode *child = node->children; child != NULL; child = child->next)
        drop_namespace(child);
}

char *vmig_metadata_xml(const VmigJob *job)
{
    g_autoptr(xmlDoc) doc = new_doc(NULL);
    xmlNode *node = vmig_metadata_build(doc, job);

    xmlDocSetRootElement(doc, node);
    drop_namespace(node);
    xmlFreeNsList(node->nsDef);
    node->nsDef = NULL;
    return doc_to_string(doc);
}

xmlNode *vmig_metadata_find(const xmlNode *domain)
{
    xmlNode *metadata = vmig_xml_child(domain, "metadata");

    for (xmlNode *node = metadata == NULL ? NULL : metadata->children; node != NULL; node = node->next)
        if (node->type == XML_ELEMENT_NODE && node->ns != NULL && strcmp((const char *)node->name, "operation") == 0 &&
            g_strcmp0((const char *)node->ns->href, VMIG_METADATA_URI) == 0)
            return node;
    return NULL;
}

char *vmig_metadata_job_id(const char *domain_xml)
{
    g_autoptr(VmigXml) xml = vmig_xml_parse(domain_xml, "the domain's XML", NULL);

    if (xml == NULL)
        return NULL;
    g_autofree char *id = vmig_xml_attr(vmig_metadata_find(xmlDocGetRootElement(xml->doc)), "job");
    return vmig_job_id_is_valid(id) ? g_steal_pointer(&id) : NULL;
}
