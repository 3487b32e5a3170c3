/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Outcomes as exit codes and text. An error says what failed, where the guest is and what to do next. */
#include "cli/outcome.h"

#include <errno.h>
#include <string.h>

#include "cli/render/look.h"
#include "cli/output.h"
#include "vmig-snap/vmig-snap.h"

static VmigExit exit_of_code(const char *name)
{
    VmigErrorCode code;

    if (!vmig_error_code_from_name(name, &code))
        return VMIG_EXIT_REFUSED;
    if (code == VMIG_ERROR_LOCKED)
        return VMIG_EXIT_LOCKED;
    return vmig_error_code_get_class(code) == VMIG_CLASS_USAGE ? VMIG_EXIT_USAGE : VMIG_EXIT_REFUSED;
}

VmigExit vmig_exit_of_result(JsonObject *result)
{
    static const struct {
        const char *outcome;
        VmigExit code;
    } table[] = {
        {"done", VMIG_EXIT_DONE},     {"rolled-back", VMIG_EXIT_ROLLED_BACK}, {"parked", VMIG_EXIT_UNFINISHED},
        {"locked", VMIG_EXIT_LOCKED}, {"failed", VMIG_EXIT_FAILED},           {"set-aside", VMIG_EXIT_DONE},
    };
    const char *outcome = vmig_look_text(result, "outcome");

    if (g_strcmp0(outcome, "refused") == 0)
        return exit_of_code(vmig_look_text(vmig_look_object(result, "error"), "code"));
    for (guint i = 0; i < G_N_ELEMENTS(table); i++)
        if (g_strcmp0(outcome, table[i].outcome) == 0)
            return table[i].code;
    return VMIG_EXIT_FAILED;
}

VmigExit vmig_exit_of_cancel(JsonObject *result)
{
    VmigExit code = vmig_exit_of_result(result);

    return code == VMIG_EXIT_ROLLED_BACK ? VMIG_EXIT_DONE : code == VMIG_EXIT_DONE ? VMIG_EXIT_REFUSED : code;
}

/* The same code with which migrate would end: another operation comes first, then a single reason, then several
 * reasons. */
VmigExit vmig_exit_of_plan(JsonObject *plan)
{
    guint n = vmig_look_count(plan, "refusals");

    for (guint i = 0; i < n; i++)
        if (exit_of_code(vmig_look_text(vmig_look_element(plan, "refusals", i), "code")) == VMIG_EXIT_LOCKED)
            return VMIG_EXIT_LOCKED;
    if (n == 1)
        return exit_of_code(vmig_look_text(vmig_look_element(plan, "refusals", 0), "code"));
    return n > 1 || !vmig_look_flag(plan, "can_migrate") ? VMIG_EXIT_REFUSED : VMIG_EXIT_DONE;
}

VmigExit vmig_exit_of_error(const GError *error)
{
    const char *name = vmig_error_get_name(error);
    VmigErrorCode code = VMIG_ERROR_INTERNAL;

    (void)vmig_error_code_from_name(name, &code);
    VmigErrorClass cls = vmig_error_code_get_class(code);

    return cls == VMIG_CLASS_USAGE || cls == VMIG_CLASS_REFUSAL ? exit_of_code(name) : VMIG_EXIT_FAILED;
}

JsonNode *vmig_result_of_error(const GError *error)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    VmigExit code = vmig_exit_of_error(error);
    /* json-glib writes invalid UTF-8 unchanged. */
    g_autofree char *message = g_utf8_make_valid(error->message, -1);
    g_autofree char *hint =
        vmig_error_get_hint(error) != NULL ? g_utf8_make_valid(vmig_error_get_hint(error), -1) : NULL;

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "event");
    json_builder_add_string_value(builder, "result");
    json_builder_set_member_name(builder, "job");
    json_builder_add_null_value(builder);
    json_builder_set_member_name(builder, "outcome");
    json_builder_add_string_value(builder, code == VMIG_EXIT_FAILED   ? "failed"
                                           : code == VMIG_EXIT_LOCKED ? "locked"
                                                                      : "refused");
    json_builder_set_member_name(builder, "error");
    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "code");
    json_builder_add_string_value(builder, vmig_error_get_name(error));
    json_builder_set_member_name(builder, "message");
    json_builder_add_string_value(builder, message);
    json_builder_set_member_name(builder, "hint");
    if (hint != NULL)
        json_builder_add_string_value(builder, hint);
    else
        json_builder_add_null_value(builder);
    json_builder_end_object(builder);
    json_builder_end_object(builder);
    return json_builder_get_root(builder);
}

/* A message may have several lines, but must not move the cursor otherwise. */
static void append_lines(GString *out, const char *text, const char *indent)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (guint i = 0; lines[i] != NULL; i++) {
        g_autofree char *shown = vmig_text_escape(lines[i], -1);
        g_string_append_printf(out, "%s%s", i > 0 ? indent : "", shown);
        if (lines[i + 1] != NULL)
            g_string_append_c(out, '\n');
    }
}

char *vmig_error_text(const char *message, const char *state_of_guest, const char *hint, const char *code)
{
    GString *out = g_string_new("vmig-snap: ");

    append_lines(out, message != NULL ? message : "the command failed without a message", "  ");
    if (state_of_guest != NULL)
        g_string_append_printf(out, "\n%s", state_of_guest);
    if (hint != NULL && *hint != '\0') {
        g_string_append(out, "\nTo do: ");
        append_lines(out, hint, "  ");
    }
    g_autofree char *shown = vmig_text_escape(code != NULL ? code : "internal", -1);
    g_string_append_printf(out, " [%s]\n", shown);
    return g_string_free(out, FALSE);
}

static void append_refusals(GString *out, JsonObject *document)
{
    for (guint i = 0; i < vmig_look_count(document, "refusals"); i++) {
        JsonObject *refusal = vmig_look_element(document, "refusals", i);
        g_autofree char *code = vmig_look_shown(refusal, "code");
        const char *message = vmig_look_text(refusal, "message");
        const char *hint = vmig_look_text(refusal, "hint");

        g_string_append_printf(out, "  %u. ", i + 1);
        append_lines(out, message != NULL ? message : "?", "     ");
        g_string_append_printf(out, " [%s]\n", code);
        if (hint != NULL) {
            g_string_append(out, "     To do: ");
            append_lines(out, hint, "     ");
            g_string_append_c(out, '\n');
        }
    }
}

static char *refusals_text(JsonObject *document)
{
    guint n = vmig_look_count(document, "refusals");
    g_autofree char *domain = vmig_look_shown(document, "domain");

    if (n == 0)
        return NULL;
    if (n == 1) {
        JsonObject *refusal = vmig_look_element(document, "refusals", 0);
        return vmig_error_text(vmig_look_text(refusal, "message"), "Nothing was touched.",
                               vmig_look_text(refusal, "hint"), vmig_look_text(refusal, "code"));
    }
    GString *out = g_string_new(NULL);
    g_string_append_printf(out, "vmig-snap: %s cannot be migrated, for %u reasons:\n",
                           strcmp(domain, "?") != 0 ? domain : "the guest", n);
    append_refusals(out, document);
    g_string_append(out, "Nothing was touched. [refused]\n");
    return g_string_free(out, FALSE);
}

char *vmig_plan_refusals_text(JsonObject *plan)
{
    return refusals_text(plan);
}

/* ACTIVATE resumes the guest after making sure that the source cannot. */
static char *where_it_switched(const char *code, const char *source, const char *dest)
{
    if (g_strcmp0(code, vmig_error_code_get_name(VMIG_ERROR_CONTRADICTION)) == 0)
        return g_strdup_printf("%s owns the guest, but the guest may also run on %s, where it must not. It will not be "
                               "started on %s until this is resolved; the job waits in ACTIVATE.",
                               dest, source, dest);
    return g_strdup_printf("The guest is on %s and may still be paused; no data was lost; the job waits in ACTIVATE.",
                           dest);
}

/* Where the guest is if a job stopped in this state. */
static char *where_it_stopped(const char *name, JsonObject *job, const char *code, const char *source, const char *dest)
{
    VmigGuestAt at = VMIG_GUEST_UNTOUCHED;
    VmigPhase phase = VMIG_PHASE_FORWARD;
    const char *owner = vmig_look_text(job, "owner");
    gboolean begun =
        job == NULL || !json_object_has_member(job, "migration_begun") || vmig_look_flag(job, "migration_begun");

    if (vmig_job_state_get_guest(name, &at))
        (void)vmig_job_state_get_phase(name, &phase);
    if (at == VMIG_GUEST_UNTOUCHED)
        return g_strdup("The guest was not touched.");
    if (at == VMIG_GUEST_ARRIVED)
        return where_it_switched(code, source, dest);
    if ((at == VMIG_GUEST_UNDECIDED && begun) || (at == VMIG_GUEST_ON_ITS_WAY && owner == NULL))
        return g_strdup_printf(
            "It is not decided yet whether the guest is on %s or on %s: do not start it on either host.", source, dest);
    gboolean there = owner != NULL ? strcmp(owner, "destination") == 0 : phase == VMIG_PHASE_AFTER;
    return g_strdup_printf("The guest is on %s, and no data was lost; the job waits in %s.", there ? dest : source,
                           name);
}

static char *state_of_guest(JsonObject *result, JsonObject *job)
{
    g_autofree char *source = vmig_look_shown(result, "source");
    g_autofree char *dest = vmig_look_shown(result, "destination");
    const char *outcome = vmig_look_text(result, "outcome");
    const char *code = vmig_look_text(vmig_look_object(result, "error"), "code");
    const char *state = vmig_look_text(result, "state");

    if (g_strcmp0(outcome, "rolled-back") == 0 && g_strcmp0(code, "guest-gone") == 0)
        return g_strdup_printf("The guest's disks and snapshots are on %s as before.", source);
    if (g_strcmp0(outcome, "rolled-back") == 0)
        return g_strdup_printf("The guest runs on %s as before; no data was lost.", source);
    if (g_strcmp0(outcome, "refused") == 0 || g_strcmp0(outcome, "locked") == 0)
        return g_strdup(state == NULL || strcmp(state, "PLAN") == 0 ? "Nothing was touched."
                                                                    : "The guest was not changed.");
    if (vmig_look_text(result, "job") == NULL)
        return NULL;
    if (g_strcmp0(state, "PARKED") == 0)
        state = vmig_look_text(job, "parked_state");
    if (state == NULL) /* parked, and the journal does not say where */
        return g_strdup("The guest was not changed.");
    return where_it_stopped(state, job, code, source, dest);
}

static char *all_exits(const char *hint, JsonObject *job)
{
    JsonArray *exits = json_object_get_array_member(job, "exits");
    GString *text = g_string_new(hint);

    for (guint i = 0; i < json_array_get_length(exits); i++) {
        g_autofree char *shown = vmig_text_escape(json_array_get_string_element(exits, i), -1);
        g_string_append_printf(text, "%s%s%s", text->len > 0 ? "\n" : "",
                               i > 0          ? "or: "
                               : hint != NULL ? "Then: "
                                              : "",
                               shown);
    }
    return g_string_free(text, FALSE);
}

static char *next_step(JsonObject *result, JsonObject *job)
{
    const char *outcome = vmig_look_text(result, "outcome");
    const char *id = vmig_look_text(result, "job");
    const char *hint = vmig_look_text(vmig_look_object(result, "error"), "hint");
    const char *waits_for = vmig_look_text(job, "waits_for");
    const char *state = vmig_look_text(result, "state");

    if (waits_for != NULL)
        hint = waits_for;
    if (g_strcmp0(outcome, "parked") != 0 && g_strcmp0(outcome, "failed") != 0)
        return g_strdup(hint);
    if (id == NULL || g_strcmp0(state, "PLAN") == 0)
        return g_strdup(hint);
    if (vmig_look_count(job, "exits") > 1)
        return all_exits(hint, job);
    g_autofree char *shown = vmig_text_escape(id, -1);
    return hint != NULL ? g_strdup_printf("%s\nThen: vmig-snap resume %s", hint, shown)
                        : g_strdup_printf("vmig-snap resume %s", shown);
}

/* "2.09 GB copied, 12.3 MB of later writes mirrored, 201 MB of memory sent in 14 s; downtime 34 ms" */
static char *figures(JsonObject *result)
{
    g_autofree char *copied = vmig_look_amount(result, "bytes_copied");
    g_autofree char *mirrored = vmig_look_amount(result, "bytes_mirrored");
    g_autofree char *memory = vmig_look_amount(result, "bytes_memory");
    gint64 seconds = vmig_look_number(result, "duration_s");
    g_autofree char *took = vmig_duration_format((guint64)MAX(seconds, 0));

    if (vmig_look_number(result, "downtime_ms") <= 0) /* the process that measured it died */
        return g_strdup_printf("%s copied; the downtime is not known", copied);
    return g_strdup_printf("%s copied, %s of later writes mirrored, %s of memory sent in %s; downtime %" G_GINT64_FORMAT
                           " ms",
                           copied, mirrored, memory, took, vmig_look_number(result, "downtime_ms"));
}

/* The hint says where everything is. */
static char *set_aside_text(JsonObject *result, JsonObject *job, gboolean *ok)
{
    g_autofree char *id = vmig_look_shown(result, "job");
    JsonObject *error = vmig_look_object(result, "error");
    g_autofree char *what = vmig_look_shown(error != NULL ? error : vmig_look_object(job, "error"), "hint");

    *ok = TRUE;
    return g_strdup_printf("Set aside: job %s no longer holds the guest, and no file was removed.\n%s\n", id,
                           what != NULL ? what : "");
}

char *vmig_result_text(JsonObject *result, JsonObject *job, gboolean *ok)
{
    const char *outcome = vmig_look_text(result, "outcome");
    JsonObject *error = vmig_look_object(result, "error");

    *ok = g_strcmp0(outcome, "done") == 0;
    if (*ok) {
        g_autofree char *domain = vmig_look_shown(result, "domain");
        g_autofree char *dest = vmig_look_shown(result, "destination");
        g_autofree char *numbers = figures(result);
        return g_strdup_printf("Done: %s is on %s with all its snapshots.\n%s.\n", domain, dest, numbers);
    }
    if (g_strcmp0(outcome, "set-aside") == 0)
        return set_aside_text(result, job, ok);
    if (g_strcmp0(outcome, "refused") == 0 && vmig_look_count(result, "refusals") > 0)
        return refusals_text(result);
    g_autofree char *guest = state_of_guest(result, job);
    g_autofree char *todo = next_step(result, job);
    const char *message = vmig_look_text(error, "message");
    const char *code = vmig_look_text(error, "code");
    if (message == NULL && g_strcmp0(outcome, "rolled-back") == 0)
        return vmig_error_text("the migration was rolled back", guest, todo, "rolled-back");
    return vmig_error_text(message, guest, todo, code);
}

char *vmig_cancel_text(JsonObject *result, JsonObject *job, gboolean *ok)
{
    g_autofree char *domain = vmig_look_shown(result, "domain");
    g_autofree char *source = vmig_look_shown(result, "source");
    g_autofree char *dest = vmig_look_shown(result, "destination");
    VmigExit code = vmig_exit_of_result(result);

    *ok = code == VMIG_EXIT_ROLLED_BACK;
    if (*ok)
        return g_strdup_printf("Cancelled: %s is on %s as before; no data was lost.\n", domain, source);
    if (code != VMIG_EXIT_DONE)
        return vmig_result_text(result, job, ok);
    g_autofree char *message = g_strdup_printf("too late to cancel: %s is on %s, with all its snapshots", domain, dest);
    return vmig_error_text(message, NULL, "Migrate the guest back.", "unsupported");
}

int vmig_end_with_error(const VmigMode *mode, const GError *error)
{
    g_autofree char *text =
        vmig_error_text(error->message, NULL, vmig_error_get_hint(error), vmig_error_get_name(error));

    vmig_err(text);
    if (mode->json) {
        g_autoptr(JsonNode) result = vmig_result_of_error(error);
        vmig_out_json(result);
    }
    return vmig_exit_of_error(error);
}

int vmig_end_with_document(const VmigMode *mode, JsonNode *document, const GError *error, VmigPage page, VmigExit code)
{
    if (document == NULL)
        return vmig_end_with_error(mode, error);
    if (mode->json) {
        vmig_out_json(document);
    } else if (!mode->quiet) {
        g_autofree char *text = page(vmig_look(document));
        vmig_out(text);
    }
    return vmig_end((int)code);
}

int vmig_end(int code)
{
    int errnum;

    if (vmig_out_ok(&errnum) || code != VMIG_EXIT_DONE)
        return code;
    if (errnum != EPIPE) { /* a reader that closes early is not reported */
        g_autofree char *message = g_strdup_printf("cannot write to standard output: %s", g_strerror(errnum));
        g_autofree char *text = vmig_error_text(message, NULL, NULL, "io");
        vmig_err(text);
    }
    return VMIG_EXIT_FAILED;
}
