/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What parks.def says: which commands end a job that is parked. */
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
    guint exits;      /* VmigParkExits; 0 where the job is not parked */
    const char *what; /* what to do first, and what they do */
} VmigPark;

VmigPark vmig_park_of(const VmigJob *job);
/* The commands, NULL-terminated, as they are typed; one that has to be typed on another host than this one names it
 * behind. (transfer full) */
char **vmig_park_commands(const VmigJob *job, gboolean here_is_dest);
