/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* states.def as rows. */
#define VMIG_STATE_INDEX(symbol) VMIG_MIGRATE_INDEX_##symbol
#define VMIG_STATE_FLOW vmig_states_migrate

#include "flows/migrate/states.h"

#include "core/state-table.h"
#include "flows/migrate/facts.h"

const VmigStateRow vmig_migrate_rows[VMIG_MIGRATE_STATES] = {
#define VMIG_STATE VMIG_STATE_ROW
#include "flows/migrate/states.def"
#undef VMIG_STATE
};

const VmigStates vmig_states_migrate = {
    .name = "migrate",
    .rows = vmig_migrate_rows,
    .facts = vmig_migrate_facts,
    .n = VMIG_MIGRATE_STATES,
};
