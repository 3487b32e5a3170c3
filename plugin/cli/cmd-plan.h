/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by plan and migrate --dry-run. */
#pragma once

#include "cli/request-args.h"

/* Returns the exit code. */
int vmig_run_plan(const VmigRequestArgs *args);
