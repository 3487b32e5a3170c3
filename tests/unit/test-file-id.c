/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The identity of a file: a hard link is the same file, a copy is not, and neither is the same inode elsewhere. */
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file-id.h"

static void test_same(void)
{
    g_autofree char *dir = g_dir_make_tmp("vmig-file-id-XXXXXX", NULL);
    g_autofree char *one = g_build_filename(dir, "one", NULL);
    g_autofree char *linked = g_build_filename(dir, "linked", NULL);
    g_autofree char *other = g_build_filename(dir, "other", NULL);
    struct stat a, b, c;

    g_assert_true(g_file_set_contents(one, "x", 1, NULL));
    g_assert_true(g_file_set_contents(other, "x", 1, NULL));
    g_assert_cmpint(link(one, linked), ==, 0);
    g_assert_true(stat(one, &a) == 0 && stat(linked, &b) == 0 && stat(other, &c) == 0);
    g_assert_true(vmig_file_id_equal(VMIG_FILE_ID(a), VMIG_FILE_ID(b)));
    g_assert_false(vmig_file_id_equal(VMIG_FILE_ID(a), VMIG_FILE_ID(c)));
    g_assert_true(vmig_file_id_is(VMIG_FILE_ID(a), b.st_dev, b.st_ino));
    g_assert_false(vmig_file_id_is(VMIG_FILE_ID(a), b.st_dev + 1, b.st_ino));
    g_assert_false(vmig_file_id_is(VMIG_FILE_ID(a), b.st_dev, b.st_ino + 1));
    g_unlink(one);
    g_unlink(linked);
    g_unlink(other);
    g_rmdir(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/file-id/same", test_same);
    return g_test_run();
}
