/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bounded qcow2 reader. All reading goes through fetch(), the only place that checks against the file size. */
#include "core/qcow2.h"

#include <string.h>

#include "core/errors.h"

#define MAGIC 0x514649fbu /* "QFI\xfb" */
#define HEADER_V2 72
#define HEADER_V3 104
#define HEADER_KNOWN 112 /* compression_type is the last known field */

#define INCOMPAT_DIRTY (1u << 0)
#define INCOMPAT_CORRUPT (1u << 1)
#define INCOMPAT_DATA_FILE (1u << 2)
#define INCOMPAT_COMPRESSION (1u << 3)
#define INCOMPAT_EXTENDED_L2 (1u << 4)
#define INCOMPAT_KNOWN 0x1fu
#define AUTOCLEAR_BITMAPS (1u << 0)

#define EXT_END 0x00000000u
#define EXT_BACKING_FORMAT 0xe2792acau
#define EXT_BITMAPS 0x23852875u
#define EXT_DATA_FILE 0x44415441u

/* QEMU's own limits: block/qcow2.h (QCOW_MAX_L1_SIZE, QCOW_MAX_REFTABLE_SIZE), qcow2_read_extensions() for the format,
 * qcow2_do_open() for the name. */
#define MAX_L1_BYTES (32u << 20)
#define MAX_REFTABLE_BYTES (8u << 20)
#define MAX_FORMAT 15
#define MAX_BACKING_NAME 1023
/* QEMU writes at most six, and each costs a read. */
#define MAX_EXTENSIONS 64

#define SNAPSHOT_FIXED 40
#define SNAPSHOT_EXTRA_V3 16 /* 64-bit VM state size, disk size */

/* Ids and names: the field sizes of QEMUSnapshotInfo in include/block/snapshot.h: QEMU writes nothing longer. Extra
 * data: QCOW_MAX_SNAPSHOT_EXTRA_DATA. QEMU accepts 65,536 snapshots, but `qemu-img info` alone then needs 9 s. */
const VmigQcow2Limits vmig_qcow2_default_limits = {
    .max_snapshots = 1024,
    .max_id = 127,
    .max_name = 255,
    .max_extra = 1024,
    .max_table = 4u << 20,
    .max_virtual_size = (guint64)64 << 40,
};

typedef struct {
    VmigReadFunc read;
    gpointer user;
    guint64 file_size;
    const VmigQcow2Limits *limits;
    VmigQcow2 *image; /* being filled */
} Reader;

/* Header fields that are needed only while reading. */
typedef struct {
    guint64 backing_offset;
    guint32 backing_size;
    guint32 l1_size;
    guint64 l1_offset;
    guint64 reftable_offset;
    guint32 reftable_clusters;
    guint64 snapshots_offset;
    guint32 refcount_order;
    guint32 length;
    guint8 compression;
} Header;

void vmig_qcow2_snapshot_free(VmigQcow2Snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    g_free(snapshot->id);
    g_clear_pointer(&snapshot->name, g_bytes_unref);
    g_free(snapshot);
}

void vmig_qcow2_free(VmigQcow2 *image)
{
    if (image == NULL)
        return;
    g_free(image->backing_name);
    g_free(image->backing_format);
    g_free(image->data_file_name);
    g_clear_pointer(&image->snapshots, g_ptr_array_unref);
    g_free(image);
}

static guint32 be16(const guint8 *p)
{
    return (guint32)p[0] << 8 | p[1];
}

static guint32 be32(const guint8 *p)
{
    return be16(p) << 16 | be16(p + 2);
}

static guint64 be64(const guint8 *p)
{
    return (guint64)be32(p) << 32 | be32(p + 4);
}

G_GNUC_PRINTF(2, 3)
static gboolean bad(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    return vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL, "qcow2: %s", message);
}

static gboolean inside(const Reader *r, guint64 offset, guint64 length)
{
    return offset <= r->file_size && length <= r->file_size - offset;
}

static gboolean fetch(const Reader *r, const char *field, guint64 offset, gpointer buffer, gsize length, GError **error)
{
    if (!inside(r, offset, length))
        return bad(error, "%s at %" G_GUINT64_FORMAT " is outside the file (%" G_GUINT64_FORMAT " bytes)", field,
                   offset, r->file_size);
    return length == 0 || r->read(r->user, offset, buffer, length, error);
}

/* Reads bytes that QEMU and this program use as a C string. A NUL inside would make the name ambiguous. */
static char *fetch_string(const Reader *r, const char *field, guint64 offset, gsize length, GError **error)
{
    g_autofree char *text = g_malloc0(length + 1);

    if (!fetch(r, field, offset, text, length, error))
        return NULL;
    if (memchr(text, 0, length) != NULL) {
        bad(error, "%s contains a NUL byte", field);
        return NULL;
    }
    return g_steal_pointer(&text);
}

static gboolean read_fixed(const Reader *r, Header *header, GError **error)
{
    guint8 raw[HEADER_V2];
    VmigQcow2 *image = r->image;

    if (!fetch(r, "header", 0, raw, sizeof raw, error))
        return FALSE;
    if (be32(raw) != MAGIC)
        return bad(error, "the magic is not that of a qcow2 image");
    image->version = be32(raw + 4);
    if (image->version != 2 && image->version != 3)
        return bad(error, "version %u is neither 2 nor 3", image->version);
    header->backing_offset = be64(raw + 8);
    header->backing_size = be32(raw + 16);
    image->cluster_bits = be32(raw + 20);
    image->virtual_size = be64(raw + 24);
    image->crypt_method = be32(raw + 32);
    header->l1_size = be32(raw + 36);
    header->l1_offset = be64(raw + 40);
    header->reftable_offset = be64(raw + 48);
    header->reftable_clusters = be32(raw + 56);
    image->nb_snapshots = be32(raw + 60);
    header->snapshots_offset = be64(raw + 64);
    if (image->cluster_bits < 9 || image->cluster_bits > 21)
        return bad(error, "cluster_bits %u is not between 9 and 21", image->cluster_bits);
    return TRUE;
}

static gboolean read_v3(const Reader *r, Header *header, GError **error)
{
    guint8 raw[HEADER_KNOWN] = {0};
    VmigQcow2 *image = r->image;

    header->refcount_order = 4;
    header->length = HEADER_V2;
    if (image->version == 2)
        return TRUE;
    if (!fetch(r, "header", 0, raw, HEADER_V3, error))
        return FALSE;
    image->incompatible_features = be64(raw + 72);
    image->compatible_features = be64(raw + 80);
    image->autoclear_features = be64(raw + 88);
    header->refcount_order = be32(raw + 96);
    header->length = be32(raw + 100);
    if (header->length < HEADER_V3 || header->length > 1u << image->cluster_bits || header->length % 8 != 0)
        return bad(error, "header_length %u is invalid", header->length);
    if (header->length >= HEADER_KNOWN && !fetch(r, "header", 0, raw, HEADER_KNOWN, error))
        return FALSE;
    header->compression = raw[104];
    return TRUE;
}

static gboolean check_features(const Reader *r, const Header *header, GError **error)
{
    VmigQcow2 *image = r->image;
    guint64 features = image->incompatible_features;

    if (features & ~(guint64)INCOMPAT_KNOWN)
        return bad(error, "incompatible_features has unknown bits: 0x%" G_GINT64_MODIFIER "x",
                   features & ~(guint64)INCOMPAT_KNOWN);
    image->dirty = (features & INCOMPAT_DIRTY) != 0;
    image->corrupt = (features & INCOMPAT_CORRUPT) != 0;
    image->data_file = (features & INCOMPAT_DATA_FILE) != 0;
    image->extended_l2 = (features & INCOMPAT_EXTENDED_L2) != 0;
    /* Neither `qemu-img info` nor `check` fails on it (QEMU 7.2). */
    if (image->corrupt)
        return bad(error, "incompatible_features has the corrupt bit: QEMU found damage in the image");
    if (image->extended_l2 && image->cluster_bits < 14)
        return bad(error, "cluster_bits %u is too small for extended L2 entries", image->cluster_bits);
    if (((features & INCOMPAT_COMPRESSION) != 0) != (header->compression != 0) || header->compression > 1)
        return bad(error, "compression_type %u is unknown or contradicts incompatible_features", header->compression);
    if (header->refcount_order > 6)
        return bad(error, "refcount_order %u is more than 6", header->refcount_order);
    if (image->crypt_method > 2)
        return bad(error, "crypt_method %u is unknown", image->crypt_method);
    return TRUE;
}

/* The number of L1 table entries for that many bytes of the guest's disk. */
static guint64 l1_entries(const VmigQcow2 *image, guint64 bytes)
{
    guint shift = image->cluster_bits + image->cluster_bits - (image->extended_l2 ? 4 : 3);
    return (bytes >> shift) + ((bytes & (((guint64)1 << shift) - 1)) != 0);
}

static gboolean check_table(const Reader *r, const char *field, guint64 offset, guint64 bytes, guint64 max_bytes,
                            GError **error)
{
    guint64 cluster = (guint64)1 << r->image->cluster_bits;

    if (bytes > max_bytes)
        return bad(error, "%s is too large (%" G_GUINT64_FORMAT " bytes)", field, bytes);
    /* Cluster 0 belongs to the header. */
    if (offset == 0 || offset % cluster != 0)
        return bad(error, "%s is at %" G_GUINT64_FORMAT ", which is not the start of a cluster after the header", field,
                   offset);
    if (!inside(r, offset, bytes))
        return bad(error, "%s at %" G_GUINT64_FORMAT " is outside the file (%" G_GUINT64_FORMAT " bytes)", field,
                   offset, r->file_size);
    return TRUE;
}

static gboolean check_tables(const Reader *r, const Header *header, GError **error)
{
    const VmigQcow2 *image = r->image;
    guint64 reftable = (guint64)header->reftable_clusters << image->cluster_bits;

    if (image->virtual_size == 0 || image->virtual_size > r->limits->max_virtual_size)
        return bad(error, "size (the virtual size) is %" G_GUINT64_FORMAT ", not between 1 and %" G_GUINT64_FORMAT,
                   image->virtual_size, r->limits->max_virtual_size);
    if (header->l1_size < l1_entries(image, image->virtual_size))
        return bad(error, "l1_size %u is too small for the virtual size", header->l1_size);
    if (!check_table(r, "l1_table_offset", header->l1_offset, (guint64)header->l1_size * 8, MAX_L1_BYTES, error))
        return FALSE;
    if (header->reftable_clusters == 0)
        return bad(error, "refcount_table_clusters is 0");
    return check_table(r, "refcount_table_offset", header->reftable_offset, reftable, MAX_REFTABLE_BYTES, error);
}

static gboolean keep_string(const Reader *r, const char *field, guint64 offset, guint32 length, guint32 max, char **ret,
                            GError **error)
{
    if (*ret != NULL)
        return bad(error, "%s occurs twice", field);
    if (length == 0 || length > max)
        return bad(error, "%s is %u bytes long, not 1 to %u", field, length, max);
    *ret = fetch_string(r, field, offset, length, error);
    return *ret != NULL;
}

static gboolean read_bitmaps(const Reader *r, guint64 offset, guint32 length, GError **error)
{
    guint8 raw[24];

    if (r->image->has_bitmaps)
        return bad(error, "bitmaps extension occurs twice");
    if (length != sizeof raw)
        return bad(error, "bitmaps extension is %u bytes long, not 24", length);
    if (!fetch(r, "bitmaps extension", offset, raw, sizeof raw, error))
        return FALSE;
    r->image->has_bitmaps = TRUE;
    r->image->n_bitmaps = be32(raw);
    return TRUE;
}

static gboolean read_extension(const Reader *r, guint32 type, guint64 offset, guint32 length, GError **error)
{
    switch (type) {
    case EXT_BACKING_FORMAT:
        return keep_string(r, "backing format", offset, length, MAX_FORMAT, &r->image->backing_format, error);
    case EXT_DATA_FILE:
        return keep_string(r, "data file name", offset, length, MAX_BACKING_NAME, &r->image->data_file_name, error);
    case EXT_BITMAPS:
        return read_bitmaps(r, offset, length, error);
    default:
        return TRUE; /* "Unknown header extension, can be safely ignored" */
    }
}

/* Extensions lie between the header and the backing name, or the end of the first cluster. An old QEMU may have put the
 * name right behind the header: an empty area needs no end marker. */
static gboolean read_extensions(const Reader *r, const Header *header, GError **error)
{
    guint64 cluster = (guint64)1 << r->image->cluster_bits;
    guint64 offset = header->length, end = header->backing_offset != 0 ? header->backing_offset : cluster;

    for (guint i = 0; i < MAX_EXTENSIONS && offset < end; i++) {
        guint8 raw[8];
        if (end - offset < sizeof raw)
            break;
        if (!fetch(r, "header extension", offset, raw, sizeof raw, error))
            return FALSE;
        guint32 type = be32(raw), length = be32(raw + 4);
        if (type == EXT_END)
            return TRUE;
        offset += sizeof raw;
        if (length > end - offset)
            return bad(error, "header extension 0x%08x is %u bytes long and exceeds its area", type, length);
        if (!read_extension(r, type, offset, length, error))
            return FALSE;
        offset += ((guint64)length + 7) & ~(guint64)7;
    }
    if (end == header->length)
        return TRUE;
    return bad(error, "header extensions have no end");
}

static gboolean read_backing(const Reader *r, const Header *header, GError **error)
{
    guint64 cluster = (guint64)1 << r->image->cluster_bits;

    if (header->backing_offset == 0)
        return TRUE;
    if (header->backing_offset < header->length || header->backing_offset > cluster)
        return bad(error, "backing_file_offset %" G_GUINT64_FORMAT " is not in the first cluster after the header",
                   header->backing_offset);
    return keep_string(r, "backing_file_size (the length of the backing file's name)", header->backing_offset,
                       header->backing_size, (guint32)MIN(MAX_BACKING_NAME, cluster - header->backing_offset),
                       &r->image->backing_name, error);
}

/* The variable part of an entry: extra data, id, name. */
typedef struct {
    guint32 id_size;
    guint32 name_size;
    guint32 extra_size;
} Sizes;

static gboolean check_sizes(const Reader *r, guint index, const Sizes *sizes, GError **error)
{
    if (sizes->id_size == 0 || sizes->id_size > r->limits->max_id)
        return bad(error, "snapshot %u: id is %u bytes long, not 1 to %u", index, sizes->id_size, r->limits->max_id);
    if (sizes->name_size > r->limits->max_name)
        return bad(error, "snapshot %u: name is %u bytes long, more than %u", index, sizes->name_size,
                   r->limits->max_name);
    if (sizes->extra_size > r->limits->max_extra)
        return bad(error, "snapshot %u: extra data is %u bytes long, more than %u", index, sizes->extra_size,
                   r->limits->max_extra);
    if (r->image->version >= 3 && sizes->extra_size < SNAPSHOT_EXTRA_V3)
        return bad(error, "snapshot %u: extra data is %u bytes long, less than version 3 requires", index,
                   sizes->extra_size);
    return TRUE;
}

static gboolean check_snapshot(const Reader *r, guint index, const VmigQcow2Snapshot *snapshot, GError **error)
{
    g_autofree char *field = g_strdup_printf("snapshot %u: L1 table", index);
    guint64 disk = l1_entries(r->image, snapshot->disk_size);
    guint64 state = l1_entries(r->image, snapshot->vm_state_size);

    if (snapshot->disk_size > r->limits->max_virtual_size)
        return bad(error, "snapshot %u: disk size %" G_GUINT64_FORMAT " is beyond the limit", index,
                   snapshot->disk_size);
    /* The VM state lies behind the disk in the snapshot's own L1 table: qcow2_vm_state_offset(). */
    if (disk > snapshot->l1_size || state > snapshot->l1_size - disk)
        return bad(error,
                   "snapshot %u: L1 table (%u entries) is too small for the disk size (%" G_GUINT64_FORMAT
                   ") and VM state size (%" G_GUINT64_FORMAT ")",
                   index, snapshot->l1_size, snapshot->disk_size, snapshot->vm_state_size);
    if (snapshot->l1_size == 0)
        return TRUE;
    return check_table(r, field, snapshot->l1_offset, (guint64)snapshot->l1_size * 8, MAX_L1_BYTES, error);
}

static gboolean read_names(const Reader *r, guint index, guint64 offset, const Sizes *sizes,
                           VmigQcow2Snapshot *snapshot, GError **error)
{
    g_autofree char *id_field = g_strdup_printf("snapshot %u: id", index);
    g_autofree char *name_field = g_strdup_printf("snapshot %u: name", index);

    snapshot->id = fetch_string(r, id_field, offset, sizes->id_size, error);
    if (snapshot->id == NULL)
        return FALSE;
    char *name = fetch_string(r, name_field, offset + sizes->id_size, sizes->name_size, error);
    if (name == NULL)
        return FALSE;
    snapshot->name = g_bytes_new_take(name, sizes->name_size);
    return TRUE;
}

/* Reads the entry at *offset and advances it to the next one. */
static VmigQcow2Snapshot *read_snapshot(const Reader *r, guint index, guint64 *offset, GError **error)
{
    g_autoptr(VmigQcow2Snapshot) snapshot = g_new0(VmigQcow2Snapshot, 1);
    guint8 raw[SNAPSHOT_FIXED], extra[24] = {0};
    Sizes sizes;

    if (!fetch(r, "snapshots_offset (the snapshot table)", *offset, raw, sizeof raw, error))
        return NULL;
    snapshot->l1_offset = be64(raw);
    snapshot->l1_size = be32(raw + 8);
    sizes.id_size = be16(raw + 12);
    sizes.name_size = be16(raw + 14);
    snapshot->date_sec = be32(raw + 16);
    snapshot->date_nsec = be32(raw + 20);
    snapshot->vm_clock_nsec = be64(raw + 24);
    sizes.extra_size = be32(raw + 36);
    if (!check_sizes(r, index, &sizes, error))
        return NULL;
    *offset += sizeof raw;
    if (!fetch(r, "snapshots_offset (the snapshot table)", *offset, extra, MIN(sizes.extra_size, sizeof extra), error))
        return NULL;
    snapshot->vm_state_size = sizes.extra_size >= 8 ? be64(extra) : be32(raw + 32);
    snapshot->disk_size = sizes.extra_size >= 16 ? be64(extra + 8) : r->image->virtual_size;
    snapshot->icount = sizes.extra_size >= 24 ? be64(extra + 16) : G_MAXUINT64;
    *offset += sizes.extra_size;
    if (!read_names(r, index, *offset, &sizes, snapshot, error))
        return NULL;
    *offset += sizes.id_size + sizes.name_size;
    *offset = (*offset + 7) & ~(guint64)7;
    return check_snapshot(r, index, snapshot, error) ? g_steal_pointer(&snapshot) : NULL;
}

static gboolean read_snapshots(const Reader *r, const Header *header, GError **error)
{
    g_autoptr(GHashTable) ids = g_hash_table_new(g_str_hash, g_str_equal);
    guint64 offset = header->snapshots_offset;
    VmigQcow2 *image = r->image;

    if (image->nb_snapshots > r->limits->max_snapshots)
        return bad(error, "nb_snapshots %u is more than %u", image->nb_snapshots, r->limits->max_snapshots);
    if (image->nb_snapshots == 0)
        return TRUE;
    if (!check_table(r, "snapshots_offset (the snapshot table)", offset, (guint64)image->nb_snapshots * SNAPSHOT_FIXED,
                     r->limits->max_table, error))
        return FALSE;
    for (guint i = 0; i < image->nb_snapshots; i++) {
        VmigQcow2Snapshot *snapshot = read_snapshot(r, i, &offset, error);
        if (snapshot == NULL)
            return FALSE;
        g_ptr_array_add(image->snapshots, snapshot);
        if (offset - header->snapshots_offset > r->limits->max_table)
            return bad(error, "snapshot table is larger than %" G_GUINT64_FORMAT " bytes", r->limits->max_table);
        if (!g_hash_table_add(ids, snapshot->id)) {
            g_autofree char *id = vmig_printable(snapshot->id, strlen(snapshot->id));
            return bad(error, "snapshot %u: id '%s' occurs twice", i, id);
        }
    }
    return TRUE;
}

VmigQcow2 *vmig_qcow2_read(VmigReadFunc read, gpointer user, guint64 file_size, const VmigQcow2Limits *limits,
                           GError **error)
{
    g_autoptr(VmigQcow2) image = g_new0(VmigQcow2, 1);
    Header header = {0};
    Reader r = {read, user, file_size, limits != NULL ? limits : &vmig_qcow2_default_limits, image};

    image->snapshots = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_qcow2_snapshot_free);
    if (!read_fixed(&r, &header, error) || !read_v3(&r, &header, error) || !check_features(&r, &header, error) ||
        !check_tables(&r, &header, error) || !read_backing(&r, &header, error) ||
        !read_extensions(&r, &header, error) || !read_snapshots(&r, &header, error))
        return NULL;
    if ((image->autoclear_features & AUTOCLEAR_BITMAPS) && !image->has_bitmaps) {
        bad(error, "autoclear_features has the bitmaps bit, but there is no bitmaps extension");
        return NULL;
    }
    return g_steal_pointer(&image);
}

gboolean vmig_qcow2_count_snapshots(VmigReadFunc read, gpointer user, guint64 file_size, guint32 *count, GError **error)
{
    Reader r = {.read = read, .user = user, .file_size = file_size};
    guint8 raw[64];

    if (!fetch(&r, "header", 0, raw, sizeof raw, error))
        return FALSE;
    if (be32(raw) != MAGIC || (be32(raw + 4) != 2 && be32(raw + 4) != 3))
        return bad(error, "the magic and version are not those of a qcow2 image");
    *count = be32(raw + 60);
    return TRUE;
}
