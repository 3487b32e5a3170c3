/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* resume --all, where there are several jobs: each in a process of its own, as the units have it. One that waits for a
 * host, or commits for an hour, holds up no other. */
#pragma once

#include <json-glib/json-glib.h>

#include "cli/cli.h"
#include "cli/output.h"

/* Of two ends the one that counts for both: first what nobody explained, then what is left to do. */
int vmig_resume_worse(int a, int b);
/* jobs: of the document of vmig_session_list(). Their lines come as they are written, whole, and with the domain before
 * each where they are for people. An interruption is handed on to all of them. The worst exit code. */
int vmig_resume_each(const VmigMode *mode, JsonObject *jobs);
