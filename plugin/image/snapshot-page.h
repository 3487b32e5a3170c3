/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The content of one internal snapshot as digests of its blocks, reported page by page so that every reply is quick and
 * small.
 *
 * Disk and memory of a snapshot are each a sequence of blocks (VMIG_HASH_BLOCK, the last may be shorter), hashed like a
 * file (copy/file-hash.h): equal tree hashes mean equal content. A page is a run of consecutive blocks, encoded as
 * bytes; numbers are little-endian:
 *   'Z' count(4)     this many blocks of zeros
 *   'S' count(4)     this many blocks that equal those of the snapshot to compare with
 *   'D' digest(16)   one block
 */
#pragma once

#include "copy/file-hash.h"
#include "image/image.h"
#include "port/messages.h"

/* A page ends with the first block that is read after this time, or after this many blocks. */
#define VMIG_SNAPSHOT_PAGE_US (2 * G_USEC_PER_SEC)
#define VMIG_SNAPSHOT_PAGE_BLOCKS 4096

typedef struct {
    VmigContentKind kind;
    const char *id;   /* as in the image */
    const char *like; /* ID of the snapshot to compare with, or NULL; only for disks */
    const char *stamp;
    const VmigHashKey *key; /* of the digests */
    guint64 first;          /* block */
} VmigSnapshotPageRequest;

/* Identifies the set of snapshots, including the location of their tables: it changes if one is created or deleted. */
char *vmig_snapshot_stamp(const VmigQcow2 *image);

/* chain: from vmig_image_survey_chain(), with the image itself first. *next: the first block of the next page.
 * INTERFERENCE if the snapshots do not match the stamp, before or after the read. Other errors: BAD_IMAGE, UNSUPPORTED
 * (also for an ID that cannot be passed to qemu-nbd as it is), IMAGE_TOOL, IO, TIMEOUT. (transfer full) */
GBytes *vmig_snapshot_page_make(GPtrArray *chain, GPtrArray *roots, const char *run_dir,
                                const VmigSnapshotPageRequest *request, guint64 *next, GError **error);

/* Adds a page's blocks to hash. like: the complete hash of the other snapshot, or NULL. PROTOCOL if the page is
 * truncated, has blocks beyond the end or no blocks, or compares although that was not requested. */
gboolean vmig_snapshot_page_apply(VmigTreeHash *hash, const VmigTreeHash *like, GBytes *page, guint64 first,
                                  guint64 *next, GError **error);
