/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard: a process that outlives the tool and holds QEMU's image locks for it.
 *
 * freeze: nobody may open the base for writing or resize it. fence: it watches from then on who has the overlays open
 * for writing. take: nobody may open them for writing again, so that the source cannot resume behind the destination's
 * back; only where QEMU let go of them and has not had them again since, so that it is also the proof that what arrived
 * is the newest. It never writes to any image. It ends only when it is told to (or with the host); its locks end with
 * it.
 *
 * It serves one request a connection on a unix socket, to its own user alone: a line
 *   status | quick | freeze [PATHS] | thaw | fence [PATHS] | take [wait MS] | unfence | quit
 * with PATHS a JSON array of strings; the answer is "ok ..." or "error NAME MESSAGE" with a name of core/errors.def and
 * the message JSON-quoted.
 *
 * Folder plugin/guard: the process that holds QEMU's image locks while no other process of the job is there. Writes to
 * no image.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"

/* Starts `EXE agent --guard SOCKET` as a daemon, unless one answers there already. */
gboolean vmig_guard_start(const char *socket_path, const char *exe_path, GError **error);
/* What that command does: serves until "quit". The listening socket is standard input where that is one, else it is
 * made. Returns the exit code. */
int vmig_guard_main(const char *socket_path);

/* One request and its answer without the "ok ". CONNECTION where none answers, TIMEOUT, else the guard's own error. */
gboolean vmig_guard_call(const char *socket_path, const char *request, gint64 timeout_us, char **reply, GError **error);

/* Both can be repeated; files that are held already stay so. INTERFERENCE where somebody has one open for writing.
 * An overlay that was made anew is another file: drop the fence before arming it for that one. */
gboolean vmig_guard_freeze(const char *socket_path, const char *const *paths, GError **error);
gboolean vmig_guard_thaw(const char *socket_path, GError **error);
gboolean vmig_guard_fence_arm(const char *socket_path, const char *const *overlays, GError **error);
/* Why the guard's fences cannot come before all other processes (SCHED_FIFO), or NULL where they can. They work all the
 * same, but a QEMU that takes its image back for an instant may go unnoticed. (transfer full) */
gboolean vmig_guard_slow(const char *socket_path, char **why, GError **error);
/* Takes all overlays, or none. *held: they are taken. FALSE there while QEMU has one (up to wait_us is waited for
 * that), where it had one again after it had let go of it, and where none is armed. */
gboolean vmig_guard_fence_take(const char *socket_path, gint64 wait_us, gboolean *held, GError **error);
gboolean vmig_guard_fence_drop(const char *socket_path, GError **error);
/* None there is success. */
gboolean vmig_guard_stop(const char *socket_path, GError **error);
