/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads a domain's XML. */
#include "definition/domain-private.h"

#include <string.h>

#include "core/names.h"
#include "core/path-map.h"

static void facts_init(VmigDomainFacts *facts)
{
    facts->disks = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_domain_disk_free);
    facts->host_devices = g_ptr_array_new_with_free_func(g_free);
    facts->filesystems = g_ptr_array_new_with_free_func(g_free);
    facts->shmems = g_ptr_array_new_with_free_func(g_free);
    facts->vhost_users = g_ptr_array_new_with_free_func(g_free);
    facts->tpms = g_ptr_array_new_with_free_func(g_free);
    facts->interfaces = g_ptr_array_new_with_free_func(g_free);
    facts->needed_files = g_ptr_array_new_with_free_func(g_free);
}

static void facts_clear(VmigDomainFacts *facts)
{
    char *const texts[] = {facts->name,         facts->uuid,           facts->title,  facts->type,        facts->arch,
                           facts->machine,      facts->emulator,       facts->loader, facts->loader_type, facts->nvram,
                           facts->nvram_format, facts->nvram_template, facts->kernel, facts->initrd,      facts->dtb,
                           facts->on_reboot,    facts->metadata_job};
    GPtrArray *const arrays[] = {facts->disks,       facts->host_devices, facts->filesystems, facts->shmems,
                                 facts->vhost_users, facts->tpms,         facts->interfaces,  facts->needed_files};

    for (guint i = 0; i < G_N_ELEMENTS(texts); i++)
        g_free(texts[i]);
    for (guint i = 0; i < G_N_ELEMENTS(arrays); i++)
        g_ptr_array_unref(arrays[i]);
}

void vmig_domain_xml_free(VmigDomainXml *xml)
{
    facts_clear(&xml->facts);
    vmig_xml_free(xml->xml);
    g_free(xml);
}

/* Adds the text unless it is NULL or already present. Takes it. */
static void add_text(GPtrArray *array, char *text)
{
    if (text == NULL || g_ptr_array_find_with_equal_func(array, text, g_str_equal, NULL))
        g_free(text);
    else
        g_ptr_array_add(array, text);
}

static void need_file(VmigDomainFacts *facts, const char *file)
{
    add_text(facts->needed_files, g_strdup(file));
}

static gboolean read_memory(const xmlNode *domain, guint64 *bytes, GError **error)
{
    /* virScaleInteger(): "KB" is 1,000 and "KiB" or "K" is 1,024. */
    static const char *const units = "KMGTPE";
    g_autofree char *text = vmig_xml_child_text(domain, "memory");
    g_autofree char *unit = vmig_xml_child_attr(domain, "memory", "unit");
    const char *name = unit != NULL ? unit : "KiB";
    const char *power = *name == '\0' ? NULL : strchr(units, g_ascii_toupper(*name));
    const char *rest = power != NULL ? name + 1 : "";

    *bytes = 0;
    gboolean good = text == NULL || g_ascii_string_to_unsigned(g_strstrip(text), 10, 0, G_MAXUINT64, bytes, NULL);
    good = good && (power != NULL || g_str_equal(name, "b") || g_str_equal(name, "bytes"));
    good = good && (*rest == '\0' || g_ascii_strcasecmp(rest, "B") == 0 || g_ascii_strcasecmp(rest, "iB") == 0);
    guint64 factor = g_ascii_strcasecmp(rest, "B") == 0 ? 1000 : 1024;
    for (const char *p = units; good && power != NULL && p <= power; p++)
        good = g_uint64_checked_mul(bytes, *bytes, factor);
    return good || vmig_fail(error, VMIG_ERROR_XML, NULL, "the domain's XML has an invalid <memory>");
}

static gboolean read_machine(const xmlNode *domain, VmigDomainFacts *facts, GError **error)
{
    g_autofree char *vcpus = vmig_xml_child_text(domain, "vcpu");

    facts->name = vmig_xml_child_text(domain, "name");
    facts->uuid = vmig_xml_child_text(domain, "uuid");
    facts->title = vmig_xml_child_text(domain, "title");
    facts->type = vmig_xml_attr(domain, "type");
    facts->on_reboot = vmig_xml_child_text(domain, "on_reboot");
    facts->vcpus = 1;
    if (facts->name == NULL || facts->uuid == NULL)
        return vmig_fail(error, VMIG_ERROR_XML, NULL, "the domain's XML has no name or no UUID");
    if (vcpus != NULL && !g_ascii_string_to_unsigned(g_strstrip(vcpus), 10, 1, G_MAXUINT32, &facts->vcpus, NULL))
        return vmig_fail(error, VMIG_ERROR_XML, NULL, "the domain's XML has an invalid <vcpu>");
    return read_memory(domain, &facts->memory, error);
}

static void read_boot(const xmlNode *domain, VmigDomainFacts *facts)
{
    xmlNode *os = vmig_xml_child(domain, "os");
    xmlNode *nvram = vmig_xml_child(os, "nvram");

    facts->arch = vmig_xml_child_attr(os, "type", "arch");
    facts->machine = vmig_xml_child_attr(os, "type", "machine");
    facts->loader = vmig_xml_child_text(os, "loader");
    facts->loader_type = vmig_xml_child_attr(os, "loader", "type");
    /* Since libvirt 8.5 it may have a <source> as a disk has. */
    facts->nvram = vmig_xml_child_attr(nvram, "source", "file");
    if (facts->nvram == NULL && vmig_xml_child(nvram, "source") == NULL)
        facts->nvram = vmig_xml_child_text(os, "nvram");
    facts->nvram_format = vmig_xml_attr(nvram, "format");
    facts->nvram_template = vmig_xml_attr(nvram, "template");
    facts->kernel = vmig_xml_child_text(os, "kernel");
    facts->initrd = vmig_xml_child_text(os, "initrd");
    facts->dtb = vmig_xml_child_text(os, "dtb");
    need_file(facts, facts->kernel);
    need_file(facts, facts->initrd);
    need_file(facts, facts->dtb);
    need_file(facts, facts->loader);
    need_file(facts, facts->nvram_template);
    xmlNode *table = vmig_xml_child(vmig_xml_child(os, "acpi"), "table");
    for (; table != NULL; table = vmig_xml_next(table)) {
        xmlChar *file = xmlNodeGetContent(table);
        need_file(facts, (const char *)file);
        xmlFree(file);
    }
    for (xmlNode *info = vmig_xml_child(domain, "sysinfo"); info != NULL; info = vmig_xml_next(info))
        for (xmlNode *entry = vmig_xml_child(info, "entry"); entry != NULL; entry = vmig_xml_next(entry))
            add_text(facts->needed_files, vmig_xml_attr(entry, "file"));
}

static const VmigDomainDisk *find_disk(const VmigDomainFacts *facts, const char *target)
{
    for (guint i = 0; i < facts->disks->len; i++) {
        const VmigDomainDisk *disk = facts->disks->pdata[i];
        if (g_strcmp0(disk->target, target) == 0)
            return disk;
    }
    return NULL;
}

static gboolean read_disks(const xmlNode *devices, VmigDomainFacts *facts, GError **error)
{
    for (xmlNode *node = vmig_xml_child(devices, "disk"); node != NULL; node = vmig_xml_next(node)) {
        VmigDomainDisk *disk = vmig_domain_disk_read(node, error);
        if (disk == NULL)
            return FALSE;
        gboolean twice = find_disk(facts, disk->target) != NULL;
        g_ptr_array_add(facts->disks, disk);
        if (twice) {
            g_autofree char *shown = vmig_text_escape(disk->target, -1);
            return vmig_fail(error, VMIG_ERROR_XML, NULL, "the domain's XML has two disks '%s'", shown);
        }
        if (strcmp(disk->type, "vhostuser") == 0)
            add_text(facts->vhost_users, g_strdup_printf("disk %s", disk->target));
    }
    return TRUE;
}

/* "domain:bus:slot.function" in the format of lspci. */
static char *pci_text(const xmlNode *address)
{
    static const char *const parts[] = {"domain", "bus", "slot", "function"};
    guint64 values[4] = {0};

    for (guint i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *text = vmig_xml_attr(address, parts[i]);
        values[i] = text == NULL ? 0 : g_ascii_strtoull(text, NULL, 0);
    }
    return g_strdup_printf("pci %04x:%02x:%02x.%x", (guint)values[0], (guint)values[1], (guint)values[2],
                           (guint)values[3]);
}

static char *hostdev_text(const xmlNode *hostdev)
{
    xmlNode *source = vmig_xml_child(hostdev, "source");
    xmlNode *address = vmig_xml_child(source, "address");
    g_autofree char *type = vmig_xml_attr(hostdev, "type");
    g_autofree char *vendor = vmig_xml_child_attr(source, "vendor", "id");
    g_autofree char *product = vmig_xml_child_attr(source, "product", "id");
    g_autofree char *uuid = vmig_xml_attr(address, "uuid");

    if (g_strcmp0(type, "pci") == 0 && address != NULL)
        return pci_text(address);
    if (vendor != NULL && product != NULL)
        return g_strdup_printf("%s %s:%s", type, vendor, product);
    if (uuid != NULL)
        return g_strdup_printf("%s %s", type, uuid);
    return g_strdup(type != NULL ? type : "device");
}

/* Devices other than <hostdev> that belong to this host. */
static char *other_host_device(const xmlNode *node)
{
    const char *name = (const char *)node->name;
    g_autofree char *type = vmig_xml_attr(node, "type");
    g_autofree char *path = vmig_xml_child_attr(node, "source", "path");

    if (vmig_xml_is(node, "interface") && (g_strcmp0(type, "hostdev") == 0 || g_strcmp0(type, "vdpa") == 0))
        return g_strdup_printf("interface %s", type);
    if ((vmig_xml_is(node, "serial") || vmig_xml_is(node, "parallel") || vmig_xml_is(node, "console") ||
         vmig_xml_is(node, "channel")) &&
        g_strcmp0(type, "dev") == 0)
        return g_strdup_printf("%s %s", name, path != NULL ? path : "device");
    if (vmig_xml_is(node, "smartcard") && vmig_xml_attr_is(node, "mode", "host"))
        return g_strdup("smartcard");
    if (vmig_xml_is(node, "memory")) {
        g_autofree char *model = vmig_xml_attr(node, "model");
        g_autofree char *file = vmig_xml_child_text(vmig_xml_child(node, "source"), "path");
        return file == NULL ? NULL : g_strdup_printf("%s %s", model != NULL ? model : "memory", file);
    }
    if (vmig_xml_is(node, "input") && g_strcmp0(type, "passthrough") == 0)
        return g_strdup("input device");
    return NULL;
}

static char *filesystem_text(const xmlNode *node)
{
    static const char *const names[] = {"dir", "file", "dev", "name", "socket", "usage"};
    xmlNode *source = vmig_xml_child(node, "source");
    g_autofree char *driver = vmig_xml_child_attr(node, "driver", "type");
    g_autofree char *text = NULL;

    for (guint i = 0; i < G_N_ELEMENTS(names) && text == NULL; i++)
        text = vmig_xml_attr(source, names[i]);
    const char *kind = g_strcmp0(driver, "virtiofs") == 0 ? "virtiofs" : "9p";
    return text == NULL ? g_strdup(kind) : g_strdup_printf("%s %s", kind, text);
}

static char *vhost_user_text(const xmlNode *node)
{
    const char *name = (const char *)node->name;
    g_autofree char *path = vmig_xml_child_attr(node, "source", "path");
    g_autofree char *driver = vmig_xml_child_attr(node, "driver", "name");

    /* Disks are already listed, by their targets. */
    if (node->ns != NULL || vmig_xml_is(node, "disk"))
        return NULL;
    if (!vmig_xml_attr_is(node, "type", "vhostuser") && g_strcmp0(driver, "vhostuser") != 0)
        return NULL;
    return path == NULL ? g_strdup(name) : g_strdup_printf("%s %s", name, path);
}

static void read_devices(const xmlNode *devices, VmigDomainFacts *facts)
{
    facts->emulator = vmig_xml_child_text(devices, "emulator");
    for (xmlNode *node = devices == NULL ? NULL : devices->children; node != NULL; node = node->next) {
        if (node->type != XML_ELEMENT_NODE)
            continue;
        if (vmig_xml_is(node, "hostdev"))
            add_text(facts->host_devices, hostdev_text(node));
        if (vmig_xml_is(node, "filesystem"))
            add_text(facts->filesystems, filesystem_text(node));
        if (vmig_xml_is(node, "shmem"))
            add_text(facts->shmems, vmig_xml_attr(node, "name"));
        if (vmig_xml_is(node, "tpm"))
            add_text(facts->tpms, vmig_xml_child_attr(node, "backend", "type"));
        if (vmig_xml_is(node, "interface") && xmlHasProp(node, (const xmlChar *)"type") != NULL)
            g_ptr_array_add(facts->interfaces, vmig_xml_attr(node, "type"));
        add_text(facts->host_devices, other_host_device(node));
        add_text(facts->vhost_users, vhost_user_text(node));
    }
}

static void read_namespaces(const xmlNode *domain, VmigDomainFacts *facts)
{
    xmlNode *ours = vmig_metadata_find(domain);

    facts->has_metadata = ours != NULL;
    facts->metadata_job = vmig_xml_attr(ours, "job");
    if (!vmig_job_id_is_valid(facts->metadata_job))
        g_clear_pointer(&facts->metadata_job, g_free);
    for (const xmlNode *node = domain->children; node != NULL; node = node->next)
        if (node->type == XML_ELEMENT_NODE && node->ns != NULL && node->ns->href != NULL &&
            strcmp((const char *)node->ns->href, "http://libvirt.org/schemas/domain/qemu/1.0") == 0)
            facts->qemu_commandline |= strcmp((const char *)node->name, "commandline") == 0;
}

VmigDomainXml *vmig_domain_xml_parse(const char *text, GError **error)
{
    /* If one of these occurred twice, libvirt would use the first of some and all of others. */
    static const char *const once[] = {"name", "uuid", "memory", "os", "devices", "metadata", NULL};
    VmigXml *parsed = vmig_xml_parse(text, "the domain's XML", error);

    if (parsed == NULL)
        return NULL;
    g_autoptr(VmigDomainXml) xml = g_new0(VmigDomainXml, 1);
    xml->xml = parsed;
    facts_init(&xml->facts);
    const xmlNode *domain = xmlDocGetRootElement(parsed->doc);
    if (!vmig_xml_is(domain, "domain")) {
        vmig_fail(error, VMIG_ERROR_XML, NULL, "the XML does not describe a domain");
        return NULL;
    }
    const xmlNode *devices = vmig_xml_child(domain, "devices");
    if (!vmig_xml_once(domain, once, error) || !read_machine(domain, &xml->facts, error) ||
        !read_disks(devices, &xml->facts, error))
        return NULL;
    read_boot(domain, &xml->facts);
    read_devices(devices, &xml->facts);
    read_namespaces(domain, &xml->facts);
    return g_steal_pointer(&xml);
}

char *vmig_domain_xml_to_string(VmigDomainXml *xml)
{
    return vmig_xml_to_string(xml->xml);
}

const VmigDomainFacts *vmig_domain_xml_facts(const VmigDomainXml *xml)
{
    return &xml->facts;
}

const VmigDomainDisk *vmig_domain_xml_disk(const VmigDomainXml *xml, const char *target)
{
    return find_disk(&xml->facts, target);
}
