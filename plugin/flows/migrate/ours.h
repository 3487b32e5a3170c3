/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whose is the domain that has the guest's UUID on one side?
 *
 * A UUID proves nothing: a guest that was restored from a backup has it too. What the job may end, undefine or let run
 * carries the job's mark in its <metadata>, and each disk of the job is on a file of the job. */
#pragma once

#include "definition/domain-xml.h"
#include "engine/machine.h"

typedef enum {
    VMIG_WHOSE_NONE,     /* there is no such domain */
    VMIG_WHOSE_OURS,     /* it has the mark and the disks of this job */
    VMIG_WHOSE_DOUBTFUL, /* one of both: it counts as the guest, but nothing is done to it */
    VMIG_WHOSE_FOREIGN,  /* neither: another guest */
} VmigWhose;

/* By the live definition where it runs, by the persistent one where it is off. */
gboolean vmig_ours_look(VmigMachine *m, VmigRole role, VmigWhose *ret, GError **error);
/* INTERFERENCE unless it is OURS. NONE is success: what follows says that it is gone. */
gboolean vmig_ours_require(VmigMachine *m, VmigRole role, GError **error);
/* INTERFERENCE only where it is FOREIGN. For what harms no guest and has its own proofs. */
gboolean vmig_ours_require_no_stranger(VmigMachine *m, VmigRole role, GError **error);
/* INTERFERENCE where there is any domain at all. */
gboolean vmig_ours_require_none(VmigMachine *m, VmigRole role, GError **error);
/* Sets the error INTERFERENCE, which names the domain and the way out. Returns FALSE. */
gboolean vmig_ours_fail(VmigMachine *m, VmigRole role, GError **error);
