/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Members of a JSON object that is being built. */
#pragma once

#include <json-glib/json-glib.h>

/* A path in a message may be any bytes, and json-glib writes what is no UTF-8 as it is: both make it valid. NULL is
 * null. */
void vmig_json_add_text(JsonBuilder *b, const char *value);
void vmig_json_text(JsonBuilder *b, const char *name, const char *value);
void vmig_json_number(JsonBuilder *b, const char *name, guint64 value);
void vmig_json_flag(JsonBuilder *b, const char *name, gboolean value);
/* To be ended by json_builder_end_array(). */
void vmig_json_begin_list(JsonBuilder *b, const char *name);
/* What an error says, as an object; null where there is no code. */
void vmig_json_error(JsonBuilder *b, const char *name, const char *code, const char *message, const char *hint);
