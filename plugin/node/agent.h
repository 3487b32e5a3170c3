/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* `vmig-snap agent` serves this host's node to vmig-snap on the other host, over standard input and output.
 *
 * The protocol is lines of JSON. The agent first sends {"hello":{"protocol":1,"version":"..."}}. If it cannot serve at
 * all, for example because the journal is unusable, it sends an "error" as below and exits. Then it receives requests
 *   {"id":N,"method":"...","args":{...}}
 * and answers each of them, in the order in which they finish, with one of
 *   {"id":N,"result":{...}}
 *   {"id":N,"error":{"code":"no-space","message":"...","hint":"...","foreign_domain":0,"foreign_code":28}}
 * "ping" is answered at once, whatever else is running. The peer sends one at least every 10 s. This detects a
 * connection that died without being closed, which would otherwise hold this host's operation lock for hours.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "port/node.h"

/* Set by the build. */
#ifndef VMIG_VERSION
#define VMIG_VERSION "0"
#endif

#define VMIG_AGENT_MAX_THREADS 16
#define VMIG_AGENT_MAX_REQUESTS 64 /* in progress at a time */
#define VMIG_AGENT_SILENCE_MS 60000

/* Serves until the input ends (TRUE), or the peer breaks the protocol, stops reading or falls silent (FALSE with
 * PROTOCOL, CONNECTION or TIMEOUT). Before returning it cancels all work, ends the receivers and releases the locks.
 * The exception is a request that cannot be cancelled and takes more than 10 s: then the caller must exit, and it
 * should exit in any case. Ignores SIGPIPE from then on. The descriptors and the node still belong to the caller. */
gboolean vmig_agent_serve(int in_fd, int out_fd, VmigNode *local, GError **error);
/* The same with another silence limit, for tests. */
gboolean vmig_agent_serve_full(int in_fd, int out_fd, VmigNode *local, gint64 silence_ms, GError **error);
/* Sends the reason why the node cannot be served, instead of the hello. */
void vmig_agent_refuse(int out_fd, const GError *why);
