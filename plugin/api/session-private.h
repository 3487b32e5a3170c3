/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the session's files. */
#pragma once

#include "api/vmig-snap.h"
#include "engine/machine.h"
#include "os/config.h"
#include "os/waker.h"
#include "api/env-real.h"

struct _VmigSession {
    GObject parent;
    char *connect_uri;
    VmigConfig *config;
    VmigWaker *waker;
    GMutex mutex;         /* for machine and interrupted: interrupt() may come from any thread */
    VmigMachine *machine; /* while one runs; not owned */
    gboolean interrupted;
    gboolean without_verify; /* the operator waives the job's verification */
    gboolean set_aside;
    GHashTable *told; /* "phase/disk" → when progress was last reported */
};

/* Takes ownership of the node. */
void vmig_session_emit(VmigSession *self, JsonNode *node);
/* Emits a "progress" event, at most four a second and never two at once. */
void vmig_session_tell_progress(VmigSession *self, const VmigJob *job, const VmigProgress *progress);
void vmig_session_note(VmigSession *self, const VmigJob *job, const char *text);
gboolean vmig_session_is_interrupted(VmigSession *self);
/* This host's journal, read-only. (transfer full) */
VmigJournal *vmig_session_open_reader(VmigSession *self, GError **error);
/* Finds a job by its ID or by the domain that it holds. (transfer full) */
VmigJob *vmig_session_find_job(VmigJournal *journal, const char *job_or_domain, GError **error);
/* How this host reaches the hosts of a job. If it is the destination, it reaches the other one by ssh. *peer (transfer
 * full) holds strings that the result points to. */
VmigEnvConfig vmig_session_env_of(VmigSession *self, const VmigJob *job, gboolean here_is_dest, char **peer);
/* "done", "rolled-back" or "parked". */
const char *vmig_session_outcome(const VmigJob *job);
/* Runs the job and returns its result. Takes ownership of the job. */
JsonNode *vmig_session_drive(VmigSession *self, VmigEnv *env, VmigJournal *journal, gboolean here_is_dest, VmigJob *job,
                             gboolean cancel, gboolean fenced, GError **error);
