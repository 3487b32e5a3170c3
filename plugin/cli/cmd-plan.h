/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What plan and migrate --dry-run both do. */
#pragma once

#include "cli/request-args.h"

/* Returns the exit code. */
int vmig_run_plan(const VmigRequestArgs *args);
