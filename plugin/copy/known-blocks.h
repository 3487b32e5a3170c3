/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What one side tells the other of the blocks that it has, so that only what differs is sent.
 *
 * A block (VMIG_HASH_BLOCK) has its digest, the same as in the tree hash, and below it a leaf for each VMIG_LEAF bytes:
 * XXH3-64 with a seed made of the key of the copy, the last one of what there is of it. The leaves only choose what to
 * send: where they say "equal" and the block's digest does not, all of the block is sent, and what proves a copy is the
 * tree hash at the end. Blocks that are nothing but holes are told by their number.
 *
 * A page is a run of blocks in order, as bytes; numbers are little-endian:
 *   'H' count(4)                        so many blocks that are holes
 *   'D' digest(16) leaf(8) leaf(8) ...  one block
 */
#pragma once

#include "copy/file-hash.h"

#define VMIG_LEAF 4096
/* Blocks with data in a page: 128 MiB of the file, and 256 KiB of leaves. */
#define VMIG_PAGE_BLOCKS 32
/* A hole block more than that is told in the next page. */
#define VMIG_PAGE_HOLES (1 << 30)

typedef struct {
    guint8 digest[VMIG_HASH_BYTES];
    guint64 leaves[]; /* vmig_leaf_count() of them */
} VmigKnownBlock;

guint vmig_leaf_count(gsize block_length);
guint64 vmig_leaf_hash(guint64 seed, const void *data, gsize length);

/* With its digest and leaves. */
VmigKnownBlock *vmig_known_block_new(const guint8 digest[VMIG_HASH_BYTES], guint64 seed, const void *data,
                                     gsize length);

void vmig_page_put_holes(GByteArray *page, guint64 count);
void vmig_page_put_block(GByteArray *page, const VmigKnownBlock *block, gsize length);

/* Who takes a page apart. hole() for count blocks from first on, block() with one (transfer full). */
typedef struct {
    void (*hole)(gpointer user, guint64 first, guint64 count);
    void (*block)(gpointer user, guint64 index, VmigKnownBlock *block);
    gpointer user;
} VmigPageReader;

/* first: the index of the page's first block; *next is that of the block after its last. PROTOCOL where the page is cut
 * off, tells of blocks behind the end, of none, or of anything else. What it had told until then stays told. */
gboolean vmig_page_read(GBytes *page, guint64 size, guint64 first, const VmigPageReader *reader, guint64 *next,
                        GError **error);

/* The page of a file from block first on, and in hash the digests of its blocks with data; those that are holes stay
 * missing there. *next is where the next page begins. */
gboolean vmig_page_make(VmigTreeHash *hash, int fd, guint64 size, guint64 first, GBytes **page, guint64 *next,
                        GError **error);

/* A set of blocks as text: a bit for each, in base64. */
char *vmig_block_set_write(const guint8 *bits, guint64 blocks);
/* (transfer full) PROTOCOL if it is not of that many blocks. */
guint8 *vmig_block_set_read(const char *text, guint64 blocks, GError **error);
static inline gsize vmig_block_set_bytes(guint64 blocks)
{
    return (gsize)(blocks / 8 + (blocks % 8 != 0));
}
