/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tolerant reading of JSON: json-glib's getters print warnings for missing members. */
#include "cli/render/look.h"
#include "vmig-snap/vmig-snap.h"

JsonObject *vmig_look(JsonNode *node)
{
    return node != NULL && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

static JsonNode *member(JsonObject *object, const char *name)
{
    return object != NULL ? json_object_get_member(object, name) : NULL;
}

static JsonNode *value_of_type(JsonNode *node, GType type)
{
    return node != NULL && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == type ? node : NULL;
}

const char *vmig_look_text(JsonObject *object, const char *name)
{
    JsonNode *node = value_of_type(member(object, name), G_TYPE_STRING);

    return node != NULL ? json_node_get_string(node) : NULL;
}

gint64 vmig_look_number(JsonObject *object, const char *name)
{
    JsonNode *node = value_of_type(member(object, name), G_TYPE_INT64);
    JsonNode *fraction = value_of_type(member(object, name), G_TYPE_DOUBLE);

    if (fraction != NULL) /* casting a value that does not fit is undefined */
        return (gint64)CLAMP(json_node_get_double(fraction) + 0.5, -9e18, 9e18);
    return node != NULL ? json_node_get_int(node) : 0;
}

gboolean vmig_look_flag(JsonObject *object, const char *name)
{
    JsonNode *node = value_of_type(member(object, name), G_TYPE_BOOLEAN);

    return node != NULL && json_node_get_boolean(node);
}

JsonObject *vmig_look_object(JsonObject *object, const char *name)
{
    return vmig_look(member(object, name));
}

static JsonArray *array_of(JsonObject *object, const char *name)
{
    JsonNode *node = member(object, name);

    return node != NULL && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

guint vmig_look_count(JsonObject *object, const char *name)
{
    JsonArray *array = array_of(object, name);

    return array != NULL ? json_array_get_length(array) : 0;
}

JsonObject *vmig_look_element(JsonObject *object, const char *name, guint index)
{
    return index < vmig_look_count(object, name) ? vmig_look(json_array_get_element(array_of(object, name), index))
                                                 : NULL;
}

const char *vmig_look_text_element(JsonObject *object, const char *name, guint index)
{
    if (index >= vmig_look_count(object, name))
        return NULL;
    JsonNode *node = value_of_type(json_array_get_element(array_of(object, name), index), G_TYPE_STRING);
    return node != NULL ? json_node_get_string(node) : NULL;
}

char *vmig_look_shown(JsonObject *object, const char *name)
{
    const char *text = vmig_look_text(object, name);

    return text != NULL ? vmig_text_escape(text, -1) : g_strdup("?");
}

char *vmig_look_amount(JsonObject *object, const char *name)
{
    /* A sum that does not fit is 2^64 - 1 in the library, and -1 as JSON's signed number. */
    gint64 bytes = vmig_look_number(object, name);

    return bytes >= 0 ? vmig_amount_format((guint64)bytes) : g_strdup("more than 9.22 EB");
}
