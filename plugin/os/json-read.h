/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON from another process: a bounded parser for one line, and strict reading of an object's members.
 *
 * JsonParser of json-glib 1.6 recurses without a limit and accepts more than JSON (comments, single quotes, `var x =`),
 * so a small lexer checks each line first.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>

#include "core/errors.h"

#define VMIG_JSON_MAX_LINE (16 * 1024 * 1024)
/* The total size of the texts in one message, unless it is a single text. */
#define VMIG_TEXTS_MESSAGE (4 * 1024 * 1024)
#define VMIG_JSON_MAX_DEPTH 32
#define VMIG_JSON_MAX_VALUES 500000

/* Parses one JSON object and nothing else. Error: PROTOCOL. (transfer full) */
JsonObject *vmig_json_parse(const char *text, gsize length, GError **error);
/* The most bytes that the text occupies in a line as a string. */
gsize vmig_json_text_size(const char *text);
/* One line without the newline. (transfer full) */
char *vmig_json_line(JsonObject *object);

/* Reads members of one object. vmig_reader_end() reports the first mistake. After a mistake every call returns zero or
 * NULL, so that reading many members needs one check. Nothing to free. */
typedef struct {
    JsonObject *object;
    const char *member;   /* the member with the first mistake, or NULL */
    const char *expected; /* what it should have been */
} VmigReader;

VmigReader vmig_reader(JsonObject *object);
/* The member must exist. Strings and objects belong to the object. */
const char *vmig_reader_text(VmigReader *reader, const char *name);
guint64 vmig_reader_size(VmigReader *reader, const char *name); /* 0 or more */
guint64 vmig_reader_bits(VmigReader *reader, const char *name); /* all 64 bits: device and inode numbers */
gint64 vmig_reader_number(VmigReader *reader, const char *name);
gboolean vmig_reader_flag(VmigReader *reader, const char *name);
JsonObject *vmig_reader_object(VmigReader *reader, const char *name);
JsonArray *vmig_reader_array(VmigReader *reader, const char *name);
char **vmig_reader_texts(VmigReader *reader, const char *name); /* (transfer full), never NULL */
/* NULL if the member is missing or null. */
const char *vmig_reader_maybe_text(VmigReader *reader, const char *name);
JsonObject *vmig_reader_maybe_object(VmigReader *reader, const char *name);
/* An element of an array as an object; NULL and a mistake if it is not one. (transfer none) */
JsonObject *vmig_reader_element(VmigReader *reader, const char *name, JsonArray *array, guint index);
/* Records a mistake that the caller found. */
void vmig_reader_mistake(VmigReader *reader, const char *name, const char *expected);
/* TRUE if there was no mistake; otherwise PROTOCOL, saying "WHAT: member 'x' is missing or not EXPECTED". */
gboolean vmig_reader_end(const VmigReader *reader, GError **error, const char *what, ...) G_GNUC_PRINTF(3, 4);
