/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The JSON documents and events of the public interface; docs/json.md describes them. */
#pragma once

#include <json-glib/json-glib.h>

#include "engine/machine.h"
#include "plan/plan.h"

/* All (transfer full). */
JsonNode *vmig_document_plan(const VmigPlan *plan);
/* jobs: VmigJob. For each of them, roles: this host's VmigRole; holders: the process that works on it, or NULL.
 * left_out: the number of older jobs that are omitted. */
JsonNode *vmig_document_jobs(GPtrArray *jobs, GArray *roles, GPtrArray *holders, guint left_out);
/* The reply of vmig_session_set_bandwidth(). */
JsonNode *vmig_document_setting(const VmigJob *job, guint64 bandwidth, gboolean running);
/* outcome: "done", "refused"... error: for the result, or NULL. plan: for its refusals, or NULL. */
JsonNode *vmig_document_result(const char *outcome, const VmigJob *job, const GError *error, const VmigPlan *plan,
                               guint64 duration_s);
JsonNode *vmig_event_state(const VmigJob *job);
JsonNode *vmig_event_progress(const VmigJob *job, const VmigProgress *progress);
JsonNode *vmig_event_retry(const VmigJob *job, const GError *why, gint64 delay_us);
JsonNode *vmig_event_note(const VmigJob *job, const char *text);
