/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* resume --all with several jobs: each runs in its own process, as with the systemd units. A job that waits for a host,
 * or commits for an hour, delays no other job. */
#pragma once

#include <json-glib/json-glib.h>

#include "cli/cli.h"
#include "cli/output.h"

/* Combines two exit codes: unexplained failures take precedence, then remaining work. */
int vmig_resume_worse(int a, int b);
/* jobs: from the document of vmig_session_list(). Whole lines are printed as they arrive; in text output each is
 * prefixed with the domain. An interrupt is forwarded to all processes. Returns the worst exit code. */
int vmig_resume_each(const VmigMode *mode, JsonObject *jobs);
