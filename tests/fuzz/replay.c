/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs a fuzzer's entry over a folder of inputs without a fuzzer: each as it is, cut off at many places, and with bytes
 * of its first 8 KiB overwritten in an order that is always the same. A crash or a failed assertion is the failure. */
#include <glib.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DAMAGED_AREA 8192
/* Of damage to each input; the build says how many. */
#ifndef ROUNDS
#define ROUNDS 20000
#endif

/* A copy of exactly that size on the heap, so that a sanitizer or valgrind sees a read past its end. */
static void run_copy(const uint8_t *data, size_t size)
{
    g_autofree uint8_t *copy = g_memdup2(data, size);

    LLVMFuzzerTestOneInput(copy, size);
}

static void run_damaged(const uint8_t *data, size_t size, guint32 seed)
{
    static const guint8 nasty[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    g_autofree uint8_t *copy = g_memdup2(data, size);
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    gint32 area = (gint32)MIN(size, DAMAGED_AREA);

    for (int n = g_rand_int_range(rand, 1, 9); n > 0 && area > 0; n--) {
        /* Half of the damage goes to the header, where most of the decisions are made. */
        gint32 at = g_rand_int_range(rand, 0, g_rand_boolean(rand) ? MIN(area, 112) : area);
        copy[at] = g_rand_boolean(rand) ? nasty[g_rand_int_range(rand, 0, G_N_ELEMENTS(nasty))]
                                        : (guint8)g_rand_int_range(rand, 0, 256);
    }
    LLVMFuzzerTestOneInput(copy, size);
}

static gboolean run_file(const char *path)
{
    g_autofree char *data = NULL;
    gsize size;

    if (!g_file_get_contents(path, &data, &size, NULL))
        return FALSE;
    run_copy((const uint8_t *)data, size);
    for (gsize length = 0; length < MIN(size, DAMAGED_AREA); length += length < MIN(256, ROUNDS) ? 1 : 37)
        run_copy((const uint8_t *)data, length);
    for (guint32 seed = 1; seed <= ROUNDS; seed++)
        run_damaged((const uint8_t *)data, size, seed);
    return TRUE;
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of its files, sorted, so that every run is the same. (transfer full) */
static GPtrArray *list_folder(const char *path)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL)
        g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, by_name);
    return names;
}

int main(int argc, char **argv)
{
    g_autoptr(GPtrArray) names = list_folder(argc == 2 ? argv[1] : "");
    int failed = 0;

    printf("1..%u\n", names->len);
    for (guint i = 0; i < names->len; i++) {
        g_autofree char *path = g_build_filename(argv[1], names->pdata[i], NULL);
        gboolean ok = run_file(path);
        printf("%s %u %s, cut off and damaged %d times\n", ok ? "ok" : "not ok", i + 1, (char *)names->pdata[i],
               ROUNDS);
        fflush(stdout);
        failed += !ok;
    }
    return failed > 0 || names->len == 0;
}
