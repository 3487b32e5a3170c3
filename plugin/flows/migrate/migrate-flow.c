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

#define AT(state) VMIG_MIGRATE_INDEX_##state

static const VmigStep steps[VMIG_MIGRATE_STATES] = {
    [AT(LOCK)] = {.run = vmig_step_lock},
    [AT(OVERLAY)] = {.run = vmig_step_overlay},
    [AT(COPY)] = {.run = vmig_step_copy},
    [AT(PREPARE)] = {.run = vmig_step_prepare},
    [AT(DROP_METADATA)] = {.run = vmig_step_drop_metadata},
    [AT(MIGRATE)] = {.run = vmig_step_migrate, .before_wait = vmig_prepare_give_back},
    [AT(UNCERTAIN)] = {.run = vmig_step_uncertain},
    [AT(ACTIVATE)] = {.run = vmig_step_activate},
    [AT(COMMIT)] = {.run = vmig_step_commit},
    [AT(PIVOT)] = {.run = vmig_step_pivot},
    [AT(REDEFINE)] = {.run = vmig_step_redefine},
    [AT(CLEANUP)] = {.run = vmig_step_cleanup},
    [AT(ROLLBACK)] = {.run = vmig_step_rollback},
    [AT(BACK_COMMIT)] = {.run = vmig_step_back_commit},
    [AT(BACK_PIVOT)] = {.run = vmig_step_back_pivot},
    [AT(BACK_REDEFINE)] = {.run = vmig_step_back_redefine},
};

const VmigFlow vmig_flow_migrate = {
    .states = &vmig_states_migrate,
    .steps = steps,
    .may_begin = still_starts,
    .begin = vmig_after_boot_start_early,
    .hold = vmig_overlay_hold,
    .await_retry = vmig_room_await_retry,
    .set_aside = vmig_set_aside,
};
