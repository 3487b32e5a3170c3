/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first message of the agent: its hello, or the reason why it cannot serve. */
#pragma once

#include "os/json-read.h"
#include "os/lines.h"

/* Waits for the hello until this monotonic time, past what a login shell prints before it. *said: the agent has
 * refused, with the error that is returned. Errors otherwise: NO_AGENT, TIMEOUT, PROTOCOL. */
gboolean vmig_agent_hello_await(VmigLines *lines, const char *host, gint64 until, gboolean *said, GError **error);
/* The error that the agent reports, in this process's domain. NULL with a mistake in the reader. (transfer full) */
GError *vmig_agent_failure(VmigReader *reply, JsonObject *object);
