/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes to standard output and standard error without the character conversion of g_print(). */
#pragma once

#include <json-glib/json-glib.h>

/* Writes to standard output; every call is flushed. Failures are remembered for vmig_out_ok(). */
void vmig_out(const char *text);
void vmig_out_json(JsonNode *node); /* one line */
/* Writes to standard error. A line that begins with "vmig-snap: " is an error or the reply to a signal. */
void vmig_err(const char *text);
/* FALSE once a write failed; *errnum is the first error. */
gboolean vmig_out_ok(int *errnum);

/* TRUE if standard output is a terminal that can move its cursor: TERM is not "dumb". */
gboolean vmig_out_is_terminal(void);
guint vmig_out_columns(void);
/* TRUE if the environment asks for UTF-8; otherwise trees are drawn in ASCII. */
gboolean vmig_out_is_utf8(void);
