/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Walks whole definitions, not only the elements known to name files, because a new libvirt has new ones. */
#include "drivers/libvirt/libvirt-named.h"

#include <stdlib.h>
#include <string.h>

#include "core/names.h"
#include "definition/xml.h"
#include "drivers/libvirt/libvirt-private.h"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(virConnect, virConnectClose)

typedef struct {
    virConnectPtr conn;
    const char *who;
    VmigNamedFunc on_text;
    gpointer user;
} Walk;

static gboolean fail(GError **error, const char *what)
{
    virErrorPtr last = virGetLastError();
    g_autofree char *why = vmig_text_escape(last != NULL ? last->message : "no reason given", -1);

    return vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL, "cannot read %s: %s", what, why);
}

static gboolean last_is(int code)
{
    virErrorPtr last = virGetLastError();

    return last != NULL && last->code == code;
}

static void tell(const Walk *walk, const xmlChar *text)
{
    if (text != NULL && strchr((const char *)text, '/') != NULL)
        walk->on_text(walk->user, walk->who, (const char *)text);
}

/* An inactive pool does not report where its volumes are. The guest could not start now either, but the pool may be
 * activated at any moment. */
static gboolean tell_volume(const Walk *walk, xmlNode *source, GError **error)
{
    g_autofree char *pool_name = vmig_xml_attr(source, "pool");
    g_autofree char *name = vmig_xml_attr(source, "volume");

    if (pool_name == NULL || name == NULL)
        return TRUE;
    virStoragePoolPtr pool = virStoragePoolLookupByName(walk->conn, pool_name);
    virStorageVolPtr volume = pool != NULL ? virStorageVolLookupByName(pool, name) : NULL;
    char *path = volume != NULL ? virStorageVolGetPath(volume) : NULL;
    gboolean ok = path != NULL;
    if (ok)
        tell(walk, (const xmlChar *)path);
    else
        fail(error, "the path of a volume that a definition names");
    if (!ok)
        g_prefix_error(error, "%s, volume '%s' of pool '%s': ", walk->who, name, pool_name);
    free(path);
    if (volume != NULL)
        virStorageVolFree(volume);
    if (pool != NULL)
        virStoragePoolFree(pool);
    return ok;
}

static gboolean walk_node(const Walk *walk, xmlNode *node, GError **error)
{
    for (xmlAttr *attribute = node->properties; attribute != NULL; attribute = attribute->next) {
        xmlChar *value = xmlNodeListGetString(node->doc, attribute->children, 1);
        tell(walk, value);
        xmlFree(value);
    }
    if (vmig_xml_is(node, "source") && !tell_volume(walk, node, error))
        return FALSE;
    for (xmlNode *child = node->children; child != NULL; child = child->next) {
        if (child->type == XML_ELEMENT_NODE && !walk_node(walk, child, error))
            return FALSE;
        if (child->type == XML_TEXT_NODE || child->type == XML_CDATA_SECTION_NODE)
            tell(walk, child->content);
    }
    return TRUE;
}

static gboolean walk_text(Walk *walk, char *text, const char *who, GError **error)
{
    g_autoptr(VmigXml) xml = vmig_xml_parse(text, who, error);

    walk->who = who;
    free(text);
    return xml != NULL && walk_node(walk, xmlDocGetRootElement(xml->doc), error);
}

static gboolean walk_definitions(Walk *walk, virDomainPtr domain, const char *name, GError **error)
{
    g_autofree char *live = g_strdup_printf("the running guest %s", name);
    g_autofree char *defined = g_strdup_printf("the definition of %s", name);
    g_autofree char *saved = g_strdup_printf("the saved state of %s", name);
    int active = virDomainIsActive(domain), persistent = virDomainIsPersistent(domain);
    int managed = virDomainHasManagedSaveImage(domain, 0);
    char *text;

    if (active < 0 || persistent < 0 || (managed < 0 && !last_is(VIR_ERR_NO_SUPPORT)))
        return fail(error, defined);
    if (active == 1 && ((text = virDomainGetXMLDesc(domain, 0)) == NULL || !walk_text(walk, text, live, error)))
        return text != NULL ? FALSE : fail(error, live);
    if (persistent == 1 && ((text = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE)) == NULL ||
                            !walk_text(walk, text, defined, error)))
        return text != NULL ? FALSE : fail(error, defined);
    if (managed == 1 &&
        ((text = virDomainManagedSaveGetXMLDesc(domain, 0)) == NULL || !walk_text(walk, text, saved, error)))
        return text != NULL ? FALSE : fail(error, saved);
    return TRUE;
}

static gboolean walk_snapshot(Walk *walk, virDomainSnapshotPtr snapshot, const char *name, GError **error)
{
    g_autofree char *shown = vmig_text_escape(virDomainSnapshotGetName(snapshot), -1);
    g_autofree char *who = g_strdup_printf("snapshot '%s' of %s", shown, name);
    char *text = virDomainSnapshotGetXMLDesc(snapshot, 0);

    if (text == NULL && last_is(VIR_ERR_NO_DOMAIN_SNAPSHOT))
        return TRUE;
    return text != NULL ? walk_text(walk, text, who, error) : fail(error, who);
}

static gboolean walk_snapshots(Walk *walk, virDomainPtr domain, const char *name, GError **error)
{
    virDomainSnapshotPtr *snapshots = NULL;
    int n = virDomainListAllSnapshots(domain, &snapshots, 0);
    gboolean ok = TRUE;

    if (n < 0 && last_is(VIR_ERR_NO_SUPPORT))
        return TRUE;
    if (n < 0) {
        g_autofree char *what = g_strdup_printf("the snapshots of %s", name);
        return fail(error, what);
    }
    for (int i = 0; i < n; i++) {
        ok = ok && walk_snapshot(walk, snapshots[i], name, error);
        virDomainSnapshotFree(snapshots[i]);
    }
    free(snapshots);
    return ok;
}

/* A domain that vanished during the walk names nothing any more. */
static gboolean is_gone(virConnectPtr conn, const char *uuid)
{
    virDomainPtr domain = virDomainLookupByUUIDString(conn, uuid);

    if (domain != NULL)
        virDomainFree(domain);
    return domain == NULL && last_is(VIR_ERR_NO_DOMAIN);
}

static gboolean walk_domain(Walk *walk, virDomainPtr domain, const char *except, GError **error)
{
    char uuid[VIR_UUID_STRING_BUFLEN];
    g_autofree char *shown = vmig_text_escape(virDomainGetName(domain), -1);
    g_autofree char *name = g_strdup_printf("'%s'", shown);
    g_autoptr(GError) why = NULL;

    if (virDomainGetUUIDString(domain, uuid) != 0)
        return fail(error, name);
    if (g_strcmp0(uuid, except) == 0)
        return TRUE;
    if (walk_definitions(walk, domain, name, &why) && walk_snapshots(walk, domain, name, &why))
        return TRUE;
    if (is_gone(walk->conn, uuid))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

gboolean vmig_libvirt_named_texts(const char *uri, const char *except, VmigNamedFunc on_text, gpointer user,
                                  GError **error)
{
    virDomainPtr *domains = NULL;
    gboolean ok = TRUE;

    if (!vmig_libvirt_init(error))
        return FALSE;
    g_autoptr(virConnect) conn = vmig_libvirt_open(uri, error);
    if (conn == NULL)
        return FALSE;
    Walk walk = {.conn = conn, .on_text = on_text, .user = user};
    int n = virConnectListAllDomains(conn, &domains, 0);
    if (n < 0)
        return fail(error, "the list of domains");
    for (int i = 0; i < n; i++) {
        ok = ok && walk_domain(&walk, domains[i], except, error);
        virDomainFree(domains[i]);
    }
    free(domains);
    return ok;
}
