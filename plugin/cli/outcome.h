/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a command ended: the exit code, and what is said about it. */
#pragma once

#include "cli/cli.h"

/* Of a result document, a plan document and an error without a document. */
VmigExit vmig_exit_of_result(JsonObject *result);
/* The same for cancel: going back is what it was asked for. */
VmigExit vmig_exit_of_cancel(JsonObject *result);
VmigExit vmig_exit_of_plan(JsonObject *plan);
VmigExit vmig_exit_of_error(const GError *error);

/* The result document of an error that came without one. (transfer full) */
JsonNode *vmig_result_of_error(const GError *error);

/* What a result says to people. ok: standard output gets it; else standard error. job: the job's object of a status
 * document, which knows more of one that is not finished, or NULL. (transfer full) */
char *vmig_result_text(JsonObject *result, JsonObject *job, gboolean *ok);
char *vmig_cancel_text(JsonObject *result, JsonObject *job, gboolean *ok);
/* What speaks against a plan, for standard error, or NULL. (transfer full) */
char *vmig_plan_refusals_text(JsonObject *plan);
/* "vmig-snap: MESSAGE [code]" with the hint between, more lines where the message has more. (transfer full) */
char *vmig_error_text(const char *message, const char *state_of_guest, const char *hint, const char *code);

/* The end of a command that failed without a document: the error on standard error, with --json a result document on
 * standard output. Returns the exit code. */
int vmig_end_with_error(const VmigMode *mode, const GError *error);
/* The page of a document, for people. (transfer full) */
typedef char *(*VmigPage)(JsonObject *document);
/* The end of a command that asked for a document: with --json the document itself, else its page, unless quiet; code
 * is what it then returns. Without a document (NULL): as vmig_end_with_error(). */
int vmig_end_with_document(const VmigMode *mode, JsonNode *document, const GError *error, VmigPage page, VmigExit code);
/* The end of one that has nothing left to do: code, unless standard output could not be written. */
int vmig_end(int code);
