/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the other host tells of blocks: pages of a file's blocks and of a snapshot's, and sets of blocks. Nothing behind
 * the end of the file is ever told, whatever the page says. The first byte chooses the reader and the file's size. */
#include "copy/known-blocks.h"
#include "image/snapshot-page.h"
#include "tests/fuzz/fuzz.h"

static const guint64 sizes[] = {1, VMIG_HASH_BLOCK, 3 * VMIG_HASH_BLOCK + 5000, 40 * VMIG_HASH_BLOCK + 1};
static const VmigHashKey key = {{1, 2, 3}};

typedef struct {
    guint64 blocks, next;
} Told;

static void hole(gpointer user, guint64 first, guint64 count)
{
    Told *told = user;

    g_assert(first == told->next && count > 0 && count <= told->blocks - first);
    told->next = first + count;
}

static void block(gpointer user, guint64 index, VmigKnownBlock *known)
{
    Told *told = user;

    g_assert(index == told->next && index < told->blocks);
    told->next = index + 1;
    g_free(known);
}

static void read_known(GBytes *page, guint64 size, guint64 first)
{
    Told told = {size / VMIG_HASH_BLOCK + (size % VMIG_HASH_BLOCK != 0), first};
    VmigPageReader reader = {hole, block, &told};
    g_autoptr(GError) error = NULL;
    guint64 next = 0;

    gboolean ok = vmig_page_read(page, size, first, &reader, &next, &error);
    g_assert(ok == (error == NULL) && (!ok || (next == told.next && next > first)));
}

/* Made once: each hashes a block of zeros. */
static VmigTreeHash *complete(guint which)
{
    static VmigTreeHash *hashes[G_N_ELEMENTS(sizes)];

    if (hashes[which] == NULL) {
        hashes[which] = vmig_tree_hash_new(sizes[which], &key);
        for (guint64 i = 0; i < vmig_tree_hash_blocks(hashes[which]); i++)
            vmig_tree_hash_set_zero(hashes[which], i);
    }
    return hashes[which];
}

static void read_snapshot(GBytes *page, guint which, guint64 first, gboolean like)
{
    static VmigTreeHash *hashes[G_N_ELEMENTS(sizes)];
    g_autoptr(GError) error = NULL;
    guint64 next = 0;

    if (hashes[which] == NULL)
        hashes[which] = vmig_tree_hash_new(sizes[which], &key);
    gboolean ok = vmig_snapshot_page_apply(hashes[which], like ? complete(which) : NULL, page, first, &next, &error);
    g_assert(ok == (error == NULL));
    g_assert(!ok || (next > first && next <= vmig_tree_hash_blocks(hashes[which])));
}

static void read_set(const uint8_t *data, size_t size, guint64 blocks)
{
    g_autofree char *text = fuzz_text(data, size);
    g_autoptr(GError) error = NULL;
    g_autofree guint8 *bits = vmig_block_set_read(text, blocks, &error);

    g_assert((bits == NULL) == (error != NULL));
    for (guint64 i = 0; bits != NULL && i < vmig_block_set_bytes(blocks); i++)
        g_assert(bits[i] <= 0xff); /* a sanitizer sees one that is shorter */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    guint which = data[0] % G_N_ELEMENTS(sizes), reader = data[0] / G_N_ELEMENTS(sizes) % 4;
    guint64 blocks = vmig_tree_hash_blocks(complete(which)), first = data[1] % blocks;
    g_autoptr(GBytes) page = g_bytes_new(data + 2, size - 2);

    if (reader == 0)
        read_known(page, sizes[which], first);
    else if (reader == 3)
        read_set(data + 2, size - 2, blocks);
    else
        read_snapshot(page, which, first, reader == 2);
    return 0;
}
