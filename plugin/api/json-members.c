/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Members of a JSON object under construction. */
#include "api/json-members.h"

void vmig_json_add_text(JsonBuilder *b, const char *value)
{
    g_autofree char *valid = g_utf8_make_valid(value, -1);

    json_builder_add_string_value(b, valid);
}

void vmig_json_text(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    if (value == NULL)
        json_builder_add_null_value(b);
    else
        vmig_json_add_text(b, value);
}

void vmig_json_number(JsonBuilder *b, const char *name, guint64 value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, (gint64)value);
}

void vmig_json_flag(JsonBuilder *b, const char *name, gboolean value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_boolean_value(b, value);
}

void vmig_json_begin_list(JsonBuilder *b, const char *name)
{
    json_builder_set_member_name(b, name);
    json_builder_begin_array(b);
}

void vmig_json_error(JsonBuilder *b, const char *name, const char *code, const char *message, const char *hint)
{
    json_builder_set_member_name(b, name);
    if (code == NULL) {
        json_builder_add_null_value(b);
        return;
    }
    json_builder_begin_object(b);
    vmig_json_text(b, "code", code);
    vmig_json_text(b, "message", message);
    vmig_json_text(b, "hint", hint);
    json_builder_end_object(b);
}
