/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing to standard output and standard error: bytes as they are, without the conversions of g_print(). */
#pragma once

#include <json-glib/json-glib.h>

/* Standard output; every call is flushed. What cannot be written is remembered. */
void vmig_out(const char *text);
void vmig_out_json(JsonNode *node); /* one line */
/* Standard error. A line that begins with "vmig-snap: " is an error or an answer to a signal. */
void vmig_err(const char *text);
/* FALSE once something could not be written; *errnum is the first reason. */
gboolean vmig_out_ok(int *errnum);

/* A terminal that can move its cursor: standard output is one and TERM is not "dumb". */
gboolean vmig_out_is_terminal(void);
guint vmig_out_columns(void);
/* The environment asks for UTF-8; else branches of a tree are drawn in ASCII. */
gboolean vmig_out_is_utf8(void);
