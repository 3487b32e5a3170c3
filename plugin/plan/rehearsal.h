/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rehearsal: the destination starts a paused twin of the guest on empty disks, takes every snapshot's definition
 * for it, and ends it. Nothing of it stays there, and nothing on the source is touched. */
#pragma once

#include "core/job.h"
#include "port/env.h"

/* What a rehearsal goes without; flags. */
typedef enum {
    VMIG_TWIN_WHOLE = 0,
    VMIG_TWIN_NO_DISK = 1,       /* one disk has no place there, or none has */
    VMIG_TWIN_NO_BOOT_FILES = 2, /* the twin is not given its kernel, firmware and tables */
    VMIG_TWIN_NO_SNAPSHOTS = 4,  /* no snapshot's definition is tried */
    VMIG_TWIN_NONE = 8,          /* there is none: it is impossible, or would tell nothing */
} VmigTwinLack;

/* GError: what the destination does not take, each with what to do about it. NULL with the error set where it could not
 * be asked. Empty with --no-rehearsal, and where the hypervisor has no rehearsals. With --accept-unrevertable the job's
 * snapshots are told why they cannot be reverted to there, which is no problem then. (transfer full) */
GPtrArray *vmig_rehearse(VmigEnv *env, VmigJob *job, VmigTwinLack lack, GError **error);
/* The same as one error, REFUSED for several. TRUE: there is none. */
gboolean vmig_rehearsal_passed(GPtrArray *problems, GError **error);
/* Ends a twin whose process died, and removes what its record names. TRUE where another process holds it. */
gboolean vmig_rehearsal_clear(VmigHost *host, const char *id, GError **error);
