/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the commit*.c files share. */
#pragma once

#include "flows/migrate/commit.h"

/* --- commit.c --- */

/* Durable before the first byte is committed: no overlay may be dropped from then on. */
gboolean vmig_commit_note_start(VmigMachine *m, GError **error);
/* Looks at every disk: *ready once all are committed and in step, or on their bases already. */
gboolean vmig_commit_look(VmigMachine *m, VmigRole role, gboolean *ready, GError **error);

/* --- commit-end.c: a commit that ended before it was done --- */

/* Sets the error: NO_SPACE, IO, JOB_CANCELLED or JOB_LOST. Returns FALSE. */
gboolean vmig_commit_ended(VmigMachine *m, VmigRole role, const VmigDisk *disk, GError **error);
/* NO_SPACE where what the overlays hold may not fit. A commit that meets a full file system can kill the guest:
 * QEMU 7.2 aborts when it takes its filter node away again ("Permission conflict on node", seen in one of three). */
gboolean vmig_commit_require_room(VmigMachine *m, VmigRole role, const VmigDisk *disk, GError **error);
/* An error of libvirt's on a full file system becomes NO_SPACE. Takes the error. (transfer full) */
GError *vmig_commit_blame_room(VmigMachine *m, VmigRole role, GError *why);
/* Is that one of those errors? The commit can be started again. */
gboolean vmig_commit_is_ended(const GError *why);

/* --- commit-offline.c: the guest is off --- */

/* Commits with qemu-img, puts the definition on the bases, and starts the guest again if its QEMU had died. */
gboolean vmig_commit_offline(VmigMachine *m, VmigRole role, GError **error);
/* A host that lost power soon after the switchover may have lost the definition too: the record has it. */
gboolean vmig_commit_define_again(VmigMachine *m, VmigRole role, GError **error);
/* The end of vmig_commit_offline() once more, for a process that was cut off there. */
gboolean vmig_commit_start_again(VmigMachine *m, VmigRole role, GError **error);

/* What BACK_COMMIT and BACK_PIVOT have to do, by the facts and not by the definition alone: after a power loss that may
 * be an older one. */
typedef enum {
    VMIG_BACK_NOTHING, /* no overlay took a write, or all of them are back in the bases */
    VMIG_BACK_LIVE,    /* the guest runs on the overlays */
    VMIG_BACK_OFFLINE, /* the guest is off, and an overlay may hold what its base does not */
} VmigBackWork;
gboolean vmig_commit_back_work(VmigMachine *m, VmigBackWork *ret, GError **error);
