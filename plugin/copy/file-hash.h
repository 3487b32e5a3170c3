/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hash of a whole file, made of the hashes of its blocks, so that it can be computed in parallel, out of order and
 * while the file is copied.
 *
 * A file is cut into blocks of VMIG_HASH_BLOCK bytes, the last may be shorter. Each block has its GMAC under the key of
 * the comparison (os/block-hash.h); the file's hash is vmig_hash_summary() of the blocks' hashes in order and the
 * file's size, printed as "gmact:" and 32 hex digits. A hole hashes like the zeros that it reads as. Two hashes can be
 * compared only if they were made with the same key.
 */
#pragma once

#include <gio/gio.h>

#include "os/block-hash.h"

#define VMIG_HASH_BLOCK (G_GUINT64_CONSTANT(4) << 20)

typedef struct VmigTreeHash VmigTreeHash;

VmigTreeHash *vmig_tree_hash_new(guint64 size, const VmigHashKey *key);
void vmig_tree_hash_free(VmigTreeHash *hash);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigTreeHash, vmig_tree_hash_free)

guint64 vmig_tree_hash_blocks(const VmigTreeHash *hash);
/* For whoever hashes a block piece by piece. (transfer full) */
VmigBlockHash *vmig_tree_hash_streamer(const VmigTreeHash *hash);
/* vmig_hash_key_seed() of the key. */
guint64 vmig_tree_hash_seed(const VmigTreeHash *hash);
/* Bytes of that block: VMIG_HASH_BLOCK but for the last. */
gsize vmig_tree_hash_block_length(const VmigTreeHash *hash, guint64 index);
/* From any thread; two threads may not set the same block at the same time. length is the block's. */
void vmig_tree_hash_set_block(VmigTreeHash *hash, guint64 index, const void *data, gsize length);
void vmig_tree_hash_set_zero(VmigTreeHash *hash, guint64 index);
/* A digest that was computed elsewhere (piece by piece, or on the other host). */
void vmig_tree_hash_set_digest(VmigTreeHash *hash, guint64 index, const guint8 digest[VMIG_HASH_BYTES]);
/* FALSE while the block is missing. */
gboolean vmig_tree_hash_get_digest(const VmigTreeHash *hash, guint64 index, guint8 ret[VMIG_HASH_BYTES]);
void vmig_tree_hash_clear(VmigTreeHash *hash, guint64 index);
/* INTERNAL if a block is missing. */
char *vmig_tree_hash_finish(const VmigTreeHash *hash, GError **error);

/* All zero? An empty buffer is. */
gboolean vmig_is_zero(const void *data, gsize length);

/* Walks over a file by its data and holes. Thread safe: each caller gets work of its own. */
typedef struct VmigBlockWalk VmigBlockWalk;

typedef struct {
    guint64 first; /* index of the first block */
    guint64 count; /* 1 for data, any number for a run of blocks that are nothing but holes */
    gboolean hole;
} VmigBlockRun;

/* Keeps fd for as long as it lives; does not own it. */
VmigBlockWalk *vmig_block_walk_new(int fd, guint64 size);
/* From that block on. */
VmigBlockWalk *vmig_block_walk_new_at(int fd, guint64 size, guint64 first);
void vmig_block_walk_free(VmigBlockWalk *walk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigBlockWalk, vmig_block_walk_free)
/* ret->count is 0 at the end. */
gboolean vmig_block_walk_next(VmigBlockWalk *walk, VmigBlockRun *ret, GError **error);
/* Where the data or the hole that starts at that offset ends, at most end. Boundaries inside the file are multiples of
 * 4096, so that direct I/O can read what is between them. */
gboolean vmig_next_extent(int fd, guint64 offset, guint64 end, gboolean *hole, guint64 *ret, GError **error);

/* A second description of the same open file for direct I/O, or -1 where the file system has none. */
int vmig_open_direct(int fd, int flags);

/* Reads one block of a file of that size as its disk has it, holes as zeros; direct is vmig_open_direct()'s, or -1.
 * buffer is aligned to 4096 and has room for VMIG_HASH_BLOCK. BASE_CHANGED where the file is shorter, IO. */
gboolean vmig_block_read(int fd, int direct, guint64 size, guint64 index, guint8 *buffer, GError **error);

/* Progress: bytes of the file dealt with; called from any thread, at most four times a second. */
typedef void (*VmigHashProgress)(gpointer user, guint64 done, guint64 total);

/* Fills in the blocks that hash lacks from the file. Reads what the disk holds, past the page cache where the file
 * system can. threads: 0 for a sensible number. cancellable and progress may be NULL. Errors: BASE_CHANGED where the
 * file is not of that size or changes its size meanwhile, CANCELLED, IO. */
gboolean vmig_file_hash_fill(VmigTreeHash *hash, int fd, guint64 size, guint threads, GCancellable *cancellable,
                             VmigHashProgress progress, gpointer user, GError **error);
/* The hash of the whole file. (transfer full) */
char *vmig_file_hash(const VmigHashKey *key, int fd, guint64 size, guint threads, GCancellable *cancellable,
                     VmigHashProgress progress, gpointer user, GError **error);
