/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where policies come from: their commands run as root, so only root may control their content. */
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "os/policy.h"
#include "os/trusted-file.h"

typedef struct {
    char *folder;
    char *file;
    const char *folders[3];
} Fixture;

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    f->folder = g_dir_make_tmp("vmig-policy-XXXXXX", &error);
    g_assert_no_error(error);
    f->file = g_build_filename(f->folder, "own.conf", NULL);
    f->folders[0] = "/nonexistent/policy.d";
    f->folders[1] = f->folder;
    g_assert_true(g_file_set_contents(f->file, "[overall]\ncommand=/bin/true\n", -1, &error));
    g_assert_no_error(error);
    g_assert_cmpint(g_chmod(f->file, 0644), ==, 0);
    g_assert_cmpint(g_chmod(f->folder, 0755), ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_unlink(f->file);
    g_assert_cmpint(g_rmdir(f->folder), ==, 0);
    g_free(f->file);
    g_free(f->folder);
}

static void refused(Fixture *f, const char *says)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigPolicy) policy = vmig_policy_load_from(f->folders, "own", &error);

    g_assert_null(policy);
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_USAGE);
    g_assert_nonnull(strstr(error->message, "cannot use the policy 'own'"));
    g_assert_nonnull(strstr(error->message, says));
}

static void test_good(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigPolicy) policy = vmig_policy_load_from(f->folders, "own", &error);
    g_autoptr(VmigPolicy) standard = vmig_policy_load_from(f->folders, NULL, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(policy->command, ==, "/bin/true");
    g_assert_nonnull(standard);
}

static void test_others_write_file(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_assert_cmpint(g_chmod(f->file, 0664), ==, 0);
    refused(f, "other users can write to");
    g_assert_cmpint(g_chmod(f->file, 0646), ==, 0);
    refused(f, "other users can write to");
}

static void test_others_write_folder(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_assert_cmpint(g_chmod(f->folder, 0775), ==, 0);
    refused(f, f->folder);
    g_assert_cmpint(g_chmod(f->folder, 01777), ==, 0);
    refused(f, f->folder);
}

static void test_another_owner(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    if (geteuid() != 0) {
        g_test_skip("only root can give a file away");
        return;
    }
    g_assert_cmpint(chown(f->file, 65534, 65534), ==, 0);
    refused(f, "does not belong to root");
    g_assert_cmpint(chown(f->file, 0, 0), ==, 0);
    g_assert_cmpint(chown(f->folder, 65534, 65534), ==, 0);
    refused(f, "does not belong to root");
}

/* The hint names what there is. */
static void test_unknown(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(vmig_policy_load_from(f->folders, "quick", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_USAGE);
    g_assert_nonnull(strstr(vmig_error_hint(error), "default, own."));
    g_assert_nonnull(strstr(vmig_error_hint(error), f->folder));
}

/* Likewise for the default policy: an untrusted one is reported, not ignored. */
static void test_default_is_no_way_round(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *file = g_build_filename(f->folder, "default.conf", NULL);

    g_assert_true(g_file_set_contents(file, "", -1, &error));
    g_assert_cmpint(g_chmod(file, 0666), ==, 0);
    g_assert_null(vmig_policy_load_from(f->folders, NULL, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_USAGE);
    g_unlink(file);
}

static void test_program(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(vmig_trusted_program(f->file, &error));
    g_assert_no_error(error);
    g_assert_cmpint(g_chmod(f->file, 0757), ==, 0);
    g_assert_false(vmig_trusted_program(f->file, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_USAGE);
    g_clear_error(&error);
    g_assert_false(vmig_trusted_program(f->folder, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_USAGE);
}

static void add(const char *path, void (*test)(Fixture *, gconstpointer))
{
    g_test_add(path, Fixture, NULL, set_up, test, tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("/policy/good", test_good);
    add("/policy/unknown", test_unknown);
    add("/policy/others-write-file", test_others_write_file);
    add("/policy/others-write-folder", test_others_write_folder);
    add("/policy/another-owner", test_another_owner);
    add("/policy/default-is-no-way-round", test_default_is_no_way_round);
    add("/policy/program", test_program);
    return g_test_run();
}
