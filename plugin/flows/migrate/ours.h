/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Identifies the domain that has the guest's UUID on a host.
 *
 * A UUID proves nothing: a guest that was restored from a backup has it too. The job may end, undefine or resume only a
 * domain that carries the job's mark in its <metadata>, and that has each disk of the job on a file of the job.
 */
#pragma once

#include "definition/domain-xml.h"
#include "engine/machine.h"

typedef enum {
    VMIG_WHOSE_NONE,     /* there is no such domain */
    VMIG_WHOSE_OURS,     /* it has the mark and the disks of this job */
    VMIG_WHOSE_DOUBTFUL, /* it has only one of both: it counts as the guest, but is not touched */
    VMIG_WHOSE_FOREIGN,  /* neither: another guest */
} VmigWhose;

/* Examines the live definition of a running domain, or the persistent definition of one that is off. */
gboolean vmig_ours_look(VmigMachine *m, VmigRole role, VmigWhose *ret, GError **error);
/* INTERFERENCE unless it is OURS. NONE is success: a later step reports that it is gone. */
gboolean vmig_ours_require(VmigMachine *m, VmigRole role, GError **error);
/* INTERFERENCE only if it is FOREIGN. For operations that harm no guest and have checks of their own. */
gboolean vmig_ours_require_no_stranger(VmigMachine *m, VmigRole role, GError **error);
/* INTERFERENCE if there is any domain with the UUID. */
gboolean vmig_ours_require_none(VmigMachine *m, VmigRole role, GError **error);
/* Sets the error INTERFERENCE, which names the domain and the way out. Returns FALSE. */
gboolean vmig_ours_fail(VmigMachine *m, VmigRole role, GError **error);

/* As the driver's block_job(). A block copy that does not write the disk's hold, and a commit that does not write its
 * base, is not the job's: its kind is OTHER. */
gboolean vmig_ours_block_job(VmigMachine *m, VmigRole role, const VmigDisk *disk, const VmigDomainDisk *seen,
                             VmigBlockJob *ret, GError **error);
/* Sets the error for such a job: this code, and the command that ends it. Returns FALSE. */
gboolean vmig_ours_refuse_block_job(VmigMachine *m, VmigRole role, const VmigDisk *disk, VmigErrorCode code,
                                    GError **error);
