/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "flows/migrate/migrate-flow.h"

#include "flows/migrate/after-boot.h"
#include "flows/migrate/commit.h"
#include "flows/migrate/overlay.h"
#include "flows/migrate/prepare.h"
#include "plan/rehearsal.h"
#include "flows/migrate/set-aside.h"

/* Checks that the destination still starts the guest, as it did when the plan was made. */
static gboolean still_starts(VmigMachine *m, GError **error)
{
    g_autofree char *left = NULL;
    g_autoptr(GPtrArray) problems = vmig_rehearse(m->env, m->job, VMIG_TWIN_WHOLE, NULL, &left, error);

    if (left != NULL) {
        vmig_machine_reconnect(m);
        if (vmig_machine_peer(m) != NULL)
            vmig_rehearsal_clear(&m->env->dest, left, NULL);
    }
    return problems != NULL && vmig_rehearsal_passed(problems, error);
}

const VmigFlow vmig_flow_migrate = {
    .steps[VMIG_STATE_LOCK] = {.run = vmig_step_lock},
    .steps[VMIG_STATE_OVERLAY] = {.run = vmig_step_overlay},
    .steps[VMIG_STATE_COPY] = {.run = vmig_step_copy},
    .steps[VMIG_STATE_PREPARE] = {.run = vmig_step_prepare},
    .steps[VMIG_STATE_DROP_METADATA] = {.run = vmig_step_drop_metadata},
    .steps[VMIG_STATE_MIGRATE] = {.run = vmig_step_migrate, .before_wait = vmig_prepare_give_back},
    .steps[VMIG_STATE_UNCERTAIN] = {.run = vmig_step_uncertain},
    .steps[VMIG_STATE_ACTIVATE] = {.run = vmig_step_activate},
    .steps[VMIG_STATE_COMMIT] = {.run = vmig_step_commit},
    .steps[VMIG_STATE_PIVOT] = {.run = vmig_step_pivot},
    .steps[VMIG_STATE_REDEFINE] = {.run = vmig_step_redefine},
    .steps[VMIG_STATE_CLEANUP] = {.run = vmig_step_cleanup},
    .steps[VMIG_STATE_ROLLBACK] = {.run = vmig_step_rollback},
    .steps[VMIG_STATE_BACK_COMMIT] = {.run = vmig_step_back_commit},
    .steps[VMIG_STATE_BACK_PIVOT] = {.run = vmig_step_back_pivot},
    .steps[VMIG_STATE_BACK_REDEFINE] = {.run = vmig_step_back_redefine},
    .may_begin = still_starts,
    .begin = vmig_after_boot_start_early,
    .hold = vmig_overlay_hold,
    .await_retry = vmig_room_await_retry,
    .set_aside = vmig_set_aside,
};
