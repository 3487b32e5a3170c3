/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The process that works on a job on this host: asks it to roll back, as ^C in its terminal does, or ends its agent. */
#pragma once

#include <glib.h>

#include "core/errors.h"

/* *pidfd: of the vmig-snap that was asked, readable once it has exited (transfer full); -1 if no process works on the
 * domain. run_dir: the folder with the locks. Signals no other program: LOCKED, naming the holder, for a program that
 * uses the library, and for the agent, whose job runs from the other host. */
gboolean vmig_worker_ask_back(const char *run_dir, const char *uuid, int *pidfd, int *pid, GError **error);
/* Kills an agent that still holds the domain for this very job and this tool: its connection broke and it has not
 * noticed yet. Everything that it does can be repeated. Leaves agents of other jobs or other hosts alone. TRUE: it is
 * gone. */
gboolean vmig_worker_end_agent(const char *run_dir, const char *uuid, const char *job, const char *tool);
/* Waits for its exit; FALSE: it still runs. */
gboolean vmig_worker_ended(int pidfd, guint milliseconds);
