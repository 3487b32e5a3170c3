/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shows the events of a job: a line for each state and for each disk that is copied. On a terminal, the lines of the
 * current phase are redrawn in place; otherwise a line is printed every few seconds. */
#pragma once

#include <json-glib/json-glib.h>

typedef struct VmigProgressView VmigProgressView;

/* terminal: from vmig_out_is_terminal(). */
VmigProgressView *vmig_progress_view_new(gboolean terminal);
void vmig_progress_view_free(VmigProgressView *view);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigProgressView, vmig_progress_view_free)

/* Not thread-safe: the caller holds a lock. */
void vmig_progress_view_event(VmigProgressView *view, JsonObject *event);
/* Leaves the lines as they are and moves the cursor to the start of a new line. */
void vmig_progress_view_settle(VmigProgressView *view);
