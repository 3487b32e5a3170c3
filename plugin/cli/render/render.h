/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Documents as pages for people.
 *
 * Folder plugin/cli/render: documents as pages for people. Pure.
 */
#pragma once

#include <json-glib/json-glib.h>

/* Refusals are not in it: vmig_plan_refusals_text(). utf8: as with vmig_render_snapshots(). (transfer full) */
char *vmig_render_plan(JsonObject *plan, gboolean utf8);
/* The snapshots of a plan as a tree, each line after indent. utf8: lines between them, else ASCII. */
void vmig_render_snapshots(GString *out, JsonObject *plan, const char *indent, gboolean utf8);
/* Each job of a status document with all that is known. (transfer full) */
char *vmig_render_status(JsonObject *status);
/* A line for each job. (transfer full) */
char *vmig_render_list(JsonObject *list);
/* What doctor found, and what purge removed. (transfer full) */
char *vmig_render_doctor(JsonObject *document);
char *vmig_render_purged(JsonObject *document);
/* What verify found, to be kept. (transfer full) */
char *vmig_render_verdict(JsonObject *document);

/* Seconds since the epoch in this host's time zone, "2024-01-31 17:05:09"; "-" for 0. (transfer full) */
char *vmig_render_time(gint64 seconds);
