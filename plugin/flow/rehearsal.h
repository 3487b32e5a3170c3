/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rehearsal: the destination starts a paused twin of the guest on empty disks, takes every snapshot's definition
 * for it, and ends it. Nothing of it stays there, and nothing on the source is touched. */
#pragma once

#include "core/job.h"
#include "host/world.h"

/* GError: what the destination does not take, each with what to do about it. NULL with the error set where it could not
 * be asked. Empty with --no-rehearsal, and where the hypervisor has no rehearsals. (transfer full) */
GPtrArray *vmig_rehearse(VmigWorld *world, const VmigJob *job, GError **error);
/* The same as one error, REFUSED for several. TRUE: there is none. */
gboolean vmig_rehearsal_passed(GPtrArray *problems, GError **error);
/* Ends a twin whose process died, and removes what its record names. TRUE where another process holds it. */
gboolean vmig_rehearsal_clear(VmigHost *host, const char *id, GError **error);
