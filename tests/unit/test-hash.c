/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tree hash: compared with a second implementation of its definition, and unaffected by anything else. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>
#include <openssl/evp.h>

#include "copy/file-hash.h"
#include "copy/hash-behind.h"
#include "tests/unit/cpu.h"

static const guint64 sizes[] = {0,
                                1,
                                511,
                                512,
                                4095,
                                4096,
                                4097,
                                VMIG_HASH_BLOCK - 1,
                                VMIG_HASH_BLOCK,
                                VMIG_HASH_BLOCK + 1,
                                3 * VMIG_HASH_BLOCK + 777};

typedef struct {
    char *path;
    int fd;
} File;

static File make_file(guint64 size)
{
    const char *folder = g_getenv("VMIG_TEST_DIR");
    File file = {.path = g_build_filename(folder != NULL ? folder : "/var/tmp", "vmig-hash-XXXXXX", NULL)};

    file.fd = g_mkstemp(file.path);
    g_assert_cmpint(file.fd, >=, 0);
    g_assert_cmpint(ftruncate(file.fd, (off_t)size), ==, 0);
    return file;
}

static void drop_file(File *file)
{
    close(file->fd);
    g_unlink(file->path);
    g_free(file->path);
}

static void put(const File *file, guint64 offset, const void *data, gsize length)
{
    g_assert_cmpint(pwrite(file->fd, data, length, (off_t)offset), ==, (gssize)length);
}

static guint8 *noise(gsize length)
{
    guint8 *data = g_malloc(length + 8);

    for (gsize i = 0; i < length; i += 4) {
        guint32 word = (guint32)g_test_rand_int();
        memcpy(data + i, &word, 4);
    }
    return data;
}

static const VmigHashKey key = {{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54,
                                 0x32, 0x10, 's',  'u',  'm',  'm',  'a',  'r',  'y',  ' ',  'k',  'e',  'y',  '.'}};

/* A polynomial of GCM's field (NIST SP 800-38D, 6.3): the first bit of the first byte is the factor of x^0. */
typedef struct {
    guint64 high, low;
} Field;

static Field field_of(const guint8 bytes[16])
{
    Field f;

    memcpy(&f.high, bytes, 8);
    memcpy(&f.low, bytes + 8, 8);
    return (Field){GUINT64_FROM_BE(f.high), GUINT64_FROM_BE(f.low)};
}

static Field times(Field x, Field y)
{
    Field z = {0, 0};

    for (guint i = 0; i < 128; i++) {
        guint64 bit = i < 64 ? x.high >> (63 - i) & 1 : x.low >> (127 - i) & 1;
        guint64 carry = y.low & 1;
        z.high ^= -bit & y.high;
        z.low ^= -bit & y.low;
        y.low = y.low >> 1 | y.high << 63;
        y.high = y.high >> 1 ^ (-carry & G_GUINT64_CONSTANT(0xe1) << 56);
    }
    return z;
}

static void aes(const guint8 in[16], guint8 out[16])
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int length = 0;

    g_assert_cmpint(EVP_EncryptInit_ex(context, EVP_aes_128_ecb(), NULL, key.bytes, NULL), ==, 1);
    EVP_CIPHER_CTX_set_padding(context, 0);
    g_assert_cmpint(EVP_EncryptUpdate(context, out, &length, in, 16), ==, 1);
    EVP_CIPHER_CTX_free(context);
}

static void gmac(const guint8 *data, gsize size, guint8 ret[16])
{
    guint8 zeros[16] = {0}, first[16] = {[15] = 1}, bytes[16];
    Field sum = {0, 0};

    aes(zeros, bytes);
    Field h = field_of(bytes);
    for (gsize at = 0; at < size; at += 16) {
        memset(bytes, 0, 16);
        memcpy(bytes, data + at, MIN(16, size - at));
        Field next = field_of(bytes);
        sum = times((Field){sum.high ^ next.high, sum.low ^ next.low}, h);
    }
    sum = times((Field){sum.high ^ size * 8, sum.low}, h);
    aes(first, bytes);
    Field mask = field_of(bytes);
    guint64 high = GUINT64_TO_BE(sum.high ^ mask.high), low = GUINT64_TO_BE(sum.low ^ mask.low);
    memcpy(ret, &high, 8);
    memcpy(ret + 8, &low, 8);
}

/* The definition in file-hash.h, implemented as plainly as possible. */
static char *expected(const guint8 *data, guint64 size)
{
    g_autoptr(GByteArray) all = g_byte_array_new();
    guint64 little = GUINT64_TO_LE(size);
    guint8 digest[16];

    g_byte_array_append(all, key.bytes + 16, 16);
    g_byte_array_append(all, (const guint8 *)&little, sizeof little);
    for (guint64 at = 0; at < size; at += VMIG_HASH_BLOCK) {
        gmac(data + at, MIN(VMIG_HASH_BLOCK, size - at), digest);
        g_byte_array_append(all, digest, sizeof digest);
    }
    g_autofree char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, all->data, all->len);
    sum[32] = 0; /* the first half */
    return g_strconcat("gmact:", sum, NULL);
}

static char *hash_of(const File *file, guint64 size, guint threads)
{
    g_autoptr(GError) error = NULL;
    char *hash = vmig_file_hash(&key, file->fd, size, threads, NULL, NULL, NULL, &error);

    g_assert_no_error(error);
    return hash;
}

static void test_definition(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree guint8 *data = noise(sizes[i]);
        g_autofree char *want = expected(data, sizes[i]);
        File file = make_file(sizes[i]);
        put(&file, 0, data, sizes[i]);
        for (guint threads = 0; threads < 4; threads++) {
            g_autofree char *got = hash_of(&file, sizes[i], threads);
            g_assert_cmpstr(got, ==, want);
        }
        drop_file(&file);
    }
}

/* It is sent between hosts and stored in journals: a fixed result ensures that it cannot change unnoticed. */
static void test_fixed_answer(void)
{
    File file = make_file(10);
    put(&file, 0, "vmig-snap\n", 10);
    g_autofree char *got = hash_of(&file, 10, 0);

    g_assert_cmpstr(got, ==, "gmact:60878c1a64442b0c4933a32e2dc7d03d");
    drop_file(&file);
}

/* Another key gives another hash: one job's hashes reveal nothing about another's. */
static void test_key_matters(void)
{
    guint8 digests[2][VMIG_HASH_BYTES];
    VmigHashKey keys[2] = {key, key};
    g_autofree char *text = vmig_hash_key_to_text(&key);
    g_autoptr(GError) error = NULL;

    g_assert_true(vmig_hash_key_read(text, &keys[0], &error));
    g_assert_cmpmem(&keys[0], sizeof key, &key, sizeof key);
    for (guint byte = 0; byte < VMIG_HASH_KEY_BYTES; byte++) {
        keys[1] = key;
        keys[1].bytes[byte] ^= 0x80;
        g_autoptr(VmigTreeHash) one = vmig_tree_hash_new(10, &keys[0]), two = vmig_tree_hash_new(10, &keys[1]);
        vmig_tree_hash_set_block(one, 0, "vmig-snap\n", 10);
        vmig_tree_hash_set_block(two, 0, "vmig-snap\n", 10);
        vmig_tree_hash_get_digest(one, 0, digests[0]);
        vmig_tree_hash_get_digest(two, 0, digests[1]);
        g_assert_true((memcmp(digests[0], digests[1], VMIG_HASH_BYTES) != 0) == (byte < 16));
        g_autofree char *first = vmig_tree_hash_finish(one, NULL), *second = vmig_tree_hash_finish(two, NULL);
        g_assert_cmpstr(first, !=, second);
        g_assert_true((vmig_tree_hash_seed(one) != vmig_tree_hash_seed(two)) == (byte >= 16));
    }
    g_assert_true(vmig_hash_key_draw(&keys[1], NULL) && vmig_hash_key_draw(&keys[0], NULL));
    g_assert_true(memcmp(&keys[0], &keys[1], sizeof key) != 0);
}

static void test_bad_keys(void)
{
    static const char digits[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    static const char *const bad[] = {"",
                                      "00",
                                      digits + 1,
                                      "+0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
                                      "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff",
                                      "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff0"};
    VmigHashKey read;

    g_assert_true(vmig_hash_key_read(digits, &read, NULL));
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(vmig_hash_key_read(bad[i], &read, &error));
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
    }
}

/* GMAC is linear in the data: if GMAC also combined the blocks' hashes, changes in two blocks, one of them 16 bytes
 * nearer to the end, would cancel out under every key. */
static void test_changes_do_not_cancel_out(void)
{
    guint64 size = 2 * VMIG_HASH_BLOCK;
    g_autofree guint8 *data = noise(size);
    File file = make_file(size);

    put(&file, 0, data, size);
    g_autofree char *before = hash_of(&file, size, 0);
    data[10 * 16] ^= 1;
    data[VMIG_HASH_BLOCK + 9 * 16] ^= 1;
    put(&file, 0, data, size);
    g_autofree char *after = hash_of(&file, size, 0);
    g_assert_cmpstr(before, !=, after);
    drop_file(&file);
}

static void test_holes_are_zeros(void)
{
    guint64 size = 5 * VMIG_HASH_BLOCK + 123;
    g_autofree guint8 *data = g_malloc0(size);
    File sparse = make_file(size), full = make_file(size);

    memset(data + VMIG_HASH_BLOCK + 70000, 7, 5000);
    data[size - 1] = 1;
    put(&full, 0, data, size);
    put(&sparse, VMIG_HASH_BLOCK + 70000, data + VMIG_HASH_BLOCK + 70000, 5000);
    put(&sparse, size - 1, data + size - 1, 1);
    g_autofree char *one = hash_of(&sparse, size, 2), *two = hash_of(&full, size, 2), *want = expected(data, size);
    g_assert_cmpstr(one, ==, want);
    g_assert_cmpstr(two, ==, want);
    drop_file(&sparse);
    drop_file(&full);
}

static void test_every_bit_counts(void)
{
    guint64 size = 2 * VMIG_HASH_BLOCK + 5;
    g_autofree guint8 *data = noise(size);
    File file = make_file(size);
    put(&file, 0, data, size);
    g_autofree char *before = hash_of(&file, size, 0);
    const guint64 places[] = {0, 4095, VMIG_HASH_BLOCK - 1, VMIG_HASH_BLOCK, size - 1};

    for (guint i = 0; i < G_N_ELEMENTS(places); i++) {
        guint8 flipped = data[places[i]] ^ 1;
        put(&file, places[i], &flipped, 1);
        g_autofree char *after = hash_of(&file, size, 0);
        g_assert_cmpstr(after, !=, before);
        put(&file, places[i], data + places[i], 1);
    }
    g_autofree char *again = hash_of(&file, size, 0);
    g_assert_cmpstr(again, ==, before);
    drop_file(&file);
}

static void test_zeros_of_other_lengths_differ(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        File file = make_file(sizes[i]);
        g_assert_true(g_hash_table_add(seen, hash_of(&file, sizes[i], 0)));
        drop_file(&file);
    }
}

static void test_missing_block(void)
{
    guint64 size = 2 * VMIG_HASH_BLOCK + 1;
    g_autoptr(VmigTreeHash) hash = vmig_tree_hash_new(size, &key);
    g_autoptr(GError) error = NULL;
    guint8 digest[VMIG_HASH_BYTES];

    g_assert_cmpuint(vmig_tree_hash_blocks(hash), ==, 3);
    vmig_tree_hash_set_zero(hash, 2);
    vmig_tree_hash_set_zero(hash, 0);
    g_assert_false(vmig_tree_hash_get_digest(hash, 1, digest));
    g_assert_null(vmig_tree_hash_finish(hash, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_INTERNAL);
}

static void test_out_of_order(void)
{
    guint64 size = 3 * VMIG_HASH_BLOCK + 9;
    g_autofree guint8 *data = noise(size);
    g_autofree char *want = expected(data, size);
    g_autoptr(VmigTreeHash) hash = vmig_tree_hash_new(size, &key);
    g_autoptr(GError) error = NULL;

    for (guint64 i = vmig_tree_hash_blocks(hash); i-- > 0;)
        vmig_tree_hash_set_block(hash, i, data + i * VMIG_HASH_BLOCK, vmig_tree_hash_block_length(hash, i));
    g_autofree char *got = vmig_tree_hash_finish(hash, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(got, ==, want);
}

static void test_is_zero(void)
{
    guint8 data[100] = {0};

    for (gsize length = 0; length <= sizeof data; length++) {
        g_assert_true(vmig_is_zero(data, length));
        for (gsize i = 0; i < length; i++) {
            data[i] = 128;
            g_assert_false(vmig_is_zero(data, length));
            data[i] = 0;
        }
    }
}

static void test_wrong_size(void)
{
    File file = make_file(5000);
    g_autoptr(GError) error = NULL;

    g_assert_null(vmig_file_hash(&key, file.fd, 4999, 0, NULL, NULL, NULL, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BASE_CHANGED);
    drop_file(&file);
}

typedef struct {
    File file;
    guint64 size; /* to set at the first call */
    guint calls;
    GCancellable *cancellable;
} Meddler;

static void meddle(gpointer user, guint64 done G_GNUC_UNUSED, guint64 total G_GNUC_UNUSED)
{
    Meddler *meddler = user;

    if (meddler->calls++ == 0 && meddler->cancellable == NULL)
        g_assert_cmpint(ftruncate(meddler->file.fd, (off_t)meddler->size), ==, 0);
    if (meddler->cancellable != NULL)
        g_cancellable_cancel(meddler->cancellable);
}

/* The last progress() call comes before the size is checked again. */
static void test_size_changes(void)
{
    for (gint change = -1; change <= 1; change += 2) {
        guint64 size = 10 * VMIG_HASH_BLOCK;
        Meddler meddler = {.file = make_file(size), .size = size + (guint64)(change * 4096)};
        g_autoptr(GError) error = NULL;
        g_assert_null(vmig_file_hash(&key, meddler.file.fd, size, 1, NULL, meddle, &meddler, &error));
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BASE_CHANGED);
        drop_file(&meddler.file);
    }
}

static void test_cancel(void)
{
    File file = make_file(10 * VMIG_HASH_BLOCK);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL;

    g_cancellable_cancel(cancellable);
    g_assert_null(vmig_file_hash(&key, file.fd, 10 * VMIG_HASH_BLOCK, 0, cancellable, NULL, NULL, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CANCELLED);
    drop_file(&file);
}

/* A terabyte of holes must cost next to nothing. */
static void test_huge_hole(void)
{
    guint64 size = G_GUINT64_CONSTANT(1) << 40;
    File file = make_file(size);
    gint64 before = cpu_time();

    put(&file, size / 2, "x", 1);
    g_autofree char *hash = hash_of(&file, size, 0);
    g_assert_cmpint(cpu_time() - before, <, 20 * G_USEC_PER_SEC);
    drop_file(&file);
}

static void test_walk(void)
{
    guint64 size = 20 * VMIG_HASH_BLOCK + 1;
    File file = make_file(size);
    g_autoptr(VmigBlockWalk) walk = vmig_block_walk_new(file.fd, size);
    g_autoptr(GError) error = NULL;
    guint64 next = 0, data = 0;
    VmigBlockRun run;

    put(&file, 5 * VMIG_HASH_BLOCK - 1, "xy", 2); /* the last byte of block 4 and the first of 5 */
    put(&file, size - 1, "z", 1);
    for (;;) {
        g_assert_true(vmig_block_walk_next(walk, &run, &error));
        if (run.count == 0)
            break;
        g_assert_cmpuint(run.first, ==, next);
        next += run.count;
        data += run.hole ? 0 : run.count;
        if (run.first <= 4 && next > 4)
            g_assert_false(run.hole);
    }
    g_assert_cmpuint(next, ==, 21);
    g_assert_cmpuint(data, ==, 3);
    drop_file(&file);
}

static gboolean appears(const VmigTreeHash *hash, guint64 index, gint64 limit)
{
    gint64 until = g_get_monotonic_time() + limit;
    guint8 digest[VMIG_HASH_BYTES];

    while (!vmig_tree_hash_get_digest(hash, index, digest))
        if (g_get_monotonic_time() > until)
            return FALSE;
        else
            g_usleep(1000);
    return TRUE;
}

/* Hashes only completely written blocks, not reserved or partly written ones. */
static void test_behind(void)
{
    guint64 size = 4 * VMIG_HASH_BLOCK + 4096;
    File file = make_file(size);
    g_autoptr(VmigTreeHash) hash = vmig_tree_hash_new(size, &key);
    g_autoptr(GError) error = NULL;
    guint8 *data = g_aligned_alloc(1, VMIG_HASH_BLOCK, 4096);
    int direct = vmig_open_direct(file.fd, O_WRONLY);
    g_autofree char *folder_path = g_path_get_dirname(file.path);
    int folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VmigHashBehind *behind = vmig_hash_behind_new(hash, folder, file.fd, size, 4);
    close(folder);

    if (behind == NULL || direct < 0) {
        g_test_skip("this file system does not tell written from reserved, or has no direct I/O");
    } else {
        memset(data, 7, VMIG_HASH_BLOCK);
        g_assert_cmpint(fallocate(file.fd, 0, 0, (off_t)size), ==, 0);
        g_assert_cmpint(pwrite(direct, data, VMIG_HASH_BLOCK / 2, 0), ==, VMIG_HASH_BLOCK / 2);
        g_assert_cmpint(pwrite(direct, data, VMIG_HASH_BLOCK, 2 * VMIG_HASH_BLOCK), ==, VMIG_HASH_BLOCK);
        g_assert_cmpint(pwrite(direct, data, 4096, 4 * VMIG_HASH_BLOCK), ==, 4096);
        g_assert_true(appears(hash, 2, 60 * G_USEC_PER_SEC));
        g_assert_false(appears(hash, 4, G_USEC_PER_SEC / 10)); /* not allowed yet */
        vmig_hash_behind_allow(behind, 5);
        g_assert_true(appears(hash, 4, 60 * G_USEC_PER_SEC));
        g_assert_false(appears(hash, 0, G_USEC_PER_SEC / 10));
        g_assert_false(appears(hash, 1, 0));
        g_assert_false(appears(hash, 3, 0));
        g_assert_cmpint(pwrite(direct, data, VMIG_HASH_BLOCK / 2, VMIG_HASH_BLOCK / 2), ==, VMIG_HASH_BLOCK / 2);
        g_assert_true(appears(hash, 0, 60 * G_USEC_PER_SEC));
        vmig_hash_behind_free(behind);
        g_assert_true(vmig_file_hash_fill(hash, file.fd, size, 0, NULL, NULL, NULL, &error));
        g_autofree char *got = vmig_tree_hash_finish(hash, &error), *want = hash_of(&file, size, 0);
        g_assert_cmpstr(got, ==, want);
    }
    g_aligned_free(data);
    close(direct);
    drop_file(&file);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hash/definition", test_definition);
    g_test_add_func("/hash/fixed-answer", test_fixed_answer);
    g_test_add_func("/hash/key-matters", test_key_matters);
    g_test_add_func("/hash/bad-keys", test_bad_keys);
    g_test_add_func("/hash/changes-do-not-cancel-out", test_changes_do_not_cancel_out);
    g_test_add_func("/hash/holes-are-zeros", test_holes_are_zeros);
    g_test_add_func("/hash/every-bit-counts", test_every_bit_counts);
    g_test_add_func("/hash/zeros-of-other-lengths-differ", test_zeros_of_other_lengths_differ);
    g_test_add_func("/hash/missing-block", test_missing_block);
    g_test_add_func("/hash/out-of-order", test_out_of_order);
    g_test_add_func("/hash/is-zero", test_is_zero);
    g_test_add_func("/hash/wrong-size", test_wrong_size);
    g_test_add_func("/hash/size-changes", test_size_changes);
    g_test_add_func("/hash/cancel", test_cancel);
    g_test_add_func("/hash/huge-hole", test_huge_hole);
    g_test_add_func("/hash/walk", test_walk);
    g_test_add_func("/hash/behind", test_behind);
    return g_test_run();
}
