/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Is what one host has at a path the same storage as what another host has there? Both are asked, and a pure function
 * compares the answers. Nothing is written.
 *
 * A file proves itself by its inode on a network or cluster file system, a device by its WWN, and either by its
 * content. The content alone proves nothing where somebody writes: two clones of one disk are equal until then. */
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
    char *denied;    /* what keeps QEMU's user on the destination from it, for people; or NULL */
    char *read_only; /* why nobody can write to it there, for people; or NULL */
    char **samples;  /* hashes of some blocks of the content; none where the file may not be read */
} VmigIdentity;

void vmig_identity_free(VmigIdentity *identity);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigIdentity, vmig_identity_free)

/* "identity" */
VmigIdentity *vmig_identity_ask(VmigNode *node, const char *path, GError **error);
/* "digest": the hash of a whole file that nobody writes to. OUTSIDE_ROOTS where it is neither in the image roots nor
 * readable for everybody, TIMEOUT where that takes too long. (transfer full) */
char *vmig_identity_digest(VmigNode *node, const char *path, GError **error);

/* NULL: it is the same storage. Otherwise what speaks against it, for people. `again` is what the first host said after
 * the other one had answered: a block that did not change meanwhile must be equal there. (transfer full) */
char *vmig_identity_compare(const VmigIdentity *here, const VmigIdentity *there, const VmigIdentity *again);
