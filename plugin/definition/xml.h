/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libxml2 behind a few functions with this project's rules: strict and bounded parsing, exact serialisation. */
#pragma once

#include <glib.h>
#include <libxml/tree.h>

#include "core/errors.h"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)

/* A document and the text around its elements, which libxml2 does not keep. */
typedef struct {
    xmlDoc *doc;
    char *head; /* the XML declaration and the white space up to the first node */
    char *tail; /* the white space after the last one */
} VmigXml;

/* what: for messages, "the domain's XML". Error: XML. */
VmigXml *vmig_xml_parse(const char *text, const char *what, GError **error);
void vmig_xml_free(VmigXml *xml);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigXml, vmig_xml_free)
char *vmig_xml_to_string(const VmigXml *xml);
/* One element with all that is in it. */
char *vmig_xml_node_to_string(xmlNode *node);

/* Is it the element of that name, without a namespace? */
gboolean vmig_xml_is(const xmlNode *node, const char *name);
/* The first child element of that name, or NULL; parent may be NULL. */
xmlNode *vmig_xml_child(const xmlNode *parent, const char *name);
/* The next sibling of the same name, or NULL. */
xmlNode *vmig_xml_next(const xmlNode *node);
/* The child's own text; NULL without such a child or text. */
char *vmig_xml_child_text(const xmlNode *parent, const char *name);
/* NULL without the attribute, or without the node. */
char *vmig_xml_attr(const xmlNode *node, const char *name);
gboolean vmig_xml_attr_is(const xmlNode *node, const char *name, const char *value);
/* An attribute of a child. */
char *vmig_xml_child_attr(const xmlNode *parent, const char *child, const char *name);
/* Does each of these names (NULL-terminated) stand at most once among the children, and in no namespace? libvirt looks
 * some names up with and some without the namespace, so what is else could mean one thing to us and another one to
 * it. Error: XML. */
gboolean vmig_xml_once(const xmlNode *parent, const char *const *names, GError **error);
/* Sets an attribute without a namespace; NULL removes it. */
void vmig_xml_set(xmlNode *node, const char *name, const char *value);
/* A new last child without a namespace. */
xmlNode *vmig_xml_add(xmlNode *parent, const char *name);
/* Unlinks and frees it, with the white space before it. */
void vmig_xml_remove(xmlNode *node);
/* Puts a new node after another one, behind a copy of the white space before that one. */
void vmig_xml_insert_after(xmlNode *node, xmlNode *created);
/* Makes the children stand on lines of their own, as they do around this node. */
void vmig_xml_indent(xmlNode *node);
/* Can it stand in an XML 1.0 document? */
gboolean vmig_xml_text_is_valid(const char *text);
