/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The states of a flow as rows, and what can be asked of a state.
 *
 * A flow is one kind of operation: plugin/flows/NAME. Its table, states.def there, has a row for each state;
 * core/flows.def lists the flows. A record names its flow, so that whoever reads it (the journal, the hook, doctor)
 * finds the row of its state without knowing the steps. */
#pragma once

#include <glib.h>

#include "core/role.h"
#include "vmig-snap/vmig-state.h"

typedef struct VmigStates VmigStates;
typedef struct VmigStateRow VmigStateRow;
/* A state is its row; two states are equal if the pointers are. NULL: no state, and every query has an answer to it. */
typedef const VmigStateRow *VmigState;

/* Which files a definition may name for a job's disks, as bits. */
typedef enum {
    VMIG_MAY_BE_BASE = 1,
    VMIG_MAY_BE_OVERLAY = 2,
    VMIG_MAY_BE_ABSENT = 4, /* the host may have no such domain */
    VMIG_MAY_BE_ANY = 7,
} VmigMayBe;

/* What a new bandwidth limit changes at once. */
typedef enum {
    VMIG_SET_NOTHING,
    VMIG_SET_MIGRATION,
    VMIG_SET_COMMITS,
} VmigSet;

/* What the job does with the guest and its disks: see states.def. */
typedef enum {
    VMIG_STAGE_KEEPS,
    VMIG_STAGE_FREEZES,
    VMIG_STAGE_AWAITS,
    VMIG_STAGE_MOVES,
    VMIG_STAGE_SEARCHES,
    VMIG_STAGE_RETURNS,
    VMIG_STAGE_COMMITTING,
    VMIG_STAGE_PIVOTING,
    VMIG_STAGE_MERGED,
    VMIG_STAGE_OVER,
} VmigStage;

typedef enum {
    VMIG_END_NONE, /* the job goes on */
    VMIG_END_MOVED,
    VMIG_END_BACK,
    VMIG_END_ASIDE,
} VmigEnd;

typedef enum {
    VMIG_STATE_RETRY = 1,
    VMIG_STATE_NEEDS_SOURCE = 2,
    VMIG_STATE_NEEDS_DEST = 4,
    VMIG_STATE_FROM_SOURCE = 8,
    VMIG_STATE_HOLDS = 16,
    VMIG_STATE_MERGES = 32,
    VMIG_STATE_COMPLETE = 64,
    VMIG_STATE_HANDS_OVER = 128,
    VMIG_STATE_DECIDES = 256,
    VMIG_STATE_WAITS = 512,
} VmigStateFlag;

/* More rows than any flow has, and more states than may follow one. */
#define VMIG_STATES_MAX 64
#define VMIG_STATE_NEXT_MAX 14

/* The columns of EXPECT(): see states.def. */
typedef struct {
    guint source; /* VmigMayBe bits */
    guint dest;
    VmigStage stage;
    VmigGuestAt guest;
    VmigSet set;
    VmigEnd end;
} VmigStateExpected;

struct VmigStateRow {
    const VmigStates *flow;
    guint index; /* in the flow's rows */
    const char *name;
    VmigPhase phase;
    guint flags; /* VmigStateFlag */
    VmigStateExpected expected;
    const char *what;
    const char *entry;
    const char *undo;
    guint next[VMIG_STATE_NEXT_MAX]; /* indexes; the first follows success */
    guint n_next;
};

/* Which facts a record may have in a state: core/job-facts.h. */
typedef struct VmigLegalFacts VmigLegalFacts;

/* All states of one flow. The first row is where a job begins. */
struct VmigStates {
    const char *name; /* of the flow, as in a record */
    const VmigStateRow *rows;
    const VmigLegalFacts *facts; /* one for each row */
    guint n;
};

/* The tables of the flows: vmig_states_NAME. */
#define VMIG_FLOW(name) extern const VmigStates vmig_states_##name;
#include "core/flows.def"
#undef VMIG_FLOW

#define VMIG_EACH_STATE(state, states)                                                                                 \
    for (VmigState state = (states)->rows; state < (states)->rows + (states)->n; state++)

/* The flows, from 0; NULL after the last. */
const VmigStates *vmig_states_nth(guint i);
/* The flow of that name, or NULL. */
const VmigStates *vmig_states_of_flow(const char *name);
/* The state of that name, or NULL. states NULL: in any flow; states of the same name mean the same for a caller
 * (tested: phase, place of the guest, end). */
VmigState vmig_state_from_name(const VmigStates *states, const char *name);
/* "?" for NULL. */
const char *vmig_state_name(VmigState state);
const char *vmig_state_what(VmigState state);
const char *vmig_state_entry(VmigState state);
const char *vmig_state_undo(VmigState state);
VmigPhase vmig_state_phase(VmigState state);
gboolean vmig_state_may_retry(VmigState state);
/* Whether the row has all of these VmigStateFlag; FALSE for NULL. */
gboolean vmig_state_is(VmigState state, guint flags);
/* VmigMayBe bits for the source or the destination; all bits for NULL. */
guint vmig_state_expected(VmigState state, VmigRole role);
/* OVER for NULL. */
VmigStage vmig_state_stage(VmigState state);
VmigGuestAt vmig_state_guest(VmigState state);
VmigSet vmig_state_set(VmigState state);
/* VMIG_END_NONE for NULL too. */
VmigEnd vmig_state_end(VmigState state);
/* The number of states that a job without failures has passed when it enters this one: 0 for the first, -1 for a state
 * that such a job never enters. */
int vmig_state_progress(VmigState state);

/* The state that follows success; NULL for one that ends the job. */
VmigState vmig_state_next(VmigState state);
gboolean vmig_state_may_follow(VmigState from, VmigState to);
/* The state after a failed step that is not repeated. Before the switchover it leads back to where the job began,
 * otherwise to the state that WAITS. */
VmigState vmig_state_on_failure(VmigState state);
/* The state that may follow this one and has that flag; NULL if none has. */
VmigState vmig_state_next_that(VmigState state, VmigStateFlag flag);
/* The state that ends a job of this flow in this way; NULL if there is none. */
VmigState vmig_state_of_end(const VmigStates *states, VmigEnd end);
/* The state in which a job begins. */
gboolean vmig_state_is_first(VmigState state);
/* The job has ended: nothing is left to do. */
gboolean vmig_state_is_final(VmigState state);
