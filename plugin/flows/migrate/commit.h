/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The commit of the overlays into their bases and the pivot, on whichever host owns the guest. */
#pragma once

#include "engine/host.h"

/* Starts the commit job of every disk that has none and is not on its base yet. */
gboolean vmig_commit_start(VmigMachine *m, VmigRole role, GError **error);

/* --- commit-space.c: a file system that is full --- */

/* The tightest of the file systems that the bases are on. */
typedef struct {
    guint64 needed; /* at most, for what the overlays hold: a base that has some of it already needs less */
    guint64 free;
    char *folder;
} VmigRoom;

void vmig_room_free(VmigRoom *room);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigRoom, vmig_room_free)
VmigRoom *vmig_room_ask(VmigMachine *m, VmigRole role, GError **error);
/* Is there enough, or clearly more than when the file system was found full? */
gboolean vmig_room_is_there(const VmigMachine *m, const VmigRoom *room);
/* The file system was found full: from here on more than now counts as room. */
void vmig_room_note_full(VmigMachine *m, const VmigRoom *room);
/* A guest that QEMU paused for want of room goes on once there is some. One that its user suspended, or that met
 * another error, is left alone. What fails here is a note. */
void vmig_room_relieve(VmigMachine *m, VmigRole role);
/* The same at the end of the job: NO_SPACE while the guest is paused for it. */
gboolean vmig_room_require_relief(VmigMachine *m, VmigRole role, GError **error);
/* Waits until a failed step is tried again: until that time, or earlier when there is room again, or when somebody asks
 * for it. */
void vmig_room_await_retry(VmigMachine *m, const GError *why, gint64 until);
