/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The flow of a migration: core/states.def says what may follow what, the table in migrate-flow.c who does it.
 *
 * One file a group of states:
 *   plan.c PLAN · lock.c LOCK · overlay.c OVERLAY · seed.c SEED · handover.c HANDOVER, DETACH · migrate.c MIGRATE,
 *   UNCERTAIN · arrive.c SWITCHED · commit*.c COMMIT, PIVOT and BACK_COMMIT, BACK_PIVOT · restore.c RESTORE,
 *   BACK_RESTORE · clean.c CLEAN · rollback.c ROLLBACK
 */
#pragma once

#include "flow/machine.h"

extern const VmigFlow vmig_flow_migrate;

gboolean vmig_step_lock(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_overlay(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_seed(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_handover(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_detach(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_migrate(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_uncertain(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_switched(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_commit(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_pivot(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_restore(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_clean(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_rollback(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_back_commit(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_back_pivot(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_back_restore(VmigMachine *m, VmigState *next, GError **error);
