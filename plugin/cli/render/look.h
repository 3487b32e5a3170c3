/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a document of ours to show it: what is not there or of another kind is NULL, 0 or FALSE. A document that a
 * newer library wrote must still be shown as far as it goes. */
#pragma once

#include <json-glib/json-glib.h>

/* (transfer none) */
JsonObject *vmig_look(JsonNode *node);
const char *vmig_look_text(JsonObject *object, const char *name);
/* A fraction is rounded. */
gint64 vmig_look_number(JsonObject *object, const char *name);
gboolean vmig_look_flag(JsonObject *object, const char *name);
JsonObject *vmig_look_object(JsonObject *object, const char *name);
/* How many elements the array has, and one of them. */
guint vmig_look_count(JsonObject *object, const char *name);
JsonObject *vmig_look_element(JsonObject *object, const char *name, guint index);
/* An element that is a string, or NULL. */
const char *vmig_look_text_element(JsonObject *object, const char *name, guint index);

/* The string, fit for a terminal; "?" where there is none. (transfer full) */
char *vmig_look_shown(JsonObject *object, const char *name);
/* A number of bytes for people. (transfer full) */
char *vmig_look_amount(JsonObject *object, const char *name);
