/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Members of a JSON object under construction. */
#pragma once

#include <json-glib/json-glib.h>

/* Both make the text valid UTF-8, because a path in a message may contain any bytes, which json-glib writes unchanged.
 * NULL becomes null. */
void vmig_json_add_text(JsonBuilder *b, const char *value);
void vmig_json_text(JsonBuilder *b, const char *name, const char *value);
void vmig_json_number(JsonBuilder *b, const char *name, guint64 value);
void vmig_json_flag(JsonBuilder *b, const char *name, gboolean value);
/* End with json_builder_end_array(). */
void vmig_json_begin_list(JsonBuilder *b, const char *name);
/* An error as an object; null if code is NULL. */
void vmig_json_error(JsonBuilder *b, const char *name, const char *code, const char *message, const char *hint);
