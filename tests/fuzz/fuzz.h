/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the targets share: libFuzzer's entry, or replay.c's, and a folder in memory for those that need files. */
#pragma once

#include <glib.h>
#include <glib/gstdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A zero behind it, and none in it: what a reader of text gets. (transfer full) */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    return size > 0 ? g_strndup((const char *)data, size) : g_strdup(""); /* data may be NULL then */
}

static inline void fuzz_remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        fuzz_remove_tree(child);
    }
    (void)g_remove(path);
}

static char *fuzz_folder_path;

static inline void fuzz_remove_folder(void)
{
    fuzz_remove_tree(fuzz_folder_path);
}

/* One for the process, removed when it ends in order. */
static inline const char *fuzz_folder(void)
{
    if (fuzz_folder_path != NULL)
        return fuzz_folder_path;
    g_autofree char *name =
        g_build_filename(g_access("/dev/shm", W_OK) == 0 ? "/dev/shm" : g_get_tmp_dir(), "vmig-fuzz-XXXXXX", NULL);
    g_assert(g_mkdtemp(name) != NULL);
    fuzz_folder_path = g_steal_pointer(&name);
    atexit(fuzz_remove_folder);
    return fuzz_folder_path;
}
