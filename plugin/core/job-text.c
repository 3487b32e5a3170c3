/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes a record as text, without an intermediate object tree: it is written at every step, and is large. */
#include "core/job-private.h"
#include "core/job.h"
#include "core/path-map.h"

static void append_string(GString *out, const char *text)
{
    g_string_append_c(out, '"');
    for (const char *plain = text;; text++) {
        guchar c = (guchar)*text;
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        g_string_append_len(out, plain, text - plain);
        plain = text + 1;
        if (c == '\0')
            break;
        if (c == '"' || c == '\\')
            g_string_append_printf(out, "\\%c", c);
        else if (c == '\n')
            g_string_append(out, "\\n");
        else
            g_string_append_printf(out, "\\u%04x", c);
    }
    g_string_append_c(out, '"');
}

static void append_number(GString *out, gint64 number)
{
    char text[24];
    char *at = text + sizeof text;
    guint64 left = number < 0 ? -(guint64)number : (guint64)number;

    do
        *--at = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (number < 0)
        *--at = '-';
    g_string_append_len(out, at, text + sizeof text - at);
}

static void append_record(GString *out, gconstpointer record, const FieldTable *table);

static void append_field(GString *out, gconstpointer record, const Field *f)
{
    const GPtrArray *array = NULL;

    switch (f->kind) {
    case FIELD_STRING:
        append_string(out, G_STRUCT_MEMBER(char *, record, f->offset));
        break;
    case FIELD_UINT64:
    case FIELD_INT64:
        append_number(out, G_STRUCT_MEMBER(gint64, record, f->offset));
        break;
    case FIELD_BOOL:
        g_string_append(out, G_STRUCT_MEMBER(gboolean, record, f->offset) ? "true" : "false");
        break;
    case FIELD_ROLE:
        append_string(out, vmig_role_name(G_STRUCT_MEMBER(VmigRole, record, f->offset)));
        break;
    case FIELD_FLOW:
        append_string(out, G_STRUCT_MEMBER(const VmigStates *, record, f->offset)->name);
        break;
    case FIELD_KIND:
        append_string(out, vmig_artifact_name(G_STRUCT_MEMBER(VmigArtifactKind, record, f->offset)));
        break;
    case FIELD_LEVEL:
        g_string_append(out, G_STRUCT_MEMBER(guint, record, f->offset) >= f->level ? "true" : "false");
        break;
    case FIELD_STRUCT:
        append_record(out, G_STRUCT_MEMBER_P(record, f->offset), f->table);
        break;
    case FIELD_ARRAY:
        array = G_STRUCT_MEMBER(GPtrArray *, record, f->offset);
        g_string_append_c(out, '[');
        for (guint i = 0; i < array->len; i++) {
            g_string_append(out, i > 0 ? "," : "");
            append_record(out, array->pdata[i], f->table);
        }
        g_string_append_c(out, ']');
        break;
    case FIELD_MEMORY:
        break;
    }
}

static void append_record(GString *out, gconstpointer record, const FieldTable *table)
{
    char between = '{';

    for (guint i = 0; i < table->n_fields; i++) {
        const Field *f = &table->fields[i];
        gboolean pointer = f->kind == FIELD_STRING || f->kind == FIELD_FLOW;
        if (f->kind == FIELD_MEMORY || (pointer && G_STRUCT_MEMBER(gconstpointer, record, f->offset) == NULL))
            continue;
        g_string_append_c(out, between);
        append_string(out, f->name);
        g_string_append_c(out, ':');
        append_field(out, record, f);
        between = ',';
    }
    g_string_append(out, between == '{' ? "{}" : "}");
}

char *vmig_record_to_text(gconstpointer record, const FieldTable *table)
{
    GString *out = g_string_sized_new(16 * 1024);

    append_record(out, record, table);
    return g_string_free(out, FALSE);
}

char *vmig_job_older_hint(const char *id)
{
    const char *job = id != NULL && vmig_job_id_is_valid(id) ? id : "JOB";

    return g_strdup_printf("Install on both hosts the version of vmig-snap that began the job. End the job with it: "
                           "vmig-snap resume %s, or vmig-snap cancel %s. Then upgrade both hosts.",
                           job, job);
}
