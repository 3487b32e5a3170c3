/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard: a process that outlives the tool and holds QEMU's image locks for it.
 *
 * freeze: nobody may open the base for writing or resize it. fence: the moment QEMU lets go of an overlay, nobody may
 * open it for writing again, so that the source cannot resume behind the destination's back. It never writes to any
 * image. It ends only when it is told to (or with the host); its locks end with it.
 *
 * It serves one request a connection on a unix socket, to its own user alone: a line
 *   status | freeze [PATHS] | thaw | fence [PATHS] | fence? [wait MS] | unfence | quit
 * with PATHS a JSON array of strings; the answer is "ok ..." or "error NAME MESSAGE" with a name of core/errors.def and
 * the message JSON-quoted.
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
/* TRUE in *held once every overlay is taken (FALSE while none is armed). Waits up to wait_us for it. */
gboolean vmig_guard_fence_held(const char *socket_path, gint64 wait_us, gboolean *held, GError **error);
gboolean vmig_guard_fence_drop(const char *socket_path, GError **error);
/* None there is success. */
gboolean vmig_guard_stop(const char *socket_path, GError **error);
