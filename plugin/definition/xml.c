/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "definition/xml.h"

#include <libxml/parser.h>
#include <libxml/xmlsave.h>
#include <string.h>

#include "definition/domain-xml.h"
#include "core/names.h"

/* 16 MiB of "<a/>" would become 500 MB of nodes. XML from libvirt has a few thousand tags. */
#define MAX_TAGS 200000
/* libxml2 2.9 compares each attribute of an element with all others. */
#define MAX_COMPARISONS G_GUINT64_CONSTANT(1000000000)

typedef xmlParserCtxt VmigParserCtxt;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigParserCtxt, xmlFreeParserCtxt)

static gboolean markup_is_bounded(const char *text)
{
    guint64 tags = 0, equals = 0, comparisons = 0;

    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '=') {
            comparisons += equals++;
        } else if (*p == '<') {
            tags++;
            equals = 0;
        }
    }
    return tags <= MAX_TAGS && comparisons <= MAX_COMPARISONS;
}

/* libxml2 calls this at any DOCTYPE, before it reads the contents, which must not be read at all. */
static void refuse_doctype(void *data, const xmlChar *name, const xmlChar *external, const xmlChar *system)
{
    xmlParserCtxt *context = data;
    gboolean *seen = context->_private;

    (void)name;
    (void)external;
    (void)system;
    *seen = TRUE;
    xmlStopParser(context);
}

static const char *skip_space(const char *p)
{
    return p + strspn(p, " \t\r\n");
}

/* Skips the declaration, comments, processing instructions and white space before the root element. */
static const char *find_root(const char *text)
{
    const char *p = skip_space(text);

    while (g_str_has_prefix(p, "<!--") || g_str_has_prefix(p, "<?")) {
        gboolean comment = p[1] == '!';
        const char *end = strstr(p + (comment ? 4 : 2), comment ? "-->" : "?>");
        if (end == NULL)
            return p;
        p = skip_space(end + (comment ? 3 : 2));
    }
    return p;
}

/* The declaration may name only UTF-8, which the text was checked to be. */
static gboolean declares_utf8(const char *text)
{
    const char *start = skip_space(text);
    const char *end = g_str_has_prefix(start, "<?xml") ? strstr(start, "?>") : NULL;

    if (end == NULL)
        return TRUE;
    g_autofree char *declaration = g_ascii_strdown(start, end - start);
    return strstr(declaration, "encoding") == NULL || strstr(declaration, "utf-8") != NULL;
}

static gboolean text_is_acceptable(const char *text, const char *what, GError **error)
{
    gsize length = text == NULL ? 0 : strnlen(text, VMIG_XML_MAX_SIZE + 1);
    const char *fault = NULL;

    if (length == 0)
        fault = "is empty";
    else if (length > VMIG_XML_MAX_SIZE)
        fault = "is longer than 16 MiB";
    else if (!g_utf8_validate(text, (gssize)length, NULL) || g_str_has_prefix(text, "\xef\xbb\xbf") ||
             !declares_utf8(text))
        fault = "is not plain UTF-8";
    else if (!markup_is_bounded(text))
        fault = "has too many elements or attributes";
    return fault == NULL || vmig_fail(error, VMIG_ERROR_XML, NULL, "%s %s", what, fault);
}

static xmlDoc *parse_doc(const char *text, const char *what, GError **error)
{
    g_autoptr(VmigParserCtxt) context = xmlNewParserCtxt();
    gboolean doctype = FALSE;

    if (context == NULL)
        g_error("out of memory");
    context->_private = &doctype;
    context->sax->internalSubset = refuse_doctype;
    /* Without XML_PARSE_HUGE, so that libxml2's own limits on depth (256) and on the size of one text (10 MB) apply. */
    g_autoptr(xmlDoc) doc =
        xmlCtxtReadMemory(context, text, (int)strlen(text), NULL, "UTF-8",
                          XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_IGNORE_ENC);
    if (doctype) {
        vmig_fail(error, VMIG_ERROR_XML, NULL, "%s has a DOCTYPE", what);
        return NULL;
    }
    if (doc == NULL || context->nsWellFormed == 0 || xmlDocGetRootElement(doc) == NULL) {
        const xmlError *cause = xmlCtxtGetLastError(context);
        g_autofree char *trimmed = g_strdup(cause != NULL && cause->message != NULL ? cause->message : "no document");
        g_autofree char *shown = vmig_text_escape(g_strchomp(trimmed), -1);
        vmig_fail(error, VMIG_ERROR_XML, NULL, "%s cannot be parsed: line %d: %s", what,
                  cause != NULL ? cause->line : 0, shown);
        return NULL;
    }
    return g_steal_pointer(&doc);
}

/* Comments, processing instructions and white space after the root element. */
static char *tail_of(xmlDoc *doc, const char *text)
{
    g_autoptr(GString) tail = g_string_new(NULL);
    gsize length = strlen(text);

    for (xmlNode *node = xmlDocGetRootElement(doc)->next; node != NULL; node = node->next) {
        g_autofree char *part = vmig_xml_node_to_string(node);
        g_string_append_c(tail, '\n');
        g_string_append(tail, part);
    }
    while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL)
        length--;
    g_string_append(tail, text + length);
    return g_string_free(g_steal_pointer(&tail), FALSE);
}

VmigXml *vmig_xml_parse(const char *text, const char *what, GError **error)
{
    if (!text_is_acceptable(text, what, error))
        return NULL;
    xmlDoc *doc = parse_doc(text, what, error);
    if (doc == NULL)
        return NULL;
    /* Without an encoding libxml2 writes every non-ASCII character of an attribute as a numeric reference. */
    if (doc->encoding == NULL)
        doc->encoding = xmlStrdup((const xmlChar *)"UTF-8");
    VmigXml *xml = g_new0(VmigXml, 1);
    xml->doc = doc;
    xml->head = g_strndup(text, (gsize)(find_root(text) - text));
    xml->tail = tail_of(doc, text);
    return xml;
}

void vmig_xml_free(VmigXml *xml)
{
    xmlFreeDoc(xml->doc);
    g_free(xml->head);
    g_free(xml->tail);
    g_free(xml);
}

char *vmig_xml_to_string(const VmigXml *xml)
{
    g_autofree char *root = vmig_xml_node_to_string(xmlDocGetRootElement(xml->doc));

    return g_strconcat(xml->head, root, xml->tail, NULL);
}

char *vmig_xml_node_to_string(xmlNode *node)
{
    xmlBuffer *buffer = xmlBufferCreate();
    xmlSaveCtxt *save = xmlSaveToBuffer(buffer, "UTF-8", XML_SAVE_NO_DECL | XML_SAVE_AS_XML);

    xmlSaveTree(save, node);
    xmlSaveClose(save);
    char *text = g_strdup((const char *)xmlBufferContent(buffer));
    xmlBufferFree(buffer);
    return text;
}

gboolean vmig_xml_is(const xmlNode *node, const char *name)
{
    return node != NULL && node->type == XML_ELEMENT_NODE && node->ns == NULL &&
           strcmp((const char *)node->name, name) == 0;
}

static xmlNode *first_of(xmlNode *node, const char *name)
{
    while (node != NULL && !vmig_xml_is(node, name))
        node = node->next;
    return node;
}

xmlNode *vmig_xml_child(const xmlNode *parent, const char *name)
{
    return parent == NULL ? NULL : first_of(parent->children, name);
}

xmlNode *vmig_xml_next(const xmlNode *node)
{
    return first_of(node->next, (const char *)node->name);
}

/* Converts a string of libxml2's allocator to GLib's. */
static char *take(xmlChar *text)
{
    char *copy = g_strdup((const char *)text);

    xmlFree(text);
    return copy;
}

char *vmig_xml_child_text(const xmlNode *parent, const char *name)
{
    xmlNode *child = vmig_xml_child(parent, name);
    g_autofree char *text = child == NULL ? NULL : take(xmlNodeGetContent(child));

    return text == NULL || *text == '\0' ? NULL : g_steal_pointer(&text);
}

char *vmig_xml_attr(const xmlNode *node, const char *name)
{
    return node == NULL ? NULL : take(xmlGetNoNsProp(node, (const xmlChar *)name));
}

gboolean vmig_xml_attr_is(const xmlNode *node, const char *name, const char *value)
{
    g_autofree char *found = vmig_xml_attr(node, name);

    return g_strcmp0(found, value) == 0;
}

char *vmig_xml_child_attr(const xmlNode *parent, const char *child, const char *name)
{
    return vmig_xml_attr(vmig_xml_child(parent, child), name);
}

void vmig_xml_set(xmlNode *node, const char *name, const char *value)
{
    if (value == NULL)
        xmlUnsetProp(node, (const xmlChar *)name);
    else
        xmlSetProp(node, (const xmlChar *)name, (const xmlChar *)value);
}

xmlNode *vmig_xml_add(xmlNode *parent, const char *name)
{
    return xmlAddChild(parent, xmlNewDocNode(parent->doc, NULL, (const xmlChar *)name, NULL));
}

gboolean vmig_xml_once(const xmlNode *parent, const char *const *names, GError **error)
{
    for (; *names != NULL; names++) {
        guint seen = 0;
        for (const xmlNode *node = parent->children; node != NULL; node = node->next) {
            if (node->type != XML_ELEMENT_NODE || strcmp((const char *)node->name, *names) != 0)
                continue;
            if (node->ns != NULL || ++seen > 1)
                return vmig_fail(error, VMIG_ERROR_XML, NULL,
                                 "line %ld of the XML has a second <%s>, or one of another namespace",
                                 xmlGetLineNo(node), *names);
        }
    }
    return TRUE;
}

static xmlNode *space_before(xmlNode *node)
{
    return node->prev != NULL && xmlIsBlankNode(node->prev) ? node->prev : NULL;
}

void vmig_xml_remove(xmlNode *node)
{
    xmlNode *space = space_before(node);

    xmlUnlinkNode(node);
    xmlFreeNode(node);
    if (space != NULL) {
        xmlUnlinkNode(space);
        xmlFreeNode(space);
    }
}

void vmig_xml_insert_after(xmlNode *node, xmlNode *created)
{
    xmlNode *space = space_before(node);

    if (space != NULL)
        node = xmlAddNextSibling(node, xmlDocCopyNode(space, node->doc, 1));
    xmlAddNextSibling(node, created);
}

static void indent_children(xmlNode *node, const char *space)
{
    g_autofree char *deeper = g_strconcat(space, "  ", NULL);
    gboolean any = FALSE;

    for (xmlNode *child = node->children; child != NULL; child = child->next) {
        if (child->type != XML_ELEMENT_NODE)
            continue;
        any = TRUE;
        xmlAddPrevSibling(child, xmlNewDocText(node->doc, (const xmlChar *)deeper));
        indent_children(child, deeper);
    }
    if (any)
        xmlAddChild(node, xmlNewDocText(node->doc, (const xmlChar *)space));
}

void vmig_xml_indent(xmlNode *node)
{
    xmlNode *space = space_before(node);
    const char *newline = space == NULL ? NULL : strrchr((const char *)space->content, '\n');

    if (newline != NULL)
        indent_children(node, newline);
}

gboolean vmig_xml_text_is_valid(const char *text)
{
    if (text == NULL || !g_utf8_validate(text, -1, NULL))
        return FALSE;
    for (const char *p = text; *p != '\0'; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        if (!(c >= 0x20 || c == '\t' || c == '\n' || c == '\r') || c == 0xfffe || c == 0xffff)
            return FALSE;
    }
    return TRUE;
}
