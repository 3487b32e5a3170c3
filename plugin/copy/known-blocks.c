/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Leaves, pages and sets of blocks. Pages come from the other host: every length in them is checked. */
#include "copy/known-blocks.h"

#include <string.h>
#include <xxhash.h>

guint vmig_leaf_count(gsize block_length)
{
    return (guint)((block_length + VMIG_LEAF - 1) / VMIG_LEAF);
}

guint64 vmig_leaf_hash(guint64 seed, const void *data, gsize length)
{
    return XXH3_64bits_withSeed(data, length, seed);
}

VmigKnownBlock *vmig_known_block_new(const guint8 digest[VMIG_HASH_BYTES], guint64 seed, const void *data, gsize length)
{
    guint count = vmig_leaf_count(length);
    VmigKnownBlock *block = g_malloc(sizeof *block + count * sizeof block->leaves[0]);
    const guint8 *bytes = data;

    memcpy(block->digest, digest, VMIG_HASH_BYTES);
    for (guint i = 0; i < count; i++)
        block->leaves[i] =
            vmig_leaf_hash(seed, bytes + (gsize)i * VMIG_LEAF, MIN(VMIG_LEAF, length - (gsize)i * VMIG_LEAF));
    return block;
}

void vmig_page_put_holes(GByteArray *page, guint64 count)
{
    guint32 little = GUINT32_TO_LE((guint32)count);

    g_assert(count > 0 && count <= VMIG_PAGE_HOLES);
    g_byte_array_append(page, (const guint8 *)"H", 1);
    g_byte_array_append(page, (const guint8 *)&little, sizeof little);
}

void vmig_page_put_block(GByteArray *page, const VmigKnownBlock *block, gsize length)
{
    g_byte_array_append(page, (const guint8 *)"D", 1);
    g_byte_array_append(page, block->digest, VMIG_HASH_BYTES);
    for (guint i = 0; i < vmig_leaf_count(length); i++) {
        guint64 little = GUINT64_TO_LE(block->leaves[i]);
        g_byte_array_append(page, (const guint8 *)&little, sizeof little);
    }
}

static VmigKnownBlock *read_block(const guint8 *bytes, guint leaves)
{
    VmigKnownBlock *block = g_malloc(sizeof *block + leaves * sizeof block->leaves[0]);

    memcpy(block->digest, bytes, VMIG_HASH_BYTES);
    memcpy(block->leaves, bytes + VMIG_HASH_BYTES, leaves * sizeof block->leaves[0]);
    for (guint i = 0; i < leaves; i++)
        block->leaves[i] = GUINT64_FROM_LE(block->leaves[i]);
    return block;
}

static gboolean refuse(GError **error, const char *what)
{
    return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the other host sent an invalid list of its blocks: %s", what);
}

gboolean vmig_page_read(GBytes *page, guint64 size, guint64 first, const VmigPageReader *reader, guint64 *next,
                        GError **error)
{
    guint64 blocks = size / VMIG_HASH_BLOCK + (size % VMIG_HASH_BLOCK != 0), index = first;
    gsize left, used;
    const guint8 *at = g_bytes_get_data(page, &left);

    if (left == 0)
        return refuse(error, "nothing");
    for (; left > 0; at += used, left -= used) {
        if (index >= blocks)
            return refuse(error, "more blocks than the file has");
        guint32 count;
        guint leaves = vmig_leaf_count(MIN(VMIG_HASH_BLOCK, size - index * VMIG_HASH_BLOCK));
        used = *at == 'H' ? 1 + sizeof count : 1 + VMIG_HASH_BYTES + leaves * sizeof(guint64);
        if ((*at != 'H' && *at != 'D') || used > left)
            return refuse(error, "a page that is truncated or of another kind");
        if (*at == 'D') {
            reader->block(reader->user, index++, read_block(at + 1, leaves));
            continue;
        }
        memcpy(&count, at + 1, sizeof count);
        count = GUINT32_FROM_LE(count);
        if (count == 0 || count > blocks - index)
            return refuse(error, "holes beyond the end of the file");
        reader->hole(reader->user, index, count);
        index += count;
    }
    *next = index;
    return TRUE;
}

char *vmig_block_set_write(const guint8 *bits, guint64 blocks)
{
    return g_base64_encode(bits, vmig_block_set_bytes(blocks));
}

guint8 *vmig_block_set_read(const char *text, guint64 blocks, GError **error)
{
    gsize length = 0;
    g_autofree guint8 *bits = g_base64_decode(text, &length);

    if (length == vmig_block_set_bytes(blocks))
        return g_steal_pointer(&bits);
    vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL,
              "a set of %" G_GUINT64_FORMAT " blocks cannot have %" G_GSIZE_FORMAT " bytes", blocks, length);
    return NULL;
}
