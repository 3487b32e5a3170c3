/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The public calls about this host and its jobs. */
#include "api/session-private.h"

/**
 * vmig_session_status:
 * @session: a session
 * @job: (nullable): id of a job, or name or UUID of its guest; %NULL: every unfinished job
 * @cancellable: (nullable): to cancel the call
 * @error: return location for an error
 *
 * Jobs in the journal of this host. The session may be busy with another call.
 *
 * Returns: (transfer full): the "status" document; %NULL with @error set
 */
JsonNode *vmig_session_status(VmigSession *session, const char *job, GCancellable *cancellable, GError **error)
{
    g_return_val_if_fail(VMIG_IS_SESSION(session), NULL);

    const VmigCall call = {.session = session, .work = vmig_work_status, .job = job};
    return vmig_session_run(&call, NULL, cancellable, error);
}

/**
 * vmig_session_status_async:
 * @session: a session
 * @job: (nullable): id of a job, or name or UUID of its guest; %NULL: every unfinished job
 * @cancellable: (nullable): to cancel the call
 * @callback: (scope async): called when the call has ended
 * @user_data: data for @callback
 *
 * vmig_session_status() in a thread of its own. Events and @callback are delivered in the thread-default main context
 * of the caller.
 */
void vmig_session_status_async(VmigSession *session, const char *job, GCancellable *cancellable,
                               GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(VMIG_IS_SESSION(session));

    const VmigCall call = {.session = session, .work = vmig_work_status, .job = job};
    vmig_call_start(&call, cancellable, callback, user_data);
}

/**
 * vmig_session_status_finish:
 * @session: a session
 * @result: the result that the callback received
 * @error: return location for an error
 *
 * Returns: (transfer full): the "status" document; %NULL with @error set
 */
JsonNode *vmig_session_status_finish(VmigSession *session, GAsyncResult *result, GError **error)
{
    return vmig_call_finish(session, result, vmig_work_status, error);
}

/**
 * vmig_session_list:
 * @session: a session
 * @flags: which jobs
 * @cancellable: (nullable): to cancel the call
 * @error: return location for an error
 *
 * Jobs in the journal of this host, the newest first. The session may be busy with another call.
 *
 * Returns: (transfer full): the "list" document; %NULL with @error set
 */
JsonNode *vmig_session_list(VmigSession *session, VmigListFlags flags, GCancellable *cancellable, GError **error)
{
    g_return_val_if_fail(VMIG_IS_SESSION(session), NULL);

    const VmigCall call = {.session = session, .work = vmig_work_list, .flags = flags};
    return vmig_session_run(&call, NULL, cancellable, error);
}

/**
 * vmig_session_list_async:
 * @session: a session
 * @flags: which jobs
 * @cancellable: (nullable): to cancel the call
 * @callback: (scope async): called when the call has ended
 * @user_data: data for @callback
 *
 * vmig_session_list() in a thread of its own. Events and @callback are delivered in the thread-default main context of
 * the caller.
 */
void vmig_session_list_async(VmigSession *session, VmigListFlags flags, GCancellable *cancellable,
                             GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(VMIG_IS_SESSION(session));

    const VmigCall call = {.session = session, .work = vmig_work_list, .flags = flags};
    vmig_call_start(&call, cancellable, callback, user_data);
}

/**
 * vmig_session_list_finish:
 * @session: a session
 * @result: the result that the callback received
 * @error: return location for an error
 *
 * Returns: (transfer full): the "list" document; %NULL with @error set
 */
JsonNode *vmig_session_list_finish(VmigSession *session, GAsyncResult *result, GError **error)
{
    return vmig_call_finish(session, result, vmig_work_list, error);
}

/**
 * vmig_session_set_bandwidth:
 * @session: a session
 * @job: id of a job, or name or UUID of the guest that it holds
 * @bandwidth: bytes a second; 0: no limit
 * @cancellable: (nullable): to cancel the call
 * @error: return location for an error
 *
 * Changes the limit of all storage traffic of an unfinished job: in the process that works on it, or in its record. The
 * session may be busy with another call.
 *
 * Returns: (transfer full): the "set" document; %NULL with @error set
 */
JsonNode *vmig_session_set_bandwidth(VmigSession *session, const char *job, guint64 bandwidth,
                                     GCancellable *cancellable, GError **error)
{
    g_return_val_if_fail(VMIG_IS_SESSION(session), NULL);
    g_return_val_if_fail(job != NULL, NULL);

    const VmigCall call = {.session = session, .work = vmig_work_set_bandwidth, .job = job, .number = bandwidth};
    return vmig_session_run(&call, NULL, cancellable, error);
}

/**
 * vmig_session_set_bandwidth_async:
 * @session: a session
 * @job: id of a job, or name or UUID of the guest that it holds
 * @bandwidth: bytes a second; 0: no limit
 * @cancellable: (nullable): to cancel the call
 * @callback: (scope async): called when the call has ended
 * @user_data: data for @callback
 *
 * vmig_session_set_bandwidth() in a thread of its own. Events and @callback are delivered in the thread-default main
 * context of the caller.
 */
void vmig_session_set_bandwidth_async(VmigSession *session, const char *job, guint64 bandwidth,
                                      GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(VMIG_IS_SESSION(session));
    g_return_if_fail(job != NULL);

    const VmigCall call = {.session = session, .work = vmig_work_set_bandwidth, .job = job, .number = bandwidth};
    vmig_call_start(&call, cancellable, callback, user_data);
}

/**
 * vmig_session_set_bandwidth_finish:
 * @session: a session
 * @result: the result that the callback received
 * @error: return location for an error
 *
 * Returns: (transfer full): the "set" document; %NULL with @error set
 */
JsonNode *vmig_session_set_bandwidth_finish(VmigSession *session, GAsyncResult *result, GError **error)
{
    return vmig_call_finish(session, result, vmig_work_set_bandwidth, error);
}

/**
 * vmig_session_doctor:
 * @session: a session
 * @domain: (nullable): only findings about this guest and about the host; %NULL: everything
 * @flags: whether to repair
 * @cancellable: (nullable): to cancel the call
 * @error: return location for an error
 *
 * What is wrong on this host, with its repair. A configuration that cannot be used is a finding, not an error.
 *
 * Returns: (transfer full): the "doctor" document; %NULL with @error set
 */
JsonNode *vmig_session_doctor(VmigSession *session, const char *domain, VmigDoctorFlags flags,
                              GCancellable *cancellable, GError **error)
{
    g_return_val_if_fail(VMIG_IS_SESSION(session), NULL);

    const VmigCall call = {.session = session, .work = vmig_work_doctor, .domain = domain, .flags = flags};
    return vmig_session_run(&call, NULL, cancellable, error);
}

/**
 * vmig_session_doctor_async:
 * @session: a session
 * @domain: (nullable): only findings about this guest and about the host; %NULL: everything
 * @flags: whether to repair
 * @cancellable: (nullable): to cancel the call
 * @callback: (scope async): called when the call has ended
 * @user_data: data for @callback
 *
 * vmig_session_doctor() in a thread of its own. Events and @callback are delivered in the thread-default main context
 * of the caller.
 */
void vmig_session_doctor_async(VmigSession *session, const char *domain, VmigDoctorFlags flags,
                               GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(VMIG_IS_SESSION(session));

    const VmigCall call = {.session = session, .work = vmig_work_doctor, .domain = domain, .flags = flags};
    vmig_call_start(&call, cancellable, callback, user_data);
}

/**
 * vmig_session_doctor_finish:
 * @session: a session
 * @result: the result that the callback received
 * @error: return location for an error
 *
 * Returns: (transfer full): the "doctor" document; %NULL with @error set
 */
JsonNode *vmig_session_doctor_finish(VmigSession *session, GAsyncResult *result, GError **error)
{
    return vmig_call_finish(session, result, vmig_work_doctor, error);
}

/**
 * vmig_session_purge:
 * @session: a session
 * @domain: name or UUID of a guest
 * @flags: whether the destination is asked
 * @cancellable: (nullable): to cancel the call
 * @error: return location for an error
 *
 * Removes the images that the finished migration of a guest kept on this host, unless they are in use.
 *
 * Returns: (transfer full): the "purge" document; %NULL with @error set
 */
JsonNode *vmig_session_purge(VmigSession *session, const char *domain, VmigPurgeFlags flags, GCancellable *cancellable,
                             GError **error)
{
    g_return_val_if_fail(VMIG_IS_SESSION(session), NULL);
    g_return_val_if_fail(domain != NULL, NULL);

    const VmigCall call = {.session = session, .work = vmig_work_purge, .domain = domain, .flags = flags};
    return vmig_session_run(&call, NULL, cancellable, error);
}

/**
 * vmig_session_purge_async:
 * @session: a session
 * @domain: name or UUID of a guest
 * @flags: whether the destination is asked
 * @cancellable: (nullable): to cancel the call
 * @callback: (scope async): called when the call has ended
 * @user_data: data for @callback
 *
 * vmig_session_purge() in a thread of its own. Events and @callback are delivered in the thread-default main context of
 * the caller.
 */
void vmig_session_purge_async(VmigSession *session, const char *domain, VmigPurgeFlags flags, GCancellable *cancellable,
                              GAsyncReadyCallback callback, gpointer user_data)
{
    g_return_if_fail(VMIG_IS_SESSION(session));
    g_return_if_fail(domain != NULL);

    const VmigCall call = {.session = session, .work = vmig_work_purge, .domain = domain, .flags = flags};
    vmig_call_start(&call, cancellable, callback, user_data);
}

/**
 * vmig_session_purge_finish:
 * @session: a session
 * @result: the result that the callback received
 * @error: return location for an error
 *
 * Returns: (transfer full): the "purge" document; %NULL with @error set
 */
JsonNode *vmig_session_purge_finish(VmigSession *session, GAsyncResult *result, GError **error)
{
    return vmig_call_finish(session, result, vmig_work_purge, error);
}
