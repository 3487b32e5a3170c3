/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What one internal snapshot holds, as digests of its blocks, told page by page so that no answer is long in coming and
 * none is large.
 *
 * Disk and memory of a snapshot are each a row of blocks (VMIG_HASH_BLOCK, the last may be shorter), hashed like a
 * file (copy/file-hash.h): equal tree hashes are equal content. A page is a run of blocks in order, as bytes; numbers
 * are little-endian:
 *   'Z' count(4)     so many blocks of zeros
 *   'S' count(4)     so many that are the same as in the snapshot that was named to compare with
 *   'D' digest(16)   one block
 */
#pragma once

#include "copy/file-hash.h"
#include "image/image.h"

/* A page ends with the first block that is read so late, or that is so many. */
#define VMIG_SNAPSHOT_PAGE_US (2 * G_USEC_PER_SEC)
#define VMIG_SNAPSHOT_PAGE_BLOCKS 4096

typedef enum {
    VMIG_CONTENT_DISK,   /* disk_size bytes, as the guest saw them */
    VMIG_CONTENT_MEMORY, /* vm_state_size bytes */
} VmigContentKind;

typedef struct {
    VmigContentKind kind;
    const char *id;   /* as the image has it */
    const char *like; /* the id of the snapshot to compare with, or NULL; for disks */
    const char *stamp;
    const VmigHashKey *key; /* of the digests */
    guint64 first;          /* block */
} VmigSnapshotPageRequest;

/* Says which snapshots an image has, down to where their tables are: a snapshot that is made or deleted changes it. */
char *vmig_snapshot_stamp(const VmigQcow2 *image);

/* chain: of vmig_image_survey_chain(), with the image itself first. *next: the block that the next page begins with.
 * INTERFERENCE where the snapshots are not those of the stamp, before or after; BAD_IMAGE, UNSUPPORTED (also for an id
 * that qemu-nbd would not take as it is), IMAGE_TOOL, IO, TIMEOUT. (transfer full) */
GBytes *vmig_snapshot_page_make(GPtrArray *chain, GPtrArray *roots, const char *run_dir,
                                const VmigSnapshotPageRequest *request, guint64 *next, GError **error);

/* Puts a page's blocks into hash. like: of the other snapshot, complete, or NULL. PROTOCOL where the page is cut off,
 * tells of blocks behind the end, of none, or of a comparison that was not asked for. */
gboolean vmig_snapshot_page_apply(VmigTreeHash *hash, const VmigTreeHash *like, GBytes *page, guint64 first,
                                  guint64 *next, GError **error);
