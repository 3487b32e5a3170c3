/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The contents of an image's internal snapshots, asked of a host's storage (port/node.h). */
#pragma once

#include "copy/file-hash.h"
#include "image/snapshot-page.h"
#include "port/node.h"

/* "contents": the snapshot table of a qcow2 image. VmigContent without hashes, in the order of the table; *stamp is for
 * vmig_node_content_page(). (transfer full) */
GPtrArray *vmig_node_contents(VmigNode *node, const char *path, char **stamp, GError **error);

/* "content-page": the next blocks of one snapshot's disk or memory, from *next on, into hash; takes some seconds at
 * most. id and like as vmig_node_contents() told them; like may be NULL, else like_hash is complete. Moves *next.
 * INTERFERENCE where the image's snapshots are not those of the stamp any more. */
typedef struct {
    const char *path;
    const char *stamp;
    const char *id;
    const char *like;
    VmigContentKind kind;
    const VmigHashKey *key; /* of hash and like_hash */
} VmigContentAsk;
gboolean vmig_node_content_page(VmigNode *node, const VmigContentAsk *what, VmigTreeHash *hash,
                                const VmigTreeHash *like_hash, guint64 *next, GError **error);
