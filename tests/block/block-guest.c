/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The writer: every sector says which disk, place and write it is, with a checksum, so that whatever is found later can
 * only be one of its writes or damage. What it was promised is what was flushed: QEMU may lose the rest when it dies.
 */
#include "block.h"

#include <libnbd.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/errors.h"

#define MAGIC G_GUINT64_CONSTANT(0x766d69672d626c6b)
#define MOST_SECTORS 96
#define HOT (BLOCK_SECTORS / 8)

typedef struct {
    guint64 magic;
    guint32 disk, lba;
    guint64 number;
    guint64 filler[(BLOCK_SECTOR - 32) / 8];
    guint64 sum;
} Sector;
G_STATIC_ASSERT(sizeof(Sector) == BLOCK_SECTOR);

void block_fill(guint8 *sector, guint disk, guint lba, guint64 number)
{
    Sector s = {.magic = MAGIC, .disk = disk, .lba = lba, .number = number};

    for (guint i = 0; i < G_N_ELEMENTS(s.filler); i++)
        s.filler[i] = number * 2654435761u + i;
    s.sum = XXH3_64bits(&s, offsetof(Sector, sum));
    memcpy(sector, &s, sizeof s);
}

gboolean block_read(const guint8 *sector, guint disk, guint lba, guint64 *number)
{
    static const guint8 zeros[BLOCK_SECTOR];
    Sector s;

    *number = 0;
    if (memcmp(sector, zeros, sizeof zeros) == 0)
        return TRUE;
    memcpy(&s, sector, sizeof s);
    *number = s.number;
    return s.magic == MAGIC && s.disk == disk && s.lba == lba && s.sum == XXH3_64bits(&s, offsetof(Sector, sum));
}

gboolean block_judge(const Block *block, guint disk, const char *raw, GError **error)
{
    g_autofree char *bytes = NULL;
    gsize length = 0;

    if (!g_file_get_contents(raw, &bytes, &length, error))
        return FALSE;
    if (length != BLOCK_SIZE)
        return vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL, "disk %u is of another size", disk);
    for (guint lba = 0; lba < BLOCK_SECTORS; lba++) {
        guint64 number, flushed = block->shared->flushed[disk][lba];
        if (!block_read((const guint8 *)bytes + (gsize)lba * BLOCK_SECTOR, disk, lba, &number))
            return vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL, "disk %u, sector %u holds what nobody wrote", disk,
                             lba);
        if (number < flushed)
            return vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL,
                             "disk %u, sector %u holds write %" G_GUINT64_FORMAT ", and %" G_GUINT64_FORMAT
                             " was flushed",
                             disk, lba, number, flushed);
    }
    return TRUE;
}

typedef struct {
    Block *block;
    GRand *random;
    struct nbd_handle *nbd[BLOCK_DISKS];
    guint64 written[BLOCK_DISKS][BLOCK_SECTORS]; /* acknowledged, and not flushed yet: number, or 0 */
    guint8 buffer[MOST_SECTORS * BLOCK_SECTOR];
} Guest;

static gboolean write_some(Guest *guest)
{
    BlockShared *shared = guest->block->shared;
    guint disk = g_rand_int_range(guest->random, 0, (gint32)guest->block->n_disks);
    guint n = 1u << g_rand_int_range(guest->random, 0, 7);
    guint within = g_rand_int_range(guest->random, 0, 4) > 0 ? HOT : BLOCK_SECTORS;
    n = MIN(n, MOST_SECTORS);
    guint lba = g_rand_int_range(guest->random, 0, (gint32)(within - n));

    guint64 number = shared->next++;
    for (guint i = 0; i < n; i++)
        block_fill(guest->buffer + i * BLOCK_SECTOR, disk, lba + i, number);
    if (nbd_pwrite(guest->nbd[disk], guest->buffer, (gsize)n * BLOCK_SECTOR, (guint64)lba * BLOCK_SECTOR, 0) != 0)
        return FALSE;
    for (guint i = 0; i < n; i++)
        guest->written[disk][lba + i] = number;
    shared->writes++;
    return TRUE;
}

static gboolean flush(Guest *guest, guint disk)
{
    BlockShared *shared = guest->block->shared;

    if (nbd_flush(guest->nbd[disk], 0) != 0)
        return FALSE;
    for (guint lba = 0; lba < BLOCK_SECTORS; lba++)
        if (guest->written[disk][lba] != 0) {
            shared->flushed[disk][lba] = guest->written[disk][lba];
            guest->written[disk][lba] = 0;
        }
    shared->flushes++;
    return TRUE;
}

static gboolean flush_all(Guest *guest)
{
    for (guint i = 0; i < guest->block->n_disks; i++)
        if (!flush(guest, i))
            return FALSE;
    return TRUE;
}

/* Suspended: nothing is under way any more when it says so. */
static gboolean hold(Guest *guest)
{
    BlockShared *shared = guest->block->shared;

    if (guest->block->flush_on_suspend && !flush_all(guest))
        return FALSE;
    g_atomic_int_set(&shared->held, 1);
    while (!g_atomic_int_get(&shared->may_run) && !g_atomic_int_get(&shared->dead))
        g_usleep(50);
    g_atomic_int_set(&shared->held, 0);
    return !g_atomic_int_get(&shared->dead);
}

static gboolean connect_disks(Guest *guest)
{
    g_autofree char *socket = g_build_filename(guest->block->folder, "nbd.sock", NULL);

    for (guint i = 0; i < guest->block->n_disks; i++) {
        g_autofree char *target = block_target(i);
        guest->nbd[i] = nbd_create();
        if (nbd_set_export_name(guest->nbd[i], target) != 0 || nbd_connect_unix(guest->nbd[i], socket) != 0) {
            g_printerr("%s\n", nbd_get_error());
            return FALSE;
        }
    }
    return TRUE;
}

void block_guest(Block *block)
{
    Guest *guest = g_new0(Guest, 1);
    BlockShared *shared = block->shared;

    guest->block = block;
    guest->random = g_rand_new_with_seed((guint32)(block->seed * 2 + 1));
    if (!connect_disks(guest))
        return;
    guint before = (guint)g_rand_int_range(guest->random, 20, 200);
    for (guint i = 0; i < before; i++)
        if (!write_some(guest))
            return;
    if (!flush_all(guest))
        return;
    g_atomic_int_set(&shared->filled, 1);
    for (;;) {
        if (!g_atomic_int_get(&shared->may_run) && !hold(guest))
            return;
        if (!write_some(guest))
            return;
        guint disk = g_rand_int_range(guest->random, 0, (gint32)block->n_disks);
        if (g_rand_int_range(guest->random, 0, 6) == 0 && !flush(guest, disk))
            return;
        /* Its rate: a commit can keep up with some. */
        if (block->pause_us > 0)
            g_usleep((gulong)g_rand_int_range(guest->random, 0, (gint32)block->pause_us));
    }
}
