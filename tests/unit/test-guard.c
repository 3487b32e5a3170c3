/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard against real QEMU programs. This program is also the guard: `test-guard agent --guard SOCKET`. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard/guard.h"
#include "image/image-locks.h"

typedef struct {
    char *dir;
    char *socket;
    char *image;
    char *exe;
} Fixture;

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *argv[] = {"qemu-img", "create", "-q", "-f", "qcow2", NULL, "16M", NULL};
    g_autoptr(GError) error = NULL;
    int status;

    f->dir = g_strdup("/var/tmp/vmig-guard-XXXXXX");
    g_assert_nonnull(g_mkdtemp(f->dir));
    f->socket = g_build_filename(f->dir, "guard.sock", NULL);
    f->image = g_build_filename(f->dir, "it's an, \"image\".qcow2", NULL);
    f->exe = g_file_read_link("/proc/self/exe", NULL);
    argv[5] = f->image;
    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status, &error);
    g_assert_no_error(error);
    g_assert_cmpint(status, ==, 0);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(vmig_guard_stop(f->socket, &error));
    g_assert_no_error(error);
    g_assert_cmpint(access(f->socket, F_OK), ==, -1);
    g_unlink(f->image);
    g_assert_cmpint(g_rmdir(f->dir), ==, 0);
    g_free(f->dir);
    g_free(f->socket);
    g_free(f->image);
    g_free(f->exe);
}

static void start(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(vmig_guard_start(f->socket, f->exe, &error));
    g_assert_no_error(error);
}

static int guard_pid(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *reply = NULL;
    int pid = 0;

    g_assert_true(vmig_guard_call(f->socket, "status", 60 * G_USEC_PER_SEC, &reply, &error));
    g_assert_cmpint(sscanf(reply, "pid %d", &pid), ==, 1);
    return pid;
}

/* Opens the image with QEMU's own code; TRUE on success. */
static gboolean qemu_can(Fixture *f, gboolean write, char **says)
{
    g_autofree char *file = g_strdup_printf("file:%s", f->image);
    const char *argv[] = {"qemu-io", "-f", "qcow2", write ? "-n" : "-r", "-c", write ? "write 0 64k" : "read 0 64k",
                          file,      NULL};
    g_autofree char *out = NULL, *err = NULL;
    g_autoptr(GError) error = NULL;
    int status;

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err, &status, &error);
    g_assert_no_error(error);
    if (says != NULL)
        *says = g_strconcat(out, err, NULL);
    return status == 0;
}

/* A qemu-io that has the image open until its input ends. */
typedef struct {
    GPid pid;
    int in, out;
} Holder;

static Holder hold(Fixture *f, gboolean write)
{
    g_autofree char *file = g_strdup_printf("file:%s", f->image);
    const char *argv[] = {"qemu-io", "-f", "qcow2", write ? "-n" : "-r", file, NULL};
    g_autoptr(GError) error = NULL;
    Holder holder;
    char prompt;

    g_spawn_async_with_pipes(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL,
                             &holder.pid, &holder.in, &holder.out, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(read(holder.out, &prompt, 1), ==, 1); /* "qemu-io>": it has opened the image */
    return holder;
}

static void release(Holder *holder)
{
    close(holder->in);
    g_assert_cmpint(waitpid(holder->pid, NULL, 0), ==, holder->pid);
    close(holder->out);
}

static VmigImageLocks probe(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    VmigImageLocks locks;

    g_assert_true(vmig_image_locks_probe(f->image, &locks, &error));
    g_assert_no_error(error);
    return locks;
}

static void test_probe(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    VmigImageLocks locks = probe(f);
    g_autoptr(GError) error = NULL;

    g_assert_false(locks.writer);
    g_assert_false(locks.frozen);
    Holder writer = hold(f, TRUE);
    locks = probe(f);
    g_assert_true(locks.writer);
    release(&writer);
    Holder reader = hold(f, FALSE);
    locks = probe(f);
    g_assert_false(locks.writer);
    g_assert_true(locks.frozen);
    release(&reader);
    g_assert_false(vmig_image_locks_probe("/nonexistent/image", &locks, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IO);
}

static void test_freeze(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *paths[] = {f->image, NULL};
    g_autoptr(GError) error = NULL;
    g_autofree char *says = NULL;

    start(f);
    g_assert_true(qemu_can(f, TRUE, NULL));
    g_assert_true(vmig_guard_freeze(f->socket, paths, &error));
    g_assert_true(vmig_guard_freeze(f->socket, paths, &error)); /* repeating it changes nothing */
    g_assert_no_error(error);
    g_assert_false(qemu_can(f, TRUE, &says));
    g_assert_nonnull(strstr(says, "Failed to get \"write\" lock"));
    g_assert_true(qemu_can(f, FALSE, NULL));
    g_assert_true(vmig_guard_thaw(f->socket, &error));
    g_assert_true(qemu_can(f, TRUE, NULL));
}

static void test_freeze_finds_writer(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *paths[] = {f->image, NULL}, *missing[] = {f->image, "/nonexistent/image", NULL};
    g_autoptr(GError) error = NULL;

    start(f);
    Holder writer = hold(f, TRUE);
    g_assert_false(vmig_guard_freeze(f->socket, paths, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_INTERFERENCE);
    g_assert_nonnull(strstr(error->message, f->image));
    g_clear_error(&error);
    release(&writer);
    /* All or none: the first is released again if the second cannot be held. */
    g_assert_false(vmig_guard_freeze(f->socket, missing, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IO);
    g_assert_true(qemu_can(f, TRUE, NULL));
}

static void test_fence(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *paths[] = {f->image, NULL};
    g_autoptr(GError) error = NULL;
    gboolean held = TRUE;

    start(f);
    g_assert_true(vmig_guard_fence_take(f->socket, 0, &held, &error));
    g_assert_false(held); /* nothing is armed, so nothing is fenced */
    Holder writer = hold(f, TRUE);
    g_assert_true(vmig_guard_fence_arm(f->socket, paths, &error));
    g_assert_true(vmig_guard_fence_arm(f->socket, paths, &error));
    gint64 before = g_get_monotonic_time();
    g_assert_true(vmig_guard_fence_take(f->socket, G_USEC_PER_SEC / 5, &held, &error));
    g_assert_false(held);
    g_assert_cmpint(g_get_monotonic_time() - before, >=, G_USEC_PER_SEC / 5);
    release(&writer);
    before = g_get_monotonic_time();
    g_assert_true(vmig_guard_fence_take(f->socket, 60 * G_USEC_PER_SEC, &held, &error));
    g_assert_no_error(error);
    g_assert_true(held);
    g_assert_cmpint(g_get_monotonic_time() - before, <, 30 * G_USEC_PER_SEC);
    g_assert_false(qemu_can(f, TRUE, NULL));
    g_assert_true(qemu_can(f, FALSE, NULL)); /* reading is permitted */
    VmigImageLocks locks = probe(f);
    g_assert_false(locks.writer);
    g_assert_true(locks.frozen);
    g_assert_true(vmig_guard_fence_drop(f->socket, &error));
    g_assert_true(qemu_can(f, TRUE, NULL));
}

static void await_status(Fixture *f, const char *end)
{
    g_autofree char *reply = NULL;

    for (guint i = 0; i < 10000; i++) {
        g_clear_pointer(&reply, g_free);
        g_assert_true(vmig_guard_call(f->socket, "status", 60 * G_USEC_PER_SEC, &reply, NULL));
        if (g_str_has_suffix(reply, end))
            return;
        g_usleep(1000);
    }
    g_assert_not_reached();
}

static void await_free(Fixture *f)
{
    await_status(f, "free 1");
}

/* A migration that fails at its end: QEMU takes its images back, and must get them. The fence can never be taken after
 * that, even after that QEMU is gone, too. Only arming it anew resets this. */
static void test_fence_notices_that_it_was_taken_back(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *paths[] = {f->image, NULL};
    g_autoptr(GError) error = NULL;
    gboolean held = TRUE;

    start(f);
    Holder writer = hold(f, TRUE);
    g_assert_true(vmig_guard_fence_arm(f->socket, paths, &error));
    release(&writer);
    await_free(f);
    writer = hold(f, TRUE);
    g_assert_true(vmig_guard_fence_take(f->socket, G_USEC_PER_SEC / 5, &held, &error));
    g_assert_false(held);
    release(&writer);
    gint64 before = g_get_monotonic_time();
    g_assert_true(vmig_guard_fence_take(f->socket, 60 * G_USEC_PER_SEC, &held, &error));
    g_assert_false(held);
    g_assert_cmpint(g_get_monotonic_time() - before, <, 30 * G_USEC_PER_SEC);
    g_assert_true(qemu_can(f, TRUE, NULL));
    g_assert_true(vmig_guard_fence_drop(f->socket, &error));
    g_assert_true(vmig_guard_fence_arm(f->socket, paths, &error));
    g_assert_true(vmig_guard_fence_take(f->socket, 60 * G_USEC_PER_SEC, &held, &error));
    g_assert_true(held);
    g_assert_false(qemu_can(f, TRUE, NULL));
    g_assert_no_error(error);
}

/* Also if that QEMU is gone again before the fence is taken: only the guard has seen it. */
static void test_fence_notices_a_short_return(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *paths[] = {f->image, NULL};
    g_autoptr(GError) error = NULL;
    gboolean held = TRUE;

    start(f);
    Holder writer = hold(f, TRUE);
    g_assert_true(vmig_guard_fence_arm(f->socket, paths, &error));
    release(&writer);
    await_free(f);
    writer = hold(f, TRUE);
    await_status(f, "free 0");
    release(&writer);
    g_assert_true(vmig_guard_fence_take(f->socket, 60 * G_USEC_PER_SEC, &held, &error));
    g_assert_no_error(error);
    g_assert_false(held);
}

/* Two overlays: while QEMU has one of them open again, none is taken. */
static void test_fence_takes_all_or_none(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *second = g_build_filename(f->dir, "second.qcow2", NULL);
    const char *paths[] = {second, f->image, NULL};
    const char *copy[] = {"cp", f->image, second, NULL};
    g_autoptr(GError) error = NULL;
    gboolean held = TRUE;

    g_assert_true(g_spawn_sync(NULL, (char **)copy, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, &error));
    start(f);
    Holder writer = hold(f, TRUE);
    g_assert_true(vmig_guard_fence_arm(f->socket, paths, &error));
    g_assert_true(vmig_guard_fence_take(f->socket, 0, &held, &error));
    g_assert_false(held);
    VmigImageLocks locks;
    g_assert_true(vmig_image_locks_probe(second, &locks, &error));
    g_assert_false(locks.frozen);
    release(&writer);
    g_assert_true(vmig_guard_fence_take(f->socket, 60 * G_USEC_PER_SEC, &held, &error));
    g_assert_true(held);
    g_assert_no_error(error);
    g_unlink(second);
}

static void test_fence_is_dropped_while_it_waits(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *paths[] = {f->image, NULL};
    g_autoptr(GError) error = NULL;

    start(f);
    Holder writer = hold(f, TRUE);
    for (guint i = 0; i < 50; i++) {
        g_assert_true(vmig_guard_fence_arm(f->socket, paths, &error));
        g_assert_true(vmig_guard_fence_drop(f->socket, &error));
    }
    g_assert_no_error(error);
    release(&writer);
    g_assert_true(qemu_can(f, TRUE, NULL));
}

/* Two clients in parallel: one that waits does not block the other's reply. */
static gpointer wait_for_fence(gpointer data)
{
    Fixture *f = data;
    gboolean held = FALSE;

    g_assert_true(vmig_guard_fence_take(f->socket, 60 * G_USEC_PER_SEC, &held, NULL));
    return GINT_TO_POINTER(held);
}

static void test_clients_do_not_wait_for_each_other(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *paths[] = {f->image, NULL};
    g_autoptr(GError) error = NULL;

    start(f);
    Holder writer = hold(f, TRUE);
    g_assert_true(vmig_guard_fence_arm(f->socket, paths, &error));
    g_autoptr(GThread) waiter = g_thread_new("waiter", wait_for_fence, f);
    for (guint i = 0; i < 20; i++)
        g_assert_cmpint(guard_pid(f), >, 0);
    release(&writer);
    g_assert_true(GPOINTER_TO_INT(g_thread_join(g_steal_pointer(&waiter))));
}

static void test_outlives_its_parent(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *paths[] = {f->image, NULL};
    g_autoptr(GError) error = NULL;
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(vmig_guard_start(f->socket, f->exe, NULL) && vmig_guard_freeze(f->socket, paths, NULL) ? 0 : 1);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
    int guard = guard_pid(f);
    g_assert_cmpint(guard, !=, pid);
    g_assert_cmpint(getsid(guard), !=, getsid(0));
    g_assert_false(qemu_can(f, TRUE, NULL));
    start(f); /* starting a second one finds the first */
    g_assert_cmpint(guard_pid(f), ==, guard);
    g_assert_false(qemu_can(f, TRUE, NULL));
}

static void test_stale_socket(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    start(f);
    int first = guard_pid(f);
    kill(first, SIGKILL);
    for (guint i = 0; i < 1000 && kill(first, 0) == 0; i++)
        g_usleep(1000);
    g_assert_false(vmig_guard_call(f->socket, "status", 60 * G_USEC_PER_SEC, NULL, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONNECTION);
    start(f);
    g_assert_cmpint(guard_pid(f), !=, first);
}

static void test_refusals(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *relative[] = {"image.qcow2", NULL}, *folder[] = {f->dir, NULL};
    g_autoptr(GError) error = NULL;

    g_assert_false(vmig_guard_start(f->socket, "/nonexistent/exe", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_INTERNAL);
    g_assert_nonnull(strstr(error->message, "/nonexistent/exe"));
    g_clear_error(&error);
    g_assert_cmpint(access(f->socket, F_OK), ==, -1);
    g_assert_false(vmig_guard_start(f->socket, "/bin/true", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONNECTION);
    g_clear_error(&error);
    start(f);
    g_assert_false(vmig_guard_freeze(f->socket, relative, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_PATH);
    g_clear_error(&error);
    g_assert_false(vmig_guard_fence_arm(f->socket, folder, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IO);
    g_clear_error(&error);
    static const char *const nonsense[] = {"",           " ",        "freeze",       "freeze {}",
                                           "freeze [1]", "freeze [", "take wait x",  "take wait -1",
                                           "take now",   "dance",    "freeze [null]"};
    for (guint i = 0; i < G_N_ELEMENTS(nonsense); i++) {
        g_assert_false(vmig_guard_call(f->socket, nonsense[i], 60 * G_USEC_PER_SEC, NULL, &error));
        g_assert_nonnull(error);
        g_assert_false(g_error_matches(error, VMIG_ERROR, VMIG_ERROR_CONNECTION));
        g_clear_error(&error);
    }
    g_assert_cmpint(guard_pid(f), >, 0);
}

static void test_frozen_guard_times_out(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    start(f);
    int pid = guard_pid(f);
    kill(pid, SIGSTOP);
    gint64 before = g_get_monotonic_time();
    g_assert_false(vmig_guard_call(f->socket, "status", G_USEC_PER_SEC / 5, NULL, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_TIMEOUT);
    g_assert_cmpint(g_get_monotonic_time() - before, <, 30 * G_USEC_PER_SEC);
    kill(pid, SIGCONT);
}

/* Without CAP_SYS_NICE, as in a unit with RestrictRealtime=yes, a thread cannot have real-time priority: the guard
 * reports that. If this process can, its guard can, too. */
static void test_says_that_it_is_slow(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    struct sched_param param = {.sched_priority = 1}, before = {0};
    const struct rlimit none = {0, 0};
    g_autoptr(GError) error = NULL;
    g_autofree char *why = NULL;

    if (sched_setscheduler(0, SCHED_FIFO, &param) == 0) {
        g_assert_cmpint(sched_setscheduler(0, SCHED_OTHER, &before), ==, 0);
        start(f);
        g_assert_true(vmig_guard_slow(f->socket, &why, &error));
        g_assert_no_error(error);
        g_assert_cmpstr(why, ==, NULL);
        g_assert_true(vmig_guard_stop(f->socket, &error));
        g_assert_no_error(error);
    }
    g_assert_cmpint(setrlimit(RLIMIT_RTPRIO, &none), ==, 0);
    (void)prctl(PR_CAPBSET_DROP, CAP_SYS_NICE, 0, 0, 0); /* fails only if the capability is missing anyway */
    start(f);
    g_assert_true(vmig_guard_slow(f->socket, &why, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(why, ==, g_strerror(EPERM));
}

static void add(const char *path, void (*test)(Fixture *, gconstpointer))
{
    g_test_add(path, Fixture, NULL, set_up, test, tear_down);
}

int main(int argc, char **argv)
{
    if (argc == 4 && g_str_equal(argv[1], "agent") && g_str_equal(argv[2], "--guard"))
        return vmig_guard_main(argv[3]);
    g_test_init(&argc, &argv, NULL);
    add("/locks/probe", test_probe);
    add("/guard/freeze", test_freeze);
    add("/guard/freeze-finds-writer", test_freeze_finds_writer);
    add("/guard/fence", test_fence);
    add("/guard/fence-notices-that-it-was-taken-back", test_fence_notices_that_it_was_taken_back);
    add("/guard/fence-notices-a-short-return", test_fence_notices_a_short_return);
    add("/guard/fence-takes-all-or-none", test_fence_takes_all_or_none);
    add("/guard/fence-is-dropped-while-it-waits", test_fence_is_dropped_while_it_waits);
    add("/guard/clients-do-not-wait-for-each-other", test_clients_do_not_wait_for_each_other);
    add("/guard/outlives-its-parent", test_outlives_its_parent);
    add("/guard/stale-socket", test_stale_socket);
    add("/guard/refusals", test_refusals);
    add("/guard/frozen-guard-times-out", test_frozen_guard_times_out);
    add("/guard/says-that-it-is-slow", test_says_that_it_is_slow); /* last, because it drops a capability */
    return g_test_run();
}
