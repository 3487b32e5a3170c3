/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes, frees, writes and reads a record by its table of fields. */
#include "core/errors.h"
#include "core/job-private.h"
#include "core/job.h"

gpointer vmig_record_new(const FieldTable *table)
{
    gpointer record = g_malloc0(table->size);

    for (guint i = 0; i < table->n_fields; i++) {
        const Field *f = &table->fields[i];
        if (f->kind == FIELD_ARRAY)
            G_STRUCT_MEMBER(GPtrArray *, record, f->offset) = g_ptr_array_new_with_free_func(f->table->free);
    }
    return record;
}

void vmig_record_clear(gpointer record, const FieldTable *table)
{
    for (guint i = 0; i < table->n_fields; i++) {
        const Field *f = &table->fields[i];
        if (f->kind == FIELD_STRING || f->kind == FIELD_MEMORY)
            g_free(G_STRUCT_MEMBER(char *, record, f->offset));
        else if (f->kind == FIELD_ARRAY)
            g_ptr_array_unref(G_STRUCT_MEMBER(GPtrArray *, record, f->offset));
        else if (f->kind == FIELD_STRUCT)
            vmig_record_clear(G_STRUCT_MEMBER_P(record, f->offset), f->table);
    }
}

static void field_to_json(JsonObject *object, gconstpointer record, const Field *f)
{
    switch (f->kind) {
    case FIELD_STRING:
        if (G_STRUCT_MEMBER(char *, record, f->offset) != NULL)
            json_object_set_string_member(object, f->name, G_STRUCT_MEMBER(char *, record, f->offset));
        break;
    case FIELD_UINT64:
    case FIELD_INT64:
        json_object_set_int_member(object, f->name, G_STRUCT_MEMBER(gint64, record, f->offset));
        break;
    case FIELD_BOOL:
        json_object_set_boolean_member(object, f->name, G_STRUCT_MEMBER(gboolean, record, f->offset));
        break;
    case FIELD_ROLE:
        json_object_set_string_member(object, f->name, vmig_role_name(G_STRUCT_MEMBER(VmigRole, record, f->offset)));
        break;
    case FIELD_FLOW:
        if (G_STRUCT_MEMBER(const VmigStates *, record, f->offset) != NULL)
            json_object_set_string_member(object, f->name,
                                          G_STRUCT_MEMBER(const VmigStates *, record, f->offset)->name);
        break;
    case FIELD_KIND:
        json_object_set_string_member(object, f->name,
                                      vmig_artifact_name(G_STRUCT_MEMBER(VmigArtifactKind, record, f->offset)));
        break;
    case FIELD_LEVEL:
        json_object_set_boolean_member(object, f->name, G_STRUCT_MEMBER(guint, record, f->offset) >= f->level);
        break;
    case FIELD_STRUCT:
        json_object_set_object_member(object, f->name,
                                      vmig_record_to_json(G_STRUCT_MEMBER_P(record, f->offset), f->table));
        break;
    case FIELD_ARRAY: {
        GPtrArray *array = G_STRUCT_MEMBER(GPtrArray *, record, f->offset);
        JsonArray *list = json_array_new();
        for (guint i = 0; i < array->len; i++)
            json_array_add_object_element(list, vmig_record_to_json(array->pdata[i], f->table));
        json_object_set_array_member(object, f->name, list);
        break;
    }
    case FIELD_MEMORY:
        break;
    }
}

JsonObject *vmig_record_to_json(gconstpointer record, const FieldTable *table)
{
    JsonObject *object = json_object_new();

    for (guint i = 0; i < table->n_fields; i++)
        field_to_json(object, record, &table->fields[i]);
    return object;
}

static gboolean array_from_json(GPtrArray *array, const Field *f, JsonNode *node, GError **error)
{
    if (!JSON_NODE_HOLDS_ARRAY(node))
        return vmig_fail(error, VMIG_ERROR_JOURNAL, NULL, "the record's field '%s' is not a list", f->name);
    JsonArray *list = json_node_get_array(node);
    for (guint i = 0; i < json_array_get_length(list); i++) {
        JsonNode *item = json_array_get_element(list, i);
        if (!JSON_NODE_HOLDS_OBJECT(item))
            return vmig_fail(error, VMIG_ERROR_JOURNAL, NULL, "an element of the record's field '%s' is not an object",
                             f->name);
        gpointer element = vmig_record_new(f->table);
        g_ptr_array_add(array, element);
        if (!vmig_record_from_json(element, f->table, json_node_get_object(item), error))
            return FALSE;
    }
    return TRUE;
}

/* The name of something that a later version may have more of. */
static gboolean name_from_json(gpointer record, const Field *f, const char *name, GError **error)
{
    gpointer at = G_STRUCT_MEMBER_P(record, f->offset);
    gboolean known;

    if (f->kind == FIELD_FLOW)
        known = (*(const VmigStates **)at = vmig_states_of_flow(name)) != NULL;
    else
        known = vmig_artifact_parse(name, at);
    return known || vmig_fail(error, VMIG_ERROR_JOURNAL_NEWER, VMIG_RECORD_UPGRADE,
                              "the record's field '%s' names what this vmig-snap does not know: '%s'", f->name, name);
}

static gboolean field_from_json(gpointer record, const Field *f, JsonNode *node, GError **error)
{
    GType type = json_node_get_value_type(node);

    if (JSON_NODE_HOLDS_NULL(node))
        return TRUE;
    switch (f->kind) {
    case FIELD_STRING:
        /* json-glib also accepts octal escapes, but could not read its own output of the resulting bytes. */
        if (type == G_TYPE_STRING && g_utf8_validate(json_node_get_string(node), -1, NULL)) {
            g_free(G_STRUCT_MEMBER(char *, record, f->offset));
            G_STRUCT_MEMBER(char *, record, f->offset) = json_node_dup_string(node);
            return TRUE;
        }
        break;
    case FIELD_UINT64:
    case FIELD_INT64:
        if (type == G_TYPE_INT64) {
            G_STRUCT_MEMBER(gint64, record, f->offset) = json_node_get_int(node);
            return TRUE;
        }
        break;
    case FIELD_BOOL:
        if (type == G_TYPE_BOOLEAN) {
            G_STRUCT_MEMBER(gboolean, record, f->offset) = json_node_get_boolean(node);
            return TRUE;
        }
        break;
    case FIELD_ROLE:
        if (type == G_TYPE_STRING && vmig_role_parse(json_node_get_string(node), G_STRUCT_MEMBER_P(record, f->offset)))
            return TRUE;
        break;
    case FIELD_FLOW:
    case FIELD_KIND:
        if (type == G_TYPE_STRING)
            return name_from_json(record, f, json_node_get_string(node), error);
        break;
    case FIELD_LEVEL:
        if (type == G_TYPE_BOOLEAN) {
            guint *level = G_STRUCT_MEMBER_P(record, f->offset);
            *level = MAX(*level, json_node_get_boolean(node) ? f->level : 0);
            return TRUE;
        }
        break;
    case FIELD_STRUCT:
        if (JSON_NODE_HOLDS_OBJECT(node))
            return vmig_record_from_json(G_STRUCT_MEMBER_P(record, f->offset), f->table, json_node_get_object(node),
                                         error);
        break;
    case FIELD_ARRAY:
        return array_from_json(G_STRUCT_MEMBER(GPtrArray *, record, f->offset), f, node, error);
    case FIELD_MEMORY:
        break;
    }
    return vmig_fail(error, VMIG_ERROR_JOURNAL, NULL, "the record's field '%s' has the wrong type", f->name);
}

gboolean vmig_record_from_json(gpointer record, const FieldTable *table, JsonObject *object, GError **error)
{
    for (guint i = 0; i < table->n_fields; i++) {
        JsonNode *node = json_object_get_member(object, table->fields[i].name);
        if (node != NULL && table->fields[i].kind != FIELD_MEMORY &&
            !field_from_json(record, &table->fields[i], node, error))
            return FALSE;
    }
    return TRUE;
}
