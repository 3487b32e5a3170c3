/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The events of a job for people: a line for each state, a line for each disk that is copied. On a terminal the lines
 * of the phase that goes on are drawn anew in place; elsewhere there is a line every few seconds. */
#pragma once

#include <json-glib/json-glib.h>

typedef struct VmigProgressView VmigProgressView;

/* terminal: as vmig_out_is_terminal() says. */
VmigProgressView *vmig_progress_view_new(gboolean terminal);
void vmig_progress_view_free(VmigProgressView *view);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigProgressView, vmig_progress_view_free)

/* Not thread safe: the caller holds a lock. */
void vmig_progress_view_event(VmigProgressView *view, JsonObject *event);
/* What is being drawn stays as it is; the cursor is at the begin of a line from now on. */
void vmig_progress_view_settle(VmigProgressView *view);
