/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Builds the twin's definition. */
#include <string.h>

#include "definition/domain-private.h"
#include "definition/rehearsal.h"

static void image_free(gpointer data)
{
    VmigRehearsalImage *image = data;

    g_free(image->path);
    g_free(image->format);
    g_free(image);
}

static xmlNode *find_devices(VmigXml *xml, GError **error)
{
    static const char *const once[] = {"name", "uuid", "metadata", "devices", "vcpu", NULL};
    xmlNode *root = xmlDocGetRootElement(xml->doc);

    if (!vmig_xml_is(root, "domain")) {
        vmig_fail(error, VMIG_ERROR_XML, NULL, "the XML does not describe a domain");
        return NULL;
    }
    if (!vmig_xml_once(root, once, error))
        return NULL;
    xmlNode *devices = vmig_xml_child(root, "devices");
    if (devices == NULL)
        vmig_fail(error, VMIG_ERROR_XML, NULL, "the domain's XML has no devices");
    return devices;
}

static gboolean is_moved(xmlNode *disk, const VmigJob *job)
{
    g_autofree char *target = vmig_xml_child_attr(disk, "target", "dev");

    return target != NULL && vmig_job_disk(job, target) != NULL;
}

/* The format of a <disk> or of a <backingStore> in it. */
static char *format_of(xmlNode *level)
{
    char *format = vmig_xml_child_attr(level, vmig_xml_is(level, "disk") ? "driver" : "format", "type");

    return format != NULL ? format : g_strdup("raw");
}

GPtrArray *vmig_rehearsal_images(const char *dest_xml, const VmigJob *job, GError **error)
{
    g_autoptr(VmigXml) xml = vmig_xml_parse(dest_xml, "the domain's XML", error);
    g_autoptr(GPtrArray) images = g_ptr_array_new_with_free_func(image_free);
    xmlNode *devices = xml != NULL ? find_devices(xml, error) : NULL;

    if (devices == NULL)
        return NULL;
    for (xmlNode *disk = vmig_xml_child(devices, "disk"); disk != NULL; disk = vmig_xml_next(disk)) {
        for (xmlNode *level = disk; level != NULL && is_moved(disk, job);
             level = vmig_xml_child(level, "backingStore")) {
            g_autofree char *path = vmig_xml_child_attr(level, "source", "file");
            if (path == NULL)
                break;
            VmigRehearsalImage *image = g_new0(VmigRehearsalImage, 1);
            image->path = g_steal_pointer(&path);
            image->format = format_of(level);
            g_ptr_array_add(images, image);
        }
    }
    return g_steal_pointer(&images);
}

static gboolean is_removable(xmlNode *disk)
{
    return vmig_xml_attr_is(disk, "device", "cdrom") || vmig_xml_attr_is(disk, "device", "floppy");
}

char **vmig_rehearsal_media(const char *dest_xml, GError **error)
{
    g_autoptr(VmigXml) xml = vmig_xml_parse(dest_xml, "the domain's XML", error);
    g_autoptr(GPtrArray) media = g_ptr_array_new_with_free_func(g_free);
    xmlNode *devices = xml != NULL ? find_devices(xml, error) : NULL;

    if (devices == NULL)
        return NULL;
    for (xmlNode *disk = vmig_xml_child(devices, "disk"); disk != NULL; disk = vmig_xml_next(disk)) {
        g_autofree char *path = is_removable(disk) ? vmig_xml_child_attr(disk, "source", "file") : NULL;
        if (path != NULL)
            g_ptr_array_add(media, g_steal_pointer(&path));
    }
    g_ptr_array_add(media, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&media), FALSE);
}

static gboolean set_images(xmlNode *disk, GHashTable *twins, GError **error)
{
    for (xmlNode *level = disk; level != NULL; level = vmig_xml_child(level, "backingStore")) {
        xmlNode *source = vmig_xml_child(level, "source");
        g_autofree char *path = vmig_xml_attr(source, "file");
        const char *twin = path != NULL ? g_hash_table_lookup(twins, path) : NULL;
        if (path == NULL)
            return TRUE;
        if (twin == NULL)
            return vmig_fail(error, VMIG_ERROR_XML, NULL, "the rehearsal has no image for '%s'", path);
        vmig_xml_set(source, "file", twin);
        vmig_xml_set(source, "index", NULL);
    }
    return TRUE;
}

static void eject(xmlNode *disk)
{
    static const char *const parts[] = {"source", "backingStore"};

    for (guint i = 0; i < G_N_ELEMENTS(parts); i++)
        if (vmig_xml_child(disk, parts[i]) != NULL)
            vmig_xml_remove(vmig_xml_child(disk, parts[i]));
}

/* The guest uses a disk that is not moved, on storage that both hosts reach. QEMU's locks would refuse it to the twin,
 * and libvirt would change the owner of the image for the twin and restore it at the twin's end. Such a disk is
 * therefore only examined (drivers/libvirt/qemu-access.h). */
static gboolean rehearse_disk(xmlNode *disk, const VmigJob *job, const char *const *media, GHashTable *twins,
                              GError **error)
{
    g_autofree char *path = vmig_xml_child_attr(disk, "source", "file");

    if (!vmig_disk_node_check(disk, error))
        return FALSE;
    if (is_moved(disk, job))
        return set_images(disk, twins, error);
    if (!is_removable(disk))
        vmig_xml_remove(disk);
    else if (path == NULL || !g_strv_contains(media, path))
        eject(disk);
    return TRUE;
}

/* Replaces the backend of a character device if a second one would have an effect: a file is written, a socket is taken
 * over, a program is connected to. A port to listen on is kept, so that the rehearsal tests it. */
static void rehearse_chardev(xmlNode *device)
{
    g_autofree char *type = vmig_xml_attr(device, "type");
    static const char *const kept[] = {"null", "vc", "stdio", "spicevmc", "spiceport", "dbus", "qemu-vdagent", NULL};
    xmlNode *source = vmig_xml_child(device, "source");
    xmlNode *target = vmig_xml_child(device, "target");
    xmlNode *log = vmig_xml_child(device, "log");

    if (log != NULL)
        vmig_xml_remove(log);
    if (type == NULL || g_strv_contains(kept, type) ||
        (strcmp(type, "tcp") == 0 && vmig_xml_attr_is(source, "mode", "bind")))
        return;
    if (source != NULL)
        vmig_xml_remove(source);
    if (strcmp(type, "pty") == 0 ||
        (strcmp(type, "unix") == 0 && vmig_xml_is(device, "channel") && vmig_xml_attr_is(target, "type", "virtio"))) {
        vmig_xml_set(device, "tty", NULL);
        return; /* libvirt derives the path from the twin's name */
    }
    if (vmig_xml_child(device, "protocol") != NULL)
        vmig_xml_remove(vmig_xml_child(device, "protocol"));
    vmig_xml_set(device, "type", "null");
}

/* OVN and similar bind a port to the host where its id was seen last: the guest would lose its network. */
static void rehearse_interface(xmlNode *interface, const char *id)
{
    xmlNode *parameters = vmig_xml_child(vmig_xml_child(interface, "virtualport"), "parameters");
    static const char *const ids[] = {"interfaceid", "instanceid"};
    xmlNode *source = vmig_xml_child(interface, "source");
    g_autofree char *uuid = vmig_rehearsal_uuid(id);

    for (guint i = 0; i < G_N_ELEMENTS(ids); i++) {
        g_autofree char *old = vmig_xml_attr(parameters, ids[i]);
        if (old != NULL)
            vmig_xml_set(parameters, ids[i], uuid);
    }
    if (source != NULL)
        vmig_xml_set(source, "portid", NULL);
    /* A macvtap device uses the guest's address directly on the network. */
    xmlNode *mac = vmig_xml_child(interface, "mac");
    if (mac == NULL ||
        !(vmig_xml_attr_is(interface, "type", "direct") || vmig_xml_attr_is(interface, "type", "network")))
        return;
    g_autofree char *address = g_strdup_printf("52:54:00:%.2s:%.2s:%.2s", id, id + 2, id + 4);
    vmig_xml_set(mac, "address", address);
}

static void rehearse_graphics(xmlNode *graphics)
{
    vmig_xml_set(graphics, "socket", NULL);
    for (xmlNode *listen = vmig_xml_child(graphics, "listen"); listen != NULL; listen = vmig_xml_next(listen))
        if (vmig_xml_attr_is(listen, "type", "socket"))
            vmig_xml_set(listen, "socket", NULL);
}

static void rehearse_vsock(xmlNode *vsock)
{
    xmlNode *cid = vmig_xml_child(vsock, "cid");

    if (cid == NULL)
        return;
    vmig_xml_set(cid, "auto", "yes");
    vmig_xml_set(cid, "address", NULL);
}

static void rehearse_rng(xmlNode *rng)
{
    xmlNode *backend = vmig_xml_child(rng, "backend");

    if (!vmig_xml_attr_is(backend, "model", "egd"))
        return;
    vmig_xml_remove(backend);
    backend = vmig_xml_add(rng, "backend");
    vmig_xml_set(backend, "model", "random");
    xmlNodeSetContent(backend, (const xmlChar *)"/dev/urandom");
}

/* Devices that only one domain can have, and files of the host that a second QEMU would change. */
static gboolean is_exclusive(xmlNode *device)
{
    static const char *const names[] = {"hostdev", "filesystem", "shmem", "lease", "nvram"};

    for (guint i = 0; i < G_N_ELEMENTS(names); i++)
        if (vmig_xml_is(device, names[i]))
            return TRUE;
    if (vmig_xml_is(device, "memory"))
        return vmig_xml_attr_is(device, "model", "nvdimm") || vmig_xml_attr_is(device, "model", "virtio-pmem");
    if (vmig_xml_is(device, "input"))
        return vmig_xml_attr_is(device, "type", "passthrough") || vmig_xml_attr_is(device, "type", "evdev");
    if (vmig_xml_is(device, "interface"))
        return vmig_xml_attr_is(device, "type", "hostdev") || vmig_xml_attr_is(device, "type", "vdpa") ||
               vmig_xml_attr_is(device, "type", "vhostuser");
    if (vmig_xml_is(device, "smartcard"))
        return !vmig_xml_attr_is(device, "mode", "passthrough");
    return vmig_xml_is(device, "tpm") && !vmig_xml_attr_is(vmig_xml_child(device, "backend"), "type", "emulator");
}

static void rehearse_device(xmlNode *device, const char *id)
{
    static const char *const chardevs[] = {"serial", "parallel", "console", "channel", "redirdev", "smartcard"};

    if (is_exclusive(device)) {
        vmig_xml_remove(device);
        return;
    }
    for (guint i = 0; i < G_N_ELEMENTS(chardevs); i++)
        if (vmig_xml_is(device, chardevs[i]))
            rehearse_chardev(device);
    if (vmig_xml_is(device, "interface"))
        rehearse_interface(device, id);
    if (vmig_xml_is(device, "graphics"))
        rehearse_graphics(device);
    if (vmig_xml_is(device, "vsock"))
        rehearse_vsock(device);
    if (vmig_xml_is(device, "rng"))
        rehearse_rng(device);
}

/* Removes the metadata of other programs, which identify the guest by it. */
static void set_metadata(xmlNode *root, const char *id)
{
    xmlNode *old = vmig_xml_child(root, "metadata");

    if (old != NULL)
        vmig_xml_remove(old);
    xmlNode *metadata = vmig_xml_add(root, "metadata");
    xmlNode *mark = xmlNewChild(metadata, NULL, (const xmlChar *)"rehearsal", NULL);
    xmlSetNs(mark, xmlNewNs(mark, (const xmlChar *)VMIG_REHEARSAL_URI, (const xmlChar *)"vmig"));
    vmig_xml_set(mark, "id", id);
}

/* libvirt would create the NVRAM file and leave it behind. The firmware itself is among the files that PLAN checks. */
static void drop_firmware(xmlNode *root)
{
    static const char *const parts[] = {"loader", "nvram", "firmware"};
    xmlNode *os = vmig_xml_child(root, "os");

    if (!vmig_xml_attr_is(vmig_xml_child(os, "loader"), "type", "pflash") && vmig_xml_child(os, "nvram") == NULL)
        return;
    vmig_xml_set(os, "firmware", NULL);
    for (guint i = 0; i < G_N_ELEMENTS(parts); i++)
        if (vmig_xml_child(os, parts[i]) != NULL)
            vmig_xml_remove(vmig_xml_child(os, parts[i]));
}

static void drop_children(xmlNode *parent, const char *const *names)
{
    for (; parent != NULL && *names != NULL; names++)
        while (vmig_xml_child(parent, *names) != NULL)
            vmig_xml_remove(vmig_xml_child(parent, *names));
}

/* Removes each element that contributes to facts->needed_files. */
char *vmig_rehearsal_without_boot_files(const char *dest_xml, GError **error)
{
    static const char *const boot[] = {"kernel", "initrd",   "cmdline", "dtb", "loader",
                                       "nvram",  "firmware", "acpi",    NULL};
    static const char *const entries[] = {"entry", NULL};
    g_autoptr(VmigXml) xml = vmig_xml_parse(dest_xml, "the domain's XML", error);

    if (xml == NULL || find_devices(xml, error) == NULL)
        return NULL;
    xmlNode *root = xmlDocGetRootElement(xml->doc);
    xmlNode *os = vmig_xml_child(root, "os");
    if (os != NULL)
        vmig_xml_set(os, "firmware", NULL);
    drop_children(os, boot);
    for (xmlNode *info = vmig_xml_child(root, "sysinfo"); info != NULL; info = vmig_xml_next(info))
        drop_children(info, entries);
    return vmig_xml_to_string(xml);
}

static void set_identity(xmlNode *root, const VmigJob *job, const char *id)
{
    g_autofree char *name = vmig_rehearsal_name(job->domain, id);
    g_autofree char *uuid = vmig_rehearsal_uuid(id);
    xmlNode *genid = vmig_xml_child(root, "genid");
    xmlNode *node = vmig_xml_child(root, "name");

    vmig_xml_set(root, "id", NULL);
    if (genid != NULL)
        vmig_xml_remove(genid);
    xmlNodeSetContent(node, NULL);
    xmlNodeAddContent(node, (const xmlChar *)name); /* escapes the text */
    node = vmig_xml_child(root, "uuid");
    xmlNodeSetContent(node != NULL ? node : vmig_xml_add(root, "uuid"), (const xmlChar *)uuid);
    set_metadata(root, id);
    drop_firmware(root);
}

/* libvirt compares the system's UUID with the domain's (virSysinfoSystemParseXML). */
static void set_sysinfo(xmlNode *root, const char *id)
{
    g_autofree char *uuid = vmig_rehearsal_uuid(id);

    for (xmlNode *info = vmig_xml_child(root, "sysinfo"); info != NULL; info = vmig_xml_next(info)) {
        xmlNode *system = vmig_xml_child(info, "system");
        for (xmlNode *entry = vmig_xml_child(system, "entry"); entry != NULL; entry = vmig_xml_next(entry))
            if (vmig_xml_attr_is(entry, "name", "uuid"))
                xmlNodeSetContent(entry, (const xmlChar *)uuid);
    }
}

char *vmig_rehearsal_xml(const char *dest_xml, const VmigJob *job, const char *id, const char *const *media,
                         GHashTable *twins, GError **error)
{
    g_autoptr(VmigXml) xml = vmig_xml_parse(dest_xml, "the domain's XML", error);
    xmlNode *devices = xml != NULL ? find_devices(xml, error) : NULL;

    if (devices == NULL)
        return NULL;
    xmlNode *next;
    for (xmlNode *device = xmlFirstElementChild(devices); device != NULL; device = next) {
        next = xmlNextElementSibling(device);
        if (!vmig_xml_is(device, "disk"))
            rehearse_device(device, id);
        else if (!rehearse_disk(device, job, media, twins, error))
            return NULL;
    }
    set_identity(xmlDocGetRootElement(xml->doc), job, id);
    set_sysinfo(xmlDocGetRootElement(xml->doc), id);
    return vmig_xml_to_string(xml);
}

char *vmig_rehearsal_id(const char *domain_xml)
{
    g_autoptr(VmigXml) xml = vmig_xml_parse(domain_xml, "the domain's XML", NULL);
    xmlNode *metadata = xml != NULL ? vmig_xml_child(xmlDocGetRootElement(xml->doc), "metadata") : NULL;

    for (xmlNode *mark = xmlFirstElementChild(metadata); mark != NULL; mark = xmlNextElementSibling(mark)) {
        if (mark->ns == NULL || mark->ns->href == NULL || strcmp((const char *)mark->ns->href, VMIG_REHEARSAL_URI) != 0)
            continue;
        g_autofree char *id = vmig_xml_attr(mark, "id");
        return vmig_rehearsal_id_is_valid(id) ? g_steal_pointer(&id) : NULL;
    }
    return NULL;
}

char *vmig_rehearsal_snapshot_xml(const char *snapshot_xml, const char *id, GError **error)
{
    static const char *const domains[] = {"domain", "inactiveDomain"};
    g_autoptr(VmigXml) xml = vmig_xml_parse(snapshot_xml, "the snapshot's XML", error);
    g_autofree char *uuid = vmig_rehearsal_uuid(id);

    if (xml == NULL)
        return NULL;
    for (guint i = 0; i < G_N_ELEMENTS(domains); i++) {
        xmlNode *domain = vmig_xml_child(xmlDocGetRootElement(xml->doc), domains[i]);
        xmlNode *node = vmig_xml_child(domain, "uuid");
        if (node != NULL)
            xmlNodeSetContent(node, (const xmlChar *)uuid);
        if (domain != NULL)
            set_sysinfo(domain, id);
    }
    return vmig_xml_to_string(xml);
}
