/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hash of a whole file, computed from the hashes of its blocks, so that this can happen in parallel, out of order
 * and while the file is copied.
 *
 * A file is divided into blocks of VMIG_HASH_BLOCK bytes; the last may be shorter. Each block has a GMAC under the key
 * of the comparison (os/block-hash.h). The file's hash is vmig_hash_summary() of the blocks' hashes in order and the
 * file's size, printed as "gmact:" and 32 hex digits. A hole hashes like the zeros that it reads as. Two hashes are
 * comparable only if they were made with the same key.
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
/* For hashing a block piece by piece. (transfer full) */
VmigBlockHash *vmig_tree_hash_streamer(const VmigTreeHash *hash);
/* vmig_hash_key_seed() of the key. */
guint64 vmig_tree_hash_seed(const VmigTreeHash *hash);
/* The length of this block: VMIG_HASH_BLOCK except for the last. */
gsize vmig_tree_hash_block_length(const VmigTreeHash *hash, guint64 index);
/* Callable from any thread, but not for the same block in parallel. length is the block's. */
void vmig_tree_hash_set_block(VmigTreeHash *hash, guint64 index, const void *data, gsize length);
void vmig_tree_hash_set_zero(VmigTreeHash *hash, guint64 index);
/* Sets a digest that was computed elsewhere (piece by piece, or on the other host). */
void vmig_tree_hash_set_digest(VmigTreeHash *hash, guint64 index, const guint8 digest[VMIG_HASH_BYTES]);
/* FALSE if the block has no digest yet. */
gboolean vmig_tree_hash_get_digest(const VmigTreeHash *hash, guint64 index, guint8 ret[VMIG_HASH_BYTES]);
void vmig_tree_hash_clear(VmigTreeHash *hash, guint64 index);
/* INTERNAL if a block has no digest. */
char *vmig_tree_hash_finish(const VmigTreeHash *hash, GError **error);

/* TRUE if all bytes are zero, also for an empty buffer. */
gboolean vmig_is_zero(const void *data, gsize length);

/* Walks over a file's data and holes. Thread-safe: each caller gets different blocks. */
typedef struct VmigBlockWalk VmigBlockWalk;

typedef struct {
    guint64 first; /* index of the first block */
    guint64 count; /* 1 for data, any number for a run of blocks that are only holes */
    gboolean hole;
} VmigBlockRun;

/* Uses fd during its lifetime; does not own it. */
VmigBlockWalk *vmig_block_walk_new(int fd, guint64 size);
/* The same, starting at this block. */
VmigBlockWalk *vmig_block_walk_new_at(int fd, guint64 size, guint64 first);
void vmig_block_walk_free(VmigBlockWalk *walk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigBlockWalk, vmig_block_walk_free)
/* ret->count is 0 at the end. */
gboolean vmig_block_walk_next(VmigBlockWalk *walk, VmigBlockRun *ret, GError **error);
/* Where the data or the hole at offset ends, at most end. Boundaries inside the file are multiples of 4096, so that the
 * range between them can be read with direct I/O. */
gboolean vmig_next_extent(int fd, guint64 offset, guint64 end, gboolean *hole, guint64 *ret, GError **error);

/* A second descriptor of the same file for direct I/O, or -1 if the file system does not support it. */
int vmig_open_direct(int fd, int flags);

/* Reads one block of a file of this size from its disk, holes as zeros. direct: from vmig_open_direct(), or -1. buffer
 * is aligned to 4096 and has room for VMIG_HASH_BLOCK. BASE_CHANGED if the file is shorter, IO. */
gboolean vmig_block_read(int fd, int direct, guint64 size, guint64 index, guint8 *buffer, GError **error);

/* done: bytes of the file that are finished. Called from any thread, at most four times a second. */
typedef void (*VmigHashProgress)(gpointer user, guint64 done, guint64 total);

/* Hashes the blocks of the file that hash lacks. Reads from the disk, past the page cache if the file system supports
 * that. threads: 0 for a suitable number. cancellable and progress may be NULL. BASE_CHANGED if the file does not have
 * this size or its size changes meanwhile, CANCELLED, IO. */
gboolean vmig_file_hash_fill(VmigTreeHash *hash, int fd, guint64 size, guint threads, GCancellable *cancellable,
                             VmigHashProgress progress, gpointer user, GError **error);
/* The hash of the whole file. (transfer full) */
char *vmig_file_hash(const VmigHashKey *key, int fd, guint64 size, guint threads, GCancellable *cancellable,
                     VmigHashProgress progress, gpointer user, GError **error);
