/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Renders jobs: one in detail, or several as a table. */
#include "cli/render/render.h"

#include <string.h>

#include "cli/render/look.h"
#include "vmig-snap/vmig-snap.h"

char *vmig_render_time(gint64 seconds)
{
    g_autoptr(GDateTime) time = seconds != 0 ? g_date_time_new_from_unix_local(seconds) : NULL;

    /* Not %F %T: their digits may depend on the locale. */
    return time != NULL
               ? g_strdup_printf("%04d-%02d-%02d %02d:%02d:%02d", g_date_time_get_year(time),
                                 g_date_time_get_month(time), g_date_time_get_day_of_month(time),
                                 g_date_time_get_hour(time), g_date_time_get_minute(time), g_date_time_get_second(time))
               : g_strdup("-");
}

static void append_text(GString *out, const char *label, JsonObject *object, const char *name)
{
    if (vmig_look_text(object, name) == NULL)
        return;
    g_autofree char *shown = vmig_look_shown(object, name);
    g_string_append_printf(out, "  %-9s %s\n", label, shown);
}

static void append_state(GString *out, JsonObject *job)
{
    g_autofree char *state = vmig_look_shown(job, "state");
    g_autofree char *what = vmig_look_shown(job, "what");
    gint64 attempt = vmig_look_number(job, "attempt");

    g_string_append_printf(out, "  state     %s: %s", state, what);
    if (attempt > 1)
        g_string_append_printf(out, " (attempt %" G_GINT64_FORMAT ")", attempt);
    g_string_append_c(out, '\n');
}

static void append_error(GString *out, JsonObject *error)
{
    if (error == NULL)
        return;
    g_autofree char *message = vmig_look_shown(error, "message");
    g_autofree char *code = vmig_look_shown(error, "code");
    g_string_append_printf(out, "  reason    %s [%s]\n", message, code);
    append_text(out, "to do", error, "hint");
}

/* Only if it differs from the reason. */
static void append_last(GString *out, JsonObject *last, JsonObject *reason)
{
    if (last == NULL || g_strcmp0(vmig_look_text(last, "message"), vmig_look_text(reason, "message")) == 0)
        return;
    g_autofree char *message = vmig_look_shown(last, "message");
    g_autofree char *code = vmig_look_shown(last, "code");
    g_string_append_printf(out, "  last try  %s [%s]\n", message, code);
}

static void append_holder(GString *out, JsonObject *job)
{
    const char *state = vmig_look_text(job, "state");

    if (vmig_look_text(job, "held_by") != NULL)
        append_text(out, "held by", job, "held_by");
    else if (!vmig_job_state_is_final(state) && g_strcmp0(state, "PARKED") != 0)
        g_string_append(out, "  held by   no process of this host\n");
}

/* The commands that end a parked job. */
static void append_exits(GString *out, JsonObject *job)
{
    JsonArray *exits = json_object_get_array_member(job, "exits");

    append_text(out, "exits", job, "exits_how");
    for (guint i = 0; i < json_array_get_length(exits); i++) {
        g_autofree char *shown = vmig_text_escape(json_array_get_string_element(exits, i), -1);
        g_string_append_printf(out, "  %-9s %s\n", i == 0 ? "continue" : "or", shown);
    }
}

/* A copy is counted when it ends, so the number of an unfinished job may be too small. */
static void append_copied(GString *out, JsonObject *job)
{
    g_autofree char *copied = vmig_look_amount(job, "bytes_copied");

    if (vmig_job_state_is_final(vmig_look_text(job, "state")) || vmig_look_number(job, "bytes_copied") > 0)
        g_string_append_printf(out, "  copied    %s", copied);
    else
        g_string_append(out, "  copied    not counted before the base copy ends");
}

static void append_resume(GString *out, JsonObject *job, const char *id)
{
    const char *state = vmig_look_text(job, "state");

    g_string_append_printf(out, "  continue  vmig-snap resume %s\n", id);
    if (g_strcmp0(vmig_look_text(job, "role"), "destination") != 0 || !vmig_job_state_continues_on_source(state))
        return;
    g_autofree char *source = vmig_look_shown(job, "source");
    g_string_append_printf(out, "            here it can only roll back; on %s it can also continue\n", source);
}

static void append_job(GString *out, JsonObject *job)
{
    g_autofree char *id = vmig_look_shown(job, "job");
    g_autofree char *domain = vmig_look_shown(job, "domain");
    g_autofree char *source = vmig_look_shown(job, "source");
    g_autofree char *dest = vmig_look_shown(job, "destination");
    g_autofree char *started = vmig_render_time(vmig_look_number(job, "started"));
    const char *owner = vmig_look_text(job, "owner");
    const char *state = vmig_look_text(job, "state");
    gint64 ended = vmig_look_number(job, "ended");

    g_string_append_printf(out, "Job %s: %s from %s to %s\n", id, domain, source, dest);
    append_state(out, job);
    append_text(out, "parked in", job, "parked_state");
    append_text(out, "waits for", job, "waits_for");
    append_text(out, "next try", job, "next_try");
    append_error(out, vmig_look_object(job, "error"));
    append_last(out, vmig_look_object(job, "last_error"), vmig_look_object(job, "error"));
    if (owner != NULL)
        g_string_append_printf(out, "  guest     on %s\n", strcmp(owner, "destination") == 0 ? dest : source);
    append_text(out, "this host", job, "role");
    append_holder(out, job);
    g_string_append_printf(out, "  started   %s\n", started);
    if (ended != 0) {
        g_autofree char *at = vmig_render_time(ended);
        g_string_append_printf(out, "  ended     %s\n", at);
    }
    append_copied(out, job);
    if (vmig_look_number(job, "downtime_ms") > 0)
        g_string_append_printf(out, "; downtime %" G_GINT64_FORMAT " ms", vmig_look_number(job, "downtime_ms"));
    g_string_append_c(out, '\n');
    if (vmig_look_count(job, "exits") > 0)
        append_exits(out, job);
    else if (!vmig_job_state_is_final(state) && vmig_look_text(job, "held_by") == NULL)
        append_resume(out, job, id);
}

char *vmig_render_status(JsonObject *status)
{
    GString *out = g_string_new(NULL);
    guint n = vmig_look_count(status, "jobs");

    if (n == 0)
        g_string_append(out, "There are no unfinished jobs.\n");
    for (guint i = 0; i < n; i++) {
        g_string_append(out, i > 0 ? "\n" : "");
        append_job(out, vmig_look_element(status, "jobs", i));
    }
    return g_string_free(out, FALSE);
}

/* Columns are as wide as their widest cell; the last column is not padded. */
static void append_table(GString *out, GPtrArray *rows, guint columns)
{
    g_autofree glong *width = g_new0(glong, columns);

    for (guint i = 0; i < rows->len; i++)
        for (guint k = 0; k < columns; k++)
            width[k] = MAX(width[k], g_utf8_strlen(((char **)rows->pdata[i])[k], -1));
    for (guint i = 0; i < rows->len; i++) {
        char **cells = rows->pdata[i];
        for (guint k = 0; k < columns; k++) {
            g_string_append(out, cells[k]);
            if (k + 1 < columns)
                g_string_append_printf(out, "%*s", (int)(width[k] - g_utf8_strlen(cells[k], -1)) + 2, "");
        }
        g_string_append_c(out, '\n');
    }
}

char *vmig_render_list(JsonObject *list)
{
    static const char *const head[] = {"JOB", "DOMAIN", "STATE", "FROM", "TO", "STARTED", NULL};
    static const char *const names[] = {"job", "domain", "state", "source", "destination"};
    g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    GString *out = g_string_new(NULL);
    guint n = vmig_look_count(list, "jobs");

    if (n == 0) {
        g_string_append(out, "There are no jobs.\n");
        return g_string_free(out, FALSE);
    }
    g_ptr_array_add(rows, g_strdupv((char **)head));
    for (guint i = 0; i < n; i++) {
        JsonObject *job = vmig_look_element(list, "jobs", i);
        char **cells = g_new0(char *, G_N_ELEMENTS(head));
        for (guint k = 0; k < G_N_ELEMENTS(names); k++)
            cells[k] = vmig_look_shown(job, names[k]);
        cells[G_N_ELEMENTS(names)] = vmig_render_time(vmig_look_number(job, "started"));
        g_ptr_array_add(rows, cells);
    }
    append_table(out, rows, G_N_ELEMENTS(head) - 1);
    if (vmig_look_number(list, "left_out") > 0)
        g_string_append_printf(out, "and %" G_GINT64_FORMAT " older jobs; vmig-snap status JOB shows one of them.\n",
                               vmig_look_number(list, "left_out"));
    return g_string_free(out, FALSE);
}
