/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The facts that a migration's record may have in each of its states. */
#pragma once

#include "core/job-facts.h"
#include "flows/migrate/states.h"

extern const VmigLegalFacts vmig_migrate_facts[VMIG_MIGRATE_STATES];
