/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* `vmig-snap agent`: serves this host's storage to vmig-snap on the other host, over standard input and output.
 *
 * Lines of JSON. First the agent's own {"hello":{"protocol":1,"version":"..."}}, or, where it cannot serve anything (a
 * journal that cannot be used), an "error" as below and its end; then requests
 *   {"id":N,"method":"...","args":{...}}
 * and for each one, in whatever order they end, one of
 *   {"id":N,"result":{...}}
 *   {"id":N,"error":{"code":"no-space","message":"...","hint":"...","foreign_domain":0,"foreign_code":28}}
 * "ping" is answered at once, whatever else goes on. The peer sends one at least every 10 s: a connection that is
 * dead without having been closed must not hold the operation lock of this host for hours.
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
#define VMIG_AGENT_MAX_REQUESTS 64 /* under way at a time */
#define VMIG_AGENT_SILENCE_MS 60000

/* Serves until the input ends (TRUE), or the peer breaks the protocol, reads nothing or falls silent (FALSE with
 * PROTOCOL, CONNECTION or TIMEOUT). Either way work is cancelled, receivers are ended and locks let go of before it
 * returns, but for a request that cannot be cancelled and takes more than 10 s: the caller has to exit then, and does
 * best to exit always. Ignores SIGPIPE from then on. The descriptors and the storage stay the caller's. */
gboolean vmig_agent_serve(int in_fd, int out_fd, VmigNode *local, GError **error);
/* The same with another limit of silence, for tests. */
gboolean vmig_agent_serve_full(int in_fd, int out_fd, VmigNode *local, gint64 silence_ms, GError **error);
/* Says why it cannot be served, in place of the hello. */
void vmig_agent_refuse(int out_fd, const GError *why);
