/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Error codes: names that scripts may rely on, and hints that are kept when an error is passed on. */
#include <errno.h>
#include <gio/gio.h>
#include <string.h>

#include "core/errors.h"

static void test_names(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (int c = 0; c < VMIG_ERROR_LAST; c++) {
        const char *name = vmig_error_name(c);
        gsize length = strlen(name);
        g_assert_true(g_hash_table_add(seen, (gpointer)name));
        g_assert_cmpuint(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), ==, length);
        g_assert_true(length > 1 && name[0] != '-' && name[length - 1] != '-' && strstr(name, "--") == NULL);
        g_assert_cmpint(vmig_error_from_name(name), ==, c);
        g_assert_cmpuint(strlen(vmig_error_meaning(c)), >, 10);
        g_assert_cmpint(vmig_error_class(c), <=, VMIG_CLASS_FATAL);
    }
    g_assert_cmpint(vmig_error_from_name("no_space"), ==, VMIG_ERROR_LAST);
    g_assert_cmpint(vmig_error_from_name(NULL), ==, VMIG_ERROR_LAST);
    g_assert_cmpstr(vmig_error_name(VMIG_ERROR_LAST), ==, "internal");
    g_assert_cmpstr(vmig_error_meaning(VMIG_ERROR_LAST), ==, "");
    g_assert_cmpint(vmig_error_class(VMIG_ERROR_LAST), ==, VMIG_CLASS_FATAL);
}

static void test_fail(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) plain = NULL;

    g_assert_false(vmig_fail(&error, VMIG_ERROR_NO_SPACE, "Buy a disk.", "%s has %d bytes", "vda", 7));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_NO_SPACE);
    g_assert_cmpstr(error->message, ==, "vda has 7 bytes");
    g_assert_cmpstr(vmig_error_hint(error), ==, "Buy a disk.");
    g_assert_cmpstr(vmig_error_name_of(error), ==, "no-space");
    vmig_error_set_hint(error, "Buy %d disks.", 2);
    g_assert_cmpstr(vmig_error_hint(error), ==, "Buy 2 disks.");
    g_assert_false(vmig_fail(&plain, VMIG_ERROR_IO, NULL, "x"));
    g_assert_null(vmig_error_hint(plain));
    g_assert_false(vmig_fail(NULL, VMIG_ERROR_IO, "hint", "x"));
    g_assert_false(vmig_fail_errno(NULL, EIO, "x"));
}

static void test_copies(void)
{
    g_autoptr(GError) error = NULL;
    int domain = -1;
    int code = -1;

    vmig_fail(&error, VMIG_ERROR_HYPERVISOR, "hint", "failed");
    g_assert_false(vmig_error_get_foreign(error, &domain, &code));
    g_assert_cmpint(domain, ==, -1);
    vmig_error_set_foreign(error, 10, 55);
    g_autoptr(GError) copy = g_error_copy(error);
    g_clear_error(&error);
    g_autoptr(GError) moved = NULL;
    g_propagate_prefixed_error(&moved, g_steal_pointer(&copy), "disk vda: ");
    g_assert_cmpstr(moved->message, ==, "disk vda: failed");
    g_assert_cmpstr(vmig_error_hint(moved), ==, "hint");
    g_assert_true(vmig_error_get_foreign(moved, &domain, &code));
    g_assert_cmpint(domain, ==, 10);
    g_assert_cmpint(code, ==, 55);
}

static void test_errno(void)
{
    struct {
        int errnum;
        VmigErrorCode code;
    } cases[] = {{ENOSPC, VMIG_ERROR_NO_SPACE},
                 {EDQUOT, VMIG_ERROR_NO_SPACE},
                 {EIO, VMIG_ERROR_IO},
                 {EROFS, VMIG_ERROR_IO},
                 {ENOSYS, VMIG_ERROR_UNSUPPORTED}};

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        int domain;
        int code;
        g_assert_false(vmig_fail_errno(&error, cases[i].errnum, "writing %s", "/a"));
        g_assert_error(error, VMIG_ERROR, (int)cases[i].code);
        g_assert_true(g_str_has_prefix(error->message, "writing /a: "));
        g_assert_true(vmig_error_get_foreign(error, &domain, &code));
        g_assert_cmpint(domain, ==, 0);
        g_assert_cmpint(code, ==, cases[i].errnum);
        g_assert_true((cases[i].errnum == ENOSYS) == (vmig_error_hint(error) != NULL));
    }
}

static void test_foreign_domain(void)
{
    g_autoptr(GError) error = g_error_new(G_IO_ERROR, G_IO_ERROR_BUSY, "busy");
    GError *none = NULL;
    int domain;
    int code;

    g_assert_cmpstr(vmig_error_name_of(error), ==, "internal");
    vmig_error_set_hint(error, "x");
    vmig_error_set_foreign(error, 1, 2);
    g_assert_null(vmig_error_hint(error));
    g_assert_false(vmig_error_get_foreign(error, &domain, &code));
    vmig_error_adopt(&error, VMIG_ERROR_CONNECTION);
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONNECTION);
    g_assert_cmpstr(error->message, ==, "busy");
    vmig_error_adopt(&error, VMIG_ERROR_IO);
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONNECTION);
    vmig_error_adopt(&none, VMIG_ERROR_IO);
    vmig_error_adopt(NULL, VMIG_ERROR_IO);
    g_assert_null(none);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/errors/names", test_names);
    g_test_add_func("/errors/fail", test_fail);
    g_test_add_func("/errors/copies", test_copies);
    g_test_add_func("/errors/errno", test_errno);
    g_test_add_func("/errors/foreign-domain", test_foreign_domain);
    return g_test_run();
}
