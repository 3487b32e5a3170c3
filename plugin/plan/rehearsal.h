/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rehearsal: the destination starts a paused twin of the guest on empty disks, accepts every snapshot's definition
 * for the twin, and ends it. Nothing of it is left there, and nothing on the source is changed. */
#pragma once

#include "core/job.h"
#include "port/env.h"

/* The parts that a rehearsal leaves out; flags. */
typedef enum {
    VMIG_TWIN_WHOLE = 0,
    VMIG_TWIN_NO_DISK = 1,       /* one disk, or every disk, has no place there */
    VMIG_TWIN_NO_BOOT_FILES = 2, /* the twin gets no kernel, firmware and tables */
    VMIG_TWIN_NO_SNAPSHOTS = 4,  /* no snapshot's definition is tried */
    VMIG_TWIN_NONE = 8,          /* no rehearsal: it is impossible, or would prove nothing */
} VmigTwinLack;

/* Asks whether the caller cancelled, if wanted is not NULL. */
typedef struct {
    gboolean (*wanted)(gpointer user);
    gpointer user;
} VmigStop;

/* FALSE with CANCELLED if the caller cancelled. stop may be NULL. */
gboolean vmig_stop_check(const VmigStop *stop, GError **error);

/* Returns GErrors: whatever the destination refuses, each with a hint. NULL with the error set if the destination could
 * not be queried. Empty with --no-rehearsal, and if the hypervisor does not support rehearsals. With
 * --accept-unrevertable the job's snapshots record why they cannot be reverted to there, and this is no problem then.
 * A rehearsal that is stopped ends its twin. (transfer full)
 *
 * *left (transfer full): the ID of the rehearsal if something of it may be left because the destination did not answer;
 * otherwise NULL. The caller reconnects, and calls vmig_rehearsal_clear(): only the agent can remove the images, and it
 * may be gone. */
GPtrArray *vmig_rehearse(VmigEnv *env, VmigJob *job, VmigTwinLack lack, const VmigStop *stop, char **left,
                         GError **error);
/* Turns the problems into one error, REFUSED if there are several. TRUE if there is none. */
gboolean vmig_rehearsal_passed(GPtrArray *problems, GError **error);
/* Ends the twin of a dead process, and removes the files that its record names. TRUE if another process holds it. */
gboolean vmig_rehearsal_clear(VmigHost *host, const char *id, GError **error);
