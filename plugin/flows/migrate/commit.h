/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The commit of the overlays into their bases and the pivot, on the host that owns the guest. */
#pragma once

#include "engine/host.h"

/* Starts the commit job of every disk that has none and is not on its base yet. */
gboolean vmig_commit_start(VmigMachine *m, VmigRole role, GError **error);

/* --- commit-space.c: a file system that is full --- */

/* The file system with the least room of those that hold the bases. */
typedef struct {
    guint64 needed; /* upper limit for the contents of the overlays: a base that already has some of it needs less */
    guint64 free;
    char *folder;
} VmigRoom;

void vmig_room_free(VmigRoom *room);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigRoom, vmig_room_free)
VmigRoom *vmig_room_ask(VmigMachine *m, VmigRole role, GError **error);
/* Whether there is enough space, or clearly more than when the file system was found full. */
gboolean vmig_room_is_there(const VmigMachine *m, const VmigRoom *room);
/* Records that the file system was found full: from here on only more free space than now counts as room. */
void vmig_room_note_full(VmigMachine *m, const VmigRoom *room);
/* Resumes a guest that QEMU paused for lack of space once there is some. A guest that its user suspended, or that met
 * another error, is left alone. A failure is only noted. */
void vmig_room_relieve(VmigMachine *m, VmigRole role);
/* The same at the end of the job: NO_SPACE while the guest is still paused for that reason. */
gboolean vmig_room_require_relief(VmigMachine *m, VmigRole role, GError **error);
/* Waits before a failed step is tried again: until the given time, or earlier if there is room again or the user asks
 * for a try. */
void vmig_room_await_retry(VmigMachine *m, const GError *why, gint64 until);
