/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "flow/migrate-flow.h"

#include "flow/handover.h"

const VmigFlow vmig_flow_migrate = {
    .steps[VMIG_STATE_LOCK] = {.run = vmig_step_lock},
    .steps[VMIG_STATE_OVERLAY] = {.run = vmig_step_overlay},
    .steps[VMIG_STATE_SEED] = {.run = vmig_step_seed},
    .steps[VMIG_STATE_HANDOVER] = {.run = vmig_step_handover},
    .steps[VMIG_STATE_DETACH] = {.run = vmig_step_detach},
    .steps[VMIG_STATE_MIGRATE] = {.run = vmig_step_migrate, .before_wait = vmig_handover_give_back},
    .steps[VMIG_STATE_UNCERTAIN] = {.run = vmig_step_uncertain},
    .steps[VMIG_STATE_SWITCHED] = {.run = vmig_step_switched},
    .steps[VMIG_STATE_COMMIT] = {.run = vmig_step_commit},
    .steps[VMIG_STATE_PIVOT] = {.run = vmig_step_pivot},
    .steps[VMIG_STATE_RESTORE] = {.run = vmig_step_restore},
    .steps[VMIG_STATE_CLEAN] = {.run = vmig_step_clean},
    .steps[VMIG_STATE_ROLLBACK] = {.run = vmig_step_rollback},
    .steps[VMIG_STATE_BACK_COMMIT] = {.run = vmig_step_back_commit},
    .steps[VMIG_STATE_BACK_PIVOT] = {.run = vmig_step_back_pivot},
    .steps[VMIG_STATE_BACK_RESTORE] = {.run = vmig_step_back_restore},
};
