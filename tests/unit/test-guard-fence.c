/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Takes the fences of several overlays while one of them is reopened between the guard's check and the take. The fences
 * are constructed by hand, because no program can be timed into that gap. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <unistd.h>

#include "guard/guard-private.h"
#include "image/image-locks.h"

#define N 2

typedef struct {
    char *dir;
    char *paths[N];
    VmigGuard guard;
} Fixture;

/* Each is as its thread leaves it after QEMU has released the image. */
static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->dir = g_strdup("/var/tmp/vmig-fence-XXXXXX");
    g_assert_nonnull(g_mkdtemp(f->dir));
    g_mutex_init(&f->guard.lock);
    g_cond_init(&f->guard.changed);
    f->guard.fences = g_ptr_array_new_with_free_func(vmig_guard_held_free);
    for (guint i = 0; i < N; i++) {
        g_autofree char *name = g_strdup_printf("%u.qcow2", i);
        g_autoptr(GError) error = NULL;
        f->paths[i] = g_build_filename(f->dir, name, NULL);
        g_assert_true(g_file_set_contents(f->paths[i], "", 0, NULL));
        VmigHeld *fence = vmig_guard_open(&f->guard, f->paths[i], O_RDWR, &error);
        g_assert_no_error(error);
        fence->free = TRUE;
        g_ptr_array_add(f->guard.fences, fence);
    }
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_ptr_array_unref(f->guard.fences);
    g_mutex_clear(&f->guard.lock);
    g_cond_clear(&f->guard.changed);
    for (guint i = 0; i < N; i++) {
        g_unlink(f->paths[i]);
        g_free(f->paths[i]);
    }
    g_assert_cmpint(g_rmdir(f->dir), ==, 0);
    g_free(f->dir);
}

/* Locks it like a QEMU that writes to the image. */
static int write_to(const char *path)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = VMIG_LOCK_WRITE, .l_len = 1};
    int fd = open(path, O_RDWR | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fcntl(fd, F_OFD_SETLK, &lock), ==, 0);
    return fd;
}

static void take(Fixture *f, const char *expected)
{
    g_autoptr(GError) error = NULL;

    g_mutex_lock(&f->guard.lock);
    g_autofree char *reply = vmig_guard_take(&f->guard, "", &error);
    g_mutex_unlock(&f->guard.lock);
    g_assert_no_error(error);
    g_assert_cmpstr(reply, ==, expected);
}

static gboolean is_fenced(const char *path)
{
    g_autoptr(GError) error = NULL;
    VmigImageLocks locks;

    g_assert_true(vmig_image_locks_probe(path, &locks, &error));
    g_assert_no_error(error);
    return locks.frozen;
}

static void test_all(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    take(f, "armed 2 held 2");
    for (guint i = 0; i < N; i++)
        g_assert_true(is_fenced(f->paths[i]));
}

/* None is held, no lock is left behind, and the writer's departure changes nothing. */
static void test_none(Fixture *f, gconstpointer data)
{
    int writer = write_to(f->paths[GPOINTER_TO_UINT(data)]);

    take(f, "armed 2 held 0");
    for (guint i = 0; i < N; i++)
        g_assert_false(is_fenced(f->paths[i]));
    close(writer);
    take(f, "armed 2 held 0");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/guard-fence/all", Fixture, NULL, set_up, test_all, tear_down);
    g_test_add("/guard-fence/first-has-a-writer", Fixture, GUINT_TO_POINTER(0), set_up, test_none, tear_down);
    g_test_add("/guard-fence/second-has-a-writer", Fixture, GUINT_TO_POINTER(1), set_up, test_none, tear_down);
    return g_test_run();
}
