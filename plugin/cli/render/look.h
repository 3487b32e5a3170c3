/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads a vmig-snap document for display: missing members and members of another type become NULL, 0 or FALSE. So a
 * document of a newer library is displayed as far as possible. */
#pragma once

#include <json-glib/json-glib.h>

/* (transfer none) */
JsonObject *vmig_look(JsonNode *node);
const char *vmig_look_text(JsonObject *object, const char *name);
/* Rounds a fraction. */
gint64 vmig_look_number(JsonObject *object, const char *name);
gboolean vmig_look_flag(JsonObject *object, const char *name);
JsonObject *vmig_look_object(JsonObject *object, const char *name);
/* The number of elements in the array, and one of them. */
guint vmig_look_count(JsonObject *object, const char *name);
JsonObject *vmig_look_element(JsonObject *object, const char *name, guint index);
/* An element that is a string, or NULL. */
const char *vmig_look_text_element(JsonObject *object, const char *name, guint index);

/* The string, safe for a terminal; "?" if there is none. (transfer full) */
char *vmig_look_shown(JsonObject *object, const char *name);
/* A number of bytes as text. (transfer full) */
char *vmig_look_amount(JsonObject *object, const char *name);
