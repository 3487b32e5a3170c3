/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of a parked job that can go neither forward nor back, by the operator's word. */
#pragma once

#include "engine/machine.h"

/* Lets go of everything that the job holds, and removes no file. The guest stays on its owner as it is. Both locks are
 * held and the records agree. What is where is told in the job's error_hint and in notes. */
gboolean vmig_set_aside(VmigMachine *m, GError **error);
