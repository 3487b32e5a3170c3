/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rewrites domain and snapshot XML for the destination. */
#include "definition/domain-private.h"

#include <string.h>

#include "core/names.h"

static gboolean uuid_is_the_jobs(const char *uuid, const VmigJob *job, const char *what, GError **error)
{
    if (uuid != NULL && job->uuid != NULL && g_ascii_strcasecmp(uuid, job->uuid) == 0)
        return TRUE;
    g_autofree char *shown = vmig_text_escape(uuid, -1);
    return vmig_fail(error, VMIG_ERROR_XML, NULL, "%s belongs to another domain: UUID '%s' instead of '%s'", what,
                     shown, job->uuid != NULL ? job->uuid : "");
}

/* Whether the disk has all values for the rewrite, and XML can represent them. */
static gboolean disk_is_complete(const VmigDisk *disk, gboolean direct)
{
    if (disk->files->len == 0 || (!direct && !vmig_xml_text_is_valid(disk->at[VMIG_DEST].overlay)))
        return FALSE;
    for (guint i = 0; i < disk->files->len; i++) {
        const VmigFile *file = disk->files->pdata[i];
        if (!vmig_xml_text_is_valid(file->path[VMIG_DEST]) || !vmig_xml_text_is_valid(file->format))
            return FALSE;
    }
    return TRUE;
}

/* A <backingStore> chain of these files, starting with index first and ended by an empty element. */
static xmlNode *build_chain(xmlDoc *doc, GPtrArray *files, guint first)
{
    xmlNode *top = xmlNewDocNode(doc, NULL, (const xmlChar *)"backingStore", NULL);
    xmlNode *level = top;

    for (guint i = first; i < files->len; i++) {
        const VmigFile *file = files->pdata[i];
        vmig_xml_set(level, "type", "file");
        vmig_xml_set(vmig_xml_add(level, "format"), "type", file->format);
        vmig_xml_set(vmig_xml_add(level, "source"), "file", file->path[VMIG_DEST]);
        level = vmig_xml_add(level, "backingStore");
    }
    return top;
}

static void set_chain(xmlNode *node, xmlNode *chain)
{
    xmlNode *old = vmig_xml_child(node, "backingStore");

    if (old == NULL) {
        vmig_xml_insert_after(vmig_xml_child(node, "source"), chain);
    } else {
        xmlReplaceNode(old, chain);
        xmlFreeNode(old);
    }
    vmig_xml_indent(chain);
}

static void rewrite_disk(xmlNode *node, const VmigDisk *disk, gboolean direct, gboolean live)
{
    const VmigFile *base = disk->files->pdata[0];
    xmlNode *source = vmig_xml_child(node, "source");
    xmlNode *driver = vmig_xml_child(node, "driver");
    xmlNode *mirror = vmig_xml_child(node, "mirror");

    if (driver == NULL) {
        driver = xmlNewDocNode(node->doc, NULL, (const xmlChar *)"driver", NULL);
        vmig_xml_insert_after(source, driver);
        vmig_xml_set(driver, "name", "qemu");
    }
    vmig_xml_set(driver, "type", direct ? base->format : "qcow2");
    vmig_xml_set(source, "file", direct ? base->path[VMIG_DEST] : disk->at[VMIG_DEST].overlay);
    vmig_xml_set(source, "index", NULL);
    if (mirror != NULL)
        vmig_xml_remove(mirror);
    if (live || vmig_xml_child(node, "backingStore") != NULL)
        set_chain(node, build_chain(node->doc, disk->files, direct ? 1 : 0));
    vmig_xml_set(node, "snapshot", "no");
}

/* Returns <metadata>. If there is none, adds it after the elements that libvirt writes before it. */
static xmlNode *make_metadata(xmlNode *domain)
{
    static const char *const before[] = {"description", "title", "genid", "uuid", "name"};
    xmlNode *metadata = vmig_xml_child(domain, "metadata");
    xmlNode *anchor = NULL;

    for (guint i = 0; i < G_N_ELEMENTS(before) && anchor == NULL; i++)
        anchor = vmig_xml_child(domain, before[i]);
    if (metadata == NULL) {
        metadata = xmlNewDocNode(domain->doc, NULL, (const xmlChar *)"metadata", NULL);
        vmig_xml_insert_after(anchor, metadata); /* never NULL: the parser requires a <name> */
    }
    return metadata;
}

static void put_metadata(xmlNode *domain, const VmigJob *job)
{
    xmlNode *ours = vmig_metadata_build(domain->doc, job);
    xmlNode *old;

    while ((old = vmig_metadata_find(domain)) != NULL)
        vmig_xml_remove(old);
    xmlNode *metadata = make_metadata(domain);
    xmlNode *last = xmlLastElementChild(metadata);
    if (last != NULL) {
        vmig_xml_insert_after(last, ours);
        vmig_xml_indent(ours);
    } else {
        xmlNodeSetContent(metadata, NULL); /* drops the white space around a removed element */
        xmlAddChild(metadata, ours);
        vmig_xml_indent(metadata);
    }
}

static gboolean rewrite_job_disk(VmigDomainXml *xml, const VmigDisk *disk, const VmigJob *job, gboolean live,
                                 GError **error)
{
    const VmigDomainDisk *found = vmig_domain_xml_disk(xml, disk->target);
    xmlNode *root = xmlDocGetRootElement(xml->xml->doc);

    if (found == NULL || found->source == NULL || strcmp(found->device, "disk") != 0)
        return vmig_fail(error, VMIG_ERROR_XML, NULL, "the domain's XML has no disk '%s' in a file", disk->target);
    if (!disk_is_complete(disk, vmig_job_merges_by_mirror(job)))
        return vmig_fail(error, VMIG_ERROR_XML, NULL, "a path of disk '%s' is missing or not allowed in XML",
                         disk->target);
    rewrite_disk(vmig_disk_node_find(root, disk->target), disk, vmig_job_merges_by_mirror(job), live);
    return TRUE;
}

char *vmig_domain_xml_for_destination(const char *text, const VmigJob *job, gboolean live, GError **error)
{
    g_autoptr(VmigDomainXml) xml = vmig_domain_xml_parse(text, error);

    if (xml == NULL || !uuid_is_the_jobs(xml->facts.uuid, job, "the domain's XML", error))
        return NULL;
    for (guint i = 0; i < job->disks->len; i++)
        if (!rewrite_job_disk(xml, job->disks->pdata[i], job, live, error))
            return NULL;
    put_metadata(xmlDocGetRootElement(xml->xml->doc), job);
    return vmig_xml_to_string(xml->xml);
}

/* Source path → destination path of every file of the job. */
static GHashTable *moved_files(const VmigJob *job)
{
    GHashTable *moved = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++) {
            const VmigFile *file = disk->files->pdata[k];
            if (file->path[VMIG_SOURCE] != NULL && vmig_xml_text_is_valid(file->path[VMIG_DEST]) &&
                strcmp(file->path[VMIG_SOURCE], file->path[VMIG_DEST]) != 0)
                g_hash_table_insert(moved, file->path[VMIG_SOURCE], file->path[VMIG_DEST]);
            if (file->named != NULL && vmig_xml_text_is_valid(file->path[VMIG_DEST]) &&
                strcmp(file->named, file->path[VMIG_DEST]) != 0)
                g_hash_table_insert(moved, file->named, file->path[VMIG_DEST]);
        }
    }
    return moved;
}

/* Changes the path of each file of one <disk> that the job moves. */
static void move_disk(xmlNode *disk, GHashTable *moved, gboolean *changed)
{
    for (xmlNode *level = disk; level != NULL; level = vmig_xml_child(level, "backingStore")) {
        g_autofree char *type = vmig_xml_attr(level, "type");
        g_autofree char *file = vmig_xml_child_attr(level, "source", "file");
        const char *dest = file == NULL ? NULL : g_hash_table_lookup(moved, file);
        if (dest == NULL || (type != NULL && strcmp(type, "file") != 0))
            continue;
        vmig_xml_set(vmig_xml_child(level, "source"), "file", dest);
        *changed = TRUE;
    }
}

static gboolean move_disks(xmlNode *holder, GHashTable *moved, gboolean *changed, GError **error)
{
    for (xmlNode *disk = vmig_xml_child(holder, "disk"); disk != NULL; disk = vmig_xml_next(disk)) {
        if (!vmig_disk_node_check(disk, error))
            return FALSE;
        move_disk(disk, moved, changed);
    }
    return TRUE;
}

/* libvirt writes the watchdog that every q35 machine has since 9.1; older versions know no such model, and accept only
 * one watchdog. It is removed if a libvirt that knows it adds the same one again: with the action of the first other
 * watchdog, or with the default (qemuDomainDefAddDefaultDevices()). libvirt itself removes only the one with the
 * default action for a migration, and none in a snapshot. */
static void drop_implicit_watchdog(xmlNode *domain, gboolean *changed)
{
    g_autofree char *machine = vmig_xml_child_attr(vmig_xml_child(domain, "os"), "type", "machine");
    xmlNode *itco = NULL, *other = NULL;

    if (machine == NULL || !(strcmp(machine, "q35") == 0 || g_str_has_prefix(machine, "pc-q35-")))
        return;
    for (xmlNode *node = vmig_xml_child(vmig_xml_child(domain, "devices"), "watchdog"); node != NULL;
         node = vmig_xml_next(node)) {
        xmlNode **found = vmig_xml_attr_is(node, "model", "itco") ? &itco : &other;
        *found = *found != NULL ? *found : node;
    }
    g_autofree char *action = vmig_xml_attr(itco, "action");
    g_autofree char *added = vmig_xml_attr(other, "action");
    if (itco == NULL || strcmp(action != NULL ? action : "reset", added != NULL ? added : "reset") != 0)
        return;
    vmig_xml_remove(itco);
    *changed = TRUE;
}

char *vmig_snapshot_xml_for_destination(const char *text, const VmigJob *job, GError **error)
{
    static const char *const once[] = {"disks", "domain", "inactiveDomain", NULL};
    static const char *const parts[] = {"name", "uuid", "devices", NULL};
    static const char *const domains[] = {"domain", "inactiveDomain"};
    g_autoptr(VmigXml) xml = vmig_xml_parse(text, "the snapshot's XML", error);
    g_autoptr(GHashTable) moved = moved_files(job);
    gboolean changed = FALSE;

    if (xml == NULL)
        return NULL;
    xmlNode *root = xmlDocGetRootElement(xml->doc);
    if (!vmig_xml_is(root, "domainsnapshot")) {
        vmig_fail(error, VMIG_ERROR_XML, NULL, "the XML does not describe a snapshot");
        return NULL;
    }
    if (!vmig_xml_once(root, once, error) || !move_disks(vmig_xml_child(root, "disks"), moved, &changed, error))
        return NULL;
    for (guint i = 0; i < G_N_ELEMENTS(domains); i++) {
        xmlNode *domain = vmig_xml_child(root, domains[i]);
        g_autofree char *uuid = vmig_xml_child_text(domain, "uuid");
        if (domain == NULL)
            continue;
        if (!vmig_xml_once(domain, parts, error) || !uuid_is_the_jobs(uuid, job, "the snapshot's XML", error) ||
            !move_disks(vmig_xml_child(domain, "devices"), moved, &changed, error))
            return NULL;
        drop_implicit_watchdog(domain, &changed);
    }
    return changed ? vmig_xml_to_string(xml) : g_strdup(text);
}

char *vmig_disk_xml_set_snapshot(const char *domain_xml, const char *target, const char *value, GError **error)
{
    g_autoptr(VmigDomainXml) xml = vmig_domain_xml_parse(domain_xml, error);

    if (xml == NULL)
        return NULL;
    xmlNode *disk = vmig_disk_node_find(xmlDocGetRootElement(xml->xml->doc), target);
    if (disk == NULL) {
        vmig_fail(error, VMIG_ERROR_XML, NULL, "the domain's XML has no disk '%s'", target);
        return NULL;
    }
    vmig_xml_set(disk, "snapshot", value);
    return vmig_xml_node_to_string(disk);
}
