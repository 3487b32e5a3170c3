/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the commit*.c files. */
#pragma once

#include "flows/migrate/commit.h"

/* --- commit.c --- */

/* Makes the start of the commit durable, before the first byte is committed: from then on no overlay may be dropped. */
gboolean vmig_commit_note_start(VmigMachine *m, GError **error);
/* Inspects every disk. *ready is TRUE once all disks are committed and in step, or already on their bases. */
gboolean vmig_commit_look(VmigMachine *m, VmigRole role, gboolean *ready, GError **error);

/* --- commit-end.c: a commit that ended before it was done --- */

/* Sets the error: NO_SPACE, IO, JOB_CANCELLED or JOB_LOST. Returns FALSE. */
gboolean vmig_commit_ended(VmigMachine *m, VmigRole role, const VmigDisk *disk, GError **error);
/* NO_SPACE if the contents of the overlays may not fit. A commit on a full file system can kill the guest: QEMU 7.2 can
 * abort while it removes its filter node ("Permission conflict on node", seen in one of three runs). */
gboolean vmig_commit_require_room(VmigMachine *m, VmigRole role, const VmigDisk *disk, GError **error);
/* Turns a libvirt error on a full file system into NO_SPACE. Takes the error. (transfer full) */
GError *vmig_commit_blame_room(VmigMachine *m, VmigRole role, GError *why);
/* Whether the error is one of those. The commit can then be started again. */
gboolean vmig_commit_is_ended(const GError *why);

/* --- commit-offline.c: the guest is off --- */

/* Commits with qemu-img, points the definition to the bases, and starts the guest again if its QEMU had died. */
gboolean vmig_commit_offline(VmigMachine *m, VmigRole role, GError **error);
/* Defines the guest again from the record. A host that lost power soon after the switchover may have lost the
 * definition. */
gboolean vmig_commit_define_again(VmigMachine *m, VmigRole role, GError **error);
/* Repeats the end of vmig_commit_offline(), for a process that was interrupted there. */
gboolean vmig_commit_start_again(VmigMachine *m, VmigRole role, GError **error);

/* The work of BACK_COMMIT and BACK_PIVOT. The definition alone does not show it: after a power loss it may be an older
 * one. */
typedef enum {
    VMIG_BACK_NOTHING, /* no overlay received a write, or all of them are merged into the bases */
    VMIG_BACK_LIVE,    /* the guest runs on the overlays */
    VMIG_BACK_OFFLINE, /* the guest is off, and an overlay may hold data that its base does not */
} VmigBackWork;
gboolean vmig_commit_back_work(VmigMachine *m, VmigBackWork *ret, GError **error);
