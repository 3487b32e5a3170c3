/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Describes the blocks that one host has to the other host, so that only differences are sent.
 *
 * A block (VMIG_HASH_BLOCK) has its digest, the same as in the tree hash, and a leaf hash for each VMIG_LEAF bytes:
 * XXH3-64 with a seed made from the key of the copy; the last leaf may be shorter. Leaves only select what to send. If
 * all leaves are equal but the digests differ, the whole block is sent. The tree hash at the end proves the copy.
 * Blocks that are only holes are encoded as a count.
 *
 * A page is a run of consecutive blocks, encoded as bytes; numbers are little-endian:
 *   'H' count(4)                        this many blocks that are holes
 *   'D' digest(16) leaf(8) leaf(8) ...  one block
 */
#pragma once

#include "copy/file-hash.h"

#define VMIG_LEAF 4096
/* Blocks with data in a page: 128 MiB of the file, and 256 KiB of leaves. */
#define VMIG_PAGE_BLOCKS 32
/* Hole blocks beyond this number are in the next page. */
#define VMIG_PAGE_HOLES (1 << 30)

typedef struct {
    guint8 digest[VMIG_HASH_BYTES];
    guint64 leaves[]; /* vmig_leaf_count() of them */
} VmigKnownBlock;

guint vmig_leaf_count(gsize block_length);
guint64 vmig_leaf_hash(guint64 seed, const void *data, gsize length);

/* Computes its digest and leaves. */
VmigKnownBlock *vmig_known_block_new(const guint8 digest[VMIG_HASH_BYTES], guint64 seed, const void *data,
                                     gsize length);

void vmig_page_put_holes(GByteArray *page, guint64 count);
void vmig_page_put_block(GByteArray *page, const VmigKnownBlock *block, gsize length);

/* Callbacks for a page: hole() for count blocks starting at first, block() for one (transfer full). */
typedef struct {
    void (*hole)(gpointer user, guint64 first, guint64 count);
    void (*block)(gpointer user, guint64 index, VmigKnownBlock *block);
    gpointer user;
} VmigPageReader;

/* first: the index of the page's first block; *next: the index after its last block. PROTOCOL if the page is truncated
 * or has blocks beyond the end, no blocks or unknown content. Callbacks made before the error are not undone. */
gboolean vmig_page_read(GBytes *page, guint64 size, guint64 first, const VmigPageReader *reader, guint64 *next,
                        GError **error);

/* Makes the page of a file that starts at block first, and adds the digests of its blocks with data to hash. Holes get
 * no digest there. *next: where the next page starts. */
gboolean vmig_page_make(VmigTreeHash *hash, int fd, guint64 size, guint64 first, GBytes **page, guint64 *next,
                        GError **error);

/* A set of blocks as text: one bit per block, in base64. */
char *vmig_block_set_write(const guint8 *bits, guint64 blocks);
/* PROTOCOL if it does not have this number of blocks. (transfer full) */
guint8 *vmig_block_set_read(const char *text, guint64 blocks, GError **error);
static inline gsize vmig_block_set_bytes(guint64 blocks)
{
    return (gsize)(blocks / 8 + (blocks % 8 != 0));
}
