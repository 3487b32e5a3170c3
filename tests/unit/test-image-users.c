/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every user of an image is found, wherever it is; anything that cannot be examined counts as a user; an unused image
 * has none. The domains are those of libvirt's test driver. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "core/image-names.h"
#include "node/image-users.h"
#include "node/leftovers.h"

#define UUID "11111111-2222-3333-4444-555555555555"

typedef struct {
    char *dir, *root, *outside, *base, *uri;
} Fixture;

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->dir = g_dir_make_tmp("vmig-users-XXXXXX", NULL);
    f->root = g_build_filename(f->dir, "images", NULL);
    f->outside = g_build_filename(f->dir, "outside", NULL);
    f->base = g_build_filename(f->root, "base.qcow2", NULL);
    f->uri = g_strdup("test:///default");
    g_assert_cmpint(g_mkdir(f->root, 0755), ==, 0);
    g_assert_cmpint(g_mkdir(f->outside, 0755), ==, 0);
}

static void run(const char *folder, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void run(const char *folder, const char *format, ...)
{
    va_list args;
    int status = -1;
    g_autoptr(GError) error = NULL;

    va_start(args, format);
    g_autofree char *command = g_strdup_vprintf(format, args);
    va_end(args);
    char *argv[] = {"sh", "-ec", command, NULL};
    g_assert_true(g_spawn_sync(folder, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status, &error));
    if (status != 0)
        g_error("%s: %d", command, status);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    run("/", "chmod -R u+rwx '%s'; rm -r '%s'", f->dir, f->dir);
    g_free(f->dir);
    g_free(f->root);
    g_free(f->outside);
    g_free(f->base);
    g_free(f->uri);
}

static void make_base(Fixture *f)
{
    run(f->root, "qemu-img create -q -f qcow2 base.qcow2 8M");
}

static char *ask(Fixture *f, const char *leaving, const char *domain)
{
    const char *const roots[] = {f->root, NULL};
    const char *const paths[] = {f->base, NULL};
    const char *const others[] = {leaving, NULL};
    VmigImageQuestion question = {
        .libvirt_uri = f->uri,
        .roots = roots,
        .paths = paths,
        .leaving = leaving != NULL ? others : NULL,
        .domain = domain,
    };
    g_autoptr(GPtrArray) users = vmig_image_users(&question);

    g_assert_cmpuint(users->len, ==, 1);
    return g_strdup(users->pdata[0]);
}

static void expect(Fixture *f, const char *word)
{
    g_autofree char *user = ask(f, NULL, NULL);

    if (word == NULL)
        g_assert_cmpstr(user, ==, NULL);
    else if (user == NULL || strstr(user, word) == NULL)
        g_error("'%s' is not what was found: %s", word, user != NULL ? user : "nothing");
}

/* --- images --- */

/* Each is made in the root, beside base.qcow2; OUT is a folder outside the root. */
static const struct {
    const char *name, *commands, *word;
} images[] = {
    {"none", "qemu-img create -q -f qcow2 other.qcow2 8M; qemu-img create -q -f qcow2 -b other.qcow2 -F qcow2 o2.qcow2",
     NULL},
    {"absolute", "qemu-img create -q -f qcow2 -b \"$PWD/base.qcow2\" -F qcow2 c.qcow2", "c.qcow2 uses it"},
    {"relative", "mkdir d; cd d; qemu-img create -q -f qcow2 -b ../base.qcow2 -F qcow2 c.qcow2", "d/c.qcow2 uses it"},
    {"dots", "mkdir d; cd d; qemu-img create -q -f qcow2 -b .././d//../base.qcow2 -F qcow2 c.qcow2", "c.qcow2 uses"},
    {"file-prefix", "qemu-img create -q -f qcow2 -b file:base.qcow2 -F qcow2 c.qcow2", "c.qcow2 uses it"},
    {"json",
     "qemu-img create -q -f qcow2 -u -F qcow2 -b "
     "'json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":"
     "\"base.qcow2\"}}' c.qcow2 8M",
     "c.qcow2 uses it"},
    {"json-dotted",
     "qemu-img create -q -f qcow2 -u -F qcow2 -b 'json:{\"file.filename\":\"b\\u0061se.qcow2\"}' c.qcow2 8M",
     "c.qcow2 uses it"},
    {"json-single",
     "qemu-img create -q -f qcow2 -u -F qcow2 -b \"json:{'file':{'filename':'$PWD/base.qcow2'}}\" c.qcow2 8M",
     "c.qcow2 uses it"},
    {"chain",
     "qemu-img create -q -f qcow2 -b \"$PWD/base.qcow2\" -F qcow2 OUT/m.qcow2;"
     "qemu-img create -q -f qcow2 -b OUT/m.qcow2 -F qcow2 c.qcow2",
     "c.qcow2 uses it"},
    {"data-file", "qemu-img create -q -f qcow2 -o data_file=base.qcow2,data_file_raw=on c.qcow2 8M", "c.qcow2 uses it"},
    {"qed", "qemu-img create -q -f qed -b base.qcow2 -F qcow2 c.qed", "c.qed uses it"},
    {"version-2", "qemu-img create -q -f qcow2 -o compat=0.10 -b base.qcow2 -F qcow2 c.qcow2", "c.qcow2 uses it"},
    {"linked-folder", "ln -s OUT link; qemu-img create -q -f qcow2 -b \"$PWD/base.qcow2\" -F qcow2 OUT/c.qcow2",
     "link/c.qcow2 uses"},
    {"through-linked-folder",
     "mkdir d; ln -s \"$PWD\" d/link; cd d; qemu-img create -q -f qcow2 -b link/base.qcow2 -F qcow2 c.qcow2",
     "c.qcow2 uses it"},
    {"linked-file", "qemu-img create -q -f qcow2 -u -b base.qcow2 -F qcow2 OUT/c.qcow2 8M; ln -s OUT/c.qcow2 l.qcow2",
     "l.qcow2 uses it"},
    {"linked-base", "ln -s base.qcow2 b; qemu-img create -q -f qcow2 -b b -F qcow2 c.qcow2", "c.qcow2 uses it"},
    {"loop-of-links", "ln -s . a; mkdir d; ln -s .. d/up; ln -s nowhere n", NULL},
    {"deep", "mkdir -p 1/2/3/4/5/6/7/8/9", "nested too deeply"},
    {"cycle",
     "qemu-img create -q -f qcow2 -u -b a.qcow2 -F qcow2 b.qcow2 8M; qemu-img create -q -f qcow2 -u -b b.qcow2 -F "
     "qcow2 "
     "a.qcow2 8M",
     NULL},
    {"garbage",
     "printf 'QFI\\373\\0\\0\\0\\3\\377\\377\\377\\377\\377\\377\\377\\377\\377\\377' > g; head -c 200 /dev/zero >> g",
     NULL},
    {"unreadable", "ln -s /sys/bus/platform/drivers_probe x", "cannot open"},
    {"gone", "rm base.qcow2; qemu-img create -q -f qcow2 -u -b base.qcow2 -F qcow2 c.qcow2 8M", NULL},
};

static void test_image(Fixture *f, gconstpointer data)
{
    guint index = GPOINTER_TO_UINT(data);
    g_auto(GStrv) parts = g_strsplit(images[index].commands, "OUT", -1);
    g_autofree char *commands = g_strjoinv(f->outside, parts);

    make_base(f);
    expect(f, NULL);
    run(f->root, "%s", commands);
    expect(f, images[index].word);
}

/* An image that is removed together with it is not a user; an image on top of that one is. */
static void test_leaving(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *top = g_build_filename(f->root, "top.qcow2", NULL);

    make_base(f);
    run(f->root, "qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2");
    expect(f, "top.qcow2 uses it");
    g_autofree char *none = ask(f, top, NULL);
    g_assert_cmpstr(none, ==, NULL);
    run(f->root, "qemu-img create -q -f qcow2 -b top.qcow2 -F qcow2 clone.qcow2");
    g_autofree char *user = ask(f, top, NULL);
    g_assert_nonnull(strstr(user, "clone.qcow2 uses it"));
}

/* --- definitions --- */

static void define(Fixture *f, const char *domain, const char *snapshot)
{
    g_autofree char *file = g_build_filename(f->dir, "node.xml", NULL);
    g_autofree char *text =
        g_strdup_printf("<node><domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>"
                        "<name>g2</name><uuid>" UUID "</uuid><memory>8192</memory><os><type>hvm</type></os>"
                        "<devices>%s</devices>%s<test:runstate>5</test:runstate></domain></node>",
                        domain, snapshot);

    g_assert_true(g_file_set_contents(file, text, -1, NULL));
    g_free(f->uri);
    f->uri = g_strconcat("test://", file, NULL);
}

static void define_disk(Fixture *f, const char *path)
{
    g_autofree char *disk =
        g_strdup_printf("<disk type='file' device='disk'><source file='%s'/><target dev='vda'/></disk>", path);

    define(f, disk, "");
}

static void test_definition(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *clone = g_build_filename(f->outside, "clone.qcow2", NULL);
    g_autofree char *link = g_build_filename(f->outside, "link.qcow2", NULL);

    make_base(f);
    define_disk(f, f->base);
    expect(f, "the definition of 'g2' uses it");
    g_autofree char *own = ask(f, NULL, UUID);
    g_assert_cmpstr(own, ==, NULL);
    define_disk(f, clone);
    expect(f, NULL);
    run(f->root, "qemu-img create -q -f qcow2 -b '%s' -F qcow2 '%s'", f->base, clone);
    expect(f, "the definition of 'g2' uses");
    expect(f, "clone.qcow2, which uses it");
    g_assert_cmpint(symlink(f->base, link), ==, 0);
    define_disk(f, link);
    expect(f, "the definition of 'g2' uses it");
    define(f, "<disk type='volume' device='disk'><source pool='p' volume='v'/><target dev='vda'/></disk>", "");
    expect(f, "volume 'v' of pool 'p'");
}

/* An image that was examined by its link's name is not examined again below the roots. */
static void test_definition_by_link(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *link = g_build_filename(f->outside, "link.qcow2", NULL);
    g_autofree char *top = g_build_filename(f->root, "top.qcow2", NULL);

    make_base(f);
    run(f->root, "qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2");
    g_assert_cmpint(symlink(top, link), ==, 0);
    define_disk(f, link);
    expect(f, "link.qcow2, which uses it");
}

static void test_snapshot(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *snapshot = g_strdup_printf(
        "<test:domainsnapshot><name>clean</name><state>shutoff</state><creationTime>1</creationTime><domain "
        "type='test'>"
        "<name>g2</name><uuid>" UUID "</uuid><memory>8192</memory><os><type>hvm</type></os><devices>"
        "<disk type='file' device='disk'><source file='%s'/><target dev='vda'/></disk></devices></domain>"
        "<active>0</active></test:domainsnapshot>",
        f->base);

    make_base(f);
    define(f, "", snapshot);
    expect(f, "snapshot 'clean' of 'g2' uses it");
}

static void test_no_libvirt(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    make_base(f);
    g_free(f->uri);
    f->uri = g_strconcat("test://", f->dir, "/nothing.xml", NULL);
    expect(f, "libvirt does not report");
}

/* --- processes --- */

static void test_open(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    int ready[2];
    char byte;

    make_base(f);
    g_assert_cmpint(pipe(ready), ==, 0);
    pid_t child = fork();
    g_assert_cmpint(child, >=, 0);
    if (child == 0) {
        int fd = open(f->base, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    g_assert_cmpint(read(ready[0], &byte, 1), ==, 1);
    g_autofree char *pid = g_strdup_printf("process %d (", child);
    expect(f, pid);
    expect(f, "has it open");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    expect(f, NULL);
    close(ready[0]);
    close(ready[1]);
}

static void test_locked(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 299, .l_len = 1};
    g_autofree char *why = NULL;

    make_base(f);
    int fd = open(f->base, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(fcntl(fd, F_OFD_SETLK, &lock), ==, 0);
    expect(f, "QEMU lock");
    int other = open(f->base, O_RDWR | O_CLOEXEC);
    g_assert_false(vmig_image_take(other, &why));
    g_assert_nonnull(strstr(why, "in use"));
    close(other);
    close(fd);
    expect(f, NULL);
}

/* While it is taken, no QEMU can open the image, not even for reading. */
static void test_take(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    char *why = NULL;

    make_base(f);
    int fd = open(f->base, O_RDWR | O_CLOEXEC);
    g_assert_true(vmig_image_take(fd, &why));
    run(f->root, "! qemu-io -r -f qcow2 -c 'read 0 512' base.qcow2 >/dev/null 2>&1");
    close(fd);
    run(f->root, "qemu-io -r -f qcow2 -c 'read 0 512' base.qcow2 >/dev/null");
}

/* --- names in headers, without a file --- */

static gboolean read_text(gpointer user, guint64 offset, gpointer buffer, gsize length, GError **error)
{
    const GByteArray *bytes = user;

    if (offset > bytes->len || length > bytes->len - offset)
        return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "read outside of the file");
    memcpy(buffer, bytes->data + offset, length);
    return TRUE;
}

/* For any bytes, nothing outside the file is read, and the function returns. */
static void test_mutants(void)
{
    static const guint8 head[] = {'Q', 'F', 'I', 0xfb, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 4, 0, 0, 0, 16};
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);

    for (guint i = 0; i < 20000; i++) {
        guint size = (guint)g_rand_int_range(rand, 0, i % 2 == 0 ? 400 : 80000);
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        g_autoptr(GError) error = NULL;
        g_byte_array_set_size(bytes, size);
        for (guint k = 0; k < size; k++)
            bytes->data[k] = k < sizeof head && g_rand_int_range(rand, 0, 30) > 0 ? head[k] : (guint8)g_rand_int(rand);
        if (i % 5 == 0 && size > 4)
            memcpy(bytes->data, i % 10 == 0 ? "QED" : "KDMV", 4);
        g_autoptr(GPtrArray) names = vmig_image_names(read_text, bytes, size, &error);
        g_assert_true((names == NULL) == (error != NULL));
        g_assert_true(error == NULL || error->code == VMIG_ERROR_BAD_IMAGE);
    }
}

static void test_far_extensions(void)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autoptr(GError) error = NULL;

    g_byte_array_set_size(bytes, 200000);
    memset(bytes->data, 0, bytes->len);
    memcpy(bytes->data, "QFI\xfb\0\0\0\3", 8);
    bytes->data[23] = 21; /* clusters of 2 MiB */
    bytes->data[103] = 104;
    memcpy(bytes->data + 104, "\x12\x34\x56\x78\0\1\x40\0", 8); /* an extension of 80 KiB */
    g_assert_null(vmig_image_names(read_text, bytes, bytes->len, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_IMAGE);
}

static void add(const char *path, void (*test)(Fixture *, gconstpointer), gconstpointer data)
{
    g_test_add(path, Fixture, data, set_up, test, tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(images); i++) {
        g_autofree char *path = g_strconcat("/image-users/image/", images[i].name, NULL);
        add(path, test_image, GUINT_TO_POINTER(i));
    }
    add("/image-users/leaving", test_leaving, NULL);
    add("/image-users/definition", test_definition, NULL);
    add("/image-users/definition-by-link", test_definition_by_link, NULL);
    add("/image-users/snapshot", test_snapshot, NULL);
    add("/image-users/no-libvirt", test_no_libvirt, NULL);
    add("/image-users/open", test_open, NULL);
    add("/image-users/locked", test_locked, NULL);
    add("/image-users/take", test_take, NULL);
    g_test_add_func("/image-users/mutants", test_mutants);
    g_test_add_func("/image-users/far-extensions", test_far_extensions);
    return g_test_run();
}
