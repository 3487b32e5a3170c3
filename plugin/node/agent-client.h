/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The other host's storage, through its agent (agent.h has the protocol).
 *
 * Any number of threads may call at a time. Every call has an end: short ones a deadline of their own (TIMEOUT; the
 * connection lives on and a late reply is dropped), those that read whole images none but the agent's pulse: it is
 * asked every 10 s whether it is still there, and where it does not answer for 30 s every call ends with CONNECTION,
 * as it does where the connection ends.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "port/node.h"

/* Milliseconds. */
typedef struct {
    gint64 hello;
    gint64 call;
    gint64 ping;    /* how often */
    gint64 silence; /* how long a ping may go unanswered */
    gint64 hurry;   /* and a call, with the pings that are sent meanwhile, after vmig_node_hurry() */
} VmigAgentTimes;

#define VMIG_AGENT_TIMES_DEFAULT                                                                                       \
    ((VmigAgentTimes){.hello = 30000, .call = 60000, .ping = 10000, .silence = 30000, .hurry = 4000})

/* Waits for the agent's hello. Takes both descriptors, also where it fails. host is for messages.
 * Error: NO_AGENT where the stream ends before a hello, PROTOCOL where something else is said or the versions of the
 * protocol differ, TIMEOUT; what the agent says of itself where it cannot work (*said is TRUE then). */
VmigNode *vmig_agent_client_new(int in_fd, int out_fd, const char *host, gboolean *said, GError **error);
VmigNode *vmig_agent_client_new_full(int in_fd, int out_fd, const char *host, const VmigAgentTimes *times,
                                     gboolean *said, GError **error);
/* FALSE once the connection is lost. */
gboolean vmig_agent_client_alive(VmigNode *node);
