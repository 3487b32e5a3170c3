/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the session's files.
 *
 * Folder plugin/api: implements the calls of the library, the documents that they return, and the environment of a real
 * run. The only folder that puts all others together.
 */
#pragma once

#include "api/env-real.h"
#include "engine/machine.h"
#include "os/config.h"
#include "os/waker.h"
#include "vmig-snap/vmig-snap.h"

struct _VmigSession {
    GObject parent;
    char *connect_uri;
    VmigWaker *waker;
    GMutex mutex;              /* for the members below: several threads may use a session */
    VmigConfig *config;        /* read by the first call that needs it, then constant */
    gboolean busy;             /* a call that works on the hosts is running */
    GMainContext *context;     /* that emits its events; NULL: emit them at once */
    GCancellable *cancellable; /* of the running call, or NULL; not owned */
    VmigMachine *machine;      /* while it runs; not owned */
    gboolean interrupted;
    GHashTable *told; /* "phase/disk" → when progress was last reported; for the running call */
};

typedef struct VmigCall VmigCall;
typedef JsonNode *(*VmigWork)(const VmigCall *call, GError **error);

/* The arguments of a public call. It owns nothing; an asynchronous call copies it with all its members. */
struct VmigCall {
    VmigSession *session;
    VmigWork work;
    gboolean alone;   /* it works on the hosts: the session refuses another such call meanwhile */
    gpointer request; /* a request object, or NULL */
    const char *job;
    const char *domain;
    guint64 number;
    guint flags;
};

JsonNode *vmig_work_plan(const VmigCall *call, GError **error);
JsonNode *vmig_work_migrate(const VmigCall *call, GError **error);
JsonNode *vmig_work_resume(const VmigCall *call, GError **error);
JsonNode *vmig_work_cancel(const VmigCall *call, GError **error);
JsonNode *vmig_work_verify(const VmigCall *call, GError **error);
JsonNode *vmig_work_status(const VmigCall *call, GError **error);
JsonNode *vmig_work_list(const VmigCall *call, GError **error);
JsonNode *vmig_work_set_bandwidth(const VmigCall *call, GError **error);
JsonNode *vmig_work_doctor(const VmigCall *call, GError **error);
JsonNode *vmig_work_purge(const VmigCall *call, GError **error);

/* The first call reads /etc/vmig-snap/vmig-snap.conf. Error: USAGE for an invalid file. (transfer none) */
const VmigConfig *vmig_session_config(VmigSession *self, GError **error);
/* Does the work of a call. context: emits the events; NULL: each thread emits its own events. Errors: CANCELLED, LOCKED
 * while another call works on the hosts, and those of the work. (transfer full) */
JsonNode *vmig_session_run(const VmigCall *call, GMainContext *context, GCancellable *cancellable, GError **error);
/* Does the same in a thread of its own, with a copy of the arguments. vmig_call_finish() needs the same work. */
void vmig_call_start(const VmigCall *call, GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user);
JsonNode *vmig_call_finish(VmigSession *session, GAsyncResult *result, VmigWork work, GError **error);

/* Takes ownership of the node. */
void vmig_session_emit(VmigSession *self, JsonNode *node);
/* Emits a "progress" event, at most four a second and never two at once. */
void vmig_session_tell_progress(VmigSession *self, const VmigJob *job, const VmigProgress *progress);
void vmig_session_note(VmigSession *self, const VmigJob *job, const char *text);
gboolean vmig_session_is_interrupted(VmigSession *self);
/* Sets the machine that a cancellation reaches; NULL when it has ended. */
void vmig_session_set_machine(VmigSession *self, VmigMachine *machine);
/* This host's journal, read-only. (transfer full) */
VmigJournal *vmig_session_open_reader(VmigSession *self, GError **error);
/* Finds a job by its ID or by the domain that it holds. (transfer full) */
VmigJob *vmig_session_find_job(VmigJournal *journal, const char *job_or_domain, GError **error);
/* How this host reaches the hosts of a job. If it is the destination, it reaches the other one by ssh. The
 * configuration must have been read. *peer (transfer full) holds strings that the result points to. */
VmigEnvConfig vmig_session_env_of(VmigSession *self, const VmigJob *job, VmigRole here, char **peer);
/* "done", "rolled-back", "parked" or "set-aside". */
const char *vmig_session_outcome(const VmigJob *job);

/* What the caller or the operator decided about a job. */
typedef struct {
    gboolean cancel; /* roll back */
    gboolean fenced; /* the source is permanently off */
    gboolean without_verify;
    gboolean set_aside;
} VmigDrive;

/* Runs the job and returns its result. Takes ownership of the job. */
JsonNode *vmig_session_drive(VmigSession *self, VmigEnv *env, VmigJournal *journal, VmigRole here, VmigJob *job,
                             const VmigDrive *wish, GError **error);
