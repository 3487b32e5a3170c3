/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Progress on a terminal and in a log. */
#include "cli/progress.h"

#include <string.h>

#include "cli/render/look.h"
#include "cli/output.h"
#include "vmig-snap/vmig-snap.h"

/* In a log: at most this often for each row, and at its end. */
#define LOG_EVERY (5 * G_TIME_SPAN_SECOND)
/* An average over a shorter time is meaningless. */
#define RATE_AFTER (G_TIME_SPAN_SECOND / 2)

typedef struct {
    char *disk; /* safe for a terminal; NULL: the sum */
    gint64 done, total, rate;
    gint64 first_done; /* when the row began, to compute a rate if the event has none */
    gint64 first_time;
    gint64 told; /* when it was last written to a log; -1: its end was */
} Row;

struct VmigProgressView {
    gboolean terminal;
    char *phase;
    GPtrArray *rows; /* of the current phase */
    guint drawn;     /* lines on the terminal that can be redrawn */
};

static void row_free(Row *row)
{
    g_free(row->disk);
    g_free(row);
}

VmigProgressView *vmig_progress_view_new(gboolean terminal)
{
    VmigProgressView *view = g_new0(VmigProgressView, 1);

    view->terminal = terminal;
    view->rows = g_ptr_array_new_with_free_func((GDestroyNotify)row_free);
    return view;
}

void vmig_progress_view_free(VmigProgressView *view)
{
    if (view == NULL)
        return;
    g_ptr_array_unref(view->rows);
    g_free(view->phase);
    g_free(view);
}

void vmig_progress_view_settle(VmigProgressView *view)
{
    if (view->drawn > 0)
        vmig_out("\n");
    view->drawn = 0;
    g_ptr_array_set_size(view->rows, 0);
    g_clear_pointer(&view->phase, g_free);
}

static Row *find_row(VmigProgressView *view, const char *phase, const char *disk)
{
    if (g_strcmp0(view->phase, phase) != 0) {
        vmig_progress_view_settle(view);
        view->phase = g_strdup(phase);
    }
    for (guint i = 0; i < view->rows->len; i++)
        if (g_strcmp0(((Row *)view->rows->pdata[i])->disk, disk) == 0)
            return view->rows->pdata[i];
    Row *row = g_new0(Row, 1);
    row->disk = g_strdup(disk);
    row->total = -1;
    /* The sum stays last. */
    guint n = view->rows->len;
    gboolean sum_last = n > 0 && ((Row *)view->rows->pdata[n - 1])->disk == NULL;
    g_ptr_array_insert(view->rows, sum_last ? (gint)n - 1 : -1, row);
    return row;
}

static void update_row(Row *row, JsonObject *event)
{
    gint64 done = vmig_look_number(event, "done"), total = vmig_look_number(event, "total");
    gint64 now = g_get_monotonic_time();

    /* Another file of the same disk, or another attempt: earlier measurements do not apply. */
    if (row->total != total || done < row->done) {
        row->first_done = done;
        row->first_time = now;
    }
    row->done = done;
    row->total = total;
    row->rate = vmig_look_number(event, "rate");
    if (row->rate <= 0 && now - row->first_time >= RATE_AFTER)
        row->rate = (gint64)((double)(done - row->first_done) * G_USEC_PER_SEC / (double)(now - row->first_time));
}

static guint percent(const Row *row)
{
    if (row->total <= 0 || row->done >= row->total)
        return row->total < 0 ? 0 : 100;
    return (guint)((double)row->done * 100 / (double)row->total);
}

static char *row_text(const VmigProgressView *view, const Row *row)
{
    g_autofree char *done = vmig_amount_format((guint64)MAX(row->done, 0));
    g_autofree char *total = vmig_amount_format((guint64)MAX(row->total, 0));
    GString *line = g_string_new(NULL);

    g_string_append_printf(line, "  %-9s %-8s %3u %%  %s of %s", view->phase, row->disk != NULL ? row->disk : "all",
                           percent(row), done, total);
    if (row->rate > 0 && row->done < row->total) {
        g_autofree char *rate = vmig_amount_format((guint64)row->rate);
        g_autofree char *left = vmig_duration_format((guint64)((row->total - row->done) / row->rate) + 1);
        g_string_append_printf(line, "  %s/s  %s left", rate, left);
    }
    return g_string_free(line, FALSE);
}

/* With a single disk the sum adds nothing. */
static gboolean is_shown(const VmigProgressView *view, const Row *row)
{
    return row->disk != NULL || view->rows->len != 2;
}

/* A line wider than the terminal would wrap, and the cursor could not be moved back by counting lines. */
static void append_cut(GString *out, const char *line, guint columns)
{
    glong length = g_utf8_strlen(line, -1);
    const char *end = length < (glong)columns ? line + strlen(line) : g_utf8_offset_to_pointer(line, columns - 1);

    g_string_append_len(out, line, end - line);
    g_string_append(out, "\033[K");
}

static void draw(VmigProgressView *view)
{
    g_autoptr(GString) out = g_string_new("\r");
    guint columns = vmig_out_columns(), n = 0;

    if (view->drawn > 1)
        g_string_append_printf(out, "\033[%uA", view->drawn - 1);
    for (guint i = 0; i < view->rows->len; i++) {
        const Row *row = view->rows->pdata[i];
        if (!is_shown(view, row))
            continue;
        g_autofree char *line = row_text(view, row);
        g_string_append(out, n++ > 0 ? "\n" : "");
        append_cut(out, line, columns);
    }
    view->drawn = n; /* never fewer than before: a sum that is no longer shown leaves its line to a disk */
    vmig_out(out->str);
}

static void log_row(VmigProgressView *view, Row *row)
{
    gint64 now = g_get_monotonic_time();
    gboolean ended = row->total >= 0 && row->done >= row->total;

    if (!is_shown(view, row) || (row->told != 0 && !ended && now - row->told < LOG_EVERY))
        return;
    if (row->told < 0) /* its end was already written */
        return;
    g_autofree char *line = row_text(view, row);
    g_autofree char *whole = g_strconcat(line, "\n", NULL);
    vmig_out(whole);
    row->told = ended ? -1 : now;
}

static void on_progress(VmigProgressView *view, JsonObject *event)
{
    g_autofree char *phase = vmig_look_shown(event, "phase");
    g_autofree char *disk = vmig_look_text(event, "disk") != NULL ? vmig_look_shown(event, "disk") : NULL;
    Row *row = find_row(view, phase, disk);

    if (row->total >= 0 && vmig_look_number(event, "done") < row->done)
        row->told = 0; /* it starts again, so its end must be written again */
    update_row(row, event);
    if (view->terminal)
        draw(view);
    else
        log_row(view, row);
}

static char *retry_text(JsonObject *event)
{
    JsonObject *error = vmig_look_object(event, "error");
    g_autofree char *state = vmig_look_shown(event, "state");
    g_autofree char *message = vmig_look_shown(error, "message");
    g_autofree char *code = vmig_look_shown(error, "code");
    g_autofree char *delay = vmig_duration_format((guint64)MAX(vmig_look_number(event, "delay_s"), 0));

    return g_strdup_printf("  %s again in %s (attempt %" G_GINT64_FORMAT "): %s [%s]\n", state, delay,
                           vmig_look_number(event, "attempt"), message, code);
}

void vmig_progress_view_event(VmigProgressView *view, JsonObject *event)
{
    const char *kind = vmig_look_text(event, "event");
    g_autofree char *line = NULL;

    if (g_strcmp0(kind, "progress") == 0) {
        on_progress(view, event);
        return;
    }
    if (g_strcmp0(kind, "state") == 0) {
        g_autofree char *state = vmig_look_shown(event, "state");
        g_autofree char *what = vmig_look_shown(event, "what");
        line = g_strdup_printf("%-13s %s\n", state, what);
    } else if (g_strcmp0(kind, "retry") == 0) {
        line = retry_text(event);
    } else if (g_strcmp0(kind, "note") == 0) {
        g_autofree char *message = vmig_look_shown(event, "message");
        line = g_strdup_printf("  note: %s\n", message);
    }
    if (line == NULL)
        return;
    vmig_progress_view_settle(view);
    vmig_out(line);
}
