/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The real copier: sends files to NBD servers with libnbd, with several connections per file and many requests in
 * flight on each, and hashes the data in the buffers that it sends.
 *
 * A socket is the path of a unix socket or an NBD URI. A server's export may be longer than the file because of the
 * rounding to its sector size. A hole in the source becomes a hole there, whatever was there before. Errors name the
 * file:
 *   CONNECTION    the server refused or disconnected   NO_SPACE  the server's disk is full
 *   STALLED       the server accepts nothing any more  IO        the server or the source failed
 *   BASE_CHANGED  the source changed meanwhile         CANCELLED
 * The first error ends all copies. The flow decides about retries.
 *
 * Folder plugin/copy: copies and hashes data: the sender, the receiver, and the hashes that allow it to send only
 * what differs. It reads images and writes only files that are being received.
 */
#pragma once

#include "port/env.h"

/* bandwidth: bytes per second of all copies together; 0: unlimited. */
VmigCopier *vmig_copier_new(guint64 bandwidth);
void vmig_copier_free(VmigCopier *copier);

/* cancel() is final: a running send() ends within a second, a later one fails at once. */

/* Ends a copy in which no request was completed and no byte accepted for this time. Default 30 s. Call before send().
 */
void vmig_copier_set_stall_limit(VmigCopier *copier, gint64 microseconds);

/* The sources must be below these folders. Default: anywhere, but through no symbolic link. Copies roots; call before
 * send(). */
void vmig_copier_set_roots(VmigCopier *copier, const char *const *roots);

/* 0 keeps the current value. connections: per file; request: bytes; depth: requests in flight per connection. For
 * measurements; call before send(). */
void vmig_copier_set_tuning(VmigCopier *copier, guint connections, gsize request, guint depth);
/* The most bytes of buffers that send() has used so far. */
gsize vmig_copier_peak_buffers(VmigCopier *copier);
