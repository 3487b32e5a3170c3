/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The state table for callers, who know a state by its name. */
#include "core/states.h"

#include "vmig-snap/vmig-snap.h"

G_DEFINE_ENUM_TYPE(VmigPhase, vmig_phase, G_DEFINE_ENUM_VALUE(VMIG_PHASE_FORWARD, "forward"),
                   G_DEFINE_ENUM_VALUE(VMIG_PHASE_AFTER, "after"), G_DEFINE_ENUM_VALUE(VMIG_PHASE_BACK, "back"),
                   G_DEFINE_ENUM_VALUE(VMIG_PHASE_END, "end"))

G_DEFINE_ENUM_TYPE(VmigGuestAt, vmig_guest_at, G_DEFINE_ENUM_VALUE(VMIG_GUEST_AT_OWNER, "at-owner"),
                   G_DEFINE_ENUM_VALUE(VMIG_GUEST_UNTOUCHED, "untouched"),
                   G_DEFINE_ENUM_VALUE(VMIG_GUEST_ON_ITS_WAY, "on-its-way"),
                   G_DEFINE_ENUM_VALUE(VMIG_GUEST_UNDECIDED, "undecided"),
                   G_DEFINE_ENUM_VALUE(VMIG_GUEST_ARRIVED, "arrived"))

static gboolean find(const char *name, VmigState *state)
{
    *state = vmig_state_from_name(NULL, name);
    return *state != NULL;
}

/**
 * vmig_job_state_get_text:
 * @state: (nullable): the name of a state: "COPY"
 *
 * Returns: (transfer none) (nullable): what happens in the state; %NULL if this version does not know it
 */
const char *vmig_job_state_get_text(const char *state)
{
    VmigState found;

    return find(state, &found) ? vmig_state_what(found) : NULL;
}

/**
 * vmig_job_state_get_phase:
 * @state: (nullable): the name of a state
 * @phase: (out): return location for the part of the job that the state belongs to
 *
 * Returns: %FALSE if this version does not know the state
 */
gboolean vmig_job_state_get_phase(const char *state, VmigPhase *phase)
{
    VmigState found;

    g_return_val_if_fail(phase != NULL, FALSE);
    if (!find(state, &found))
        return FALSE;
    *phase = vmig_state_phase(found);
    return TRUE;
}

/**
 * vmig_job_state_get_guest:
 * @state: (nullable): the name of a state
 * @guest: (out): return location for the place of the guest if a job stops in the state
 *
 * Returns: %FALSE if this version does not know the state
 */
gboolean vmig_job_state_get_guest(const char *state, VmigGuestAt *guest)
{
    VmigState found;

    g_return_val_if_fail(guest != NULL, FALSE);
    if (!find(state, &found))
        return FALSE;
    *guest = vmig_state_guest(found);
    return TRUE;
}

/**
 * vmig_job_state_is_final:
 * @state: (nullable): the name of a state
 *
 * Returns: %TRUE if a job in this state has ended: nothing is left to do
 */
gboolean vmig_job_state_is_final(const char *state)
{
    VmigState found;

    return find(state, &found) && vmig_state_is_final(found);
}

/**
 * vmig_job_state_continues_on_source:
 * @state: (nullable): the name of a state
 *
 * Returns: %TRUE if only vmig-snap on the source can continue a job in this state: on the destination it can only roll
 *   the job back
 */
gboolean vmig_job_state_continues_on_source(const char *state)
{
    VmigState found;

    return find(state, &found) && vmig_state_is(found, VMIG_STATE_FROM_SOURCE);
}
