/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bounded qcow2 reader: every refusal, what is only reported, that it never reads outside the file, and that it
 * agrees with qemu-img. */
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>

#include "core/errors.h"
#include "core/qcow2.h"

/* A file in memory. The reader must never read outside it. */
typedef struct {
    guint8 *data;
    gsize size;
    guint reads;
    guint fail_at; /* this read fails; 0: none */
} Memory;

static gboolean read_memory(gpointer user, guint64 offset, gpointer buffer, gsize length, GError **error)
{
    Memory *memory = user;

    g_assert_true(offset <= memory->size && length <= memory->size - offset);
    if (++memory->reads == memory->fail_at)
        return vmig_fail(error, VMIG_ERROR_IO, NULL, "the disk is broken");
    memcpy(buffer, memory->data + offset, length);
    return TRUE;
}

static void put(guint8 *at, guint width, guint64 value)
{
    for (guint i = 0; i < width; i++)
        at[i] = (guint8)(value >> (8 * (width - 1 - i)));
}

/* Clusters of 512 bytes: header, refcount table, L1, snapshot table, two L1 tables of snapshots. */
#define CLUSTER 512
#define REFTABLE (1 * CLUSTER)
#define L1 (2 * CLUSTER)
#define TABLE (3 * CLUSTER)
#define SNAP_L1 (5 * CLUSTER)
#define SIZE (8 * CLUSTER)
#define DISK (1 << 20)
#define L1_ENTRIES 32 /* 1 MiB / (512 * 512 / 8) */
#define EXTENSIONS 112
#define NAME_AT 400
/* Offset in the first snapshot's entry; the second begins at the next multiple of 8. */
#define FIRST_ID (TABLE + 40 + 24)
#define SECOND (TABLE + 40 + 24 + 8)

static guint put_extension(guint8 *at, guint32 type, const void *data, guint32 length)
{
    put(at, 4, type);
    put(at + 4, 4, length);
    memcpy(at + 8, data, length);
    return 8 + ((length + 7) & ~7u);
}

static guint put_snapshot(guint8 *at, guint64 l1, guint32 entries, const char *id, const char *name, guint64 state)
{
    put(at, 8, l1);
    put(at + 8, 4, entries);
    put(at + 12, 2, strlen(id));
    put(at + 14, 2, strlen(name));
    put(at + 16, 4, 1700000000);
    put(at + 20, 4, 123456789);
    put(at + 24, 8, G_GUINT64_CONSTANT(987654321012));
    put(at + 32, 4, 7); /* ignored: the extra data has it */
    put(at + 36, 4, 24);
    put(at + 40, 8, state);
    put(at + 48, 8, DISK);
    put(at + 56, 8, 42);
    memcpy(at + 64, id, strlen(id));
    memcpy(at + 64 + strlen(id), name, strlen(name));
    return (guint)(64 + strlen(id) + strlen(name) + 7) & ~7u;
}

static void fill(guint8 *image)
{
    guint at = EXTENSIONS;

    memset(image, 0, SIZE);
    memcpy(image, "QFI\xfb", 4);
    put(image + 4, 4, 3);
    put(image + 8, 8, NAME_AT);
    put(image + 16, 4, 10);
    memcpy(image + NAME_AT, "base.qcow2", 10);
    put(image + 20, 4, 9);
    put(image + 24, 8, DISK);
    put(image + 36, 4, L1_ENTRIES);
    put(image + 40, 8, L1);
    put(image + 48, 8, REFTABLE);
    put(image + 56, 4, 1);
    put(image + 60, 4, 2);
    put(image + 64, 8, TABLE);
    put(image + 96, 4, 4);
    put(image + 100, 4, 112);
    at += put_extension(image + at, 0xe2792aca, "qcow2", 5);
    at += put_extension(image + at, 0x6803f857, "\0\0dirty bit", 11);
    put_extension(image + at, 0, "", 0);
    at = TABLE;
    at += put_snapshot(image + at, SNAP_L1, L1_ENTRIES, "1", "first", 0);
    g_assert_cmpuint(at, ==, SECOND);
    put_snapshot(image + at, SNAP_L1 + CLUSTER, L1_ENTRIES + 1, "2", "n\xff", 32768);
}

static VmigQcow2 *read_image(guint8 *image, gsize size, GError **error)
{
    Memory memory = {image, size, 0, 0};
    return vmig_qcow2_read(read_memory, &memory, size, NULL, error);
}

static void test_fields(void)
{
    guint8 image[SIZE];
    g_autoptr(GError) error = NULL;

    fill(image);
    g_autoptr(VmigQcow2) q = read_image(image, SIZE, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(q->version, ==, 3);
    g_assert_cmpuint(q->cluster_bits, ==, 9);
    g_assert_cmpuint(q->virtual_size, ==, DISK);
    g_assert_cmpstr(q->backing_name, ==, "base.qcow2");
    g_assert_cmpstr(q->backing_format, ==, "qcow2");
    g_assert_null(q->data_file_name);
    g_assert_cmpuint(q->nb_snapshots, ==, 2);
    g_assert_cmpuint(q->snapshots->len, ==, 2);
    const VmigQcow2Snapshot *first = q->snapshots->pdata[0], *second = q->snapshots->pdata[1];
    g_assert_cmpstr(first->id, ==, "1");
    g_assert_cmpuint(first->vm_state_size, ==, 0);
    g_assert_cmpstr(second->id, ==, "2");
    g_assert_cmpmem(g_bytes_get_data(second->name, NULL), g_bytes_get_size(second->name), "n\xff", 2);
    g_assert_cmpuint(second->date_sec, ==, 1700000000);
    g_assert_cmpuint(second->date_nsec, ==, 123456789);
    g_assert_cmpuint(second->vm_clock_nsec, ==, G_GUINT64_CONSTANT(987654321012));
    g_assert_cmpuint(second->vm_state_size, ==, 32768);
    g_assert_cmpuint(second->disk_size, ==, DISK);
    g_assert_cmpuint(second->icount, ==, 42);
    g_assert_cmpuint(second->l1_offset, ==, SNAP_L1 + CLUSTER);
    g_assert_cmpuint(second->l1_size, ==, L1_ENTRIES + 1);
}

/* One number is changed, and the image is refused with a message that names the field. */
static const struct {
    const char *what;
    guint offset, width;
    guint64 value;
    const char *field;
} refusals[] = {
    {"magic", 0, 4, 0x514649fa, "magic"},
    {"version-0", 4, 4, 0, "version"},
    {"version-1", 4, 4, 1, "version"},
    {"version-99", 4, 4, 99, "version"},
    {"cluster-bits-8", 20, 4, 8, "cluster_bits"},
    {"cluster-bits-22", 20, 4, 22, "cluster_bits"},
    {"cluster-bits-63", 20, 4, 63, "cluster_bits"},
    {"size-0", 24, 8, 0, "virtual size"},
    {"size-large", 24, 8, (G_GUINT64_CONSTANT(64) << 40) + 1, "virtual size"},
    {"size-2^62", 24, 8, G_GUINT64_CONSTANT(1) << 62, "virtual size"},
    {"size-max", 24, 8, G_MAXUINT64, "virtual size"},
    {"crypt-7", 32, 4, 7, "crypt_method"},
    {"l1-small", 36, 4, L1_ENTRIES - 1, "l1_size"},
    {"l1-2^31", 36, 4, G_GUINT64_CONSTANT(1) << 31, "l1_table_offset"},
    {"l1-beyond-end", 36, 4, 6 * CLUSTER / 8 + 1, "l1_table_offset"},
    {"l1-at-0", 40, 8, 0, "l1_table_offset"},
    {"l1-unaligned", 40, 8, L1 + 8, "l1_table_offset"},
    {"l1-at-end", 40, 8, SIZE, "l1_table_offset"},
    {"l1-at-2^63", 40, 8, G_GUINT64_CONSTANT(1) << 63, "l1_table_offset"},
    {"reftable-at-0", 48, 8, 0, "refcount_table_offset"},
    {"reftable-unaligned", 48, 8, 513, "refcount_table_offset"},
    {"reftable-far", 48, 8, G_GUINT64_CONSTANT(1) << 50, "refcount_table_offset"},
    {"reftable-none", 56, 4, 0, "refcount_table_clusters"},
    {"reftable-large", 56, 4, G_MAXUINT32, "refcount_table_offset"},
    {"reftable-beyond-end", 56, 4, 8, "refcount_table_offset"},
    {"snapshots-1025", 60, 4, 1025, "nb_snapshots"},
    {"snapshots-65537", 60, 4, 65537, "nb_snapshots"},
    {"snapshots-max", 60, 4, G_MAXUINT32, "nb_snapshots"},
    {"snapshots-too-many-for-the-file", 60, 4, 1000, "snapshots_offset"},
    {"snapshots-one-more-than-there-are", 60, 4, 3, "snapshot 2"},
    {"table-at-0", 64, 8, 0, "snapshots_offset"},
    {"table-at-end", 64, 8, SIZE, "snapshots_offset"},
    {"table-unaligned", 64, 8, TABLE + 8, "snapshots_offset"},
    {"table-far", 64, 8, G_MAXUINT64 - 511, "snapshots_offset"},
    {"incompatible-63", 72, 8, G_GUINT64_CONSTANT(1) << 63, "incompatible_features"},
    {"incompatible-5", 72, 8, 1 << 5, "incompatible_features"},
    {"corrupt", 72, 8, 2, "corrupt"},
    {"compression-bit-alone", 72, 8, 8, "compression_type"},
    {"compression-alone", 104, 1, 1, "compression_type"},
    {"extended-l2-small-clusters", 72, 8, 16, "cluster_bits"},
    {"bitmaps-bit-alone", 88, 8, 1, "autoclear_features"},
    {"refcount-order", 96, 4, 7, "refcount_order"},
    {"header-length-0", 100, 4, 0, "header_length"},
    {"header-length-72", 100, 4, 72, "header_length"},
    {"header-length-odd", 100, 4, 105, "header_length"},
    {"header-length-2^31", 100, 4, G_GUINT64_CONSTANT(1) << 31, "header_length"},
    {"backing-in-header", 8, 8, 64, "backing_file_offset"},
    {"backing-outside", 8, 8, G_GUINT64_CONSTANT(1) << 40, "backing_file_offset"},
    {"backing-empty", 16, 4, 0, "backing file's name"},
    {"backing-beyond-cluster", 16, 4, CLUSTER - NAME_AT + 1, "backing file's name"},
    {"backing-1024", 16, 4, 1024, "backing file's name"},
    {"backing-nul", NAME_AT + 3, 1, 0, "NUL"},
    {"extension-long", EXTENSIONS + 4, 4, 400, "header extension"},
    {"extension-2^32-1", EXTENSIONS + 4, 4, G_MAXUINT32, "header extension"},
    {"format-long", EXTENSIONS + 4, 4, 16, "backing format"},
    {"format-empty", EXTENSIONS + 4, 4, 0, "backing format"},
    {"format-nul", EXTENSIONS + 9, 1, 0, "NUL"},
    {"format-twice", EXTENSIONS + 16, 4, 0xe2792aca, "twice"},
    {"bitmaps-short", EXTENSIONS + 16, 4, 0x23852875, "bitmaps"},
    {"snapshot-l1-at-0", TABLE, 8, 0, "L1 table"},
    {"snapshot-l1-far", TABLE, 8, G_GUINT64_CONSTANT(1) << 50, "L1 table"},
    {"snapshot-l1-unaligned", TABLE, 8, SNAP_L1 + 1, "L1 table"},
    {"snapshot-l1-2^31", TABLE + 8, 4, G_GUINT64_CONSTANT(1) << 31, "L1 table"},
    {"snapshot-l1-small", TABLE + 8, 4, L1_ENTRIES - 1, "L1 table"},
    {"snapshot-id-empty", TABLE + 12, 2, 0, "id"},
    {"snapshot-id-long", TABLE + 12, 2, 128, "id"},
    {"snapshot-id-65535", TABLE + 12, 2, 65535, "id"},
    {"snapshot-id-nul", FIRST_ID, 1, 0, "id contains a NUL"},
    {"snapshot-id-twice", FIRST_ID, 1, '2', "id '2' occurs twice"},
    {"snapshot-name-long", TABLE + 14, 2, 256, "name"},
    {"snapshot-name-nul", FIRST_ID + 2, 1, 0, "name contains a NUL"},
    {"snapshot-extra-0", TABLE + 36, 4, 0, "extra"},
    {"snapshot-extra-1025", TABLE + 36, 4, 1025, "extra"},
    {"snapshot-extra-2^31", TABLE + 36, 4, G_GUINT64_CONSTANT(1) << 31, "extra"},
    {"snapshot-state-large", SECOND + 40, 8, G_GUINT64_CONSTANT(1) << 32, "VM state size"},
    {"snapshot-state-max", SECOND + 40, 8, G_MAXUINT64, "VM state size"},
    {"snapshot-disk-max", SECOND + 48, 8, G_MAXUINT64, "disk size"},
};

static void test_refusal(gconstpointer data)
{
    guint index = GPOINTER_TO_UINT(data);
    guint8 image[SIZE];
    g_autoptr(GError) error = NULL;

    fill(image);
    put(image + refusals[index].offset, refusals[index].width, refusals[index].value);
    g_autoptr(VmigQcow2) q = read_image(image, SIZE, &error);
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_IMAGE);
    g_assert_null(q);
    if (strstr(error->message, refusals[index].field) == NULL)
        g_error("'%s' does not name %s", error->message, refusals[index].field);
}

/* What the plan decides about is not an error. */
static void test_reported(void)
{
    guint8 image[SIZE], bitmaps[24] = {0};
    g_autoptr(GError) error = NULL;

    fill(image);
    put(image + 72, 8, 1 | 4 | 8);
    image[104] = 1;
    put(image + 32, 4, 2);
    put(image + 88, 8, 1);
    bitmaps[3] = 5;
    guint at = EXTENSIONS;
    at += put_extension(image + at, 0x23852875, bitmaps, sizeof bitmaps);
    at += put_extension(image + at, 0x44415441, "/data", 5);
    put_extension(image + at, 0, "", 0);
    g_autoptr(VmigQcow2) q = read_image(image, SIZE, &error);
    g_assert_no_error(error);
    g_assert_true(q->dirty);
    g_assert_true(q->data_file);
    g_assert_cmpstr(q->data_file_name, ==, "/data");
    g_assert_cmpuint(q->crypt_method, ==, 2);
    g_assert_true(q->has_bitmaps);
    g_assert_cmpuint(q->n_bitmaps, ==, 5);
    g_assert_null(q->backing_format);
}

/* Version 2: no features, a header of 72 bytes, a 32-bit VM state size, optional extra data and, in images of an old
 * QEMU, the backing file's name right after the header. */
static void test_version_2(void)
{
    guint8 image[SIZE];
    g_autoptr(GError) error = NULL;

    fill(image);
    put(image + 4, 4, 2);
    put(image + 8, 8, 72);
    memcpy(image + 72, "base.qcow2", 10);
    put(image + 60, 4, 1);
    put(image + TABLE + 8, 4, L1_ENTRIES + 1);
    put(image + TABLE + 36, 4, 0);
    memcpy(image + TABLE + 40, "9name1", 6);
    g_autoptr(VmigQcow2) q = read_image(image, SIZE, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(q->version, ==, 2);
    g_assert_cmpstr(q->backing_name, ==, "base.qcow2");
    g_assert_null(q->backing_format);
    const VmigQcow2Snapshot *snapshot = q->snapshots->pdata[0];
    g_assert_cmpstr(snapshot->id, ==, "9");
    g_assert_cmpuint(snapshot->vm_state_size, ==, 7);
    g_assert_cmpuint(snapshot->disk_size, ==, DISK);
    g_assert_cmpuint(snapshot->icount, ==, G_MAXUINT64);
}

static void test_extensions_without_end(void)
{
    guint8 image[SIZE];
    g_autoptr(GError) error = NULL;

    fill(image);
    /* Up to the backing file's name, there are only unknown extensions. */
    for (guint at = EXTENSIONS; at < NAME_AT; at += 8)
        put(image + at, 8, (guint64)0x11111111 << 32);
    g_autoptr(VmigQcow2) q = read_image(image, SIZE, &error);
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_IMAGE);
    g_assert_nonnull(strstr(error->message, "extensions have no end"));
}

static void test_own_limits(void)
{
    VmigQcow2Limits limits = vmig_qcow2_default_limits;
    guint8 image[SIZE];
    Memory memory = {image, SIZE, 0, 0};

    fill(image);
    for (guint i = 0; i < 5; i++) {
        g_autoptr(GError) error = NULL;
        limits = vmig_qcow2_default_limits;
        guint32 *small[] = {&limits.max_snapshots, &limits.max_id, &limits.max_name, &limits.max_extra};
        if (i < 4)
            *small[i] = i == 0 ? 1 : 0;
        else
            limits.max_table = 100; /* both fixed parts fit, but not the entries */
        g_autoptr(VmigQcow2) q = vmig_qcow2_read(read_memory, &memory, SIZE, &limits, &error);
        g_assert_null(q);
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_IMAGE);
    }
}

/* At every length the result is the image or a refusal, and never a read outside it (checked in read_memory()). */
static void test_truncated(void)
{
    guint8 image[SIZE];

    fill(image);
    for (gsize size = 0; size < SIZE; size++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VmigQcow2) q = read_image(image, size, &error);
        g_assert_true((q == NULL) == (error != NULL));
        if (size < SNAP_L1 + CLUSTER + (L1_ENTRIES + 1) * 8)
            g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_IMAGE);
    }
}

static void test_read_errors(void)
{
    guint8 image[SIZE];
    guint total = 0;

    fill(image);
    for (guint i = 1;; i++) {
        g_autoptr(GError) error = NULL;
        Memory memory = {image, SIZE, 0, i};
        g_autoptr(VmigQcow2) q = vmig_qcow2_read(read_memory, &memory, SIZE, NULL, &error);
        if (q != NULL)
            break;
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IO);
        total++;
    }
    g_assert_cmpuint(total, >, 8);
}

static void try_mutant(guint8 *image)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigQcow2) q = read_image(image, SIZE, &error);

    g_assert_true((q == NULL) == (error != NULL));
    if (error != NULL)
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_IMAGE);
    else
        g_assert_cmpuint(q->nb_snapshots, ==, q->snapshots->len);
}

/* Every byte of header and snapshot table, each with extreme values; then many at once. */
static void test_mutants(void)
{
    static const guint8 values[] = {0x00, 0x01, 0x02, 0x7f, 0x80, 0xff};
    guint8 image[SIZE];

    for (guint at = 0; at < TABLE + CLUSTER; at++) {
        if (at == CLUSTER)
            at = TABLE;
        for (guint i = 0; i < G_N_ELEMENTS(values); i++) {
            fill(image);
            image[at] = values[i];
            try_mutant(image);
        }
    }
    for (guint i = 0; i < 100000; i++) {
        fill(image);
        for (gint n = g_test_rand_int_range(1, 5); n > 0; n--) {
            gint at = g_test_rand_int_range(4, 2 * CLUSTER);
            image[at < CLUSTER ? at : at - CLUSTER + TABLE] = (guint8)g_test_rand_int();
        }
        try_mutant(image);
    }
}

static void test_count(void)
{
    guint8 image[SIZE];
    Memory memory = {image, SIZE, 0, 0};
    g_autoptr(GError) error = NULL;
    guint32 count = 0;

    fill(image);
    put(image + 60, 4, 0x01020304);
    g_assert_true(vmig_qcow2_count_snapshots(read_memory, &memory, SIZE, &count, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(count, ==, 0x01020304);
    g_assert_cmpuint(memory.reads, ==, 1);
    g_assert_false(vmig_qcow2_count_snapshots(read_memory, &memory, 63, &count, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_IMAGE);
    g_clear_error(&error);
    image[0] = 0;
    g_assert_false(vmig_qcow2_count_snapshots(read_memory, &memory, SIZE, &count, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_IMAGE);
}

static void test_backing_names(void)
{
    static const char *const plain[] = {"base.qcow2", "../b", "/abs/b", "./nbd:host", "dir/a:b", "ü", "a b", "-b"};
    static const char *const other[] = {"",        "json:{}", "nbd://host", "nbd:host", "ssh://x/y", "fat:/etc",
                                        "file:/x", "a\nb",    "a\x1b[0m",   "a\x7f",    "\xff\xfe",  "blkdebug::x",
                                        "FILE:/x", ":",       "\xc2\x85",   "a:b/c"};

    for (guint i = 0; i < G_N_ELEMENTS(plain); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_true(vmig_backing_name_is_plain(plain[i], &error));
        g_assert_no_error(error);
    }
    for (guint i = 0; i < G_N_ELEMENTS(other); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(vmig_backing_name_is_plain(other[i], &error));
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CHAIN);
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
    }
}

static void test_resolve(void)
{
    static const char *const rows[][3] = {
        {"/i/vm/a.qcow2", "b.qcow2", "/i/vm/b.qcow2"},     {"/i/vm/a.qcow2", "../c/b.qcow2", "/i/c/b.qcow2"},
        {"/i/vm/a.qcow2", "/x/./y//b", "/x/y/b"},          {"/a", "../../../etc/shadow", "/etc/shadow"},
        {"/i/vm/a.qcow2", "./nbd:host", "/i/vm/nbd:host"},
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = vmig_backing_resolve(rows[i][0], rows[i][1]);
        g_assert_cmpstr(path, ==, rows[i][2]);
    }
}

static void test_printable(void)
{
    static const struct {
        const char *bytes;
        gsize length;
        const char *text;
    } rows[] = {
        {"plain \xc3\xbc", 8, "plain \xc3\xbc"},
        {"a\xff", 2, "a\\xff"},
        {"a\\xff", 5, "a\\\\xff"},
        {"\x1b[31m\n", 6, "\\x1b[31m\\x0a"},
        {"\0x", 2, "\\x00x"},
        {"\xc3", 1, "\\xc3"},
        {"\xe2\x80\xae", 3, "\\xe2\\x80\\xae"}, /* reverses the direction of the text */
        {"", 0, ""},
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = vmig_printable(rows[i].bytes, rows[i].length);
        g_assert_cmpstr(text, ==, rows[i].text);
    }
}

/* --- images that QEMU made --- */

static void qemu_img(const char *folder, const char *arguments)
{
    g_autofree char *line = g_strconcat("qemu-img ", arguments, NULL);
    g_auto(GStrv) argv = NULL;
    g_autoptr(GError) error = NULL;
    gint status = 0;

    g_assert_true(g_shell_parse_argv(line, NULL, &argv, NULL));
    g_spawn_sync(folder, argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, NULL, &status,
                 &error);
    g_assert_no_error(error);
    g_spawn_check_wait_status(status, &error);
    g_assert_no_error(error);
}

static VmigQcow2 *read_file(const char *folder, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *data = NULL;
    gsize size = 0;

    g_assert_true(g_file_get_contents(path, &data, &size, NULL));
    return read_image((guint8 *)data, size, error);
}

static void remove_folder(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    for (const char *name = g_dir_read_name(dir); name != NULL; name = g_dir_read_name(dir)) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_unlink(path);
    }
    g_rmdir(folder);
}

/* Every kind of image that is allowed, fresh and with snapshots, is read. */
static void test_qemu_kinds(void)
{
    static const char *const options[] = {
        "compat=1.1",        "compat=0.10",           "cluster_size=512",       "cluster_size=2M",
        "extended_l2=on",    "compression_type=zstd", "preallocation=metadata", "preallocation=full",
        "lazy_refcounts=on", "refcount_bits=64",      "refcount_bits=1",
    };
    g_autofree char *qemu = g_find_program_in_path("qemu-img");

    if (qemu == NULL) {
        g_test_skip("no qemu-img");
        return;
    }
    g_autofree char *folder = g_dir_make_tmp("vmig-qcow2-XXXXXX", NULL);
    for (guint i = 0; i < G_N_ELEMENTS(options); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *create = g_strdup_printf("create -f qcow2 -o %s a.qcow2 9M", options[i]);
        qemu_img(folder, create);
        g_autoptr(VmigQcow2) fresh = read_file(folder, "a.qcow2", &error);
        g_assert_no_error(error);
        g_assert_cmpuint(fresh->virtual_size, ==, 9 << 20);
        g_assert_cmpuint(fresh->version, ==, i == 1 ? 2 : 3);
        g_assert_cmpint(fresh->extended_l2, ==, i == 4);
        if (g_str_equal(options[i], "refcount_bits=1"))
            continue; /* cannot have snapshots */
        qemu_img(folder, "snapshot -c one a.qcow2");
        qemu_img(folder, "snapshot -c one a.qcow2");
        g_autoptr(VmigQcow2) later = read_file(folder, "a.qcow2", &error);
        g_assert_no_error(error);
        g_assert_cmpuint(later->snapshots->len, ==, 2);
        const VmigQcow2Snapshot *second = later->snapshots->pdata[1];
        g_assert_cmpstr(second->id, ==, "2");
        g_assert_cmpuint(second->disk_size, ==, 9 << 20);
        g_assert_cmpmem(g_bytes_get_data(second->name, NULL), g_bytes_get_size(second->name), "one", 3);
    }
    remove_folder(folder);
}

static void test_qemu_backing(void)
{
    g_autofree char *qemu = g_find_program_in_path("qemu-img");
    g_autoptr(GError) error = NULL;

    if (qemu == NULL) {
        g_test_skip("no qemu-img");
        return;
    }
    g_autofree char *folder = g_dir_make_tmp("vmig-qcow2-XXXXXX", NULL);
    qemu_img(folder, "create -f qcow2 b.qcow2 9M");
    qemu_img(folder, "create -f qcow2 -b b.qcow2 -F qcow2 a.qcow2");
    qemu_img(folder, "create -f qcow2 -o data_file=d.raw d.qcow2 9M");
    qemu_img(folder, "bitmap --add b.qcow2 x");
    g_autoptr(VmigQcow2) a = read_file(folder, "a.qcow2", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(a->backing_name, ==, "b.qcow2");
    g_assert_cmpstr(a->backing_format, ==, "qcow2");
    g_autoptr(VmigQcow2) b = read_file(folder, "b.qcow2", &error);
    g_assert_no_error(error);
    g_assert_true(b->has_bitmaps);
    g_assert_cmpuint(b->n_bitmaps, ==, 1);
    g_autoptr(VmigQcow2) d = read_file(folder, "d.qcow2", &error);
    g_assert_no_error(error);
    g_assert_true(d->data_file);
    g_assert_cmpstr(d->data_file_name, ==, "d.raw");
    remove_folder(folder);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qcow2/fields", test_fields);
    for (guint i = 0; i < G_N_ELEMENTS(refusals); i++) {
        g_autofree char *name = g_strconcat("/qcow2/refused/", refusals[i].what, NULL);
        g_test_add_data_func(name, GUINT_TO_POINTER(i), test_refusal);
    }
    g_test_add_func("/qcow2/reported", test_reported);
    g_test_add_func("/qcow2/version-2", test_version_2);
    g_test_add_func("/qcow2/extensions-without-end", test_extensions_without_end);
    g_test_add_func("/qcow2/own-limits", test_own_limits);
    g_test_add_func("/qcow2/truncated", test_truncated);
    g_test_add_func("/qcow2/read-errors", test_read_errors);
    g_test_add_func("/qcow2/mutants", test_mutants);
    g_test_add_func("/qcow2/count", test_count);
    g_test_add_func("/qcow2/backing-names", test_backing_names);
    g_test_add_func("/qcow2/resolve", test_resolve);
    g_test_add_func("/qcow2/printable", test_printable);
    g_test_add_func("/qcow2/qemu/kinds", test_qemu_kinds);
    g_test_add_func("/qcow2/qemu/backing", test_qemu_backing);
    return g_test_run();
}
