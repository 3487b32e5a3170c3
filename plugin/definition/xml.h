/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A small wrapper of libxml2 with this project's rules: strict and bounded parsing, exact serialization. */
#pragma once

#include <glib.h>
#include <libxml/tree.h>

#include "core/errors.h"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)

/* A document and the text around its elements, which libxml2 does not keep. */
typedef struct {
    xmlDoc *doc;
    char *head; /* the XML declaration and the white space before the first node */
    char *tail; /* the white space after the last node */
} VmigXml;

/* what: used in messages, "the domain's XML". Error: XML. */
VmigXml *vmig_xml_parse(const char *text, const char *what, GError **error);
void vmig_xml_free(VmigXml *xml);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigXml, vmig_xml_free)
char *vmig_xml_to_string(const VmigXml *xml);
/* One element with its contents. */
char *vmig_xml_node_to_string(xmlNode *node);

/* Whether it is the element of that name, without a namespace. */
gboolean vmig_xml_is(const xmlNode *node, const char *name);
/* The first child element of that name, or NULL; parent may be NULL. */
xmlNode *vmig_xml_child(const xmlNode *parent, const char *name);
/* The next sibling of the same name, or NULL. */
xmlNode *vmig_xml_next(const xmlNode *node);
/* The child's own text; NULL without such a child or text. */
char *vmig_xml_child_text(const xmlNode *parent, const char *name);
/* NULL if the attribute or the node is missing. */
char *vmig_xml_attr(const xmlNode *node, const char *name);
gboolean vmig_xml_attr_is(const xmlNode *node, const char *name, const char *value);
/* An attribute of a child. */
char *vmig_xml_child_attr(const xmlNode *parent, const char *child, const char *name);
/* Requires that each of these names (NULL-terminated) occurs at most once among the children, and without a namespace.
 * libvirt looks up some names with the namespace and some without, so anything else could be read differently by
 * libvirt and vmig-snap. Error: XML. */
gboolean vmig_xml_once(const xmlNode *parent, const char *const *names, GError **error);
/* Sets an attribute without a namespace; NULL removes it. */
void vmig_xml_set(xmlNode *node, const char *name, const char *value);
/* Adds a last child without a namespace. */
xmlNode *vmig_xml_add(xmlNode *parent, const char *name);
/* Unlinks and frees the node, with the white space before it. */
void vmig_xml_remove(xmlNode *node);
/* Inserts a new node after another, behind a copy of the white space before that one. */
void vmig_xml_insert_after(xmlNode *node, xmlNode *created);
/* Puts the children on lines of their own, indented like the nodes around this one. */
void vmig_xml_indent(xmlNode *node);
/* Whether an XML 1.0 document can contain this text. */
gboolean vmig_xml_text_is_valid(const char *text);
