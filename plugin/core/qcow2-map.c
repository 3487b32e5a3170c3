/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One snapshot's L1 and L2 tables. Every offset in an image is checked against the file size before it is used. */
#include "core/qcow2-map.h"

#include <string.h>

#include "core/errors.h"

#define COPIED (G_GUINT64_CONSTANT(1) << 63)
#define COMPRESSED (G_GUINT64_CONSTANT(1) << 62)
#define OFFSET_MASK G_GUINT64_CONSTANT(0x00fffffffffffe00)
#define ZERO 1u
#define SUBCLUSTERS 32
#define MAX_L1_BYTES (32u << 20)

/* The entry of a cluster. Only extended L2 entries have the second word. */
typedef struct {
    guint64 word;
    guint64 bitmap;
} Entry;

struct VmigQcow2Map {
    VmigReadFunc read;
    gpointer user;
    guint64 file_size;
    const VmigQcow2 *image;
    guint64 memory_first; /* L1 index of the memory's first entry: qcow2_vm_state_offset() */
    guint64 memory_size;
    guint32 l1_size;
    guint64 *l1;
    guint64 l2_offset; /* of the table in l2; 0: none yet */
    guint8 *l2;        /* one cluster */
};

static guint64 be64(const guint8 *p)
{
    guint64 value;

    memcpy(&value, p, sizeof value);
    return GUINT64_FROM_BE(value);
}

static guint entry_bytes(const VmigQcow2Map *map)
{
    return map->image->extended_l2 ? 16 : 8;
}

static guint64 cluster_size(const VmigQcow2Map *map)
{
    return (guint64)1 << map->image->cluster_bits;
}

static guint64 l2_entries(const VmigQcow2Map *map)
{
    return cluster_size(map) / entry_bytes(map);
}

/* Bytes of the disk that one L1 entry covers. */
static guint64 l1_span(const VmigQcow2Map *map)
{
    return l2_entries(map) << map->image->cluster_bits;
}

static gboolean fetch(const VmigQcow2Map *map, const char *what, guint64 offset, gpointer buffer, gsize length,
                      GError **error)
{
    if (offset > map->file_size || length > map->file_size - offset)
        return vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL,
                         "qcow2: %s at %" G_GUINT64_FORMAT " is outside the file (%" G_GUINT64_FORMAT " bytes)", what,
                         offset, map->file_size);
    return length == 0 || map->read(map->user, offset, buffer, length, error);
}

static gboolean read_l1(VmigQcow2Map *map, const VmigQcow2Snapshot *snapshot, GError **error)
{
    gsize bytes = (gsize)map->l1_size * sizeof(guint64);

    if (bytes > MAX_L1_BYTES)
        return vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL, "qcow2: an L1 table has %u entries", map->l1_size);
    map->l1 = g_malloc0(bytes + 1);
    if (!fetch(map, "an L1 table", snapshot->l1_offset, map->l1, bytes, error))
        return FALSE;
    for (guint32 i = 0; i < map->l1_size; i++)
        map->l1[i] = GUINT64_FROM_BE(map->l1[i]);
    return TRUE;
}

VmigQcow2Map *vmig_qcow2_map_new(VmigReadFunc read, gpointer user, guint64 file_size, const VmigQcow2 *image,
                                 const VmigQcow2Snapshot *snapshot, GError **error)
{
    g_autoptr(VmigQcow2Map) map = g_new0(VmigQcow2Map, 1);

    map->read = read;
    map->user = user;
    map->file_size = file_size;
    map->image = image;
    if (image->data_file || image->crypt_method != 0) {
        vmig_fail(error, VMIG_ERROR_UNSUPPORTED, NULL, "qcow2: the image has a data file or is encrypted");
        return NULL;
    }
    map->l1_size = snapshot->l1_size;
    map->memory_size = snapshot->vm_state_size;
    map->memory_first =
        snapshot->disk_size / l1_span(map) + (snapshot->disk_size % l1_span(map) != 0); /* checked by the reader */
    map->l2 = g_malloc(cluster_size(map));
    return read_l1(map, snapshot, error) ? g_steal_pointer(&map) : NULL;
}

void vmig_qcow2_map_free(VmigQcow2Map *map)
{
    if (map == NULL)
        return;
    g_free(map->l1);
    g_free(map->l2);
    g_free(map);
}

/* The L2 table's offset; 0 if there is none. */
static gboolean l2_offset_of(const VmigQcow2Map *map, guint64 index, guint64 *ret, GError **error)
{
    *ret = index < map->l1_size ? map->l1[index] & OFFSET_MASK : 0;
    if (*ret % cluster_size(map) != 0)
        return vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL,
                         "qcow2: an L2 table at %" G_GUINT64_FORMAT " is not at the start of a cluster", *ret);
    return TRUE;
}

static gboolean load_l2(VmigQcow2Map *map, guint64 offset, GError **error)
{
    if (offset == map->l2_offset)
        return TRUE;
    map->l2_offset = 0;
    if (!fetch(map, "an L2 table", offset, map->l2, cluster_size(map), error))
        return FALSE;
    map->l2_offset = offset;
    return TRUE;
}

/* The entry of a cluster in the loaded table. */
static Entry entry_at(const VmigQcow2Map *map, guint64 index)
{
    const guint8 *at = map->l2 + index * entry_bytes(map);
    Entry entry = {.word = be64(at)};

    if (map->image->extended_l2)
        entry.bitmap = be64(at + 8);
    return entry;
}

/* Reads a part of a cluster. Bytes beyond the end of the file are zeros, because a qcow2 file is only as long as
 * necessary. */
static gboolean read_host(const VmigQcow2Map *map, guint64 offset, guint8 *buffer, gsize length, GError **error)
{
    gsize there = offset < map->file_size ? (gsize)MIN(length, map->file_size - offset) : 0;

    if (there == 0)
        return fetch(map, "a cluster", offset, buffer, length, error);
    memset(buffer + there, 0, length - there);
    return fetch(map, "a cluster", offset, buffer, there, error);
}

/* at and length must be inside one cluster. A part without a cluster is zero: no backing file covers the memory behind
 * the disk. */
static gboolean read_plain(const VmigQcow2Map *map, Entry entry, guint64 at, guint8 *buffer, gsize length,
                           GError **error)
{
    guint64 host = entry.word & OFFSET_MASK;

    if (host == 0 || (!map->image->extended_l2 && (entry.word & ZERO) != 0)) {
        memset(buffer, 0, length);
        return TRUE;
    }
    if (host % cluster_size(map) != 0)
        return vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL,
                         "qcow2: a cluster at %" G_GUINT64_FORMAT " is not at a valid position", host);
    return read_host(map, host + at, buffer, length, error);
}

/* Each of the 32 subclusters of an extended entry is allocated, zero or neither, independently of the others. */
static gboolean read_pieces(const VmigQcow2Map *map, Entry entry, guint64 at, guint8 *buffer, gsize length,
                            GError **error)
{
    guint64 piece = cluster_size(map) / SUBCLUSTERS;

    while (length > 0) {
        guint index = (guint)(at / piece);
        gsize part = (gsize)MIN(length, (index + 1) * piece - at);
        Entry one = {.word = (entry.bitmap >> index & 1) != 0 ? entry.word : 0};
        if (!read_plain(map, one, at, buffer, part, error))
            return FALSE;
        at += part;
        buffer += part;
        length -= part;
    }
    return TRUE;
}

/* cluster: counted from the beginning of the memory. */
static gboolean read_cluster(VmigQcow2Map *map, guint64 cluster, guint64 at, guint8 *buffer, gsize length,
                             GError **error)
{
    guint64 table;

    if (!l2_offset_of(map, map->memory_first + cluster / l2_entries(map), &table, error))
        return FALSE;
    if (table == 0) {
        memset(buffer, 0, length);
        return TRUE;
    }
    if (!load_l2(map, table, error))
        return FALSE;
    Entry entry = entry_at(map, cluster % l2_entries(map));
    if ((entry.word & COMPRESSED) != 0)
        return vmig_fail(error, VMIG_ERROR_UNSUPPORTED, NULL, "qcow2: the memory of a snapshot is compressed");
    return map->image->extended_l2 ? read_pieces(map, entry, at, buffer, length, error)
                                   : read_plain(map, entry, at, buffer, length, error);
}

gboolean vmig_qcow2_map_read_memory(VmigQcow2Map *map, guint64 offset, gpointer buffer, gsize length, GError **error)
{
    guint8 *to = buffer;

    if (offset > map->memory_size || length > map->memory_size - offset)
        return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "the memory of a snapshot is shorter than requested");
    while (length > 0) {
        guint64 cluster = offset >> map->image->cluster_bits, at = offset & (cluster_size(map) - 1);
        gsize part = (gsize)MIN(length, cluster_size(map) - at);
        if (!read_cluster(map, cluster, at, to, part, error))
            return FALSE;
        offset += part;
        to += part;
        length -= part;
    }
    return TRUE;
}

/* Compares the clusters [first, last] of one L2 table. */
static gboolean same_entries(const VmigQcow2Map *a, const VmigQcow2Map *b, guint64 first, guint64 last)
{
    for (guint64 i = first; i <= last; i++) {
        Entry x = entry_at(a, i), y = entry_at(b, i);
        if (((x.word ^ y.word) & ~COPIED) != 0 || x.bitmap != y.bitmap)
            return FALSE;
    }
    return TRUE;
}

gboolean vmig_qcow2_map_same(VmigQcow2Map *a, VmigQcow2Map *b, guint64 offset, guint64 length, gboolean *same,
                             GError **error)
{
    guint64 span = l1_span(a), end = offset + length;

    g_return_val_if_fail(a->image == b->image && length > 0, FALSE);
    *same = FALSE;
    while (offset < end) {
        guint64 index = offset / span, stop = MIN(end, (index + 1) * span), x, y;
        if (!l2_offset_of(a, index, &x, error) || !l2_offset_of(b, index, &y, error))
            return FALSE;
        if (x != y) {
            if (x == 0 || y == 0)
                return TRUE;
            if (!load_l2(a, x, error) || !load_l2(b, y, error))
                return FALSE;
            guint64 first = (offset - index * span) >> a->image->cluster_bits;
            if (!same_entries(a, b, first, (stop - 1 - index * span) >> a->image->cluster_bits))
                return TRUE;
        }
        offset = stop;
    }
    *same = TRUE;
    return TRUE;
}
