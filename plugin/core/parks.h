/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The commands that end a parked job, from parks.def. */
#pragma once

#include "core/job.h"

typedef enum {
    VMIG_EXIT_BY_RESUME = 1 << 0,
    VMIG_EXIT_BY_CANCEL = 1 << 1,
    VMIG_EXIT_BY_FENCED = 1 << 2,
    VMIG_EXIT_BY_WITHOUT_VERIFY = 1 << 3,
    VMIG_EXIT_BY_SET_ASIDE = 1 << 4,
} VmigParkExits;

typedef struct {
    guint exits;      /* VmigParkExits; 0 if the job is not parked */
    const char *what; /* what to do first, and what the commands do */
} VmigPark;

VmigPark vmig_park_of(const VmigJob *job);
/* The commands as the user types them, NULL-terminated. A command for the other host is followed by that host.
 * (transfer full) */
char **vmig_park_commands(const VmigJob *job, VmigRole here);
