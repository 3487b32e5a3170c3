/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The operation lock: the second process learns who holds it, and a dead process releases it. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/oplock.h"

#define UUID "6f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21"
#define JOB "0123456789abcdef"

typedef struct {
    char *dir;
    char *file;
} Fixture;

static void set_up(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *tmp = g_dir_make_tmp("vmig-lock-XXXXXX", NULL);

    f->dir = g_build_filename(tmp, "lock", NULL);
    f->file = g_build_filename(f->dir, UUID ".lock", NULL);
}

static void tear_down(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *tmp = g_path_get_dirname(f->dir);
    g_autofree char *command = g_strdup_printf("rm -rf '%s'", tmp);

    g_assert_cmpint(system(command), ==, 0);
    g_free(f->dir);
    g_free(f->file);
}

static void assert_locked(Fixture *f, const char *says)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(vmig_oplock_take(f->dir, UUID, "fedcba9876543210", "destination", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_LOCKED);
    if (strstr(error->message, says) == NULL)
        g_error("'%s' is not in '%s'", says, error->message);
}

static void assert_free(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *holder = NULL;

    g_assert_true(vmig_oplock_holder(f->dir, UUID, &holder, &error));
    g_assert_null(holder);
    g_autoptr(VmigOpLock) lock = vmig_oplock_take(f->dir, UUID, JOB, "source", &error);
    g_assert_no_error(error);
    g_assert_nonnull(lock);
}

static void test_take(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *holder = NULL;
    g_autofree char *text = NULL;
    struct stat st;

    g_assert_true(vmig_oplock_holder(f->dir, UUID, &holder, NULL));
    g_assert_null(holder);
    g_assert_cmpint(access(f->dir, F_OK), !=, 0);
    VmigOpLock *lock = vmig_oplock_take(f->dir, UUID, JOB, "source", NULL);
    g_assert_nonnull(lock);
    g_assert_cmpint(stat(f->dir, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 07777, ==, 0700);
    g_assert_cmpint(stat(f->file, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
    g_assert_cmpint(fcntl(vmig_oplock_fd(lock), F_GETFD) & FD_CLOEXEC, !=, 0);
    g_assert_true(g_file_get_contents(f->file, &text, NULL, NULL));
    g_assert_true(g_str_has_suffix(text, "}\n"));
    g_assert_cmpuint(strcspn(text, "\n"), ==, strlen(text) - 1);
    /* A second lock in the same process is separate. */
    assert_locked(f, JOB " as the source");
    g_autofree char *pid = g_strdup_printf("process %d", getpid());
    assert_locked(f, pid);
    assert_locked(f, " s ago)");
    g_assert_true(vmig_oplock_holder(f->dir, UUID, &holder, NULL));
    g_assert_nonnull(strstr(holder, JOB));
    vmig_oplock_release(lock);
    g_assert_cmpint(access(f->file, F_OK), ==, 0);
    assert_free(f);
}

/* Another spelling of the UUID is the same domain; another domain is not. */
static void test_names(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigOpLock) lock = vmig_oplock_take(f->dir, "6F2C5C3E-8A4B-4F0E-9D3A-0D9F5C1B7E21", JOB, "source", NULL);
    g_autoptr(VmigOpLock) other = vmig_oplock_take(f->dir, "7f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21", JOB, "source", NULL);
    const char *bad[] = {"",
                         "../../etc/passwd",
                         "web1",
                         "6f2c5c3e8a4b4f0e9d3a0d9f5c1b7e21",
                         UUID "/",
                         UUID "0",
                         "..2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21"};

    g_assert_nonnull(lock);
    g_assert_nonnull(other);
    assert_locked(f, JOB);
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        char *holder = NULL;
        g_assert_null(vmig_oplock_take(f->dir, bad[i], JOB, "source", &error));
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_NAME);
        g_clear_error(&error);
        g_assert_false(vmig_oplock_holder(f->dir, bad[i], &holder, &error));
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_NAME);
        g_clear_error(&error);
    }
}

/* A child takes the lock (and, with keep, passes it to its own child), reports that and waits to be killed. */
static pid_t holder_process(Fixture *f, gboolean keep, pid_t *grandchild)
{
    int fds[2];
    g_assert_cmpint(pipe(fds), ==, 0);
    pid_t pid = fork();
    if (pid == 0) {
        VmigOpLock *lock = vmig_oplock_take(f->dir, UUID, JOB, "source", NULL);
        pid_t child = keep ? fork() : 1;
        if (child != 0 && (lock == NULL || write(fds[1], &child, sizeof child) != sizeof child))
            _exit(1);
        for (;;)
            pause();
    }
    close(fds[1]);
    g_assert_cmpint(read(fds[0], grandchild, sizeof *grandchild), ==, (gssize)sizeof *grandchild);
    close(fds[0]);
    return pid;
}

static void wait_until_free(Fixture *f)
{
    for (int i = 0; i < 500; i++) {
        g_autofree char *holder = NULL;
        g_assert_true(vmig_oplock_holder(f->dir, UUID, &holder, NULL));
        if (holder == NULL)
            return;
        g_usleep(10000);
    }
    g_assert_not_reached();
}

static void test_death(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    pid_t other = 0;
    pid_t pid = holder_process(f, FALSE, &other);
    g_autofree char *says = g_strdup_printf("process %d", pid);

    assert_locked(f, says);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_free(f);
    /* Passed on: the child of the dead process holds it. */
    pid = holder_process(f, TRUE, &other);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_locked(f, JOB);
    kill(other, SIGKILL);
    wait_until_free(f);
    assert_free(f);
}

/* The content is only for display: garbage neither locks nor breaks anything, however old. */
static void test_leftover(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    const char *contents[] = {
        "", "{", "[1]", "{\"since\":\"x\",\"pid\":{},\"job\":[]}", "\xff\xfe", "{\"since\":1e99}"};

    for (guint i = 0; i < G_N_ELEMENTS(contents); i++) {
        g_autoptr(VmigOpLock) lock = vmig_oplock_take(f->dir, UUID, JOB, "source", NULL);
        g_assert_nonnull(lock);
        int fd = open(f->file, O_WRONLY | O_TRUNC);
        g_assert_cmpint(write(fd, contents[i], strlen(contents[i])), ==, (gssize)strlen(contents[i]));
        close(fd);
        assert_locked(f, "unknown process");
    }
    int fd = open(f->file, O_WRONLY | O_TRUNC);
    const char *future = "{\"since\":99999999999,\"pid\":1,\"role\":\"source\"}";
    g_assert_cmpint(write(fd, future, strlen(future)), >, 0);
    close(fd);
    assert_free(f);
}

static void assert_refused(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) error2 = NULL;
    char *holder = NULL;

    g_assert_null(vmig_oplock_take(f->dir, UUID, JOB, "source", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IO);
    g_assert_false(vmig_oplock_holder(f->dir, UUID, &holder, &error2));
    g_assert_error(error2, VMIG_ERROR, VMIG_ERROR_IO);
}

static void test_strange_files(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *other = g_strconcat(f->dir, ".other", NULL);
    g_autoptr(GError) error = NULL;

    assert_free(f);
    g_assert_cmpint(linkat(AT_FDCWD, f->file, AT_FDCWD, other, 0), ==, 0);
    assert_refused(f);
    g_unlink(f->file);
    g_assert_cmpint(symlink(other, f->file), ==, 0);
    assert_refused(f);
    g_unlink(f->file);
    g_assert_cmpint(mkfifo(f->file, 0600), ==, 0);
    assert_refused(f);
    g_unlink(f->file);
    g_assert_cmpint(mkdir(f->file, 0700), ==, 0);
    assert_refused(f);
    g_assert_cmpint(rmdir(f->file), ==, 0);
    if (geteuid() == 0) {
        assert_free(f);
        g_assert_cmpint(chown(f->file, 1, 1), ==, 0);
        assert_refused(f);
    }
    g_assert_null(vmig_oplock_take("/proc/no/such", UUID, JOB, "source", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IO);
}

#define ADD(name, function) g_test_add("/oplock/" name, Fixture, NULL, set_up, function, tear_down)

/* Only a process that has this file open is the holder: the PID in the file may belong to an unrelated process. */
static void test_holder_process(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    static const char stale[] = "{\"pid\":1,\"role\":\"source\",\"job\":\"" JOB "\",\"since\":1700000000}\n";
    g_autofree char *holder = NULL;
    g_autoptr(GError) error = NULL;
    int pidfd, pid;

    g_assert_true(vmig_oplock_holder_process(f->dir, UUID, &pidfd, &pid, &holder, &error));
    g_assert_true(pidfd < 0 && holder == NULL);
    VmigOpLock *lock = vmig_oplock_take(f->dir, UUID, JOB, "source", &error);
    g_assert_no_error(error);
    g_assert_true(vmig_oplock_holder_process(f->dir, UUID, &pidfd, &pid, &holder, &error));
    g_assert_cmpint(pidfd, >=, 0);
    g_assert_cmpint(pid, ==, getpid());
    g_assert_nonnull(strstr(holder, JOB));
    close(pidfd);
    g_clear_pointer(&holder, g_free);
    g_assert_cmpint(ftruncate(vmig_oplock_fd(lock), 0), ==, 0);
    g_assert_cmpint((int)pwrite(vmig_oplock_fd(lock), stale, sizeof stale - 1, 0), ==, (int)sizeof stale - 1);
    g_assert_false(vmig_oplock_holder_process(f->dir, UUID, &pidfd, &pid, &holder, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_LOCKED);
    g_assert_cmpint(pidfd, <, 0);
    g_clear_error(&error);
    vmig_oplock_release(lock);
    g_assert_true(vmig_oplock_holder_process(f->dir, UUID, &pidfd, &pid, &holder, &error));
    g_assert_cmpint(pidfd, <, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("take", test_take);
    ADD("names", test_names);
    ADD("death", test_death);
    ADD("leftover", test_leftover);
    ADD("holder-process", test_holder_process);
    ADD("strange-files", test_strange_files);
    return g_test_run();
}
