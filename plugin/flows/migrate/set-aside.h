/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of a parked job that can go neither forward nor back, at the operator's request. */
#pragma once

#include "engine/machine.h"

/* Releases everything that the job holds, and removes no file. The guest stays on its owner as it is. Call it with both
 * locks held and with records that agree. The job's error_hint and notes report the place of every file. */
gboolean vmig_set_aside(VmigMachine *m, GError **error);
