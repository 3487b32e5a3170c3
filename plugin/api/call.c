/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asynchronous calls of a session. Each one runs the blocking call in its own thread. */
#include "api/requests.h"
#include "api/session-private.h"
#include "core/errors.h"

static void call_free(gpointer data)
{
    VmigCall *call = data;

    g_clear_object(&call->request);
    g_free((char *)call->job);
    g_free((char *)call->domain);
    g_free(call);
}

static gpointer run(gpointer data)
{
    g_autoptr(GTask) task = data;
    GError *error = NULL;
    JsonNode *document =
        vmig_session_run(g_task_get_task_data(task), g_task_get_context(task), g_task_get_cancellable(task), &error);

    if (document != NULL)
        g_task_return_pointer(task, document, (GDestroyNotify)json_node_unref);
    else
        g_task_return_error(task, error);
    return NULL;
}

/* GTask's thread pool is small, and a migration can take hours: each call has its own thread. */
void vmig_call_start(const VmigCall *call, GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user)
{
    GTask *task = g_task_new(call->session, cancellable, callback, user);
    VmigCall *copy = g_memdup2(call, sizeof *call);
    g_autoptr(GError) error = NULL;

    copy->request = call->request != NULL ? vmig_request_copy(call->request) : NULL;
    copy->job = g_strdup(call->job);
    copy->domain = g_strdup(call->domain);
    g_task_set_source_tag(task, call->work);
    g_task_set_task_data(task, copy, call_free);
    /* After a cancellation the caller needs the document: it says where the guest is. */
    g_task_set_check_cancellable(task, FALSE);
    GThread *thread = g_thread_try_new("vmig-call", run, g_object_ref(task), &error);
    if (thread != NULL) {
        g_thread_unref(thread);
    } else {
        vmig_error_adopt(&error, VMIG_ERROR_INTERNAL);
        g_task_return_error(task, g_steal_pointer(&error));
        g_object_unref(task); /* the reference of the thread */
    }
    g_object_unref(task);
}

JsonNode *vmig_call_finish(VmigSession *session, GAsyncResult *result, VmigWork work, GError **error)
{
    g_return_val_if_fail(g_task_is_valid(result, session), NULL);
    g_return_val_if_fail(g_task_get_source_tag(G_TASK(result)) == work, NULL);
    return g_task_propagate_pointer(G_TASK(result), error);
}
