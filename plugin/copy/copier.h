/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The real copier: sends files to NBD servers with libnbd, several connections for a file and many requests in flight
 * on each, and hashes them from the very buffers that it sends.
 *
 * A socket is the path of a unix socket or an NBD URI. A server's export may be longer than the file by the rounding
 * to its sector size. What is a hole in the source becomes one there, whatever was there before. Errors name the file:
 *   CONNECTION    the server refused or went away      NO_SPACE  the server's disk is full
 *   STALLED       it takes nothing any more            IO        it or the source failed
 *   BASE_CHANGED  the source changed meanwhile         CANCELLED
 * The first error ends all copies. Trying again is the flow's business.
 *
 * Folder plugin/copy: moving and hashing bytes: the sender, the receiver, and the digests by which only what differs
 * is sent. Reads images; writes only files that are being received.
 */
#pragma once

#include "port/env.h"

/* bandwidth: bytes a second of all copies together; 0 is without limit. */
VmigCopier *vmig_copier_new(guint64 bandwidth);
void vmig_copier_free(VmigCopier *copier);

/* cancel() is for good: a send() that runs ends within a second, a later one fails at once. */

/* Ends a copy on which neither a request was completed nor a byte accepted for that long. 30 s unless set. Before
 * send(). */
void vmig_copier_set_stall_limit(VmigCopier *copier, gint64 microseconds);

/* The sources are beneath these folders; without it anywhere, through no symbolic link. Copied; before send(). */
void vmig_copier_set_roots(VmigCopier *copier, const char *const *roots);

/* 0 keeps what it is. connections: for each file; request: bytes; depth: requests in flight on a connection. For
 * measurements; before send(). */
void vmig_copier_set_tuning(VmigCopier *copier, guint connections, gsize request, guint depth);
/* Bytes of buffers that send() took at most so far. */
gsize vmig_copier_peak_buffers(VmigCopier *copier);
