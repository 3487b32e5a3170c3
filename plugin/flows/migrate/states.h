/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The states of a migration by name, for its own steps. Everybody else asks a state's row. */
#pragma once

#include "core/states.h"

typedef enum {
#define VMIG_STATE(symbol, phase, flags, expect, what, entry, undo, next) VMIG_MIGRATE_INDEX_##symbol,
#include "flows/migrate/states.def"
#undef VMIG_STATE
    VMIG_MIGRATE_STATES,
} VmigMigrateIndex;

/* The state of that symbol: VMIG_MIGRATE(PIVOT). */
#define VMIG_MIGRATE(symbol) (&vmig_migrate_rows[VMIG_MIGRATE_INDEX_##symbol])

extern const VmigStateRow vmig_migrate_rows[VMIG_MIGRATE_STATES];
