/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Describes a record as a list of fields. */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>

typedef enum {
    FIELD_STRING,
    FIELD_UINT64,
    FIELD_INT64,
    FIELD_BOOL,
    FIELD_ROLE,  /* a VmigRole, by its name */
    FIELD_FLOW,  /* a VmigStates, by its name */
    FIELD_KIND,  /* a VmigArtifactKind, by its name */
    FIELD_LEVEL, /* a flag that is set from one level of an enumeration on */
    FIELD_ARRAY,
    FIELD_STRUCT,
    FIELD_MEMORY, /* a string that is kept in memory but not written to the record */
} FieldKind;

typedef struct FieldTable FieldTable;

typedef struct {
    const char *name;
    FieldKind kind;
    gsize offset;
    const FieldTable *table; /* of the elements, or of the nested structure */
    guint level;             /* the lowest level that sets the flag */
} Field;

struct FieldTable {
    gsize size;
    GDestroyNotify free;
    const Field *fields;
    guint n_fields;
};

#define VMIG_RECORD_UPGRADE "Upgrade vmig-snap on this host."

/* Empty: NULL, 0, FALSE, empty lists. */
gpointer vmig_record_new(const FieldTable *table);
/* Frees what it has, not the record. */
void vmig_record_clear(gpointer record, const FieldTable *table);
/* (transfer full) */
JsonObject *vmig_record_to_json(gconstpointer record, const FieldTable *table);
/* Errors: JOURNAL for a field of the wrong type, JOURNAL_NEWER for a name that this version does not know. */
gboolean vmig_record_from_json(gpointer record, const FieldTable *table, JsonObject *object, GError **error);
/* The record as one line of JSON. Strings that are NULL are omitted. */
char *vmig_record_to_text(gconstpointer record, const FieldTable *table);
