/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images on a real file system with the real qemu-img: what is opened and what is refused, what a survey finds, and
 * that overlays, names and commits have the requested result. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/errors.h"
#include "image/image.h"
#include "os/tool.h"

#define MIB (1u << 20)

typedef struct {
    char *folder;
    GPtrArray *roots; /* folder/root */
} Fixture;

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->folder = g_dir_make_tmp("vmig-image-XXXXXX", NULL);
    f->roots = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(f->roots, g_build_filename(f->folder, "root", NULL));
    g_assert_cmpint(g_mkdir(f->roots->pdata[0], 0755), ==, 0);
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);

    for (const char *name = dir != NULL ? g_dir_read_name(dir) : NULL; name != NULL; name = g_dir_read_name(dir)) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        remove_tree(child);
    }
    g_remove(path);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    remove_tree(f->folder);
    g_free(f->folder);
    g_ptr_array_unref(f->roots);
}

/* A path in the root. */
static char *in_root(Fixture *f, const char *name)
{
    return g_build_filename(f->roots->pdata[0], name, NULL);
}

/* Runs a shell command in the root. */
static void sh(Fixture *f, const char *command)
{
    char *argv[] = {"/bin/sh", "-ec", (char *)command, NULL};
    g_autoptr(GError) error = NULL;
    gint status = 0;

    g_spawn_sync(f->roots->pdata[0], argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, NULL, &status, &error);
    g_assert_no_error(error);
    g_spawn_check_wait_status(status, &error);
    g_assert_no_error(error);
}

static GPtrArray *chain_of(Fixture *f, const char *name, GError **error)
{
    g_autofree char *path = in_root(f, name);
    return vmig_image_survey_chain(path, "qcow2", f->roots, error);
}

static void assert_chain_refused(Fixture *f, const char *name, VmigErrorCode code)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) chain = chain_of(f, name, &error);

    g_assert_null(chain);
    g_assert_error(error, VMIG_ERROR, (int)code);
}

static void assert_open_refused(Fixture *f, const char *path, VmigErrorCode code)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *full = *path == '/' ? g_strdup(path) : in_root(f, path);
    gint64 begin = g_get_monotonic_time();

    g_assert_cmpint(vmig_image_open(full, f->roots, FALSE, &error), ==, -1);
    g_assert_error(error, VMIG_ERROR, (int)code);
    g_clear_error(&error);
    g_assert_cmpint(vmig_image_open(full, f->roots, TRUE, &error), ==, -1);
    g_assert_error(error, VMIG_ERROR, (int)code);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, 20 * G_USEC_PER_SEC);
}

static const VmigImage *nth(GPtrArray *chain, guint index)
{
    return chain->pdata[index];
}

/* --- opening --- */

static void test_open(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = in_root(f, "vm/a.raw");

    sh(f, "mkdir vm; echo x > vm/a.raw");
    int fd = vmig_image_open(path, f->roots, FALSE, &error);
    g_assert_no_error(error);
    g_assert_cmpint(fcntl(fd, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
    g_assert_cmpint(fcntl(fd, F_GETFL) & O_ACCMODE, ==, O_RDONLY);
    close(fd);
    fd = vmig_image_open(path, NULL, TRUE, &error);
    g_assert_no_error(error);
    g_assert_cmpint(fcntl(fd, F_GETFL) & O_ACCMODE, ==, O_RDWR);
    close(fd);
}

/* The operator's root may be a symbolic link, and the path may be spelled either way. */
static void test_open_linked_root(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GPtrArray) roots = g_ptr_array_new();
    g_autofree char *link = g_build_filename(f->folder, "link", NULL);
    g_autofree char *through = g_build_filename(link, "a.raw", NULL);
    g_autofree char *direct = in_root(f, "a.raw");
    g_autoptr(GError) error = NULL;

    sh(f, "echo x > a.raw; ln -s root ../link");
    g_ptr_array_add(roots, link);
    int one = vmig_image_open(through, roots, FALSE, &error);
    g_assert_no_error(error);
    int two = vmig_image_open(direct, roots, FALSE, &error);
    g_assert_no_error(error);
    close(one);
    close(two);
}

static void test_open_refused(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *outside = g_build_filename(f->folder, "outside.raw", NULL);
    g_autofree char *beside = g_build_filename(f->folder, "rootless/a.raw", NULL);
    g_autofree char *dots = in_root(f, "vm/../../outside.raw");

    sh(f, "mkdir vm ../rootless; echo x > ../outside.raw; echo x > ../rootless/a.raw; mkfifo fifo; "
          "echo x > twice; ln twice again; echo x > real; ln -s real link; ln -s vm dirlink; echo x > vm/a; "
          "ln -s ../outside.raw leads-out");
    assert_open_refused(f, outside, VMIG_ERROR_OUTSIDE_ROOTS);
    assert_open_refused(f, beside, VMIG_ERROR_OUTSIDE_ROOTS);
    assert_open_refused(f, f->roots->pdata[0], VMIG_ERROR_DISK_KIND);
    assert_open_refused(f, "/dev/zero", VMIG_ERROR_OUTSIDE_ROOTS);
    assert_open_refused(f, dots, VMIG_ERROR_BAD_PATH);
    assert_open_refused(f, "link", VMIG_ERROR_OUTSIDE_ROOTS);
    assert_open_refused(f, "dirlink/a", VMIG_ERROR_OUTSIDE_ROOTS);
    assert_open_refused(f, "leads-out", VMIG_ERROR_OUTSIDE_ROOTS);
    assert_open_refused(f, "twice", VMIG_ERROR_OUTSIDE_ROOTS);
    assert_open_refused(f, "fifo", VMIG_ERROR_DISK_KIND);
    assert_open_refused(f, "vm", VMIG_ERROR_DISK_KIND);
    assert_open_refused(f, "missing", VMIG_ERROR_IO);
}

static void test_open_relative(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const char *const paths[] = {"a.raw", "nbd:localhost", "nbd://localhost/x", "", "./a"};

    for (guint i = 0; i < G_N_ELEMENTS(paths); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_cmpint(vmig_image_open(paths[i], f->roots, FALSE, &error), ==, -1);
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_PATH);
    }
}

/* --- surveys --- */

static void test_survey_raw(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = in_root(f, "a.raw");
    struct stat st;

    /* A guest wrote a qcow2 header into its raw disk: it stays raw. */
    sh(f, "qemu-img create -f qcow2 -u -b /etc/shadow -F raw a.raw 64M; chmod 600 a.raw");
    g_autoptr(VmigImage) image = vmig_image_survey(path, "raw", &error);
    g_assert_no_error(error);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_null(image->qcow2);
    g_assert_null(image->backing);
    g_assert_cmpuint(image->virtual_size, ==, st.st_size);
    g_assert_cmpuint(image->file_size, ==, st.st_size);
    g_assert_cmpuint(image->allocated, ==, st.st_blocks * 512);
    g_assert_cmpuint(image->id.ino, ==, st.st_ino);
    g_assert_cmpuint(image->id.dev, ==, st.st_dev);
    g_assert_cmpuint(image->mtime_ns, ==, st.st_mtim.tv_sec * G_GUINT64_CONSTANT(1000000000) + st.st_mtim.tv_nsec);
}

static void test_survey_snapshots(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = in_root(f, "a.qcow2");
    guint32 count = 0;

    /* Two names that JSON cannot distinguish. */
    sh(f, "qemu-img create -f qcow2 a.qcow2 64M; qemu-img snapshot -c \"$(printf 'n\\377')\" a.qcow2; "
          "qemu-img snapshot -c \"$(printf 'n\\376')\" a.qcow2; qemu-img snapshot -c same a.qcow2; "
          "qemu-img snapshot -c same a.qcow2");
    g_autoptr(VmigImage) image = vmig_image_survey(path, "qcow2", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(image->virtual_size, ==, 64 * MIB);
    g_assert_cmpuint(image->qcow2->snapshots->len, ==, 4);
    const VmigQcow2Snapshot *one = image->qcow2->snapshots->pdata[0], *two = image->qcow2->snapshots->pdata[1];
    g_assert_cmpmem(g_bytes_get_data(one->name, NULL), g_bytes_get_size(one->name), "n\xff", 2);
    g_assert_cmpmem(g_bytes_get_data(two->name, NULL), g_bytes_get_size(two->name), "n\xfe", 2);
    g_assert_true(vmig_image_count_snapshots(path, f->roots, &count, &error));
    g_assert_cmpuint(count, ==, 4);
}

static void test_survey_refused(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const struct {
        const char *name, *format;
        VmigErrorCode code;
    } rows[] = {
        {"corrupt", "qcow2", VMIG_ERROR_BAD_IMAGE}, {"short", "qcow2", VMIG_ERROR_BAD_IMAGE},
        {"empty", "qcow2", VMIG_ERROR_BAD_IMAGE},   {"text", "qcow2", VMIG_ERROR_BAD_IMAGE},
        {"text", "vmdk", VMIG_ERROR_DISK_KIND},
    };

    sh(f, "for i in corrupt short; do qemu-img create -f qcow2 $i 64M; done; : > empty; echo text > text; "
          "printf '\\002' | dd of=corrupt bs=1 seek=79 conv=notrunc status=none; truncate -s 104 short");
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *path = in_root(f, rows[i].name);
        g_autoptr(VmigImage) image = vmig_image_survey(path, rows[i].format, &error);
        g_assert_null(image);
        g_assert_error(error, VMIG_ERROR, (int)rows[i].code);
        g_assert_nonnull(strstr(error->message, path));
    }
}

/* Reported without running qemu-img, because the name may lead anywhere. */
static void test_survey_data_file(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = in_root(f, "a.qcow2");

    sh(f, "qemu-img create -f qcow2 -o data_file=d.raw a.qcow2 1M; rm d.raw; mkfifo d.raw");
    g_autoptr(VmigImage) image = vmig_image_survey(path, "qcow2", &error);
    g_assert_no_error(error);
    g_assert_true(image->qcow2->data_file);
    g_assert_cmpstr(image->qcow2->data_file_name, ==, "d.raw");
    g_assert_false(vmig_image_check(path, NULL, "qcow2", FALSE, NULL, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_DATA_FILE);
}

static void test_survey_encrypted(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = in_root(f, "a.qcow2");

    /* Only the header's field: creating a real one makes qemu-img measure time, which fails on a busy machine. */
    sh(f, "qemu-img create -f qcow2 a.qcow2 1M; printf '\\002' | dd of=a.qcow2 bs=1 seek=35 conv=notrunc status=none");
    g_autoptr(VmigImage) image = vmig_image_survey(path, "qcow2", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(image->qcow2->crypt_method, ==, 2);
    g_assert_false(vmig_image_check(path, NULL, "qcow2", FALSE, NULL, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_ENCRYPTED);
}

/* --- chains --- */

static void test_chain(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *bottom = in_root(f, "deep/c.raw");

    sh(f,
       "mkdir deep vm; truncate -s 1M deep/c.raw; qemu-img create -f qcow2 -b \"$PWD/deep/c.raw\" -F raw deep/b.qcow2;"
       "qemu-img create -f qcow2 -b ../deep/b.qcow2 -F qcow2 vm/a.qcow2 2M");
    g_autoptr(GPtrArray) chain = chain_of(f, "vm/a.qcow2", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(chain->len, ==, 3);
    g_assert_cmpstr(nth(chain, 0)->backing, ==, "../deep/b.qcow2");
    g_assert_cmpstr(nth(chain, 0)->backing_path, ==, nth(chain, 1)->path);
    g_assert_cmpuint(nth(chain, 0)->virtual_size, ==, 2 * MIB);
    g_assert_cmpuint(nth(chain, 1)->virtual_size, ==, MIB);
    g_assert_cmpstr(nth(chain, 2)->path, ==, bottom);
    g_assert_cmpstr(nth(chain, 2)->format, ==, "raw");
    g_assert_null(nth(chain, 2)->backing_path);
}

static void test_chain_cycles(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    sh(f, "for i in self a b; do qemu-img create -f qcow2 $i 1M; done; "
          "qemu-img rebase -u -f qcow2 -F qcow2 -b self self; "
          "qemu-img rebase -u -f qcow2 -F qcow2 -b a b; qemu-img rebase -u -f qcow2 -F qcow2 -b ./b a");
    assert_chain_refused(f, "self", VMIG_ERROR_CHAIN);
    assert_chain_refused(f, "a", VMIG_ERROR_CHAIN);
}

static void test_chain_too_long(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    sh(f, "qemu-img create -f qcow2 0 1M; i=0; while [ $i -lt 64 ]; do "
          "qemu-img create -u -f qcow2 -b $i -F qcow2 $((i + 1)) 1M; i=$((i + 1)); done");
    assert_chain_refused(f, "64", VMIG_ERROR_CHAIN);
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) chain = chain_of(f, "63", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(chain->len, ==, VMIG_IMAGE_MAX_CHAIN);
}

/* The stored name is checked; nothing is opened. */
static void test_chain_names(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const struct {
        const char *name;
        VmigErrorCode code;
    } rows[] = {
        {"json:{\"driver\":\"nbd\",\"host\":\"127.0.0.1\",\"port\":\"9\"}", VMIG_ERROR_CHAIN},
        {"nbd://127.0.0.1:9/x", VMIG_ERROR_CHAIN},
        {"fat:/etc", VMIG_ERROR_CHAIN},
        {"/etc/shadow", VMIG_ERROR_OUTSIDE_ROOTS},
        {"../outside.raw", VMIG_ERROR_OUTSIDE_ROOTS},
        {"../../../../../../../../etc/shadow", VMIG_ERROR_OUTSIDE_ROOTS},
        {"link", VMIG_ERROR_OUTSIDE_ROOTS},
        {"hard", VMIG_ERROR_OUTSIDE_ROOTS},
        {"fifo", VMIG_ERROR_DISK_KIND},
        {"/dev/zero", VMIG_ERROR_OUTSIDE_ROOTS},
        {"missing", VMIG_ERROR_IO},
    };
    g_autofree char *path = in_root(f, "a.qcow2");

    sh(f, "echo x > ../outside.raw; ln -s ../outside.raw link; ln ../outside.raw hard; mkfifo fifo; "
          "qemu-img create -f qcow2 a.qcow2 1M");
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        const char *argv[] = {"qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", rows[i].name, path, NULL};
        g_assert_true(vmig_tool_run(argv, 0, NULL, &error));
        assert_chain_refused(f, "a.qcow2", rows[i].code);
        g_autoptr(VmigImage) alone = vmig_image_survey(path, "qcow2", &error);
        g_assert_no_error(error);
        g_assert_cmpstr(alone->backing, ==, rows[i].name);
    }
}

/* Follows the hint for names that a shell would split or expand. */
static void test_chain_without_format(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const char top[] = "-a 'x' $(touch y).qcow2", below[] = "-b \"q\" $(touch z);.qcow2";
    g_autoptr(GError) error = NULL;
    g_autofree char *top_word = g_shell_quote(top);
    g_autofree char *below_word = g_shell_quote(below);
    /* New versions of qemu-img refuse to make one, so the extension's type is changed to an unknown one. */
    g_autofree char *make = g_strdup_printf("qemu-img create -f qcow2 ./%s 1M; qemu-img create -f qcow2 -b %s -F qcow2 "
                                            "./%s; printf '\\001' | dd of=./%s bs=1 seek=112 conv=notrunc status=none",
                                            below_word, below_word, top_word, top_word);

    sh(f, make);
    g_assert_null(chain_of(f, top, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CHAIN);
    const char *command = strstr(vmig_error_hint(error), "qemu-img rebase -u");
    g_assert_nonnull(command);
    g_auto(GStrv) parts = g_strsplit(command, " FORMAT ", 2);
    g_autofree char *filled = g_strjoinv(" qcow2 ", parts);
    sh(f, filled);
    g_clear_error(&error);
    g_autoptr(GPtrArray) chain = chain_of(f, top, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(chain->len, ==, 2);
    g_autofree char *touched_y = in_root(f, "y");
    g_autofree char *touched_z = in_root(f, "z");
    g_assert_false(g_file_test(touched_y, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(touched_z, G_FILE_TEST_EXISTS));
}

static void assert_path(Fixture *f, GPtrArray *chain, guint i, const char *path, const char *named);

/* Textually "../b" is beside the link; for the kernel it is beside the link's target. */
static void test_chain_through_link(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GPtrArray) roots = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *path = g_build_filename(f->folder, "link/a.qcow2", NULL);
    g_autoptr(GError) error = NULL;

    sh(f, "mkdir vm; ln -s root/vm ../link; truncate -s 1M ../b.raw b.raw; "
          "qemu-img create -f qcow2 -b ../b.raw -F raw vm/a.qcow2");
    g_ptr_array_add(roots, g_build_filename(f->folder, "link", NULL));
    g_ptr_array_add(roots, g_strdup(f->folder));
    g_autoptr(GPtrArray) chain = vmig_image_survey_chain(path, "qcow2", roots, &error);
    g_assert_no_error(error);
    assert_path(f, chain, 1, "b.raw", NULL);
}

static void assert_path(Fixture *f, GPtrArray *chain, guint i, const char *path, const char *named)
{
    g_autofree char *expected = in_root(f, path);
    const VmigImage *image = chain->pdata[i];

    g_assert_cmpstr(image->path, ==, expected);
    if (named != NULL) {
        g_autofree char *name = in_root(f, named);
        g_assert_cmpstr(image->named, ==, name);
    }
}

/* Every spelling leads to the plain path; the definition's name is kept. A relative name in a header starts from the
 * folder of the link that was opened, as in QEMU. */
static void test_chain_spelled(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = in_root(f, "/x/./link.qcow2");

    sh(f, "mkdir real links base; ln -s links x; qemu-img create -f raw base/c.raw 1M; ln -s base/c.raw c.raw; "
          "qemu-img create -f qcow2 -u -b .././/base/../c.raw -F raw base/b.qcow2 1M; "
          "qemu-img create -f qcow2 -u -b ../base/b.qcow2 -F qcow2 real/a.qcow2 1M; "
          "ln -s ../real/a.qcow2 links/link.qcow2; qemu-img create -f qcow2 decoy.qcow2 1M");
    g_autoptr(GPtrArray) chain = vmig_image_survey_chain(path, "qcow2", f->roots, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(chain->len, ==, 3);
    assert_path(f, chain, 0, "real/a.qcow2", "/x/./link.qcow2");
    assert_path(f, chain, 1, "base/b.qcow2", "/x/./../base/b.qcow2");
    assert_path(f, chain, 2, "base/c.raw", "/x/./../base/.././/base/../c.raw");
    g_assert_cmpstr(((VmigImage *)chain->pdata[0])->backing_path, ==, ((VmigImage *)chain->pdata[1])->path);
}

/* Following the hint helps: it names the folder that the link leads to. */
static void test_chain_hint(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = in_root(f, "link");
    g_autofree char *away = g_build_filename(f->folder, "away", NULL);

    sh(f, "mkdir ../away; truncate -s 1M ../away/a.raw; ln -s ../away/a.raw link");
    g_assert_null(vmig_image_survey_chain(path, "raw", f->roots, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_OUTSIDE_ROOTS);
    g_assert_nonnull(strstr(error->message, "leads to"));
    const char *folder = strstr(vmig_error_hint(error), "Add the directory ");
    g_assert_nonnull(folder);
    folder += strlen("Add the directory ");
    g_assert_true(g_str_has_prefix(folder, away) && folder[strlen(away)] == ' ');
    g_ptr_array_add(f->roots, g_strdup(away));
    g_clear_error(&error);
    g_autoptr(GPtrArray) chain = vmig_image_survey_chain(path, "raw", f->roots, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(chain->len, ==, 1);
}

/* --- check --- */

static void test_check(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = in_root(f, "a.qcow2");
    gint64 leaks = -1;

    /* Its backing file is a trap: the check must not open it. */
    sh(f, "mkfifo trap; qemu-img create -f qcow2 -u -b trap -F raw a.qcow2 1M");
    g_assert_true(vmig_image_check(path, NULL, "qcow2", FALSE, &leaks, &error));
    g_assert_no_error(error);
    g_assert_cmpint(leaks, ==, 0);
    /* A snapshot that the header no longer counts becomes leaked clusters. */
    sh(f, "qemu-img create -f qcow2 a.qcow2 1M; qemu-img snapshot -c x a.qcow2; "
          "printf '\\0\\0\\0\\0' | dd of=a.qcow2 bs=1 seek=60 conv=notrunc status=none");
    g_assert_true(vmig_image_check(path, NULL, "qcow2", TRUE, &leaks, &error));
    g_assert_no_error(error);
    g_assert_cmpint(leaks, >, 0);
    /* A cluster that is in use with refcount 0. */
    sh(f, "qemu-img create -f qcow2 a.qcow2 1M; dd if=/dev/zero of=a.qcow2 bs=64k seek=2 count=1 conv=notrunc "
          "status=none");
    g_assert_false(vmig_image_check(path, NULL, "qcow2", FALSE, &leaks, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_IMAGE);
    g_clear_error(&error);
    /* qemu-img check itself does not report it. */
    sh(f, "qemu-img create -f qcow2 a.qcow2 1M; printf '\\002' | dd of=a.qcow2 bs=1 seek=79 conv=notrunc status=none");
    g_assert_false(vmig_image_check(path, NULL, "qcow2", FALSE, &leaks, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_IMAGE);
    g_clear_error(&error);
    sh(f, "echo x > a.raw");
    g_autofree char *raw = in_root(f, "a.raw");
    g_assert_true(vmig_image_check(raw, NULL, "raw", FALSE, &leaks, &error));
}

/* A guest that writes is not damage. Its QEMU holds byte 101 (block/file-posix.c: 100 plus the number of "write"). */
static void test_check_locked(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1};
    g_autoptr(GError) error = NULL;
    g_autofree char *path = in_root(f, "a.qcow2");

    sh(f, "qemu-img create -f qcow2 a.qcow2 1M");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(fcntl(fd, F_OFD_SETLK, &lock), ==, 0);
    g_assert_false(vmig_image_check(path, NULL, "qcow2", FALSE, NULL, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IMAGE_TOOL);
    g_clear_error(&error);
    g_assert_true(vmig_image_check(path, NULL, "qcow2", TRUE, NULL, &error));
    g_autoptr(VmigImage) image = vmig_image_survey(path, "qcow2", &error);
    g_assert_no_error(error);
    close(fd);
}

/* --- creating and changing --- */

static void test_overlay(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = in_root(f, "vm/o.qcow2");
    g_autofree char *folder = in_root(f, "vm");
    g_autofree char *base = in_root(f, "b.qcow2");
    struct stat st;

    sh(f, "mkdir vm; qemu-img create -f qcow2 b.qcow2 3M");
    g_assert_true(vmig_image_create_overlay(path, NULL, 3 * MIB, "../b.qcow2", "qcow2", &error));
    g_assert_no_error(error);
    g_autoptr(GPtrArray) chain = chain_of(f, "vm/o.qcow2", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(chain->len, ==, 2);
    g_assert_cmpstr(nth(chain, 1)->path, ==, base);
    g_assert_cmpuint(nth(chain, 0)->virtual_size, ==, 3 * MIB);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 07777, ==, 0600);
    /* QEMU can open it, and nothing else was left in the folder. */
    sh(f, "qemu-img info --backing-chain vm/o.qcow2; test \"$(ls -A vm)\" = o.qcow2");
}

static void test_overlay_refused(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const struct {
        const char *name, *backing, *format;
        VmigErrorCode code;
    } rows[] = {
        {"taken", "b.qcow2", "qcow2", VMIG_ERROR_DESTINATION_EXISTS},
        {"dangling", "b.qcow2", "qcow2", VMIG_ERROR_DESTINATION_EXISTS},
        {"new", "json:{}", "qcow2", VMIG_ERROR_CHAIN},
        {"new", "b.qcow2", "vmdk", VMIG_ERROR_CHAIN},
        {"new", "missing", "qcow2", VMIG_ERROR_IO},
        {"new", "fifo", "raw", VMIG_ERROR_DISK_KIND},
        {"no/folder/new", "b.qcow2", "qcow2", VMIG_ERROR_IO},
    };

    sh(f, "qemu-img create -f qcow2 b.qcow2 1M; echo precious > taken; ln -s nowhere dangling; mkfifo fifo");
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *path = in_root(f, rows[i].name);
        g_assert_false(vmig_image_create_overlay(path, NULL, MIB, rows[i].backing, rows[i].format, &error));
        g_assert_error(error, VMIG_ERROR, (int)rows[i].code);
    }
    sh(f, "test \"$(cat taken)\" = precious; test ! -e new; test ! -e nowhere");
}

static void test_rebase(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = in_root(f, "a.qcow2");

    sh(f, "qemu-img create -f qcow2 b.qcow2 1M; qemu-img create -f qcow2 -b b.qcow2 -F qcow2 a.qcow2; "
          "qemu-img snapshot -c keep a.qcow2");
    g_assert_true(vmig_image_rebase_name(path, NULL, "qcow2", "/not/there/yet.raw", "raw", &error));
    g_assert_no_error(error);
    g_autoptr(VmigImage) image = vmig_image_survey(path, "qcow2", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(image->backing, ==, "/not/there/yet.raw");
    g_assert_cmpstr(image->backing_format, ==, "raw");
    g_assert_cmpuint(image->qcow2->nb_snapshots, ==, 1);
    g_assert_true(vmig_image_rebase_name(path, NULL, "qcow2", NULL, NULL, &error));
    g_assert_no_error(error);
    g_autoptr(VmigImage) alone = vmig_image_survey(path, "qcow2", &error);
    g_assert_no_error(error);
    g_assert_null(alone->backing);
    g_assert_false(vmig_image_rebase_name(path, NULL, "qcow2", "nbd://host/x", "raw", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CHAIN);
    g_clear_error(&error);
    g_assert_false(vmig_image_rebase_name(path, NULL, "raw", "b.qcow2", "qcow2", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_UNSUPPORTED);
}

static void test_commit(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = in_root(f, "o.qcow2");

    sh(f, "qemu-img create -f qcow2 c.qcow2 1M; qemu-img create -f qcow2 -b c.qcow2 -F qcow2 b.qcow2; "
          "qemu-io -f qcow2 -c 'write -P 1 0 64k' b.qcow2; qemu-img snapshot -c old b.qcow2; "
          "qemu-img create -f qcow2 -b b.qcow2 -F qcow2 o.qcow2; qemu-io -f qcow2 -c 'write -P 2 0 64k' o.qcow2; "
          "cp o.qcow2 before; cp c.qcow2 c-before");
    /* Twice, because it is repeated after a crash. */
    for (guint i = 0; i < 2; i++) {
        g_assert_true(vmig_image_commit_offline(path, NULL, NULL, &error));
        g_assert_no_error(error);
        sh(f, "qemu-io -f qcow2 -c 'read -P 2 0 64k' b.qcow2; "
              "cmp c.qcow2 c-before; qemu-io -f qcow2 -c 'read -P 2 0 64k' o.qcow2; cmp o.qcow2 before");
    }
    /* The snapshots below are unchanged. */
    sh(f, "qemu-img snapshot -a old b.qcow2; qemu-io -f qcow2 -c 'read -P 1 0 64k' b.qcow2");
}

static void test_commit_refused(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *alone = in_root(f, "alone"), *trap = in_root(f, "trap");

    sh(f, "qemu-img create -f qcow2 alone 1M; qemu-img create -f qcow2 -u -b 'nbd://127.0.0.1:9/x' -F raw trap 1M");
    g_assert_false(vmig_image_commit_offline(alone, NULL, NULL, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CHAIN);
    g_clear_error(&error);
    g_assert_false(vmig_image_commit_offline(trap, NULL, NULL, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CHAIN);
}

/* --- the tool --- */

static gboolean run_shell(const char *script, gint64 deadline, char **out, GError **error)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    return vmig_tool_run(argv, deadline, out, error);
}

static void test_tool_output(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *out = NULL;

    /* More than a pipe holds, on both streams at once; a clean environment; no input. */
    g_assert_true(
        run_shell("head -c 300000 /dev/zero | tr '\\0' x; head -c 300000 /dev/zero >&2; cat; echo $LC_ALL$HOME", 0,
                  &out, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(strlen(out), ==, 300000 + 2);
    g_assert_true(g_str_has_suffix(out, "xC\n"));
}

static void test_tool_errors(void)
{
    static const struct {
        const char *script;
        VmigErrorCode code;
        const char *text;
    } rows[] = {
        {"printf 'b\\303\\274se \\033[31m\\377\\n' >&2; exit 7", VMIG_ERROR_IMAGE_TOOL,
         "(exit status 7): b\xc3\xbcse \\x1b[31m\\xff"},
        {"echo 'x: No space left on device' >&2; exit 1", VMIG_ERROR_NO_SPACE, "No space"},
        {"kill -SEGV $$", VMIG_ERROR_IMAGE_TOOL, "signal 11"},
        {"while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
         VMIG_ERROR_IMAGE_TOOL, "wrote more than"},
    };
    const char *missing[] = {"vmig-no-such-tool", NULL};
    g_autoptr(GError) none = NULL;

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(run_shell(rows[i].script, 0, NULL, &error));
        g_assert_error(error, VMIG_ERROR, (int)rows[i].code);
        if (strstr(error->message, rows[i].text) == NULL)
            g_error("'%s' does not say '%s'", error->message, rows[i].text);
    }
    g_assert_false(vmig_tool_run(missing, 0, NULL, &none));
    g_assert_error(none, VMIG_ERROR, VMIG_ERROR_IMAGE_TOOL);
}

static void test_tool_deadline(void)
{
    /* The second closes its output first, so that only its exit is awaited. */
    static const char *const scripts[] = {"sleep 60", "exec >&- 2>&-; sleep 60", "trap '' TERM; while :; do :; done"};

    for (guint i = 0; i < G_N_ELEMENTS(scripts); i++) {
        g_autoptr(GError) error = NULL;
        gint64 begin = g_get_monotonic_time();
        g_assert_false(run_shell(scripts[i], begin + 200000, NULL, &error));
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_TIMEOUT);
        g_assert_cmpint(g_get_monotonic_time() - begin, <, 30 * G_USEC_PER_SEC);
    }
}

static void test_tool_limits(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *out = NULL;

    g_assert_true(run_shell("ulimit -v; ulimit -t; ulimit -c; ls /proc/self/fd | tr '\\n' ' '", 0, &out, &error));
    g_assert_no_error(error);
    g_auto(GStrv) lines = g_strsplit(out, "\n", -1);
    g_assert_cmpstr(lines[0], ==, "1048576");
    g_assert_cmpint(g_ascii_strtoll(lines[1], NULL, 10), <=, 31);
    g_assert_cmpstr(lines[2], ==, "0");
    /* ls has one more for the folder: no other descriptor was inherited. */
    g_assert_cmpstr(lines[3], ==, "0 1 2 3 ");
}

static void test_tool_no_network(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *out = NULL;

    if (geteuid() != 0) {
        g_test_skip("only root can leave the network");
        return;
    }
    g_assert_true(run_shell("tail -n +3 /proc/self/net/dev | grep -v ' lo:' | wc -l", 0, &out, &error));
    g_assert_no_error(error);
    g_assert_cmpint(g_ascii_strtoll(out, NULL, 10), ==, 0);
}

static void add(const char *path, void (*test)(Fixture *, gconstpointer))
{
    g_test_add(path, Fixture, NULL, set_up, test, tear_down);
}

int main(int argc, char **argv)
{
    g_autofree char *qemu = g_find_program_in_path("qemu-img");

    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tool/output", test_tool_output);
    g_test_add_func("/tool/errors", test_tool_errors);
    g_test_add_func("/tool/deadline", test_tool_deadline);
    g_test_add_func("/tool/limits", test_tool_limits);
    g_test_add_func("/tool/no-network", test_tool_no_network);
    add("/image/open", test_open);
    add("/image/open-linked-root", test_open_linked_root);
    add("/image/open-refused", test_open_refused);
    add("/image/open-relative", test_open_relative);
    if (qemu == NULL) {
        g_test_message("no qemu-img: the rest is not run");
        return g_test_run();
    }
    add("/image/survey-raw", test_survey_raw);
    add("/image/survey-snapshots", test_survey_snapshots);
    add("/image/survey-refused", test_survey_refused);
    add("/image/survey-data-file", test_survey_data_file);
    add("/image/survey-encrypted", test_survey_encrypted);
    add("/image/chain", test_chain);
    add("/image/chain-cycles", test_chain_cycles);
    add("/image/chain-too-long", test_chain_too_long);
    add("/image/chain-names", test_chain_names);
    add("/image/chain-without-format", test_chain_without_format);
    add("/image/chain-through-link", test_chain_through_link);
    add("/image/chain-spelled", test_chain_spelled);
    add("/image/chain-hint", test_chain_hint);
    add("/image/check", test_check);
    add("/image/check-locked", test_check_locked);
    add("/image/overlay", test_overlay);
    add("/image/overlay-refused", test_overlay_refused);
    add("/image/rebase", test_rebase);
    add("/image/commit", test_commit);
    add("/image/commit-refused", test_commit_refused);
    return g_test_run();
}
