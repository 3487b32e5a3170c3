/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/watch.h"

#include <string.h>

#include "cli/interrupt.h"
#include "cli/render/look.h"
#include "cli/outcome.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "vmig-snap/vmig-snap.h"

struct VmigWatch {
    VmigSession *session;
    VmigMode mode;
    VmigBackground *background; /* not owned */
    GCancellable *cancellable;
    gulong handler;
    VmigInterrupt *interrupt;
    GMutex lock; /* for the members below: events come from several threads, an interrupt from yet another */
    VmigProgressView *view;
    VmigPhase phase; /* of the job's current state */
    gboolean asked;  /* an interrupt was answered */
};

/* Says what an interrupt does, even with --quiet: the user presses ^C again if it seems to do nothing. */
static void on_interrupt(gpointer user)
{
    VmigWatch *watch = user;

    g_cancellable_cancel(watch->cancellable);
    g_mutex_lock(&watch->lock);
    if (watch->view != NULL)
        vmig_progress_view_settle(watch->view);
    if (watch->phase == VMIG_PHASE_AFTER)
        vmig_err(
            "vmig-snap: interrupted, but the guest is already on the destination: the job continues to its end.\n");
    else if (watch->phase == VMIG_PHASE_BACK || watch->asked)
        vmig_err("vmig-snap: already rolling back; no step is interrupted. The process ends by itself.\n");
    else
        vmig_err("vmig-snap: interrupted: rolling back; the guest stays on the source, unless the switchover has "
                 "begun. The process ends when the guest is as before, which takes longer if a host does not "
                 "answer.\n");
    watch->asked = TRUE;
    g_mutex_unlock(&watch->lock);
}

static void on_event(VmigSession *session G_GNUC_UNUSED, JsonNode *node, gpointer user)
{
    VmigWatch *watch = user;
    JsonObject *event = vmig_look(node);

    g_mutex_lock(&watch->lock);
    if (g_strcmp0(vmig_look_text(event, "event"), "state") == 0)
        (void)vmig_job_state_get_phase(vmig_document_get_state(node), &watch->phase);
    if (watch->background != NULL)
        vmig_background_event(watch->background, event);
    if (watch->mode.json)
        vmig_out_json(node);
    else if (watch->view != NULL)
        vmig_progress_view_event(watch->view, event);
    g_mutex_unlock(&watch->lock);
}

VmigWatch *vmig_watch_new(VmigSession *session, const VmigMode *mode, VmigBackground *background)
{
    VmigWatch *watch = g_new0(VmigWatch, 1);

    watch->session = g_object_ref(session);
    watch->cancellable = g_cancellable_new();
    watch->mode = *mode;
    watch->background = background;
    g_mutex_init(&watch->lock);
    if (!mode->json && !mode->quiet)
        watch->view = vmig_progress_view_new(background == NULL && vmig_out_is_terminal());
    watch->handler = g_signal_connect(session, "event", G_CALLBACK(on_event), watch);
    watch->interrupt = vmig_interrupt_new(on_interrupt, watch);
    return watch;
}

void vmig_watch_free(VmigWatch *watch)
{
    if (watch == NULL)
        return;
    vmig_interrupt_free(watch->interrupt);
    g_signal_handler_disconnect(watch->session, watch->handler);
    g_clear_pointer(&watch->view, vmig_progress_view_free);
    g_mutex_clear(&watch->lock);
    g_object_unref(watch->cancellable);
    g_object_unref(watch->session);
    g_free(watch);
}

GCancellable *vmig_watch_cancellable(VmigWatch *watch)
{
    return watch->cancellable;
}

/* The journal's facts about an unfinished job: where the guest is, and what the job waits for. */
static JsonNode *ask_status(VmigWatch *watch, JsonObject *result)
{
    const char *job = vmig_look_text(result, "job");
    const char *outcome = vmig_look_text(result, "outcome");

    if (job == NULL || (g_strcmp0(outcome, "parked") != 0 && g_strcmp0(outcome, "failed") != 0))
        return NULL;
    return vmig_session_status(watch->session, job, NULL, NULL); /* without it the text is shorter */
}

int vmig_watch_end(VmigWatch *watch, VmigWish wish, JsonNode *result, const GError *error)
{
    g_autoptr(JsonNode) made = result == NULL ? vmig_result_of_error(error) : NULL;
    JsonObject *object = vmig_look(result != NULL ? result : made);
    gboolean ok;

    if (watch->view != NULL)
        vmig_progress_view_settle(watch->view);
    if (watch->background != NULL)
        vmig_background_end(watch->background, result != NULL ? result : made);
    if (result == NULL)
        return vmig_end_with_error(&watch->mode, error);
    g_autoptr(JsonNode) status = ask_status(watch, object);
    JsonObject *job = vmig_look_element(vmig_look(status), "jobs", 0);
    gboolean back = wish == VMIG_WISH_BACK;
    g_autofree char *text = (back ? vmig_cancel_text : vmig_result_text)(object, job, &ok);
    if (!ok)
        vmig_err(text);
    else if (watch->view != NULL)
        vmig_out(text);
    if (watch->mode.json)
        vmig_out_json(result);
    return (int)(back ? vmig_exit_of_cancel : vmig_exit_of_result)(object);
}

void vmig_watch_say(VmigWatch *watch, const char *text)
{
    if (watch->view != NULL)
        vmig_out(text);
}
