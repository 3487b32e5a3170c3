/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queries QEMU itself through libvirt. libvirt then logs the domain as tainted, so this is used only where QEMU and
 * libvirt may disagree. */
#include <libvirt/libvirt-qemu.h>
#include <stdlib.h>
#include <string.h>

#include "definition/xml.h"
#include "os/json-read.h"
#include "drivers/libvirt/libvirt-private.h"

/* The name of QEMU's device for this disk. */
static char *find_alias(const char *domain_xml, const char *target, GError **error)
{
    g_autoptr(VmigXml) xml = vmig_xml_parse(domain_xml, "the domain's XML", error);

    if (xml == NULL)
        return NULL;
    xmlNode *disk = vmig_xml_child(vmig_xml_child(xmlDocGetRootElement(xml->doc), "devices"), "disk");
    for (; disk != NULL; disk = vmig_xml_next(disk)) {
        g_autofree char *name = vmig_xml_child_attr(disk, "target", "dev");
        if (g_strcmp0(name, target) == 0)
            return vmig_xml_child_attr(disk, "alias", "name");
    }
    return NULL;
}

/* "/machine/peripheral/virtio-disk0/virtio-backend", or "virtio-disk0". */
static gboolean is_device(const char *qdev, const char *alias)
{
    g_auto(GStrv) parts = g_strsplit(qdev != NULL ? qdev : "", "/", -1);

    return g_strv_contains((const char *const *)parts, alias);
}

/* QEMU reports a file that was opened with extra options as "json:{…}". */
static char *plain_name(const char *file)
{
    if (!g_str_has_prefix(file, "json:"))
        return g_strdup(file);
    g_autoptr(JsonObject) object = vmig_json_parse(file + 5, strlen(file + 5), NULL);
    VmigReader reader = object != NULL ? vmig_reader(object) : (VmigReader){0};
    JsonObject *below = object != NULL ? vmig_reader_maybe_object(&reader, "file") : NULL;
    if (below == NULL)
        return g_strdup(file);
    VmigReader inner = vmig_reader(below);
    const char *name = vmig_reader_maybe_text(&inner, "filename");
    return g_strdup(name != NULL ? name : file);
}

static char *find_file(const char *reply, const char *alias)
{
    g_autoptr(JsonObject) object = vmig_json_parse(reply, strlen(reply), NULL);

    if (object == NULL)
        return NULL;
    VmigReader reader = vmig_reader(object);
    JsonArray *devices = vmig_reader_array(&reader, "return");
    for (guint i = 0; devices != NULL && i < json_array_get_length(devices); i++) {
        VmigReader device = vmig_reader(vmig_reader_element(&reader, "return", devices, i));
        if (device.object == NULL || !is_device(vmig_reader_maybe_text(&device, "qdev"), alias))
            continue;
        JsonObject *inserted = vmig_reader_maybe_object(&device, "inserted");
        VmigReader image = inserted != NULL ? vmig_reader(inserted) : (VmigReader){0};
        const char *file = inserted != NULL ? vmig_reader_maybe_text(&image, "file") : NULL;
        return file != NULL ? plain_name(file) : NULL;
    }
    return NULL;
}

gboolean vmig_libvirt_disk_file(VmigHypervisor *hv, const char *uuid, const char *target, char **ret, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);
    g_autofree char *xml = NULL;
    char *reply = NULL;

    if (domain == NULL || !hv->ops->domain_xml(hv, uuid, VMIG_XML_LIVE, &xml, error))
        return FALSE;
    g_autofree char *alias = find_alias(xml, target, error);
    if (alias == NULL)
        return vmig_fail(error, VMIG_ERROR_UNKNOWN_DISK, NULL, "%s: the running domain has no disk %s", hv->host,
                         target);
    if (virDomainQemuMonitorCommand(domain, "{\"execute\":\"query-block\"}", &reply, 0) != 0)
        return vmig_libvirt_fail(self, error, "cannot query QEMU's block devices");
    *ret = find_file(reply, alias);
    free(reply);
    return *ret != NULL || vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL,
                                     "%s: QEMU does not report which file disk %s is on", hv->host, target);
}
