/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a command ended: the exit code, and the text about it. */
#pragma once

#include "cli/cli.h"

/* The exit code for a result document, a plan document, or an error without a document. */
VmigExit vmig_exit_of_result(JsonObject *result);
/* The same for cancel, which succeeds if the job was rolled back. */
VmigExit vmig_exit_of_cancel(JsonObject *result);
VmigExit vmig_exit_of_plan(JsonObject *plan);
VmigExit vmig_exit_of_error(const GError *error);

/* A result document for an error without a document. (transfer full) */
JsonNode *vmig_result_of_error(const GError *error);

/* The text of a result. ok: print to standard output, otherwise to standard error. job: the job's object from a status
 * document, which knows more about an unfinished job; or NULL. (transfer full) */
char *vmig_result_text(JsonObject *result, JsonObject *job, gboolean *ok);
char *vmig_cancel_text(JsonObject *result, JsonObject *job, gboolean *ok);
/* The reasons against a plan, for standard error; or NULL. (transfer full) */
char *vmig_plan_refusals_text(JsonObject *plan);
/* "vmig-snap: MESSAGE [code]" with the hint in between; may have several lines. (transfer full) */
char *vmig_error_text(const char *message, const char *state_of_guest, const char *hint, const char *code);

/* Ends a command that failed without a document: prints the error to standard error and, with --json, a result document
 * to standard output. Returns the exit code. */
int vmig_end_with_error(const VmigMode *mode, const GError *error);
/* Renders a document as text. (transfer full) */
typedef char *(*VmigPage)(JsonObject *document);
/* Ends a command with a document: prints it with --json, otherwise its page unless quiet, and returns code. If document
 * is NULL, acts as vmig_end_with_error(). */
int vmig_end_with_document(const VmigMode *mode, JsonNode *document, const GError *error, VmigPage page, VmigExit code);
/* Ends any other command: returns code, unless standard output could not be written. */
int vmig_end(int code);
