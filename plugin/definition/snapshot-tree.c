/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "definition/snapshot-tree.h"

#include <string.h>

#include "core/names.h"
#include "definition/xml.h"

#define DESCRIPTION_MOST 200

static gboolean read_creation_time(const xmlNode *root, gint64 *seconds)
{
    g_autofree char *text = vmig_xml_child_text(root, "creationTime");
    guint64 value;

    if (text == NULL || !g_ascii_string_to_unsigned(g_strstrip(text), 10, 0, G_MAXINT64, &value, NULL))
        return FALSE;
    *seconds = (gint64)value;
    return TRUE;
}

/* For XML without <memory> (before 1.0.1), libvirt derives it from the state: virDomainSnapshotDefParse(). */
static void read_memory(const xmlNode *root, VmigSnapshot *snapshot)
{
    g_autofree char *kind = vmig_xml_child_attr(root, "memory", "snapshot");

    if (kind == NULL)
        snapshot->memory = strcmp(snapshot->state, "shutoff") != 0 && strcmp(snapshot->state, "disk-snapshot") != 0;
    else
        snapshot->memory = strcmp(kind, "no") != 0;
    snapshot->external = g_strcmp0(kind, "external") == 0;
}

static const char *const once[] = {"name", "parent", "state", "creationTime", "memory", "disks", NULL};

/* A description may have megabytes and is only compared. */
static char *shorten(const char *description)
{
    if (description == NULL || strlen(description) <= DESCRIPTION_MOST)
        return g_strdup(description);
    const char *end = description + DESCRIPTION_MOST;
    while (((guchar)*end & 0xc0) == 0x80)
        end--;
    g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, description, -1);
    return g_strdup_printf("%.*s… (%zu bytes, SHA-256 %s)", (int)(end - description), description, strlen(description),
                           sum);
}

VmigSnapshot *vmig_snapshot_from_xml(const char *text, GError **error)
{
    g_autoptr(VmigXml) xml = vmig_xml_parse(text, "the snapshot's XML", error);

    if (xml == NULL)
        return NULL;
    const xmlNode *root = xmlDocGetRootElement(xml->doc);
    if (!vmig_xml_is(root, "domainsnapshot")) {
        vmig_fail(error, VMIG_ERROR_XML, NULL, "the XML does not describe a snapshot");
        return NULL;
    }
    if (!vmig_xml_once(root, once, error))
        return NULL;
    g_autoptr(VmigSnapshot) snapshot = vmig_snapshot_new();
    snapshot->name = vmig_xml_child_text(root, "name");
    snapshot->state = vmig_xml_child_text(root, "state");
    if (snapshot->name == NULL || snapshot->state == NULL || !read_creation_time(root, &snapshot->creation_time)) {
        g_autofree char *shown = vmig_text_escape(snapshot->name, -1);
        vmig_fail(error, VMIG_ERROR_XML, NULL, "the snapshot '%s' has no valid name, state or creation time", shown);
        return NULL;
    }
    snapshot->parent = vmig_xml_child_text(vmig_xml_child(root, "parent"), "name");
    vmig_snapshot_take_xml(snapshot, g_strdup(text));
    g_autofree char *description = vmig_xml_child_text(root, "description");
    snapshot->description = shorten(description);
    read_memory(root, snapshot);
    xmlNode *disk = vmig_xml_child(vmig_xml_child(root, "disks"), "disk");
    for (; disk != NULL; disk = vmig_xml_next(disk))
        snapshot->external |= vmig_xml_attr_is(disk, "snapshot", "external");
    return g_steal_pointer(&snapshot);
}

gboolean vmig_snapshot_has_disk(const VmigSnapshot *snapshot, const char *target)
{
    g_autoptr(VmigXml) xml = vmig_xml_parse(snapshot->xml, "the snapshot's XML", NULL);
    xmlNode *disks = xml == NULL ? NULL : vmig_xml_child(xmlDocGetRootElement(xml->doc), "disks");

    if (disks == NULL)
        return TRUE;
    for (xmlNode *disk = vmig_xml_child(disks, "disk"); disk != NULL; disk = vmig_xml_next(disk))
        if (vmig_xml_attr_is(disk, "name", target))
            return !vmig_xml_attr_is(disk, "snapshot", "no");
    return FALSE;
}

char *vmig_snapshot_domain_xml(const VmigSnapshot *snapshot)
{
    g_autoptr(VmigXml) xml = vmig_xml_parse(snapshot->xml, "the snapshot's XML", NULL);
    xmlNode *domain = xml == NULL ? NULL : vmig_xml_child(xmlDocGetRootElement(xml->doc), "domain");

    return domain != NULL ? vmig_xml_node_to_string(domain) : NULL;
}

/* One snapshot during the sorting of the tree. */
typedef struct {
    VmigSnapshot *snapshot;
    guint parent; /* index, or NONE */
    guint depth;  /* from 1 for a root; 0: not yet known */
    gboolean on_path;
} Entry;

#define NONE G_MAXUINT

static gboolean fail_tree(GError **error, const char *name, const char *what)
{
    g_autofree char *shown = vmig_text_escape(name, -1);

    return vmig_fail(error, VMIG_ERROR_XML, NULL, "the snapshot '%s' %s", shown, what);
}

/* Finds parents by name. Reports duplicates, missing parents and a second current snapshot. */
static gboolean link_entries(GPtrArray *snapshots, Entry *entries, GError **error)
{
    g_autoptr(GHashTable) by_name = g_hash_table_new(g_str_hash, g_str_equal);
    gboolean current = FALSE;

    for (guint i = 0; i < snapshots->len; i++) {
        VmigSnapshot *snapshot = snapshots->pdata[i];
        entries[i] = (Entry){.snapshot = snapshot, .parent = NONE};
        if (snapshot->name == NULL)
            return fail_tree(error, "", "has no name");
        if (!g_hash_table_insert(by_name, snapshot->name, GUINT_TO_POINTER(i)))
            return fail_tree(error, snapshot->name, "occurs twice");
        if (snapshot->current && current)
            return fail_tree(error, snapshot->name, "is not the only current one");
        current |= snapshot->current;
    }
    for (guint i = 0; i < snapshots->len; i++) {
        const VmigSnapshot *snapshot = entries[i].snapshot;
        gpointer parent;
        if (snapshot->parent == NULL)
            continue;
        if (!g_hash_table_lookup_extended(by_name, snapshot->parent, NULL, &parent))
            return fail_tree(error, snapshot->name, "has a parent that does not exist");
        entries[i].parent = GPOINTER_TO_UINT(parent);
    }
    return TRUE;
}

/* Goes up from entry i to a known depth, then down again: without recursion, and each entry once. */
static gboolean find_depth(Entry *entries, guint i, GArray *path, GError **error)
{
    guint depth = 0;

    g_array_set_size(path, 0);
    for (; i != NONE && entries[i].depth == 0; i = entries[i].parent) {
        if (entries[i].on_path)
            return fail_tree(error, entries[i].snapshot->name, "is its own ancestor");
        entries[i].on_path = TRUE;
        g_array_append_val(path, i);
    }
    if (i != NONE)
        depth = entries[i].depth;
    for (guint k = path->len; k > 0; k--)
        entries[g_array_index(path, guint, k - 1)].depth = ++depth;
    return TRUE;
}

static int compare_entries(const void *a, const void *b)
{
    const Entry *x = a, *y = b;

    if (x->depth != y->depth)
        return x->depth < y->depth ? -1 : 1;
    if (x->snapshot->creation_time != y->snapshot->creation_time)
        return x->snapshot->creation_time < y->snapshot->creation_time ? -1 : 1;
    return strcmp(x->snapshot->name, y->snapshot->name);
}

gboolean vmig_snapshot_tree_order(GPtrArray *snapshots, GError **error)
{
    g_autofree Entry *entries = g_new0(Entry, snapshots->len);
    g_autoptr(GArray) path = g_array_new(FALSE, FALSE, sizeof(guint));

    if (!link_entries(snapshots, entries, error))
        return FALSE;
    for (guint i = 0; i < snapshots->len; i++)
        if (!find_depth(entries, i, path, error))
            return FALSE;
    if (snapshots->len > 1)
        qsort(entries, snapshots->len, sizeof *entries, compare_entries);
    for (guint i = 0; i < snapshots->len; i++)
        snapshots->pdata[i] = entries[i].snapshot;
    return TRUE;
}

static GHashTable *index_by_name(GPtrArray *snapshots)
{
    GHashTable *by_name = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < snapshots->len; i++)
        g_hash_table_insert(by_name, ((VmigSnapshot *)snapshots->pdata[i])->name, snapshots->pdata[i]);
    return by_name;
}

/* The first difference between two snapshots of one name, or NULL. */
static const char *difference(const VmigSnapshot *a, const VmigSnapshot *b)
{
    if (b == NULL)
        return "exists on one host only";
    if (g_strcmp0(a->parent, b->parent) != 0)
        return "has another parent";
    if (g_strcmp0(a->state, b->state) != 0)
        return "has another state";
    if (a->creation_time != b->creation_time)
        return "has another creation time";
    if (a->memory != b->memory)
        return "has memory on one host only";
    if (a->current != b->current)
        return "is the current one on one host only";
    return NULL;
}

static gboolean is_in(GPtrArray *a, GPtrArray *b, char **ret_difference)
{
    g_autoptr(GHashTable) by_name = index_by_name(b);

    for (guint i = 0; i < a->len; i++) {
        const VmigSnapshot *snapshot = a->pdata[i];
        const char *what = difference(snapshot, g_hash_table_lookup(by_name, snapshot->name));
        if (what == NULL)
            continue;
        if (ret_difference != NULL) {
            g_autofree char *shown = vmig_text_escape(snapshot->name, -1);
            *ret_difference = g_strdup_printf("the snapshot '%s' %s", shown, what);
        }
        return FALSE;
    }
    return TRUE;
}

gboolean vmig_snapshot_tree_equal(GPtrArray *a, GPtrArray *b, char **ret_difference)
{
    if (ret_difference != NULL)
        *ret_difference = NULL;
    return is_in(a, b, ret_difference) && is_in(b, a, ret_difference);
}

static void add_line(GPtrArray *lines, const char *format, const char *bytes, gsize length)
{
    g_autofree char *shown = vmig_text_escape(bytes, (gssize)length);

    g_ptr_array_add(lines, g_strdup_printf("the snapshot '%s' %s", shown, format));
}

/* Names are bytes: a name with a NUL inside cannot be one of libvirt's. */
static GHashTable *index_image(GPtrArray *names, GPtrArray *lines)
{
    GHashTable *in_image = g_hash_table_new(g_bytes_hash, g_bytes_equal);

    for (guint i = 0; i < names->len; i++) {
        gsize length;
        const char *bytes = g_bytes_get_data(names->pdata[i], &length);
        if (!g_hash_table_add(in_image, names->pdata[i]))
            add_line(lines, "occurs twice in the image", bytes, length);
    }
    return in_image;
}

GPtrArray *vmig_snapshot_tree_compare_image(GPtrArray *snapshots, const char *target, GPtrArray *names)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GHashTable) in_image = index_image(names, lines);
    g_autoptr(GHashTable) known =
        g_hash_table_new_full(g_bytes_hash, g_bytes_equal, (GDestroyNotify)g_bytes_unref, NULL);

    for (guint i = 0; i < snapshots->len; i++) {
        const VmigSnapshot *snapshot = snapshots->pdata[i];
        GBytes *name = g_bytes_new(snapshot->name, strlen(snapshot->name));
        gboolean expected = !snapshot->external && (target == NULL || vmig_snapshot_has_disk(snapshot, target));
        if (expected && !g_hash_table_contains(in_image, name))
            add_line(lines, "is in libvirt's metadata but not in the image", snapshot->name, strlen(snapshot->name));
        if (expected)
            g_hash_table_add(known, name);
        else
            g_bytes_unref(name);
    }
    for (guint i = 0; i < names->len; i++) {
        gsize length;
        const char *bytes = g_bytes_get_data(names->pdata[i], &length);
        if (!g_hash_table_contains(known, names->pdata[i]))
            add_line(lines, "is in the image but not in libvirt's metadata", bytes, length);
    }
    return lines;
}
