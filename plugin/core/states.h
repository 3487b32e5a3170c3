/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* states.def as an enum and as query functions. */
#pragma once

#include <glib.h>

#include "core/role.h"
#include "vmig-snap/vmig-state.h"

typedef enum {

#define VMIG_STATE(symbol, phase, flags, expect, what, entry, undo, next) VMIG_STATE_##symbol,
#include "core/states.def"
#undef VMIG_STATE
    VMIG_STATE_LAST,
    VMIG_STATE_FIRST = 0,
} VmigState;

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

const char *vmig_state_name(VmigState state);
/* The state of that name, or VMIG_STATE_LAST. */
VmigState vmig_state_from_name(const char *name);
const char *vmig_state_what(VmigState state);
const char *vmig_state_entry(VmigState state);
const char *vmig_state_undo(VmigState state);
VmigPhase vmig_state_phase(VmigState state);
gboolean vmig_state_may_retry(VmigState state);
/* Whether the row has all of these VmigStateFlag; FALSE for VMIG_STATE_LAST. */
gboolean vmig_state_is(VmigState state, guint flags);
/* VmigMayBe bits for the source or the destination; all bits for VMIG_STATE_LAST. */
guint vmig_state_expected(VmigState state, VmigRole role);
/* OVER for VMIG_STATE_LAST. */
VmigStage vmig_state_stage(VmigState state);
VmigGuestAt vmig_state_guest(VmigState state);
VmigSet vmig_state_set(VmigState state);
/* VMIG_END_NONE for VMIG_STATE_LAST too. */
VmigEnd vmig_state_end(VmigState state);
/* The number of states that a job without failures has passed when it enters this one: 0 for the first, -1 for a state
 * that such a job never enters. */
int vmig_state_progress(VmigState state);

/* The state that follows success; VMIG_STATE_LAST for one that ends the job. */
VmigState vmig_state_next(VmigState state);
gboolean vmig_state_may_follow(VmigState from, VmigState to);
/* The state after a failed step that is not repeated. Before the switchover it leads back to where the job began,
 * otherwise to the state that WAITS. */
VmigState vmig_state_on_failure(VmigState state);
/* The state that may follow this one and has that flag; VMIG_STATE_LAST if none has. */
VmigState vmig_state_next_that(VmigState state, VmigStateFlag flag);
/* The state that ends a job in this way. */
VmigState vmig_state_of_end(VmigEnd end);
/* The job has ended: nothing is left to do. */
gboolean vmig_state_is_final(VmigState state);
