/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/libvirt/own-domains.h"

#include <string.h>

#include "core/errors.h"
#include "definition/chain.h"
#include "definition/xml.h"

void vmig_own_domain_clear(VmigOwnDomain *own)
{
    g_clear_pointer(&own->persistent, vmig_domain_xml_free);
    g_clear_pointer(&own->running, vmig_domain_xml_free);
}

/* In a running domain's file the definition is inside <domstatus>. NULL without an error: another kind of file. */
static VmigDomainXml *parse(const char *text, const char *path, GError **error)
{
    g_autoptr(VmigXml) xml = vmig_xml_parse(text, path, error);
    g_autofree char *inner = NULL;

    if (xml == NULL)
        return NULL;
    xmlNode *root = xmlDocGetRootElement(xml->doc);
    xmlNode *domain = vmig_xml_is(root, "domain") ? root : vmig_xml_child(root, "domain");
    if (domain == NULL)
        return NULL;
    inner = vmig_xml_node_to_string(domain);
    return vmig_domain_xml_parse(inner, error);
}

/* Skips files whose text does not contain the UUID: they belong to other guests. */
static gboolean find_in(const char *folder, const char *uuid, VmigDomainXml **ret, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(GDir) dir = g_dir_open(folder, 0, &failure);
    const char *name;

    if (dir == NULL)
        return g_error_matches(failure, G_FILE_ERROR, G_FILE_ERROR_NOENT) ||
               vmig_fail(error, VMIG_ERROR_IO, NULL, "cannot read libvirt's definitions: %s", failure->message);
    while (*ret == NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_autofree char *text = NULL;
        g_autoptr(GError) why = NULL;
        if (!g_str_has_suffix(name, ".xml") || !g_file_get_contents(path, &text, NULL, NULL) ||
            strstr(text, uuid) == NULL)
            continue;
        g_autoptr(VmigDomainXml) xml = parse(text, path, &why);
        if (why != NULL)
            return vmig_fail(error, VMIG_ERROR_IO, NULL, "cannot read %s: %s", path, why->message);
        if (xml != NULL && g_strcmp0(vmig_domain_xml_facts(xml)->uuid, uuid) == 0)
            *ret = g_steal_pointer(&xml);
    }
    return TRUE;
}

gboolean vmig_own_domain_find(const char *config_dir, const char *run_dir, const char *uuid, VmigOwnDomain *own,
                              GError **error)
{
    return find_in(config_dir, uuid, &own->persistent, error) && find_in(run_dir, uuid, &own->running, error);
}

static gboolean is_marked(VmigDomainXml *xml, const char *job)
{
    return xml != NULL && g_strcmp0(vmig_domain_xml_facts(xml)->metadata_job, job) == 0;
}

gboolean vmig_own_domain_is_marked(const VmigOwnDomain *own, const char *job)
{
    return is_marked(own->persistent, job) || is_marked(own->running, job);
}

static gboolean disk_names(const VmigDomainDisk *disk, const char *path)
{
    return g_strcmp0(disk->mirror_file, path) == 0 || vmig_chain_has(disk, path);
}

static gboolean names(VmigDomainXml *xml, const char *path)
{
    GPtrArray *disks = xml != NULL ? vmig_domain_xml_facts(xml)->disks : NULL;

    for (guint i = 0; disks != NULL && i < disks->len; i++)
        if (disk_names(disks->pdata[i], path))
            return TRUE;
    return FALSE;
}

gboolean vmig_own_domain_names(const VmigOwnDomain *own, const char *path)
{
    return names(own->persistent, path) || names(own->running, path);
}

static gboolean is_source(VmigDomainXml *xml, const VmigJob *job)
{
    for (guint i = 0; xml != NULL && i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        const VmigDomainDisk *now = vmig_domain_xml_disk(xml, disk->target);
        if (disk->files->len == 0 || now == NULL || vmig_chain_of(now, disk, VMIG_SOURCE) == VMIG_CHAIN_OTHER)
            return FALSE;
    }
    return TRUE;
}

gboolean vmig_own_domain_is_source(const VmigOwnDomain *own, const VmigJob *job)
{
    return (own->persistent != NULL || own->running != NULL) && is_source(own->persistent, job) &&
           is_source(own->running, job);
}
