/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The world outside the tool, kept in a file that outlives the process. */
#pragma once

#include "sim.h"

typedef struct SimKeep SimKeep;

/* Maps the file, which is made where there is none. Afterwards keeping makes no system call, so that whoever is killed
 * at one finds the world as it was. NULL: errno says why. */
SimKeep *sim_keep_open(const char *path);
/* Everything of the world that the seed does not say; not what belongs to the process. */
void sim_keep_save(SimKeep *keep, Sim *sim);
/* Into a Sim that sim_scenario() made of the same seed. FALSE: nothing was ever kept. */
gboolean sim_keep_load(SimKeep *keep, Sim *sim);
