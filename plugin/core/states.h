/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What states.def says, as an enum and as questions. */
#pragma once

#include <glib.h>

typedef enum {

#define VMIG_STATE(symbol, phase, flags, what, entry, undo, next) VMIG_STATE_##symbol,
#include "core/states.def"
#undef VMIG_STATE
    VMIG_STATE_LAST
} VmigState;

typedef enum {
    VMIG_PHASE_FORWARD,
    VMIG_PHASE_AFTER,
    VMIG_PHASE_BACK,
    VMIG_PHASE_END,
} VmigPhase;

const char *vmig_state_name(VmigState state);
/* The state of that name, or VMIG_STATE_LAST. */
VmigState vmig_state_from_name(const char *name);
const char *vmig_state_what(VmigState state);
const char *vmig_state_entry(VmigState state);
const char *vmig_state_undo(VmigState state);
VmigPhase vmig_state_phase(VmigState state);
gboolean vmig_state_may_retry(VmigState state);

/* The state that follows success; VMIG_STATE_LAST for one that ends the job. */
VmigState vmig_state_next(VmigState state);
gboolean vmig_state_may_follow(VmigState from, VmigState to);
/* DONE, ROLLED_BACK and SET_ASIDE: nothing is left to do for us. */
gboolean vmig_state_is_final(VmigState state);
