/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which paths count as below the image roots, how the roots may be spelled, and the error if openat2() is blocked. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "store/beneath.h"
#include "tests/unit/expect.h"

typedef struct {
    char *dir;
    GPtrArray *roots;
} Fixture;

static char *in(Fixture *f, const char *name)
{
    return g_build_filename(f->dir, name, NULL);
}

static void add_root(Fixture *f, const char *name)
{
    g_ptr_array_add(f->roots, in(f, name));
}

static void make(Fixture *f, const char *folder)
{
    g_autofree char *path = in(f, folder);
    g_autofree char *file = g_build_filename(path, "a", NULL);

    g_assert_cmpint(g_mkdir_with_parents(path, 0755), ==, 0);
    g_assert_true(g_file_set_contents(file, folder, -1, NULL));
}

static void link_to(Fixture *f, const char *target, const char *name)
{
    g_autofree char *path = in(f, name);

    g_assert_cmpint(symlink(target, path), ==, 0);
}

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->dir = g_dir_make_tmp("vmig-beneath-XXXXXX", NULL);
    f->roots = g_ptr_array_new_with_free_func(g_free);
    make(f, "root/user");
    make(f, "root/inner");
    make(f, "elsewhere");
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *argv[] = {"rm", "-rf", f->dir, NULL};

    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL));
    g_ptr_array_unref(f->roots);
    g_free(f->dir);
}

/* The errno, 0 for none. Tests both the file itself and its folder. */
static int try(Fixture *f, GPtrArray *roots, const char *name)
{
    g_autofree char *path = in(f, name);
    int fd = vmig_beneath_open(roots, path, O_RDONLY, 0);
    int failure = fd < 0 ? errno : 0;
    struct stat st;

    if (fd >= 0)
        close(fd);
    int result = vmig_beneath_stat(roots, path, &st);
    g_assert_cmpint(result < 0 ? errno : 0, ==, failure);
    return failure;
}

static void test_roots(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    add_root(f, "root");
    g_assert_cmpint(try(f, f->roots, "root/a"), ==, ENOENT);
    g_assert_cmpint(try(f, f->roots, "root/user/a"), ==, 0);
    g_assert_cmpint(try(f, f->roots, "elsewhere/a"), ==, EXDEV);
    g_assert_cmpint(try(f, f->roots, "rootless/a"), ==, EXDEV);
    g_assert_cmpint(try(f, NULL, "elsewhere/a"), ==, 0);
    link_to(f, "user", "root/within"); /* not even to a permitted folder */
    link_to(f, "../elsewhere", "root/out");
    g_assert_cmpint(try(f, f->roots, "root/within/a"), ==, ELOOP);
    g_assert_cmpint(try(f, f->roots, "root/out/a"), ==, ELOOP);
    g_assert_cmpint(try(f, NULL, "root/out/a"), ==, ELOOP);
}

/* Spelled as the link or as its target. */
static void test_linked_root(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    link_to(f, "root", "link");
    add_root(f, "missing");
    add_root(f, "link");
    g_assert_cmpint(try(f, f->roots, "link/user/a"), ==, 0);
    g_assert_cmpint(try(f, f->roots, "root/user/a"), ==, 0);
    g_assert_cmpint(try(f, f->roots, "elsewhere/a"), ==, EXDEV);
    g_assert_cmpint(try(f, NULL, "link/user/a"), ==, ELOOP);
}

/* The owner of a folder in the outer root cannot redirect the inner root. */
static void test_root_in_root(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *inner = in(f, "root/inner");
    g_autofree char *moved = in(f, "root/moved");

    add_root(f, "root/inner");
    add_root(f, "root");
    g_assert_cmpint(try(f, f->roots, "root/inner/a"), ==, 0);
    g_assert_cmpint(g_rename(inner, moved), ==, 0);
    link_to(f, "../elsewhere", "root/inner");
    g_assert_cmpint(try(f, f->roots, "root/inner/a"), ==, ELOOP);
}

/* Like systemd's RestrictSUIDSGID=. */
static void refuse_openat2(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {G_N_ELEMENTS(filter), filter};

    g_assert_cmpint(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), ==, 0);
    g_assert_cmpint(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), ==, 0);
}

static void test_refused(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    if (g_test_subprocess()) {
        add_root(f, "root");
        g_autofree char *path = in(f, "root/user/a");
        refuse_openat2();
        g_assert_cmpint(vmig_beneath_open(f->roots, path, O_RDONLY, 0), ==, -1);
        g_assert_cmpint(errno, ==, ENOSYS);
        assert_fails_saying(VMIG_ERROR_UNSUPPORTED, "openat2() is refused by",
                            vmig_beneath_fail(&error_, ENOSYS, path));
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_passed();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/beneath/roots", Fixture, NULL, set_up, test_roots, tear_down);
    g_test_add("/beneath/linked-root", Fixture, NULL, set_up, test_linked_root, tear_down);
    g_test_add("/beneath/root-in-root", Fixture, NULL, set_up, test_root_in_root, tear_down);
    g_test_add("/beneath/refused", Fixture, NULL, set_up, test_refused, tear_down);
    return g_test_run();
}
