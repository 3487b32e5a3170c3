/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which names of block devices count as proof, tested with folders like sysfs, and what this host reports of its files.
 */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "image/block-identity.h"
#include "port/identity.h"
#include "drivers/libvirt/qemu-access.h"
#include "node/node-local.h"

typedef struct {
    char *dir;
} Fixture;

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->dir = g_dir_make_tmp("vmig-identity-XXXXXX", NULL);
    g_assert_nonnull(f->dir);
    g_assert_cmpint(chmod(f->dir, 0755), ==, 0);
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        remove_tree(child);
    }
    g_remove(path);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    remove_tree(f->dir);
    g_free(f->dir);
}

static void put(Fixture *f, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(f->dir, name, NULL);
    g_autofree char *folder = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void put_link(Fixture *f, const char *name, const char *target)
{
    g_autofree char *path = g_build_filename(f->dir, name, NULL);
    g_autofree char *folder = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
    g_assert_cmpint(symlink(target, path), ==, 0);
}

static void assert_name(Fixture *f, guint minor, const char *expected)
{
    g_autofree char *name = vmig_block_identity(f->dir, 8, minor);
    g_assert_cmpstr(name, ==, expected);
}

/* minor → the disk's own attributes */
static void test_disks(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const struct {
        const char *file, *text, *expected;
    } disks[] = {
        {"device/wwid", "naa.600140512345678900000000000000ab\n", "naa.600140512345678900000000000000ab"},
        {"device/wwid", "naa.5000c500a1b2c3d4\n", "naa.5000c500a1b2c3d4"},
        {"device/wwid", "eui.0025385b71b00001\n", "eui.0025385b71b00001"},
        {"wwid", "uuid.11111111-2222-3333-4444-555555555555\n", "uuid.11111111-2222-3333-4444-555555555555"},
        {"device/wwid", "naa.3000000000000001\n", NULL}, /* chosen by an administrator */
        {"device/wwid", "t10.ATA     QEMU HARDDISK                           QM00001\n", NULL},
        {"wwid", "nvme.1af4-6664-51454d55-00000001\n", NULL},
        {"serial", "data\n", NULL},
        {"size", "2048\n", NULL}, /* a loop device */
        {"md/uuid", "1\n", NULL},
        {"dm/uuid", "mpath-3600140512345678\n", "mpath-3600140512345678"},
        {"dm/uuid", "CRYPT-LUKS2-11111111222233334444555555555555-data\n", NULL},
        {"dm/uuid", "LVM-aaaabbbb\n", NULL}, /* without disks below */
    };

    for (guint i = 0; i < G_N_ELEMENTS(disks); i++) {
        g_autofree char *file = g_strdup_printf("devices/d%u/%s", i, disks[i].file);
        g_autofree char *link = g_strdup_printf("dev/block/8:%u", i);
        g_autofree char *target = g_strdup_printf("../../devices/d%u", i);
        put(f, file, disks[i].text);
        put_link(f, link, target);
        assert_name(f, i, disks[i].expected);
    }
    assert_name(f, 99, NULL);
}

/* A logical volume of a cloned host has the same UUID: the disks below it distinguish the two. */
static void test_layers(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    put(f, "devices/sda/device/wwid", "naa.5000c500a1b2c3d4\n");
    put(f, "devices/sda/sda1/partition", "1\n");
    put(f, "devices/sda/sda1/start", "2048\n");
    put(f, "devices/loop0/size", "2048\n");
    put_link(f, "dev/block/8:1", "../../devices/sda/sda1");
    assert_name(f, 1, "naa.5000c500a1b2c3d4-part1@2048");

    put(f, "devices/dm-0/dm/uuid", "LVM-aaaabbbb\n");
    put_link(f, "devices/dm-0/slaves/sda1", "../../sda/sda1");
    put_link(f, "dev/block/8:2", "../../devices/dm-0");
    assert_name(f, 2, "LVM-aaaabbbb(naa.5000c500a1b2c3d4-part1@2048)");
    put_link(f, "devices/dm-0/slaves/loop0", "../../loop0");
    assert_name(f, 2, NULL);
    put_link(f, "devices/dm-1/slaves/dm-1", "../../dm-1"); /* does not occur in a real kernel */
    put(f, "devices/dm-1/dm/uuid", "LVM-ccccdddd\n");
    put_link(f, "dev/block/8:3", "../../devices/dm-1");
    assert_name(f, 3, NULL);
}

static VmigNode *open_host(Fixture *f, const char *root)
{
    g_autofree char *state = g_build_filename(f->dir, "state", NULL);
    g_autofree char *run = g_build_filename(f->dir, "run", NULL);
    const char *const roots[] = {root, NULL};
    VmigNodeConfig config = {.state_dir = state,
                             .run_dir = run,
                             .roots = roots,
                             .exe = "/bin/true",
                             .machine_id = "m",
                             .role = VMIG_SOURCE,
                             .first_port = 49440,
                             .last_port = 49447};
    g_autoptr(GError) error = NULL;
    VmigNode *node = vmig_node_local_new("here", &config, &error);

    g_assert_no_error(error);
    return node;
}

static void assert_digest(VmigNode *node, const char *path, int code, const char *expected)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *digest = vmig_identity_digest(node, path, &error);

    if (expected != NULL)
        g_assert_no_error(error);
    else
        g_assert_error(error, VMIG_ERROR, code);
    g_assert_cmpstr(digest, ==, expected);
}

static void test_files(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *root = g_build_filename(f->dir, "images", NULL);
    g_autofree char *inside = g_build_filename(root, "a.iso", NULL);
    g_autofree char *outside = g_build_filename(f->dir, "open/b.iso", NULL);
    g_autofree char *folder = g_build_filename(f->dir, "open", NULL);
    g_autofree char *expected = g_compute_checksum_for_string(G_CHECKSUM_SHA256, "text", -1);
    g_autoptr(GError) error = NULL;

    put(f, "images/a.iso", "text");
    put(f, "open/b.iso", "text");
    g_assert_cmpint(chmod(inside, 0600), ==, 0);
    g_assert_cmpint(chmod(outside, 0644), ==, 0);
    g_autoptr(VmigNode) node = open_host(f, root);

    g_autoptr(VmigIdentity) file = vmig_identity_ask(node, inside, &error);
    g_assert_no_error(error);
    g_assert_cmpint(file->kind, ==, VMIG_IDENTITY_FILE);
    g_assert_cmpuint(file->size, ==, 4);
    g_assert_cmpuint(g_strv_length(file->samples), ==, 1);
    g_assert_false(file->shared);
    g_autoptr(VmigIdentity) dir = vmig_identity_ask(node, root, &error);
    g_assert_no_error(error);
    g_assert_cmpint(dir->kind, ==, VMIG_IDENTITY_OTHER);
    g_autoptr(VmigIdentity) none = vmig_identity_ask(node, "/no/such", &error);
    g_assert_no_error(error);
    g_assert_cmpint(none->kind, ==, VMIG_IDENTITY_ABSENT);

    assert_digest(node, inside, 0, expected);
    assert_digest(node, outside, 0, expected);
    /* Not world-readable, or not reachable for all: its hash would confirm guesses. */
    g_assert_cmpint(chmod(outside, 0640), ==, 0);
    assert_digest(node, outside, VMIG_ERROR_OUTSIDE_ROOTS, NULL);
    g_autoptr(VmigIdentity) secret = vmig_identity_ask(node, outside, &error);
    g_assert_no_error(error);
    g_assert_cmpint(secret->kind, ==, VMIG_IDENTITY_FILE);
    g_assert_cmpuint(g_strv_length(secret->samples), ==, 0);
    g_assert_cmpint(chmod(outside, 0644), ==, 0);
    g_assert_cmpint(chmod(folder, 0700), ==, 0);
    assert_digest(node, outside, VMIG_ERROR_OUTSIDE_ROOTS, NULL);
}

/* What the kernel would tell QEMU's user: a folder closed to that user is named, whoever else may enter it. The file's
 * own mode is left to libvirt. */
static void test_access(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *conf = g_build_filename(f->dir, "qemu.conf", NULL);
    g_autofree char *file = g_build_filename(f->dir, "images/low/a.raw", NULL);
    g_autofree char *folder = g_build_filename(f->dir, "images/low", NULL);

    if (geteuid() != 0) {
        g_test_skip("only root can become another user");
        return;
    }
    put(f, "qemu.conf", "user = \"+65534\"\ngroup = \"+65534\"\n");
    put(f, "images/low/a.raw", "text");
    g_assert_cmpint(chmod(file, 0600), ==, 0);
    g_autofree char *open_to_all = vmig_qemu_access_denied(conf, file);
    g_assert_null(open_to_all);
    g_assert_cmpint(chmod(folder, 0750), ==, 0);
    g_autofree char *closed = vmig_qemu_access_denied(conf, file);
    g_assert_nonnull(closed);
    g_assert_nonnull(strstr(closed, folder));
    g_assert_nonnull(strstr(closed, "65534"));
    g_assert_cmpint(chown(folder, 0, 65534), ==, 0);
    g_autofree char *by_group = vmig_qemu_access_denied(conf, file);
    g_assert_null(by_group);
    /* libvirt drops the capabilities of a QEMU that runs as root, unless configured otherwise. */
    g_assert_cmpint(chown(folder, 65534, 65534), ==, 0);
    put(f, "qemu.conf", "user = \"root\"\ngroup = \"root\"\n");
    g_autofree char *plain_root = vmig_qemu_access_denied(conf, file);
    g_assert_nonnull(plain_root);
    put(f, "qemu.conf", "user = \"root\"\ngroup = \"root\"\nclear_emulator_capabilities = 0\n");
    g_autofree char *full_root = vmig_qemu_access_denied(conf, file);
    g_assert_null(full_root);
    g_assert_false(vmig_qemu_access_read_only(file));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/identity/disks", Fixture, NULL, set_up, test_disks, tear_down);
    g_test_add("/identity/layers", Fixture, NULL, set_up, test_layers, tear_down);
    g_test_add("/identity/files", Fixture, NULL, set_up, test_files, tear_down);
    g_test_add("/identity/access", Fixture, NULL, set_up, test_access, tear_down);
    return g_test_run();
}
