/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a record is described: one field after the other. */
#pragma once

#include <glib.h>

typedef enum {
    FIELD_STRING,
    FIELD_UINT64,
    FIELD_INT64,
    FIELD_BOOL,
    FIELD_ARRAY,
    FIELD_STRUCT,
    FIELD_MEMORY, /* a string of the structure that is not part of the record */
} FieldKind;

typedef struct FieldTable FieldTable;

typedef struct {
    const char *name;
    FieldKind kind;
    gsize offset;
    const FieldTable *table; /* of the elements, or of the structure inside */
} Field;

struct FieldTable {
    gsize size;
    GDestroyNotify free;
    const Field *fields;
    guint n_fields;
};

/* As one line of JSON. A string that is NULL is left out. */
char *vmig_record_to_text(gconstpointer record, const FieldTable *table);
