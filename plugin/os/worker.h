/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The process that works at a job on this host: asked to go back as ^C in its terminal asks it, or replaced. */
#pragma once

#include <glib.h>

#include "core/errors.h"

/* *pidfd: the vmig-snap that was asked, readable once it has ended (transfer full); -1 where nobody works at the
 * domain. run_dir: where the locks are. Sends nothing to any other program: LOCKED, with who it is, for one that uses
 * the library, and for the agent, whose job is worked at from the other host. */
gboolean vmig_worker_ask_back(const char *run_dir, const char *uuid, int *pidfd, int *pid, GError **error);
/* An agent that still holds the domain for this very job and for the tool that asks is of a connection that broke and
 * does not know it yet: it is killed, whatever it does can be repeated. Nothing else is: not another job's, nor one
 * that another host asked for. TRUE: it is gone. */
gboolean vmig_worker_end_agent(const char *run_dir, const char *uuid, const char *job, const char *tool);
/* Waits that long for its end; FALSE: it still works. */
gboolean vmig_worker_ended(int pidfd, guint milliseconds);
