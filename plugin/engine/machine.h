/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The machine drives one job from state to state until it ends or parks.
 *
 * It knows states only by their rows (core/states.h), and steps only through a VmigFlow. It names no state.
 *
 * Folder plugin/engine: runs a job by the rows of the state table, repeats failed steps, reconciles the records of
 * both hosts and reports. It names no state and no step.
 */
#pragma once

#include "core/errors.h"
#include "core/job.h"
#include "core/retry.h"
#include "core/states.h"
#include "core/uncertain.h"
#include "port/env.h"
#include "store/journal.h"

typedef struct {
    const char *phase; /* name of the state */
    const char *disk;  /* target, or NULL for memory and for the total */
    guint64 done;      /* bytes */
    guint64 total;
    guint64 rate;    /* bytes per second, smoothed; 0 if not yet known */
    guint64 skipped; /* part of done that was not sent: holes, and data already present */
} VmigProgress;

/* Callbacks through which a machine reports. Each may be NULL. progress() may be called from another thread while the
 * machine's own thread waits for the copies, but never concurrently. */
typedef struct {
    /* Once, before anything is changed: this process works on a job that the journal has. If the process dies from now
     * on, another one has to go on. */
    void (*recorded)(gpointer user, const VmigJob *job);
    void (*state)(gpointer user, const VmigJob *job);
    void (*progress)(gpointer user, const VmigJob *job, const VmigProgress *progress);
    void (*retry)(gpointer user, const VmigJob *job, const GError *why, gint64 delay_us);
    void (*note)(gpointer user, const VmigJob *job, const char *text);
    gpointer user;
} VmigReporter;

typedef struct VmigMachine VmigMachine;

/* The work of one state. run() inspects the current facts and does only what is missing, so it can be repeated after a
 * crash at any point. *next is preset to the state that follows success; the step may choose another permitted
 * successor. */
typedef struct {
    gboolean (*run)(VmigMachine *m, VmigState *next, GError **error);
    /* Called before a long wait for the next try or for an operator. May be NULL. Best effort: its failure changes
     * nothing. */
    void (*before_wait)(VmigMachine *m);
} VmigStep;

/* An operation: its states, and a step for each of their rows. States that end the job or wait have no step. */
typedef struct {
    const VmigStates *states;
    const VmigStep *steps; /* states->n of them */
    /* Called with both locks held, before anything is changed. Checks that the job may still begin, because the hosts
     * may have changed since the plan. */
    gboolean (*may_begin)(VmigMachine *m, GError **error);
    /* Called each time a process takes the job, before its first step. */
    void (*begin)(VmigMachine *m);
    /* Called before each try of a state with the flag HOLDS. */
    gboolean (*hold)(VmigMachine *m, GError **error);
    /* Waits before a failed step is tried again: until the given time, or until the cause of the failure is gone. */
    void (*await_retry)(VmigMachine *m, const GError *why, gint64 until);
    /* Releases everything that the job holds, when the operator gives the job up: see
     * vmig_state_of_end(states, VMIG_END_ASIDE). */
    gboolean (*set_aside)(VmigMachine *m, GError **error);
} VmigFlow;

struct VmigMachine {
    const VmigFlow *flow;
    VmigEnv *env;            /* not owned */
    VmigJournal *journal;    /* of this host; not owned */
    gboolean source_fenced;  /* the operator stated that the source's QEMU cannot run */
    gboolean without_verify; /* the operator stated that the job ends without its verification */
    gboolean set_aside;      /* the operator gives the job up: VmigFlow.set_aside */
    gboolean only_back;      /* the operator asked for the way back: do nothing if there is none */
    VmigRole here;           /* otherwise this host is the source; the other host has a journal too */
    const VmigPolicy *policy;
    VmigReporter reporter;
    VmigJob *job;       /* owned */
    GMutex wanted_lock; /* protects the next two: vmig_machine_set_bandwidth() */
    gboolean wanted;
    guint64 wanted_bandwidth;
    gint cancelled;         /* atomic: set by vmig_machine_cancel() */
    gboolean recorded;      /* the job is in this host's journal */
    gboolean peer_recorded; /* the job is in the other host's journal */
    gboolean peer_forgot;   /* the other host lost its journal and refuses records of the job: its files stay */
    gboolean texts_there;   /* both journals have the definitions of the job's snapshots */
    gboolean token_tried;   /* a transfer of the token was tried; the journals say whether it succeeded */
    VmigFacts seen;         /* by the last vmig_resolve() */
    gboolean taken_over;    /* from a process that is gone; no step was done yet */
    VmigRetryState retries;
    guint commits_lost;
    guint64 full_at;     /* bytes that were free when a file system of the commit was found full */
    gboolean full;       /* a file system of the commit was found full */
    gboolean full_again; /* the guest was resumed after that: only more room than full_at counts as room */
    gboolean starved;    /* the guest is paused on an I/O error of its disks, and this was reported */
    guint checkpoints;   /* number of foreign checkpoints that were reported */
    gboolean lost_lock;  /* another process has the job now */
    gint64 stopped_at;   /* when the guest's CPUs stopped, by the env's clock */
    gint64 last_progress;
};

/* Takes ownership of the job. The flow is not owned. */
VmigMachine *vmig_machine_new(const VmigFlow *flow, VmigEnv *env, VmigJournal *journal, VmigRole here,
                              const VmigPolicy *policy, const VmigReporter *reporter, VmigJob *job);
void vmig_machine_free(VmigMachine *machine);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigMachine, vmig_machine_free)

/* Drives the job until it is final or parked. TRUE: the job is DONE, ROLLED_BACK, SET_ASIDE or PARKED; its record gives
 * the reason. FALSE: it was refused before anything was changed (the error says so), or the journal failed. Resume then
 * continues from the job's last durable state. */
gboolean vmig_machine_run(VmigMachine *machine, GError **error);
/* May be called from any thread, and from a main loop's signal source. Asks the job to go back. After the
 * switchover it continues, but parks at a failure instead of waiting for another try. */
void vmig_machine_cancel(VmigMachine *machine);

/* May be called from any thread. Limits all storage traffic from now on; 0 is unlimited. The copies change at once.
 * libvirt's jobs and the record change when the machine's own thread handles the request. */
void vmig_machine_set_bandwidth(VmigMachine *machine, guint64 bytes_per_s);

/* --- for the steps --- */

/* Makes the record durable on this host, and on the other host if its journal already has the job. */
gboolean vmig_machine_save(VmigMachine *m, GError **error);
/* FALSE with CANCELLED if cancellation was requested. */
gboolean vmig_machine_check_cancel(VmigMachine *m, GError **error);
/* Whether a failed step parks the job instead of being tried again, because this process was asked to end. */
gboolean vmig_machine_must_leave(VmigMachine *m);
void vmig_machine_progress(VmigMachine *m, const char *disk, guint64 done, guint64 total, guint64 rate);
void vmig_machine_note(VmigMachine *m, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The same with all members of VmigProgress. The phase is filled in with the state. */
void vmig_machine_tell(VmigMachine *m, VmigProgress progress);
gint64 vmig_machine_now(VmigMachine *m);
/* Takes the operation lock of that host. This host's lock must be taken first. */
gboolean vmig_machine_lock(VmigMachine *m, VmigNode *node, GError **error);
/* The other host's node; NULL while it cannot be reached. */
VmigNode *vmig_machine_peer(VmigMachine *m);
/* Reconnects to the other host after the connection broke, if possible. */
void vmig_machine_reconnect(VmigMachine *m);
/* Microseconds after which a copy without progress counts as dead. A frozen peer causes no error. */
gint64 vmig_machine_stall_limit(VmigMachine *m);
/* Waits for the next event, at most that long. */
void vmig_machine_wait(VmigMachine *m, gint64 microseconds);
