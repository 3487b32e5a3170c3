/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One <disk> of a domain: its properties and its files. */
#include "definition/domain-private.h"

#include <string.h>

#include "core/names.h"

static void chain_file_free(gpointer data)
{
    VmigChainFile *file = data;

    g_free(file->file);
    g_free(file->device);
    g_free(file->format);
    g_free(file->type);
    g_free(file);
}

void vmig_domain_disk_free(VmigDomainDisk *disk)
{
    g_free(disk->target);
    g_free(disk->bus);
    g_free(disk->device);
    g_free(disk->type);
    g_free(disk->driver_type);
    g_free(disk->source);
    g_free(disk->device_path);
    g_free(disk->source_text);
    g_free(disk->startup_policy);
    g_free(disk->snapshot);
    g_free(disk->serial);
    g_ptr_array_unref(disk->backing);
    g_free(disk->mirror_job);
    g_free(disk->mirror_file);
    g_free(disk);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigDomainDisk, vmig_domain_disk_free)

gboolean vmig_disk_node_check(xmlNode *disk, GError **error)
{
    static const char *const once[] = {"driver", "source", "target", "format", "backingStore", "mirror", NULL};

    for (xmlNode *level = disk; level != NULL; level = vmig_xml_child(level, "backingStore"))
        if (!vmig_xml_once(level, once, error))
            return FALSE;
    return TRUE;
}

/* libvirt's default for <disk> is type='file'. */
static char *type_of(const xmlNode *holder)
{
    char *type = vmig_xml_attr(holder, "type");

    return type != NULL ? type : g_strdup("file");
}

static char *source_file(const xmlNode *holder, const char *type)
{
    return strcmp(type, "file") == 0 ? vmig_xml_child_attr(holder, "source", "file") : NULL;
}

static char *source_device(const xmlNode *holder, const char *type)
{
    return strcmp(type, "block") == 0 ? vmig_xml_child_attr(holder, "source", "dev") : NULL;
}

/* These names refer to a different server on every host. */
static gboolean is_this_host(const char *name)
{
    return g_ascii_strcasecmp(name, "localhost") == 0 || g_str_has_prefix(name, "localhost.") ||
           g_str_has_prefix(name, "127.") || g_str_equal(name, "::1") || g_str_has_prefix(name, "::ffff:127.");
}

/* Without a <host>, only Ceph's client knows its servers by itself. */
static gboolean has_local_server(const xmlNode *holder)
{
    xmlNode *source = vmig_xml_child(holder, "source");
    xmlNode *host = vmig_xml_child(source, "host");
    gboolean local = host == NULL && !vmig_xml_attr_is(source, "protocol", "rbd");

    for (; host != NULL; host = vmig_xml_next(host)) {
        g_autofree char *name = vmig_xml_attr(host, "name");
        local |= vmig_xml_attr_is(host, "transport", "unix") || name == NULL || is_this_host(name);
    }
    return local;
}

/* Describes any source for people; NULL for an empty drive. */
static char *describe_source(const xmlNode *disk)
{
    static const char *const simple[] = {"file", "dev", "dir", "name", "path"};
    xmlNode *source = vmig_xml_child(disk, "source");
    g_autofree char *protocol = vmig_xml_attr(source, "protocol");
    g_autofree char *pool = vmig_xml_attr(source, "pool");
    g_autofree char *text = NULL;

    if (pool != NULL) {
        g_autofree char *volume = vmig_xml_attr(source, "volume");
        text = g_strdup_printf("volume %s of pool %s", volume, pool);
    }
    for (guint i = 0; i < G_N_ELEMENTS(simple) && text == NULL; i++)
        text = vmig_xml_attr(source, simple[i]);
    if (protocol != NULL) {
        g_autofree char *host = vmig_xml_child_attr(source, "host", "name");
        return g_strdup_printf("%s://%s/%s", protocol, host != NULL ? host : "", text != NULL ? text : "");
    }
    return text == NULL && source != NULL ? type_of(disk) : g_steal_pointer(&text);
}

/* Reads the properties that make an image more than a plain file, at any level of the chain. */
static void read_level_flags(const xmlNode *level, VmigDomainDisk *disk)
{
    xmlNode *source = vmig_xml_child(level, "source");

    disk->encrypted |= vmig_xml_child(level, "encryption") != NULL || vmig_xml_child(source, "encryption") != NULL;
    disk->data_store |= vmig_xml_child(level, "dataStore") != NULL || vmig_xml_child(source, "dataStore") != NULL;
    disk->sliced |= vmig_xml_child(source, "slices") != NULL;
    disk->reservations |= vmig_xml_child(source, "reservations") != NULL;
}

static void read_chain(const xmlNode *node, VmigDomainDisk *disk)
{
    const xmlNode *level = vmig_xml_child(node, "backingStore");

    read_level_flags(node, disk);
    for (; level != NULL; level = vmig_xml_child(level, "backingStore")) {
        g_autofree char *named = vmig_xml_attr(level, "type");
        if (named == NULL && vmig_xml_child(level, "source") == NULL) {
            disk->chain_known = TRUE;
            return;
        }
        VmigChainFile *file = g_new0(VmigChainFile, 1);
        g_ptr_array_add(disk->backing, file);
        file->type = type_of(level);
        file->file = source_file(level, file->type);
        file->device = source_device(level, file->type);
        file->format = vmig_xml_child_attr(level, "format", "type");
        read_level_flags(level, disk);
    }
}

static void read_mirror(const xmlNode *node, VmigDomainDisk *disk)
{
    xmlNode *mirror = vmig_xml_child(node, "mirror");

    disk->mirror = mirror != NULL;
    disk->mirror_job = vmig_xml_attr(mirror, "job");
    disk->mirror_ready = vmig_xml_attr_is(mirror, "ready", "yes");
    disk->mirror_file = vmig_xml_child_attr(mirror, "source", "file");
    if (disk->mirror_file == NULL) /* libvirt's format before 1.2.6, which it still writes beside <source> */
        disk->mirror_file = vmig_xml_attr(mirror, "file");
}

xmlNode *vmig_disk_node_find(const xmlNode *domain, const char *target)
{
    xmlNode *node = vmig_xml_child(vmig_xml_child(domain, "devices"), "disk");

    for (; node != NULL; node = vmig_xml_next(node)) {
        g_autofree char *found = vmig_xml_child_attr(node, "target", "dev");
        if (g_strcmp0(found, target) == 0)
            return node;
    }
    return NULL;
}

VmigDomainDisk *vmig_domain_disk_read(xmlNode *node, GError **error)
{
    g_autoptr(VmigDomainDisk) disk = g_new0(VmigDomainDisk, 1);

    disk->backing = g_ptr_array_new_with_free_func(chain_file_free);
    if (!vmig_disk_node_check(node, error))
        return NULL;
    disk->target = vmig_xml_child_attr(node, "target", "dev");
    if (disk->target == NULL || *disk->target == '\0') {
        vmig_fail(error, VMIG_ERROR_XML, NULL, "the disk in line %ld of the XML has no target", xmlGetLineNo(node));
        return NULL;
    }
    disk->bus = vmig_xml_child_attr(node, "target", "bus");
    disk->type = type_of(node);
    disk->device = vmig_xml_attr(node, "device");
    if (disk->device == NULL)
        disk->device = g_strdup("disk");
    disk->driver_type = vmig_xml_child_attr(node, "driver", "type");
    disk->source = source_file(node, disk->type);
    disk->device_path = source_device(node, disk->type);
    disk->local_server = strcmp(disk->type, "network") == 0 && has_local_server(node);
    disk->source_text = describe_source(node);
    disk->startup_policy = vmig_xml_child_attr(node, "source", "startupPolicy");
    disk->snapshot = vmig_xml_attr(node, "snapshot");
    disk->serial = vmig_xml_child_text(node, "serial");
    /* libvirt makes every cdrom read-only, whatever the XML says. */
    disk->readonly = vmig_xml_child(node, "readonly") != NULL || strcmp(disk->device, "cdrom") == 0;
    disk->shareable = vmig_xml_child(node, "shareable") != NULL;
    disk->transient = vmig_xml_child(node, "transient") != NULL;
    read_chain(node, disk);
    read_mirror(node, disk);
    return g_steal_pointer(&disk);
}

gboolean vmig_domain_names_file(const char *name, const VmigFile *file, VmigRole role)
{
    if (name == NULL)
        return FALSE;
    if (role == VMIG_DEST)
        return g_strcmp0(name, file->path[VMIG_DEST]) == 0;
    return g_strcmp0(name, file->path[VMIG_SOURCE]) == 0 || g_strcmp0(name, file->named) == 0;
}

const char *vmig_domain_file_name(const VmigFile *file, VmigRole role)
{
    if (role == VMIG_DEST)
        return file->path[VMIG_DEST];
    return file->named != NULL ? file->named : file->path[VMIG_SOURCE];
}

char *vmig_domain_disk_chain_text(const VmigDomainDisk *disk)
{
    GString *text = g_string_new(NULL);
    g_autofree char *top = vmig_text_escape(disk->source_text != NULL ? disk->source_text : "nothing", -1);

    g_string_append(text, top);
    for (guint i = 0; i < disk->backing->len; i++) {
        const VmigChainFile *file = disk->backing->pdata[i];
        g_autofree char *shown = vmig_text_escape(file->file != NULL ? file->file : file->type, -1);
        g_string_append_printf(text, " <- %s", shown);
    }
    if (!disk->chain_known)
        g_string_append(text, " <- ?");
    return g_string_free(text, FALSE);
}
