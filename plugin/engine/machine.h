/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The machine: it drives one job from state to state until it ends or parks.
 *
 * It knows the rows of core/states.def by what they say, and the steps by a VmigFlow: no state by its name.
 *
 * Folder plugin/engine: the machine that drives a job by the rows of its states, repeats failed steps, reconciles the
 * records of both hosts and reports. It names no state and no step.
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
    const char *phase; /* the state's name */
    const char *disk;  /* target, or NULL for memory and for the sum */
    guint64 done;      /* bytes */
    guint64 total;
    guint64 rate;    /* bytes a second, smoothed; 0 is not known yet */
    guint64 skipped; /* of done: what did not have to be sent, holes and what is there already */
} VmigProgress;

/* What a machine tells while it works. Every member may be NULL. progress() may come from
 * another thread, while the machine's own one waits for the copies; never two at once. */
typedef struct {
    void (*state)(gpointer user, const VmigJob *job);
    void (*progress)(gpointer user, const VmigJob *job, const VmigProgress *progress);
    void (*retry)(gpointer user, const VmigJob *job, const GError *why, gint64 delay_us);
    void (*note)(gpointer user, const VmigJob *job, const char *text);
    gpointer user;
} VmigReporter;

typedef struct VmigMachine VmigMachine;

/* What is done in one state. It looks at what is, does what is missing, and can be run again after a crash at any line
 * of it. *next is the state that follows success; the step may choose another one that may follow. */
typedef struct {
    gboolean (*run)(VmigMachine *m, VmigState *next, GError **error);
    /* Before a long wait for the next try, or for an operator; may be NULL. It tries, and its failure changes nothing.
     */
    void (*before_wait)(VmigMachine *m);
} VmigStep;

/* An operation: the steps of its states, by VmigState. A state that ends the job, or waits, has none. */
typedef struct {
    VmigStep steps[VMIG_STATE_LAST];
    /* With both locks held, before anything is touched: may it still begin? The hosts may have changed since the plan.
     */
    gboolean (*may_begin)(VmigMachine *m, GError **error);
    /* Each time a process takes the job, before its first step. */
    void (*begin)(VmigMachine *m);
    /* Before each try of a state that HOLDS. */
    gboolean (*hold)(VmigMachine *m, GError **error);
    /* Waits until a step that failed like this is tried again: until that time, or until what it failed for is there.
     */
    void (*await_retry)(VmigMachine *m, const GError *why, gint64 until);
    /* Lets go of everything that the job holds, at the operator's word: see vmig_state_of_end(VMIG_END_ASIDE). */
    gboolean (*set_aside)(VmigMachine *m, GError **error);
} VmigFlow;

struct VmigMachine {
    const VmigFlow *flow;
    VmigEnv *env;            /* not owned */
    VmigJournal *journal;    /* of this host; not owned */
    gboolean source_fenced;  /* by the operator's word: the source's QEMU cannot run */
    gboolean without_verify; /* by the operator's word: the job ends without its verification */
    gboolean set_aside;      /* he gives it up: VmigFlow.set_aside */
    gboolean only_back;      /* he asked for the way back: where there is none nothing is done */
    gboolean here_is_dest;   /* else this host is the source; the other one has a journal too */
    const VmigPolicy *policy;
    VmigReporter reporter;
    VmigJob *job;       /* owned */
    GMutex wanted_lock; /* of the two that follow: vmig_machine_set_bandwidth() */
    gboolean wanted;
    guint64 wanted_bandwidth;
    gint cancelled;         /* atomic: set by vmig_machine_cancel() */
    gboolean recorded;      /* the job is in this host's journal */
    gboolean peer_recorded; /* and in the other's */
    gboolean peer_forgot;   /* it lost its journal, and takes no record of the job any more: what is left there stays */
    gboolean texts_there;   /* and the definitions of its snapshots are in both */
    gboolean token_tried;   /* to give it away: whether it is given is what the journals say */
    VmigFacts seen;         /* by the last vmig_resolve() */
    gboolean taken_over;    /* from a process that is gone, and no step was done yet */
    VmigRetryState retries;
    guint commits_lost;
    guint64 full_at;     /* bytes that were free when a file system of the commit's was found full */
    gboolean full;       /* it was */
    gboolean full_again; /* the guest was let go on after that: only more room than then is room */
    gboolean starved;    /* the guest is paused on an error of its disks, and that was told */
    guint checkpoints;   /* of somebody's, that were told */
    gboolean lost_lock;  /* somebody else has the job now */
    gint64 stopped_at;   /* when the guest's CPUs stopped, by the world's clock */
    gint64 last_progress;
};

/* Takes the job. The flow is not owned. */
VmigMachine *vmig_machine_new(const VmigFlow *flow, VmigEnv *env, VmigJournal *journal, gboolean here_is_dest,
                              const VmigPolicy *policy, const VmigReporter *reporter, VmigJob *job);
void vmig_machine_free(VmigMachine *machine);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigMachine, vmig_machine_free)

/* Drives the job until it is final or parked. TRUE: the job is DONE, ROLLED_BACK or PARKED: its record says why.
 * FALSE: refused before anything was touched (the error says so), or the journal failed; the job's last durable state
 * is then what resume goes on from. */
gboolean vmig_machine_run(VmigMachine *machine, GError **error);
/* From any thread or signal handler's loop: asks to go back; after the switchover it has no effect. */
void vmig_machine_cancel(VmigMachine *machine);

/* From any thread: the limit of all storage traffic from now on, 0 for none. The copies have it at once, libvirt's jobs
 * and the record when the machine's own thread comes to it. */
void vmig_machine_set_bandwidth(VmigMachine *machine, guint64 bytes_per_s);

/* --- for the steps --- */

/* Makes the record durable here, and on the other host where it has it already. */
gboolean vmig_machine_save(VmigMachine *m, GError **error);
/* FALSE with CANCELLED when somebody asked to stop. */
gboolean vmig_machine_check_cancel(VmigMachine *m, GError **error);
void vmig_machine_progress(VmigMachine *m, const char *disk, guint64 done, guint64 total, guint64 rate);
void vmig_machine_note(VmigMachine *m, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The same with all there is to tell; phase is the state. */
void vmig_machine_tell(VmigMachine *m, VmigProgress progress);
gint64 vmig_machine_now(VmigMachine *m);
/* The operation lock of that host. This host's comes first. */
gboolean vmig_machine_lock(VmigMachine *m, VmigNode *node, GError **error);
/* The other host's storage; NULL while it cannot be reached. */
VmigNode *vmig_machine_peer(VmigMachine *m);
/* A connection to the other host that broke is made anew, if it can be. */
void vmig_machine_reconnect(VmigMachine *m);
/* Microseconds after which a copy that moves nothing counts as dead. A peer that is frozen gives no error. */
gint64 vmig_machine_stall_limit(VmigMachine *m);
/* Waits for the next event, at most that long. */
void vmig_machine_wait(VmigMachine *m, gint64 microseconds);
