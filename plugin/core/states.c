/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can be asked of a row, whatever the flow. */
#include "core/states.h"

static const VmigStates *const flows[] = {
#define VMIG_FLOW(name) &vmig_states_##name,
#include "core/flows.def"
#undef VMIG_FLOW
};

const VmigStates *vmig_states_nth(guint i)
{
    return i < G_N_ELEMENTS(flows) ? flows[i] : NULL;
}

const VmigStates *vmig_states_of_flow(const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(flows); i++)
        if (g_strcmp0(flows[i]->name, name) == 0)
            return flows[i];
    return NULL;
}

VmigState vmig_state_from_name(const VmigStates *states, const char *name)
{
    for (guint i = 0; states == NULL && i < G_N_ELEMENTS(flows); i++) {
        VmigState found = vmig_state_from_name(flows[i], name);
        if (found != NULL)
            return found;
    }
    for (guint i = 0; states != NULL && i < states->n; i++)
        if (g_strcmp0(states->rows[i].name, name) == 0)
            return &states->rows[i];
    return NULL;
}

const char *vmig_state_name(VmigState state)
{
    return state != NULL ? state->name : "?";
}

const char *vmig_state_what(VmigState state)
{
    g_return_val_if_fail(state != NULL, "");
    return state->what;
}

const char *vmig_state_entry(VmigState state)
{
    g_return_val_if_fail(state != NULL, "");
    return state->entry;
}

const char *vmig_state_undo(VmigState state)
{
    g_return_val_if_fail(state != NULL, "");
    return state->undo;
}

VmigPhase vmig_state_phase(VmigState state)
{
    g_return_val_if_fail(state != NULL, VMIG_PHASE_END);
    return state->phase;
}

gboolean vmig_state_may_retry(VmigState state)
{
    g_return_val_if_fail(state != NULL, FALSE);
    return vmig_state_is(state, VMIG_STATE_RETRY);
}

gboolean vmig_state_is(VmigState state, guint flags)
{
    return state != NULL && (state->flags & flags) == flags;
}

gboolean vmig_state_is_first(VmigState state)
{
    return state != NULL && state->index == 0;
}

guint vmig_state_expected(VmigState state, VmigRole role)
{
    if (state == NULL)
        return VMIG_MAY_BE_ANY;
    return role == VMIG_DEST ? state->expected.dest : state->expected.source;
}

VmigStage vmig_state_stage(VmigState state)
{
    return state != NULL ? state->expected.stage : VMIG_STAGE_OVER;
}

VmigGuestAt vmig_state_guest(VmigState state)
{
    g_return_val_if_fail(state != NULL, VMIG_GUEST_AT_OWNER);
    return state->expected.guest;
}

VmigSet vmig_state_set(VmigState state)
{
    g_return_val_if_fail(state != NULL, VMIG_SET_NOTHING);
    return state->expected.set;
}

VmigEnd vmig_state_end(VmigState state)
{
    return state != NULL ? state->expected.end : VMIG_END_NONE;
}

static VmigState next_of(VmigState state, guint i)
{
    return &state->flow->rows[state->next[i]];
}

int vmig_state_progress(VmigState state)
{
    int steps = 0;

    g_return_val_if_fail(state != NULL, -1);
    for (VmigState at = state->flow->rows; at != NULL; at = vmig_state_next(at), steps++)
        if (at == state)
            return steps;
    return -1;
}

VmigState vmig_state_next(VmigState state)
{
    g_return_val_if_fail(state != NULL, NULL);
    return state->n_next > 0 ? next_of(state, 0) : NULL;
}

gboolean vmig_state_may_follow(VmigState from, VmigState to)
{
    g_return_val_if_fail(from != NULL, FALSE);
    for (guint i = 0; i < from->n_next; i++)
        if (next_of(from, i) == to)
            return TRUE;
    return FALSE;
}

static gboolean leads_back(VmigState state)
{
    return vmig_state_phase(state) == VMIG_PHASE_BACK || vmig_state_end(state) == VMIG_END_BACK;
}

VmigState vmig_state_on_failure(VmigState state)
{
    g_return_val_if_fail(state != NULL, NULL);
    if (vmig_state_phase(state) == VMIG_PHASE_FORWARD && !vmig_state_is(state, VMIG_STATE_DECIDES))
        for (guint i = 1; i < state->n_next; i++)
            if (leads_back(next_of(state, i)))
                return next_of(state, i);
    return vmig_state_next_that(state, VMIG_STATE_WAITS);
}

VmigState vmig_state_next_that(VmigState state, VmigStateFlag flag)
{
    g_return_val_if_fail(state != NULL, NULL);
    for (guint i = 0; i < state->n_next; i++)
        if (vmig_state_is(next_of(state, i), flag))
            return next_of(state, i);
    return NULL;
}

VmigState vmig_state_of_end(const VmigStates *states, VmigEnd end)
{
    VMIG_EACH_STATE (state, states)
        if (vmig_state_end(state) == end)
            return state;
    return NULL;
}

gboolean vmig_state_is_final(VmigState state)
{
    return vmig_state_end(state) != VMIG_END_NONE;
}
