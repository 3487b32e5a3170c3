/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The other host's node, through its agent (see agent.h for the protocol).
 *
 * Any number of threads may call at a time. Every call ends. Short calls have their own deadline (TIMEOUT; the
 * connection survives and a late reply is dropped). Calls that read whole images depend only on the ping, sent every 10
 * s: if it is not answered within 30 s, every call fails with CONNECTION, as when the connection ends.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "port/node.h"

/* Milliseconds. */
typedef struct {
    gint64 hello;
    gint64 call;
    gint64 ping;    /* interval */
    gint64 silence; /* how long a ping may stay unanswered */
    gint64 hurry;   /* the same for calls and their pings after vmig_node_hurry() */
} VmigAgentTimes;

#define VMIG_AGENT_TIMES_DEFAULT                                                                                       \
    ((VmigAgentTimes){.hello = 30000, .call = 60000, .ping = 10000, .silence = 30000, .hurry = 4000})

/* Waits for the agent's hello. Takes ownership of both descriptors, even on failure. host is the name in messages.
 * Errors: NO_AGENT if the stream ends before the hello, PROTOCOL if something else arrives or the protocol versions
 * differ, TIMEOUT, or the agent's own error if it cannot serve (then *said is TRUE). */
VmigNode *vmig_agent_client_new(int in_fd, int out_fd, const char *host, gboolean *said, GError **error);
VmigNode *vmig_agent_client_new_full(int in_fd, int out_fd, const char *host, const VmigAgentTimes *times,
                                     gboolean *said, GError **error);
/* FALSE once the connection is lost. */
gboolean vmig_agent_client_alive(VmigNode *node);
