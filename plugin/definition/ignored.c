/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compares the elements of two definitions by their names: see ignored.h. */
#include "definition/ignored.h"

#include <string.h>

#include "definition/xml.h"

/* The parents whose children are compared. libvirt formats what it understood, so a definition that it returned has
 * every child that it keeps. */
static const struct {
    const char *first, *second; /* NULL: the domain itself; NULL: the first one itself */
} places[] = {{NULL, NULL},        {"os", NULL},    {"features", NULL}, {"features", "hyperv"},
              {"features", "kvm"}, {"clock", NULL}, {"devices", NULL}};

/* Elements that change nothing for the guest (the end of QEMU's process, a cache of the emulation, limits and labels of
 * the host), and one that libvirt derives from another (<console> from <serial>). */
static const char *const harmless[] = {"async-teardown", "tcg",   "seclabel", "resource",
                                       "metadata",       "title", "console",  "description"};

static gboolean is_harmless(const xmlNode *node)
{
    for (guint i = 0; i < G_N_ELEMENTS(harmless); i++)
        if (vmig_xml_is(node, harmless[i]))
            return TRUE;
    return node->ns != NULL;
}

static guint count(xmlNode *parent, const char *name)
{
    guint n = 0;

    for (xmlNode *child = vmig_xml_child(parent, name); child != NULL; child = vmig_xml_next(child))
        n++;
    return n;
}

static xmlNode *find_place(xmlNode *domain, guint place)
{
    xmlNode *first = places[place].first != NULL ? vmig_xml_child(domain, places[place].first) : domain;

    return places[place].second != NULL ? vmig_xml_child(first, places[place].second) : first;
}

static char *ignored_at(xmlNode *given, xmlNode *kept, guint place)
{
    xmlNode *here = find_place(given, place), *there = find_place(kept, place);

    for (xmlNode *child = xmlFirstElementChild(here); child != NULL; child = xmlNextElementSibling(child)) {
        const char *name = (const char *)child->name;
        if (is_harmless(child) || count(there, name) >= count(here, name))
            continue;
        g_autoptr(GString) text = g_string_new(NULL);
        if (places[place].first != NULL)
            g_string_append_printf(text, "<%s>", places[place].first);
        if (places[place].second != NULL)
            g_string_append_printf(text, "<%s>", places[place].second);
        g_string_append_printf(text, "<%s>", name);
        return g_string_free(g_steal_pointer(&text), FALSE);
    }
    return NULL;
}

static xmlNode *domain_of(const VmigXml *xml)
{
    xmlNode *root = xmlDocGetRootElement(xml->doc);

    return vmig_xml_is(root, "domainsnapshot") ? vmig_xml_child(root, "domain") : root;
}

gboolean vmig_definition_ignored(const char *given, const char *kept, char **ret, GError **error)
{
    g_autoptr(VmigXml) ours = vmig_xml_parse(given, "the definition", error);
    g_autoptr(VmigXml) theirs = ours != NULL ? vmig_xml_parse(kept, "the destination's definition", error) : NULL;

    *ret = NULL;
    if (theirs == NULL)
        return FALSE;
    xmlNode *domain = domain_of(ours), *other = domain_of(theirs);
    for (guint i = 0; i < G_N_ELEMENTS(places) && domain != NULL && *ret == NULL; i++)
        *ret = ignored_at(domain, other, i);
    return TRUE;
}
