/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmig-snap verify. */
#include <string.h>

#include "cli/fail.h"
#include "vmig-snap/vmig-snap.h"
#include "cli/args.h"
#include "cli/interrupt.h"
#include "cli/render/look.h"
#include "cli/outcome.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/render/render.h"

/* The session, and the display of its progress. */
typedef struct {
    GCancellable *cancellable;
    GMutex lock; /* for view: events come from several threads */
    VmigProgressView *view;
} Watch;

static void on_event(VmigSession *session G_GNUC_UNUSED, JsonNode *node, gpointer user)
{
    Watch *watch = user;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&watch->lock);

    if (watch->view != NULL)
        vmig_progress_view_event(watch->view, vmig_look(node));
}

static void on_interrupt(gpointer user)
{
    Watch *watch = user;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&watch->lock);

    if (watch->view != NULL)
        vmig_progress_view_settle(watch->view);
    vmig_err("vmig-snap: interrupted: the verification ends within seconds. It changes nothing.\n");
    g_cancellable_cancel(watch->cancellable);
}

/* Shows progress only on a terminal: a saved page contains only the result. */
static JsonNode *ask(const VmigMode *mode, const char *domain, const char *job, GError **error)
{
    g_autoptr(VmigSession) session = vmig_session_new(NULL);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    Watch watch = {.cancellable = cancellable};

    g_mutex_init(&watch.lock);
    watch.view = !mode->json && vmig_out_is_terminal() ? vmig_progress_view_new(TRUE) : NULL;
    gulong handler = g_signal_connect(session, "event", G_CALLBACK(on_event), &watch);
    VmigInterrupt *interrupt = vmig_interrupt_new(on_interrupt, &watch);
    JsonNode *node = vmig_session_verify(session, domain, job, cancellable, error);
    vmig_interrupt_free(interrupt);
    g_signal_handler_disconnect(session, handler);
    if (watch.view != NULL)
        vmig_progress_view_settle(watch.view);
    g_clear_pointer(&watch.view, vmig_progress_view_free);
    g_mutex_clear(&watch.lock);
    return node;
}

static int tell(const VmigMode *mode, JsonNode *node)
{
    JsonObject *document = vmig_look(node), *error = vmig_look_object(document, "error");
    g_autofree char *page = vmig_render_verdict(document);

    if (mode->json)
        vmig_out_json(node);
    else
        vmig_out(page);
    if (g_strcmp0(vmig_look_text(document, "outcome"), "equal") == 0)
        return vmig_end(VMIG_EXIT_DONE);
    const char *message = vmig_look_text(error, "message"), *code = vmig_look_text(error, "code");
    g_autofree char *text = vmig_error_text(message != NULL ? message : "not equal", NULL,
                                            vmig_look_text(error, "hint"), code != NULL ? code : "differs");
    vmig_err(text);
    return vmig_end(VMIG_EXIT_FAILED);
}

static gboolean check(const char *domain, const char *job, GError **error)
{
    if ((domain == NULL) == (job == NULL))
        return vmig_cli_fail(error, VMIG_ERROR_USAGE, "vmig-snap verify --help", "verify: %s",
                             domain == NULL ? "a domain, or a job with --job" : "a domain or --job, not both");
    return vmig_args_check_name(domain != NULL ? "domain" : "job", domain != NULL ? domain : job, error);
}

int vmig_cmd_verify(int argc, char **argv)
{
    static const char *const names[] = {"DOMAIN", NULL};
    VmigMode mode = {FALSE, FALSE};
    g_autofree char *job = NULL;
    const GOptionEntry entries[] = {
        {"job", 0, 0, G_OPTION_ARG_FILENAME, &job, "Verify this job instead of the domain's newest one", "JOB"},
        {"json", 0, 0, G_OPTION_ARG_NONE, &mode.json, "Print one JSON document", NULL},
        G_OPTION_ENTRY_NULL,
    };
    const VmigUsage usage = {
        .command = "verify",
        .arguments = "DOMAIN|--job JOB",
        .summary = "Proves what arrived: the content and the memory of every snapshot, the snapshot tables,\nlibvirt's "
                   "tree, the images, and whether the snapshots' machines would start there.\nThe guest may run. "
                   "Nothing is changed.",
        .most = 1,
        .names = names,
    };
    g_auto(GStrv) rest = NULL;
    g_autoptr(GError) error = NULL;
    int code;

    if (vmig_args_parse(&usage, entries, argc, argv, &mode, &rest, &code) == VMIG_ARGS_END)
        return code;
    g_autoptr(JsonNode) node = check(rest[0], job, &error) ? ask(&mode, rest[0], job, &error) : NULL;
    return node != NULL ? tell(&mode, node) : vmig_end_with_error(&mode, error);
}
