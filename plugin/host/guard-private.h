/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between guard.c (the process) and guard-client.c (who starts and asks it). */
#pragma once

#include <glib.h>

/* A socket listens there for this user alone; -1 with the error set. A stale socket goes first. */
int vmig_guard_listen(const char *socket_path, GError **error);
/* Is the other end of a connection this user's? */
gboolean vmig_guard_peer_is_us(int fd);
