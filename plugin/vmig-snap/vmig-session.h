/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session: it takes requests and returns JSON documents (docs/json.md). Each call has a blocking and an
 * asynchronous form. */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>

#include <vmig-snap/vmig-migrate-request.h>
#include <vmig-snap/vmig-resume-request.h>
#include <vmig-snap/vmig-types.h>

G_BEGIN_DECLS

#define VMIG_TYPE_SESSION (vmig_session_get_type())
G_DECLARE_FINAL_TYPE(VmigSession, vmig_session, VMIG, SESSION, GObject)

VmigSession *vmig_session_new(const char *connect_uri);

JsonNode *vmig_session_plan(VmigSession *session, VmigMigrateRequest *request, GCancellable *cancellable,
                            GError **error);
void vmig_session_plan_async(VmigSession *session, VmigMigrateRequest *request, GCancellable *cancellable,
                             GAsyncReadyCallback callback, gpointer user_data);
JsonNode *vmig_session_plan_finish(VmigSession *session, GAsyncResult *result, GError **error);

JsonNode *vmig_session_migrate(VmigSession *session, VmigMigrateRequest *request, GCancellable *cancellable,
                               GError **error);
void vmig_session_migrate_async(VmigSession *session, VmigMigrateRequest *request, GCancellable *cancellable,
                                GAsyncReadyCallback callback, gpointer user_data);
JsonNode *vmig_session_migrate_finish(VmigSession *session, GAsyncResult *result, GError **error);

JsonNode *vmig_session_resume(VmigSession *session, VmigResumeRequest *request, GCancellable *cancellable,
                              GError **error);
void vmig_session_resume_async(VmigSession *session, VmigResumeRequest *request, GCancellable *cancellable,
                               GAsyncReadyCallback callback, gpointer user_data);
JsonNode *vmig_session_resume_finish(VmigSession *session, GAsyncResult *result, GError **error);

JsonNode *vmig_session_cancel(VmigSession *session, const char *job, GCancellable *cancellable, GError **error);
void vmig_session_cancel_async(VmigSession *session, const char *job, GCancellable *cancellable,
                               GAsyncReadyCallback callback, gpointer user_data);
JsonNode *vmig_session_cancel_finish(VmigSession *session, GAsyncResult *result, GError **error);

JsonNode *vmig_session_verify(VmigSession *session, const char *domain, const char *job, GCancellable *cancellable,
                              GError **error);
void vmig_session_verify_async(VmigSession *session, const char *domain, const char *job, GCancellable *cancellable,
                               GAsyncReadyCallback callback, gpointer user_data);
JsonNode *vmig_session_verify_finish(VmigSession *session, GAsyncResult *result, GError **error);

JsonNode *vmig_session_status(VmigSession *session, const char *job, GCancellable *cancellable, GError **error);
void vmig_session_status_async(VmigSession *session, const char *job, GCancellable *cancellable,
                               GAsyncReadyCallback callback, gpointer user_data);
JsonNode *vmig_session_status_finish(VmigSession *session, GAsyncResult *result, GError **error);

JsonNode *vmig_session_list(VmigSession *session, VmigListFlags flags, GCancellable *cancellable, GError **error);
void vmig_session_list_async(VmigSession *session, VmigListFlags flags, GCancellable *cancellable,
                             GAsyncReadyCallback callback, gpointer user_data);
JsonNode *vmig_session_list_finish(VmigSession *session, GAsyncResult *result, GError **error);

JsonNode *vmig_session_set_bandwidth(VmigSession *session, const char *job, guint64 bandwidth,
                                     GCancellable *cancellable, GError **error);
void vmig_session_set_bandwidth_async(VmigSession *session, const char *job, guint64 bandwidth,
                                      GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
JsonNode *vmig_session_set_bandwidth_finish(VmigSession *session, GAsyncResult *result, GError **error);

JsonNode *vmig_session_doctor(VmigSession *session, const char *domain, VmigDoctorFlags flags,
                              GCancellable *cancellable, GError **error);
void vmig_session_doctor_async(VmigSession *session, const char *domain, VmigDoctorFlags flags,
                               GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
JsonNode *vmig_session_doctor_finish(VmigSession *session, GAsyncResult *result, GError **error);

JsonNode *vmig_session_purge(VmigSession *session, const char *domain, VmigPurgeFlags flags, GCancellable *cancellable,
                             GError **error);
void vmig_session_purge_async(VmigSession *session, const char *domain, VmigPurgeFlags flags, GCancellable *cancellable,
                              GAsyncReadyCallback callback, gpointer user_data);
JsonNode *vmig_session_purge_finish(VmigSession *session, GAsyncResult *result, GError **error);

G_END_DECLS
