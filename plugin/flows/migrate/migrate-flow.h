/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The flow of a migration: states.def says which state may follow which, facts.c which facts its record may have in
 * each, and the table in migrate-flow.c names the step of each state.
 *
 * One file for each group of states: lock.c LOCK · overlay.c OVERLAY · copy.c COPY · prepare.c PREPARE, DROP_METADATA ·
 * migrate.c MIGRATE, UNCERTAIN · activate.c ACTIVATE · commit*.c COMMIT, PIVOT and BACK_COMMIT, BACK_PIVOT · redefine.c
 * REDEFINE, BACK_REDEFINE · cleanup.c CLEANUP · rollback.c ROLLBACK
 *
 * Folder plugin/flows/migrate: the steps of a live migration, with one file for each group of states. They call only
 * the ports.
 */
#pragma once

#include "engine/machine.h"
#include "flows/migrate/states.h"

extern const VmigFlow vmig_flow_migrate;

gboolean vmig_step_lock(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_overlay(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_copy(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_prepare(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_drop_metadata(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_migrate(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_uncertain(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_activate(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_commit(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_pivot(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_redefine(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_cleanup(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_rollback(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_back_commit(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_back_pivot(VmigMachine *m, VmigState *next, GError **error);
gboolean vmig_step_back_redefine(VmigMachine *m, VmigState *next, GError **error);
