/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard: a process that outlives the tool and holds QEMU's image locks for it.
 *
 * freeze: no process may open the base for writing or resize it. fence: the guard watches from then on which process
 * has the overlays open for writing. take: no process may open them for writing again, so that the source cannot resume
 * behind the destination's back. take succeeds only if QEMU released the overlays and has not opened them since; so it
 * also proves that the data that arrived is the newest. The guard never writes to an image. It ends only on request (or
 * with the host), and its locks end with it.
 *
 * It serves one request per connection on a unix socket, for its own user alone. The request is a line
 *   status | quick | freeze [PATHS] | thaw | fence [PATHS] | take [wait MS] | unfence | quit
 * with PATHS a JSON array of strings. The reply is "ok ..." or "error NAME MESSAGE" with a name of core/errors.def and
 * the message JSON-quoted.
 *
 * Folder plugin/guard: the process that holds QEMU's image locks while no other process of the job runs. It writes to
 * no image.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"

/* Starts `EXE agent --guard SOCKET` as a daemon, unless a guard already answers there. */
gboolean vmig_guard_start(const char *socket_path, const char *exe_path, GError **error);
/* The main function of that command: serves until "quit". Listens on standard input if that is a listening socket,
 * otherwise creates one. Returns the exit code. */
int vmig_guard_main(const char *socket_path);

/* Sends one request and returns its reply without the "ok ". CONNECTION if no guard answers, TIMEOUT, or the guard's
 * own error. */
gboolean vmig_guard_call(const char *socket_path, const char *request, gint64 timeout_us, char **reply, GError **error);

/* Both can be repeated; files that are already held stay held. INTERFERENCE if a process has one open for writing. An
 * overlay that was recreated is another file: drop the fence before arming it for the new one. */
gboolean vmig_guard_freeze(const char *socket_path, const char *const *paths, GError **error);
gboolean vmig_guard_thaw(const char *socket_path, GError **error);
gboolean vmig_guard_fence_arm(const char *socket_path, const char *const *overlays, GError **error);
/* The reason why the guard's fences cannot have real-time priority (SCHED_FIFO), or NULL if they can. They work without
 * it, but may miss a QEMU that takes its image back for an instant. (transfer full) */
gboolean vmig_guard_slow(const char *socket_path, char **why, GError **error);
/* Takes all overlays or none. *held is FALSE while QEMU has one open (waits up to wait_us for that), if it opened one
 * again after it had released it, and if none is armed. */
gboolean vmig_guard_fence_take(const char *socket_path, gint64 wait_us, gboolean *held, GError **error);
gboolean vmig_guard_fence_drop(const char *socket_path, GError **error);
/* Succeeds if there is no guard. */
gboolean vmig_guard_stop(const char *socket_path, GError **error);
