/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Paths: what is refused, where the map sends a file, and that generated names are unique, short enough and recognized.
 */
#include <glib.h>
#include <string.h>

#include "core/errors.h"
#include "core/path-map.h"

#define ID "0123456789abcdef"

static void test_check(void)
{
    static const char *const good[] = {"/a",     "/a/b.qcow2", "/ü/x y", "/a/...", "/a/..b",
                                       "/a=b:c", "/-",         "/a\\b",  "/'\""};
    static const char *const bad[] = {
        "",     "a",     "./a",    "../a",   "/",          "/a/",    "//a",   "/a//b", "/a/../b", "/..", "/a/.",
        "/./a", "/a\nb", "/a\x1b", "/a\x7f", "/a\xc2\x85", "/a\xff", "/\xc3", "nbd:x", "json:{}", " /a", "file:///a"};

    for (guint i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_true(vmig_path_check(good[i], &error));
        g_assert_no_error(error);
    }
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(vmig_path_check(bad[i], &error));
        g_assert_error(error, VMIG_ERROR, (int)VMIG_ERROR_BAD_PATH);
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
        g_assert_null(strpbrk(error->message, "\n\x1b"));
    }
    g_assert_false(vmig_path_check(NULL, NULL));
}

static void test_check_length(void)
{
    g_autofree char *part = g_strnfill(255, 'a');
    g_autofree char *fits = g_strconcat("/", part, NULL);
    g_autofree char *wide = g_strconcat("/", part, "a", NULL);
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < 15; i++)
        g_string_append_printf(text, "/%s", part);
    while (text->len < 4095)
        g_string_append(text, "/b");
    g_string_truncate(text, 4094);
    g_string_append_c(text, 'c');
    g_autofree char *longest = g_string_free(text, FALSE);
    g_autofree char *longer = g_strconcat(longest, "c", NULL);
    g_assert_true(vmig_path_check(fits, NULL));
    g_assert_false(vmig_path_check(wide, NULL));
    g_assert_cmpuint(strlen(longest), ==, 4095);
    g_assert_true(vmig_path_check(longest, NULL));
    g_assert_false(vmig_path_check(longer, NULL));
}

static void assert_apply(const VmigPathMap *map, const char *target, const char *path, const char *expected)
{
    g_autofree char *got = vmig_path_map_apply(map, target, path);

    g_assert_cmpstr(got, ==, expected);
}

static void add_dir(VmigPathMap *map, const char *text)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(vmig_path_map_add_dir(map, text, &error));
    g_assert_no_error(error);
}

static void test_apply(void)
{
    g_autoptr(VmigPathMap) map = vmig_path_map_new();
    g_autoptr(GError) error = NULL;

    assert_apply(map, "vda", "/a/x", "/a/x");
    add_dir(map, "/a/=/new//");
    add_dir(map, "/a/b=/deep");
    add_dir(map, "/a/b/c=/deeper=er");
    g_assert_true(vmig_path_map_add_target(map, "vda=/t/a=b.qcow2", &error));
    g_assert_no_error(error);
    assert_apply(map, "vda", "/a/b/x", "/t/a=b.qcow2");
    assert_apply(map, NULL, "/a/b/x", "/deep/x");
    assert_apply(map, "vdb", "/a/b/c/x/y", "/deeper=er/x/y");
    assert_apply(map, "vdb", "/a/x", "/new/x");
    assert_apply(map, "vdb", "/ab/x", "/ab/x");
    assert_apply(map, "vdb", "/a/bc", "/new/bc");
    assert_apply(map, "vdb", "/a", "/a");
    /* Only once: the result is not mapped again. */
    add_dir(map, "/deep=/a");
    assert_apply(map, "vdb", "/a/b/x", "/deep/x");
    g_autoptr(GPtrArray) targets = vmig_path_map_targets(map);
    g_assert_cmpuint(targets->len, ==, 1);
    g_assert_cmpstr(targets->pdata[0], ==, "vda");
}

static void test_apply_root(void)
{
    g_autoptr(VmigPathMap) down = vmig_path_map_new();
    g_autoptr(VmigPathMap) up = vmig_path_map_new();

    add_dir(down, "/=/mnt");
    assert_apply(down, NULL, "/a/x", "/mnt/a/x");
    add_dir(up, "/mnt=/");
    assert_apply(up, NULL, "/mnt/a/x", "/a/x");
    add_dir(up, "/a=b=/c");
    assert_apply(up, NULL, "/a=b/x", "/c/x");
}

static void assert_refused(const char *target, const char *dir, VmigErrorCode code)
{
    g_autoptr(VmigPathMap) map = vmig_path_map_new();
    g_autoptr(GError) error = NULL;

    g_assert_true(vmig_path_map_add_target(map, "vda=/x", NULL));
    g_assert_true(vmig_path_map_add_dir(map, "/x=/y", NULL));
    if (target != NULL)
        g_assert_false(vmig_path_map_add_target(map, target, &error));
    else
        g_assert_false(vmig_path_map_add_dir(map, dir, &error));
    g_assert_error(error, VMIG_ERROR, (int)code);
}

static void test_refused(void)
{
    assert_refused("", NULL, VMIG_ERROR_USAGE);
    assert_refused("vdb", NULL, VMIG_ERROR_USAGE);
    assert_refused("=/x", NULL, VMIG_ERROR_USAGE);
    assert_refused("vda=/z", NULL, VMIG_ERROR_USAGE);
    assert_refused("vdb=", NULL, VMIG_ERROR_BAD_PATH);
    assert_refused("vdb=x", NULL, VMIG_ERROR_BAD_PATH);
    assert_refused("vdb=/x/", NULL, VMIG_ERROR_BAD_PATH);
    assert_refused("vdb=/x/../y", NULL, VMIG_ERROR_BAD_PATH);
    assert_refused(NULL, "/a", VMIG_ERROR_USAGE);
    assert_refused(NULL, "/x/=/z", VMIG_ERROR_USAGE);
    assert_refused(NULL, "/a=", VMIG_ERROR_BAD_PATH);
    assert_refused(NULL, "=/a", VMIG_ERROR_BAD_PATH);
    assert_refused(NULL, "/a=b", VMIG_ERROR_BAD_PATH);
    assert_refused(NULL, "a=/b", VMIG_ERROR_BAD_PATH);
    assert_refused(NULL, "/a/..=/b", VMIG_ERROR_BAD_PATH);
    assert_refused(NULL, "/a=/b\xff", VMIG_ERROR_BAD_PATH);
}

static void test_below(void)
{
    g_assert_true(vmig_path_is_below("/a/b", "/a"));
    g_assert_true(vmig_path_is_below("/a/b", "/a/"));
    g_assert_true(vmig_path_is_below("/a/b", "/"));
    g_assert_false(vmig_path_is_below("/a", "/a"));
    g_assert_false(vmig_path_is_below("/ab", "/a"));
    g_assert_false(vmig_path_is_below("/a", "/a/b"));
}

static void assert_names(const char *base, const char *overlay, const char *park, const char *part)
{
    g_autofree char *got_overlay = vmig_overlay_path(base, ID);
    g_autofree char *got_hold = vmig_hold_path(base, ID);
    g_autofree char *got_part = vmig_part_path(base, ID);

    g_assert_cmpstr(got_overlay, ==, overlay);
    g_assert_cmpstr(got_hold, ==, park);
    g_assert_cmpstr(got_part, ==, part);
    g_assert_true(vmig_path_is_ours(got_overlay, ID));
    g_assert_true(vmig_path_is_ours(got_hold, ID));
    g_assert_true(vmig_path_is_ours(got_part, ID));
    g_assert_false(vmig_path_is_ours(got_overlay, "0123456789abcdee"));
    g_assert_false(vmig_path_is_ours(base, ID));
}

static void test_names(void)
{
    assert_names("/p/a.qcow2", "/p/a.vmig-" ID ".qcow2", "/p/a.vmig-" ID "-hold.qcow2", "/p/.a.qcow2.vmig-" ID ".part");
    assert_names("/a.img", "/a.img.vmig-" ID ".qcow2", "/a.img.vmig-" ID "-hold.qcow2", "/.a.img.vmig-" ID ".part");
    assert_names("/p/a.raw", "/p/a.raw.vmig-" ID ".qcow2", "/p/a.raw.vmig-" ID "-hold.qcow2",
                 "/p/.a.raw.vmig-" ID ".part");
    assert_names("/p/.qcow2", "/p/.qcow2.vmig-" ID ".qcow2", "/p/.qcow2.vmig-" ID "-hold.qcow2",
                 "/p/..qcow2.vmig-" ID ".part");
}

/* Even a name of 255 bytes has an overlay name; it is cut between characters, and two names that differ only in the
 * part cut off stay distinct. */
static void test_long_names(void)
{
    for (guint shift = 0; shift < 4; shift++) {
        g_autofree char *ascii = g_strnfill(shift, 'a');
        GString *name = g_string_new(ascii);
        while (name->len < 240)
            g_string_append(name, "€");
        g_autofree char *stem = g_string_free(name, FALSE);
        g_autofree char *one = g_strconcat("/p/", stem, "1.qcow2", NULL);
        g_autofree char *two = g_strconcat("/p/", stem, "2.qcow2", NULL);
        char *(*const makers[])(const char *, const char *) = {vmig_overlay_path, vmig_hold_path, vmig_part_path};
        for (guint i = 0; i < G_N_ELEMENTS(makers); i++) {
            g_autofree char *a = makers[i](one, ID);
            g_autofree char *b = makers[i](two, ID);
            g_assert_cmpstr(a, !=, b);
            g_assert_true(vmig_path_check(a, NULL));
            g_assert_cmpuint(strlen(a), >, 248);
            g_assert_true(vmig_path_is_ours(a, ID) && vmig_path_is_ours(b, ID));
        }
    }
}

static void test_is_ours(void)
{
    static const char *const foreign[] = {
        "/p/.vmig-" ID ".qcow2",
        "/p/.vmig-" ID "-hold.qcow2",
        "/p/..vmig-" ID ".part",
        "/p/a.vmig-" ID ".part",
        "/p/a.vmig-" ID ".qcow2.bak",
        "/p/a.vmig-" ID ".qcow2/x",
        "p/a.vmig-" ID ".qcow2",
        "/p/../a.vmig-" ID ".qcow2",
        "/p/a.vmig-.qcow2",
        "/p/avmig-" ID ".qcow2",
        "",
    };
    for (guint i = 0; i < G_N_ELEMENTS(foreign); i++)
        g_assert_false(vmig_path_is_ours(foreign[i], ID));
    g_assert_false(vmig_path_is_ours("/p/a.vmig-.qcow2", ""));
    g_assert_false(vmig_path_is_ours("/p/a.vmig-" ID ".qcow2", NULL));
    g_assert_false(vmig_path_is_ours(NULL, ID));
    g_assert_false(vmig_job_id_is_valid("0123456789ABCDEF"));
    g_assert_false(vmig_job_id_is_valid("0123456789abcdef0"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/path-map/check", test_check);
    g_test_add_func("/path-map/check-length", test_check_length);
    g_test_add_func("/path-map/apply", test_apply);
    g_test_add_func("/path-map/apply-root", test_apply_root);
    g_test_add_func("/path-map/refused", test_refused);
    g_test_add_func("/path-map/below", test_below);
    g_test_add_func("/path-map/names", test_names);
    g_test_add_func("/path-map/long-names", test_long_names);
    g_test_add_func("/path-map/is-ours", test_is_ours);
    return g_test_run();
}
