/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads the contents of an image's internal snapshots from a host's node (port/node.h). */
#pragma once

#include "copy/file-hash.h"
#include "image/snapshot-page.h"
#include "port/node.h"

/* The snapshot table of a qcow2 image. VmigContent without hashes, in the order of the table. *stamp is for
 * vmig_node_content_page(). (transfer full) */
GPtrArray *vmig_node_contents(VmigNode *node, const char *path, char **stamp, GError **error);

/* Reads the next blocks of one snapshot's disk or memory into hash, starting at *next. Takes a few
 * seconds at most. id and like are ids from vmig_node_contents(). like may be NULL, otherwise like_hash must be
 * complete. Advances *next. INTERFERENCE if the image's snapshots no longer match the stamp. */
typedef struct {
    const char *path;
    const char *stamp;
    const char *id;
    const char *like;
    VmigContentKind kind;
    const VmigHashKey *key; /* for hash and like_hash */
} VmigContentAsk;
gboolean vmig_node_content_page(VmigNode *node, const VmigContentAsk *what, VmigTreeHash *hash,
                                const VmigTreeHash *like_hash, guint64 *next, GError **error);
