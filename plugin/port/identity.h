/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds out whether a path on one host is the same storage as a path on another host. Both hosts report what they see,
 * and a pure function compares the reports. Nothing is written.
 *
 * A file on a network or cluster file system is identified by its inode, a device by its WWN, and either by its
 * content. Equal content alone proves nothing where writes happen: two clones of one disk are equal until the first
 * write.
 */
#pragma once

#include <glib.h>

#include "port/node.h"

VmigIdentity *vmig_identity_ask(VmigNode *node, const char *path, GError **error);
/* The hash of a whole file that no process writes to. OUTSIDE_ROOTS if it is neither in the image roots nor
 * world-readable, TIMEOUT if hashing takes too long. (transfer full) */
char *vmig_identity_digest(VmigNode *node, const char *path, GError **error);

/* Returns NULL if it is the same storage, otherwise the reason against it for messages. `again` is a second report of
 * the first host, taken after the other host's: a block equal in both must also be equal in `there`. (transfer full) */
char *vmig_identity_compare(const VmigIdentity *here, const VmigIdentity *there, const VmigIdentity *again);
