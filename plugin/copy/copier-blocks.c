/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The data path of one connection: takes blocks from the file's walk, reads and hashes them, and sends what the
 * destination lacks.
 *
 * A block is read in order, piece by piece, so that its hash is computed as a stream from the buffers that are sent. If
 * the destination has data for the block, each leaf of a piece is compared first, and only runs of differing leaves
 * become requests.
 */
#include <stdlib.h>
#include <string.h>

#include "copy/copier-private.h"

#define ZERO_REQUEST (G_GUINT64_CONSTANT(1) << 30) /* a request has a 32-bit length */
#define RESERVE_PATIENCE 10                        /* multiple of the stall limit */

static const guint8 zeros[65536] __attribute__((aligned(4096)));

static void hash_zeros(VmigLink *link, guint64 length)
{
    for (guint64 part; length > 0; length -= part) {
        part = MIN(length, sizeof zeros);
        vmig_block_hash_update(link->hash, zeros, part);
    }
}

static void note_rewritten(VmigCopy *copy, guint64 first, guint64 count)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&copy->lock);

    for (guint64 i = first; copy->rewritten != NULL && i < first + count; i++)
        copy->rewritten[i / 8] |= (guint8)(1 << i % 8);
}

static gboolean write_piece(VmigLink *link, VmigSlot *slot, guint64 offset, gsize length, GError **error)
{
    vmig_link_hold_slot(slot);
    slot->done = length;
    if (!vmig_link_write(link, slot, slot->buffer, offset, length, error))
        return FALSE;
    vmig_link_release_slot(slot);
    return TRUE;
}

/* A hole becomes a hole on the server, whatever was there. */
static gboolean send_hole(VmigLink *link, guint64 offset, guint64 end, GError **error)
{
    gsize most =
        link->can_zero ? ZERO_REQUEST : vmig_bandwidth_chunk(link->copy->send->bandwidth, link->copy->send->request);
    VmigSlot *slot;

    for (guint64 length; offset < end; offset += length) {
        length = MIN(end - offset, most);
        if (!vmig_link_get_slot(link, &slot, error))
            return FALSE;
        slot->done = length;
        if (link->can_zero) {
            if (!vmig_link_zero(link, slot, offset, length, 0, error))
                return FALSE;
            continue;
        }
        memset(slot->buffer, 0, length);
        if (!write_piece(link, slot, offset, length, error))
            return FALSE;
    }
    return TRUE;
}

/* One piece of a block that the destination lacks completely. Zeros stay allocated on the server (NO_HOLE), as they are
 * here. */
static gboolean send_new(VmigLink *link, VmigSlot *slot, guint64 offset, gsize length, GError **error)
{
    if (!link->can_zero || !vmig_is_zero(slot->buffer, length))
        return write_piece(link, slot, offset, length, error);
    slot->done = length;
    return vmig_link_zero(link, slot, offset, length, LIBNBD_CMD_FLAG_NO_HOLE, error);
}

/* One piece of a block that the destination has; leaves: its leaf hashes there. *sent counts the differing leaves. */
static gboolean send_difference(VmigLink *link, VmigSlot *slot, guint64 offset, gsize length, const guint64 *leaves,
                                guint *sent, GError **error)
{
    guint64 seed = vmig_tree_hash_seed(link->copy->hash);
    guint count = vmig_leaf_count(length), from = 0;

    vmig_link_hold_slot(slot);
    slot->done = length;
    for (guint i = 0; i <= count; i++) {
        gsize at = (gsize)i * VMIG_LEAF;
        if (i < count && vmig_leaf_hash(seed, slot->buffer + at, MIN(VMIG_LEAF, length - at)) != leaves[i])
            continue;
        /* Leaf i is already there, or this is the end: send the run before it. */
        gsize begin = (gsize)from * VMIG_LEAF;
        if (i > from &&
            !vmig_link_write(link, slot, slot->buffer + begin, offset + begin, MIN(at, length) - begin, error))
            return FALSE;
        *sent += i - from;
        from = i + 1;
    }
    vmig_link_release_slot(slot);
    return TRUE;
}

/* TRUE if the destination has data other than zeros in the leaves that [offset, end) of the block touches. */
static gboolean has_data(const VmigKnownBlock *known, guint64 seed, gsize block_length, gsize offset, gsize end)
{
    for (gsize at = offset - offset % VMIG_LEAF; at < end; at += VMIG_LEAF)
        if (known->leaves[at / VMIG_LEAF] != vmig_leaf_hash(seed, zeros, MIN(VMIG_LEAF, block_length - at)))
            return TRUE;
    return FALSE;
}

/* What the destination has of a block, and what was done with it. */
typedef struct {
    guint64 start;
    gsize length;
    VmigKnownBlock *known; /* NULL: the destination has nothing */
    gboolean all;          /* send all of it, whatever the destination has */
    guint sent;            /* leaves or pieces that were sent */
} Block;

static gboolean send_piece(VmigLink *link, Block *block, guint64 offset, gsize length, GError **error)
{
    VmigSlot *slot;

    if (!vmig_link_get_slot(link, &slot, error) || !vmig_copy_read(link->copy, slot->buffer, length, offset, error))
        return FALSE;
    vmig_block_hash_update(link->hash, slot->buffer, length);
    if (block->known != NULL && !block->all)
        return send_difference(link, slot, offset, length, block->known->leaves + (offset - block->start) / VMIG_LEAF,
                               &block->sent, error);
    block->sent++;
    /* The destination has zeros where a resumed copy has a hole: a new copy would produce the same. */
    return send_new(link, slot, offset, length, error);
}

static gboolean pass_hole(VmigLink *link, Block *block, guint64 offset, guint64 stop, GError **error)
{
    VmigCopy *copy = link->copy;

    hash_zeros(link, stop - offset);
    gboolean there = block->known != NULL && has_data(block->known, vmig_tree_hash_seed(copy->hash), block->length,
                                                      (gsize)(offset - block->start), (gsize)(stop - block->start));
    if (!there) {
        vmig_copy_account(copy, stop - offset, 0);
        return TRUE;
    }
    block->sent++;
    return send_hole(link, offset, stop, error);
}

static gboolean send_extents(VmigLink *link, Block *block, GError **error)
{
    VmigCopy *copy = link->copy;
    guint64 end = block->start + block->length, stop;
    gboolean hole;

    for (guint64 offset = block->start; offset < end; offset = stop) {
        if (!vmig_next_extent(copy->fd, offset, end, &hole, &stop, error))
            return FALSE;
        if (hole && !pass_hole(link, block, offset, stop, error))
            return FALSE;
        for (gsize length; !hole && offset < stop; offset += length) {
            length = MIN(stop - offset, vmig_bandwidth_chunk(copy->send->bandwidth, copy->send->request));
            if (!send_piece(link, block, offset, length, error))
                return FALSE;
        }
    }
    return TRUE;
}

static gboolean send_known_block(VmigLink *link, guint64 index, Block *block, GError **error)
{
    guint8 digest[VMIG_HASH_BYTES];

    if (!send_extents(link, block, error))
        return FALSE;
    vmig_block_hash_end(link->hash, digest);
    /* All leaves are equal, but the block is not: a leaf hash collided. Send the whole block. */
    if (block->known != NULL && block->sent == 0 && memcmp(digest, block->known->digest, VMIG_HASH_BYTES) != 0) {
        block->all = TRUE;
        vmig_copy_unaccount(link->copy, block->length);
        if (!send_extents(link, block, error))
            return FALSE;
        vmig_block_hash_end(link->hash, digest);
    }
    if (block->sent > 0)
        note_rewritten(link->copy, index, 1);
    vmig_tree_hash_set_digest(link->copy->hash, index, digest);
    return TRUE;
}

static gboolean send_block(VmigLink *link, guint64 index, GError **error)
{
    VmigCopy *copy = link->copy;
    g_autofree VmigKnownBlock *known = NULL;

    if (copy->known != NULL && !vmig_known_take(copy->known, index, &known, error))
        return FALSE;
    Block block = {
        .start = index * VMIG_HASH_BLOCK, .length = vmig_tree_hash_block_length(copy->hash, index), .known = known};
    return send_known_block(link, index, &block, error);
}

/* Blocks that are holes here. Any data in them on the destination becomes a hole. */
static gboolean send_hole_run(VmigLink *link, const VmigBlockRun *run, GError **error)
{
    VmigCopy *copy = link->copy;

    for (guint64 i = run->first; i < run->first + run->count; i++) {
        g_autofree VmigKnownBlock *known = NULL;
        guint64 start = i * VMIG_HASH_BLOCK;
        gsize length = vmig_tree_hash_block_length(copy->hash, i);
        vmig_tree_hash_set_zero(copy->hash, i);
        if (copy->known == NULL)
            continue;
        if (!vmig_known_take(copy->known, i, &known, error))
            return FALSE;
        if (known == NULL) {
            vmig_copy_account(copy, length, 0);
            continue;
        }
        note_rewritten(copy, i, 1);
        if (!send_hole(link, start, start + length, error))
            return FALSE;
    }
    if (copy->known == NULL)
        vmig_copy_account(
            copy, MIN((run->first + run->count) * VMIG_HASH_BLOCK, copy->size) - run->first * VMIG_HASH_BLOCK, 0);
    return TRUE;
}

gboolean vmig_link_run(VmigLink *link, GError **error)
{
    VmigBlockRun run;

    for (;;) {
        if (!vmig_block_walk_next(link->copy->walk, &run, error))
            return FALSE;
        if (run.count == 0)
            return vmig_link_drain(link, link->copy->send->stall_limit, error);
        if (!(run.hole ? send_hole_run(link, &run, error) : send_block(link, run.first, error)))
            return FALSE;
    }
}

/* WRITE_ZEROES that allocates space: qemu-nbd's fallocate(ZERO_RANGE). With FAST_ZERO the server refuses if it would
 * have to write zeros, which would gain nothing. */
gboolean vmig_link_reserve(VmigLink *link, GError **error)
{
    VmigCopy *copy = link->copy;
    guint64 stop;
    gboolean hole;
    VmigSlot *slot;

    for (guint64 offset = 0; link->can_reserve && offset < copy->size; offset = stop) {
        if (!vmig_next_extent(copy->fd, offset, copy->size, &hole, &stop, error))
            return FALSE;
        if (hole)
            continue;
        stop = MIN(stop, offset + ZERO_REQUEST);
        if (!vmig_link_get_slot(link, &slot, error))
            return FALSE;
        slot->optional = TRUE;
        if (!vmig_link_zero(link, slot, offset, stop - offset, LIBNBD_CMD_FLAG_NO_HOLE | LIBNBD_CMD_FLAG_FAST_ZERO,
                            error))
            return FALSE;
    }
    return vmig_link_drain(link, RESERVE_PATIENCE * copy->send->stall_limit, error);
}
