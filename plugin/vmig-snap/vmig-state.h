/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the name of a job's state says. docs/states.md lists the states; a later version may have others. */
#pragma once

#include <glib-object.h>

G_BEGIN_DECLS

/**
 * VmigPhase:
 * @VMIG_PHASE_FORWARD: before the switchover: the job can be rolled back
 * @VMIG_PHASE_AFTER: after the switchover: the job only goes forward
 * @VMIG_PHASE_BACK: the job is rolled back
 * @VMIG_PHASE_END: the job is over, or waits for an operator
 *
 * The part of a job that a state belongs to.
 */
typedef enum {
    VMIG_PHASE_FORWARD,
    VMIG_PHASE_AFTER,
    VMIG_PHASE_BACK,
    VMIG_PHASE_END,
} VmigPhase;

#define VMIG_TYPE_PHASE (vmig_phase_get_type())
GType vmig_phase_get_type(void);

/**
 * VmigGuestAt:
 * @VMIG_GUEST_AT_OWNER: on the host that is the owner
 * @VMIG_GUEST_UNTOUCHED: on the source, and nothing was touched
 * @VMIG_GUEST_ON_ITS_WAY: on one of both hosts, unless the owner determines which
 * @VMIG_GUEST_UNDECIDED: on one of both hosts, if the migration was begun
 * @VMIG_GUEST_ARRIVED: on the destination; it may be paused there
 *
 * Where the guest is if a job stops in a state. The members "owner" and "migration_begun" of the status document say
 * the rest.
 */
typedef enum {
    VMIG_GUEST_AT_OWNER,
    VMIG_GUEST_UNTOUCHED,
    VMIG_GUEST_ON_ITS_WAY,
    VMIG_GUEST_UNDECIDED,
    VMIG_GUEST_ARRIVED,
} VmigGuestAt;

#define VMIG_TYPE_GUEST_AT (vmig_guest_at_get_type())
GType vmig_guest_at_get_type(void);

const char *vmig_job_state_get_text(const char *state);
gboolean vmig_job_state_get_phase(const char *state, VmigPhase *phase);
gboolean vmig_job_state_get_guest(const char *state, VmigGuestAt *guest);
gboolean vmig_job_state_is_final(const char *state);
gboolean vmig_job_state_continues_on_source(const char *state);

G_END_DECLS
