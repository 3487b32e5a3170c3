/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The public calls that work on the guest of a migration on both hosts. */
#include "api/session-private.h"

/**
 * vmig_session_plan:
 * @session: a session
 * @request: the request; an asynchronous call copies it
 * @cancellable: (nullable): to cancel the call
 * @error: return location for an error
 *
 * What a migration would do, with every reason against it. Changes nothing.
 *
 * Returns: (transfer full): the "plan" document; %NULL with @error set
 */
JsonNode *vmig_session_plan(VmigSession *session, VmigMigrateRequest *request, GCancellable *cancellable,
                            GError **error)
{
    g_return_val_if_fail(VMIG_IS_SESSION(session), NULL);
    g_return_val_if_fail(VMIG_IS_MIGRATE_REQUEST(request), NULL);

    const VmigCall call = {.session = session, .work = vmig_work_plan, .alone = TRUE, .request = request};
    return vmig_session_run(&call, NULL, cancellable, error);
}

/**
 * vmig_session_plan_async:
 * @session: a session
 * @request: the request; an asynchronous call copies it
 * @cancellable: (nullable): to cancel the call
 * @callback: (scope async): called when the call has ended
 * @user_data: data for @callback
 *
 * vmig_session_plan() in a thread of its own. Events and @callback are delivered in the thread-default main context of
 * the caller.
 */
void vmig_session_plan_async(VmigSession *session, VmigMigrateRequest *request, GCancellable *cancellable,
                             GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(VMIG_IS_SESSION(session));
    g_return_if_fail(VMIG_IS_MIGRATE_REQUEST(request));

    const VmigCall call = {.session = session, .work = vmig_work_plan, .alone = TRUE, .request = request};
    vmig_call_start(&call, cancellable, callback, user_data);
}

/**
 * vmig_session_plan_finish:
 * @session: a session
 * @result: the result that the callback received
 * @error: return location for an error
 *
 * Returns: (transfer full): the "plan" document; %NULL with @error set
 */
JsonNode *vmig_session_plan_finish(VmigSession *session, GAsyncResult *result, GError **error)
{
    return vmig_call_finish(session, result, vmig_work_plan, error);
}

/**
 * vmig_session_migrate:
 * @session: a session
 * @request: the request; an asynchronous call copies it
 * @cancellable: (nullable): to cancel the call
 * @error: return location for an error
 *
 * Migrates a guest. The "result" document tells the outcome: "done", "refused", "rolled-back", "parked", "locked" or
 * "failed". There is an error only if there is no document. @cancellable asks the job to go back: the guest stays on
 * the source, and the outcome is "rolled-back". After the switchover it has no effect.
 *
 * Returns: (transfer full): the "result" document; %NULL with @error set
 */
JsonNode *vmig_session_migrate(VmigSession *session, VmigMigrateRequest *request, GCancellable *cancellable,
                               GError **error)
{
    g_return_val_if_fail(VMIG_IS_SESSION(session), NULL);
    g_return_val_if_fail(VMIG_IS_MIGRATE_REQUEST(request), NULL);

    const VmigCall call = {.session = session, .work = vmig_work_migrate, .alone = TRUE, .request = request};
    return vmig_session_run(&call, NULL, cancellable, error);
}

/**
 * vmig_session_migrate_async:
 * @session: a session
 * @request: the request; an asynchronous call copies it
 * @cancellable: (nullable): to cancel the call
 * @callback: (scope async): called when the call has ended
 * @user_data: data for @callback
 *
 * vmig_session_migrate() in a thread of its own. Events and @callback are delivered in the thread-default main context
 * of the caller.
 */
void vmig_session_migrate_async(VmigSession *session, VmigMigrateRequest *request, GCancellable *cancellable,
                                GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(VMIG_IS_SESSION(session));
    g_return_if_fail(VMIG_IS_MIGRATE_REQUEST(request));

    const VmigCall call = {.session = session, .work = vmig_work_migrate, .alone = TRUE, .request = request};
    vmig_call_start(&call, cancellable, callback, user_data);
}

/**
 * vmig_session_migrate_finish:
 * @session: a session
 * @result: the result that the callback received
 * @error: return location for an error
 *
 * Returns: (transfer full): the "result" document; %NULL with @error set
 */
JsonNode *vmig_session_migrate_finish(VmigSession *session, GAsyncResult *result, GError **error)
{
    return vmig_call_finish(session, result, vmig_work_migrate, error);
}

/**
 * vmig_session_resume:
 * @session: a session
 * @request: the request; an asynchronous call copies it
 * @cancellable: (nullable): to cancel the call
 * @error: return location for an error
 *
 * Continues an unfinished job, forward or back as the state of both hosts requires. Document and @cancellable as
 * vmig_session_migrate().
 *
 * Returns: (transfer full): the "result" document; %NULL with @error set
 */
JsonNode *vmig_session_resume(VmigSession *session, VmigResumeRequest *request, GCancellable *cancellable,
                              GError **error)
{
    g_return_val_if_fail(VMIG_IS_SESSION(session), NULL);
    g_return_val_if_fail(VMIG_IS_RESUME_REQUEST(request), NULL);

    const VmigCall call = {.session = session, .work = vmig_work_resume, .alone = TRUE, .request = request};
    return vmig_session_run(&call, NULL, cancellable, error);
}

/**
 * vmig_session_resume_async:
 * @session: a session
 * @request: the request; an asynchronous call copies it
 * @cancellable: (nullable): to cancel the call
 * @callback: (scope async): called when the call has ended
 * @user_data: data for @callback
 *
 * vmig_session_resume() in a thread of its own. Events and @callback are delivered in the thread-default main context
 * of the caller.
 */
void vmig_session_resume_async(VmigSession *session, VmigResumeRequest *request, GCancellable *cancellable,
                               GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(VMIG_IS_SESSION(session));
    g_return_if_fail(VMIG_IS_RESUME_REQUEST(request));

    const VmigCall call = {.session = session, .work = vmig_work_resume, .alone = TRUE, .request = request};
    vmig_call_start(&call, cancellable, callback, user_data);
}

/**
 * vmig_session_resume_finish:
 * @session: a session
 * @result: the result that the callback received
 * @error: return location for an error
 *
 * Returns: (transfer full): the "result" document; %NULL with @error set
 */
JsonNode *vmig_session_resume_finish(VmigSession *session, GAsyncResult *result, GError **error)
{
    return vmig_call_finish(session, result, vmig_work_resume, error);
}

/**
 * vmig_session_cancel:
 * @session: a session
 * @job: id of a job, or name or UUID of the guest that it holds
 * @cancellable: (nullable): to cancel the call
 * @error: return location for an error
 *
 * Rolls a job back while its guest is on the source. A vmig-snap command that works on the job is asked to go back, and
 * waited for; @cancellable ends the waiting. A job that this process works on is cancelled by the cancellable of its
 * own call.
 *
 * Returns: (transfer full): the "result" document; %NULL with @error set
 */
JsonNode *vmig_session_cancel(VmigSession *session, const char *job, GCancellable *cancellable, GError **error)
{
    g_return_val_if_fail(VMIG_IS_SESSION(session), NULL);
    g_return_val_if_fail(job != NULL, NULL);

    const VmigCall call = {.session = session, .work = vmig_work_cancel, .alone = TRUE, .job = job};
    return vmig_session_run(&call, NULL, cancellable, error);
}

/**
 * vmig_session_cancel_async:
 * @session: a session
 * @job: id of a job, or name or UUID of the guest that it holds
 * @cancellable: (nullable): to cancel the call
 * @callback: (scope async): called when the call has ended
 * @user_data: data for @callback
 *
 * vmig_session_cancel() in a thread of its own. Events and @callback are delivered in the thread-default main context
 * of the caller.
 */
void vmig_session_cancel_async(VmigSession *session, const char *job, GCancellable *cancellable,
                               GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(VMIG_IS_SESSION(session));
    g_return_if_fail(job != NULL);

    const VmigCall call = {.session = session, .work = vmig_work_cancel, .alone = TRUE, .job = job};
    vmig_call_start(&call, cancellable, callback, user_data);
}

/**
 * vmig_session_cancel_finish:
 * @session: a session
 * @result: the result that the callback received
 * @error: return location for an error
 *
 * Returns: (transfer full): the "result" document; %NULL with @error set
 */
JsonNode *vmig_session_cancel_finish(VmigSession *session, GAsyncResult *result, GError **error)
{
    return vmig_call_finish(session, result, vmig_work_cancel, error);
}

/**
 * vmig_session_verify:
 * @session: a session
 * @domain: (nullable): the guest whose newest job is meant, or %NULL
 * @job: (nullable): id of the job, or %NULL; exactly one of both is given
 * @cancellable: (nullable): to cancel the call
 * @error: return location for an error
 *
 * Compares every snapshot of a finished migration on both hosts. Changes nothing.
 *
 * Returns: (transfer full): the "verify" document; %NULL with @error set
 */
JsonNode *vmig_session_verify(VmigSession *session, const char *domain, const char *job, GCancellable *cancellable,
                              GError **error)
{
    g_return_val_if_fail(VMIG_IS_SESSION(session), NULL);

    const VmigCall call = {.session = session, .work = vmig_work_verify, .alone = TRUE, .domain = domain, .job = job};
    return vmig_session_run(&call, NULL, cancellable, error);
}

/**
 * vmig_session_verify_async:
 * @session: a session
 * @domain: (nullable): the guest whose newest job is meant, or %NULL
 * @job: (nullable): id of the job, or %NULL; exactly one of both is given
 * @cancellable: (nullable): to cancel the call
 * @callback: (scope async): called when the call has ended
 * @user_data: data for @callback
 *
 * vmig_session_verify() in a thread of its own. Events and @callback are delivered in the thread-default main context
 * of the caller.
 */
void vmig_session_verify_async(VmigSession *session, const char *domain, const char *job, GCancellable *cancellable,
                               GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(VMIG_IS_SESSION(session));

    const VmigCall call = {.session = session, .work = vmig_work_verify, .alone = TRUE, .domain = domain, .job = job};
    vmig_call_start(&call, cancellable, callback, user_data);
}

/**
 * vmig_session_verify_finish:
 * @session: a session
 * @result: the result that the callback received
 * @error: return location for an error
 *
 * Returns: (transfer full): the "verify" document; %NULL with @error set
 */
JsonNode *vmig_session_verify_finish(VmigSession *session, GAsyncResult *result, GError **error)
{
    return vmig_call_finish(session, result, vmig_work_verify, error);
}
