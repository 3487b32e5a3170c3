/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Renders documents as text.
 *
 * Folder plugin/cli/render: turns documents into text for people. Pure.
 */
#pragma once

#include <json-glib/json-glib.h>

/* Without the refusals: see vmig_plan_refusals_text(). utf8: as for vmig_render_snapshots(). (transfer full) */
char *vmig_render_plan(JsonObject *plan, gboolean utf8);
/* The snapshots of a plan as a tree, with indent before each line. utf8: draw lines, otherwise ASCII. */
void vmig_render_snapshots(GString *out, JsonObject *plan, const char *indent, gboolean utf8);
/* Each job of a status document in detail. (transfer full) */
char *vmig_render_status(JsonObject *status);
/* One line per job. (transfer full) */
char *vmig_render_list(JsonObject *list);
/* The results of doctor and purge. (transfer full) */
char *vmig_render_doctor(JsonObject *document);
char *vmig_render_purged(JsonObject *document);
/* The result of verify, as a page to save. (transfer full) */
char *vmig_render_verdict(JsonObject *document);

/* Seconds since the epoch in this host's time zone, "2024-01-31 17:05:09"; "-" for 0. (transfer full) */
char *vmig_render_time(gint64 seconds);
