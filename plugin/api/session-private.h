/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the session share. */
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
    GMutex mutex;         /* of machine and interrupted: interrupt() comes from any thread */
    VmigMachine *machine; /* while one runs; not owned */
    gboolean interrupted;
    gboolean without_verify; /* the operator gives the job's verification up */
    gboolean set_aside;
    GHashTable *told; /* "phase/disk" → when progress was last told */
};

/* Takes the node. */
void vmig_session_emit(VmigSession *self, JsonNode *node);
/* The "progress" event, at most four a second; never two at once. */
void vmig_session_tell_progress(VmigSession *self, const VmigJob *job, const VmigProgress *progress);
void vmig_session_note(VmigSession *self, const VmigJob *job, const char *text);
gboolean vmig_session_is_interrupted(VmigSession *self);
/* This host's journal, to look only. (transfer full) */
VmigJournal *vmig_session_open_reader(VmigSession *self, GError **error);
/* A job by its id, or by the domain that it holds. (transfer full) */
VmigJob *vmig_session_find_job(VmigJournal *journal, const char *job_or_domain, GError **error);
/* How the hosts of a job are reached from this one; the other by ssh where this is the destination. *peer (transfer
 * full) is what the result points to. */
VmigEnvConfig vmig_session_env_of(VmigSession *self, const VmigJob *job, gboolean here_is_dest, char **peer);
/* "done", "rolled-back" or "parked". */
const char *vmig_session_outcome(const VmigJob *job);
/* Drives the job and says how it ended. Takes the job. */
JsonNode *vmig_session_drive(VmigSession *self, VmigEnv *env, VmigJournal *journal, gboolean here_is_dest, VmigJob *job,
                             gboolean cancel, gboolean fenced, GError **error);
