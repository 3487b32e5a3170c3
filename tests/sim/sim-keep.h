/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The environment outside the tool, kept in a file that outlives the process. */
#pragma once

#include "sim.h"

typedef struct SimKeep SimKeep;

/* Maps the file, which is created if missing. After that, saving makes no system call: whenever the process is killed
 * at one, the file contains the environment as it was. NULL with errno set. */
SimKeep *sim_keep_open(const char *path);
/* Saves everything of the environment that does not follow from the seed; nothing that belongs to the process. */
void sim_keep_save(SimKeep *keep, Sim *sim);
/* Loads into a Sim that sim_scenario() made from the same seed. FALSE: nothing was ever saved. */
gboolean sim_keep_load(SimKeep *keep, Sim *sim);
