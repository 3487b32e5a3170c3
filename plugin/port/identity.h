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

typedef enum {
    VMIG_IDENTITY_ABSENT,
    VMIG_IDENTITY_FILE,
    VMIG_IDENTITY_BLOCK,
    VMIG_IDENTITY_OTHER, /* a folder, a socket */
} VmigIdentityKind;

typedef struct {
    VmigIdentityKind kind;
    guint64 size;
    gboolean shared;    /* a file on a network or cluster file system */
    guint64 filesystem; /* its type: f_type of statfs(2) */
    guint64 ino;
    char *name;      /* of a block device: vmig_block_identity(), or NULL */
    char *denied;    /* why the destination's QEMU user cannot access it, for messages; or NULL */
    char *read_only; /* why it cannot be written there, for messages; or NULL */
    char **samples;  /* hashes of some blocks of the content; empty if the file cannot be read */
} VmigIdentity;

void vmig_identity_free(VmigIdentity *identity);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigIdentity, vmig_identity_free)

VmigIdentity *vmig_identity_ask(VmigNode *node, const char *path, GError **error);
/* The hash of a whole file that no process writes to. OUTSIDE_ROOTS if it is neither in the image roots nor
 * world-readable, TIMEOUT if hashing takes too long. (transfer full) */
char *vmig_identity_digest(VmigNode *node, const char *path, GError **error);

/* Returns NULL if it is the same storage, otherwise the reason against it for messages. `again` is a second report of
 * the first host, taken after the other host's: a block equal in both must also be equal in `there`. (transfer full) */
char *vmig_identity_compare(const VmigIdentity *here, const VmigIdentity *there, const VmigIdentity *again);
