/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The QEMU that libvirt has lost track of: it is ended only if it is proven to be the guest's, on the job's disks,
 * without another monitor client, and stopped. This program itself acts as QEMU. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drivers/libvirt/orphan-qemu.h"

#define UUID "0f7d3c5e-8a1b-4c2d-9e3f-112233445566"
#define OTHER "0f7d3c5e-8a1b-4c2d-9e3f-665544332211"

/* --- the fake QEMU: PROGRAM fake -uuid UUID SOCKET DISK running|paused --- */

static void serve(int fd, gboolean running)
{
    static const char greeting[] = "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n";
    static const char event[] = "{\"event\": \"RTC_CHANGE\", \"data\": {\"offset\": 1}}\r\n";
    g_autofree char *status =
        g_strdup_printf("{\"return\": {\"status\": \"%s\", \"singlestep\": false, \"running\": %s}}\r\n",
                        running ? "running" : "paused", running ? "true" : "false");
    char text[4096];

    (void)!write(fd, greeting, strlen(greeting));
    for (ssize_t got; (got = read(fd, text, sizeof text - 1)) > 0;) {
        text[got] = '\0';
        (void)!write(fd, event, strlen(event));
        if (strstr(text, "query-status") != NULL)
            (void)!write(fd, status, strlen(status));
        else
            (void)!write(fd, "{\"return\": {}}\r\n", 16);
    }
    close(fd);
}

static int fake(char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(address.sun_path, argv[4], sizeof address.sun_path);
    if (open(argv[5], O_RDWR) < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 1) != 0)
        return 1;
    (void)!write(STDOUT_FILENO, "r", 1);
    for (;;)
        serve(accept(listener, NULL, NULL), strcmp(argv[6], "running") == 0);
}

/* --- the tests --- */

typedef struct {
    char *folder, *socket, *overlay, *base;
    GPid pid;
    GPtrArray *disks;
} Fixture;

static void write_pid(Fixture *f, gint64 pid)
{
    g_autofree char *path = g_build_filename(f->folder, "guest.pid", NULL);
    g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT, pid);

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void write_status(Fixture *f, gint64 pid, const char *uuid)
{
    g_autofree char *path = g_build_filename(f->folder, "guest.xml", NULL);
    g_autofree char *text =
        g_strdup_printf("<domstatus state='paused' reason='user' pid='%" G_GINT64_FORMAT "'>\n"
                        "  <monitor path='%s' type='unix'/>\n  <domain type='qemu' id='1'>\n    <uuid>%s</uuid>\n"
                        "    <devices><disk><mirror type='file' job='' ready='yes'/></disk></devices>\n"
                        "  </domain>\n</domstatus>\n",
                        pid, f->socket, uuid);

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void set_up(Fixture *f, gconstpointer state)
{
    g_autoptr(GError) error = NULL;
    char ready;
    int out;

    f->folder = g_dir_make_tmp("vmig-orphan-XXXXXX", &error);
    g_assert_no_error(error);
    f->socket = g_build_filename(f->folder, "monitor.sock", NULL);
    f->overlay = g_build_filename(f->folder, "overlay", NULL);
    f->base = g_build_filename(f->folder, "base", NULL);
    g_assert_true(g_file_set_contents(f->overlay, "o", -1, NULL) && g_file_set_contents(f->base, "b", -1, NULL));
    const char *argv[] = {"/proc/self/exe", "fake", "-uuid", UUID, f->socket, f->base, state, NULL};
    g_spawn_async_with_pipes(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &f->pid, NULL, &out,
                             NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpint(read(out, &ready, 1), ==, 1);
    close(out);
    f->disks = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    const char *files[] = {f->overlay, f->base, NULL};
    g_ptr_array_add(f->disks, g_strdupv((char **)files));
    write_pid(f, f->pid);
    write_status(f, f->pid, UUID);
}

static gboolean lives(Fixture *f)
{
    siginfo_t info = {0};

    g_assert_cmpint(waitid(P_PID, (id_t)f->pid, &info, WEXITED | WNOHANG | WNOWAIT), ==, 0);
    return info.si_pid == 0;
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const char *const names[] = {"guest.pid", "guest.xml", "monitor.sock", "overlay", "base"};

    kill(f->pid, SIGKILL);
    waitpid(f->pid, NULL, 0);
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(f->folder, names[i], NULL);
        g_unlink(path);
    }
    g_assert_cmpint(g_rmdir(f->folder), ==, 0);
    g_ptr_array_unref(f->disks);
    g_free(f->folder);
    g_free(f->socket);
    g_free(f->overlay);
    g_free(f->base);
}

/* The expected result; unless it is SUSPENDED or NONE, nothing is ended. */
static void expect(Fixture *f, VmigOrphanKind wanted)
{
    g_autoptr(GError) error = NULL;
    g_auto(VmigOrphan) orphan = {0};

    g_assert_true(vmig_orphan_look(f->folder, "guest", UUID, f->disks, &orphan, &error));
    g_assert_no_error(error);
    g_assert_cmpint(orphan.kind, ==, wanted);
    g_assert_true((orphan.why != NULL) == (wanted == VMIG_ORPHAN_UNCLEAR));
    if (wanted == VMIG_ORPHAN_SUSPENDED)
        return;
    gboolean ended = vmig_orphan_end(f->folder, "guest", UUID, f->disks, &error);
    g_assert_true(ended == (wanted == VMIG_ORPHAN_NONE));
    if (!ended)
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONTRADICTION);
    g_assert_true(lives(f));
}

static void test_suspended(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    expect(f, VMIG_ORPHAN_SUSPENDED);
    g_assert_true(lives(f));
    g_assert_true(vmig_orphan_end(f->folder, "guest", UUID, f->disks, &error));
    g_assert_no_error(error);
    g_assert_false(lives(f));
    /* Its PID still exists, and so do libvirt's files. */
    waitpid(f->pid, NULL, 0);
    g_assert_true(vmig_orphan_end(f->folder, "guest", UUID, f->disks, &error));
}

static void test_running(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    expect(f, VMIG_ORPHAN_RUNNING);
}

static void test_none(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = g_build_filename(f->folder, "guest.pid", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(VmigOrphan) orphan = {0};

    /* The PID belongs to another process by now. */
    write_pid(f, getpid());
    expect(f, VMIG_ORPHAN_NONE);
    g_assert_true(g_file_set_contents(path, "1\n", -1, NULL));
    expect(f, VMIG_ORPHAN_NONE);
    g_unlink(path);
    expect(f, VMIG_ORPHAN_NONE);
    g_assert_false(vmig_orphan_look(f->folder, "../guest", UUID, f->disks, &orphan, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_PATH);
}

static void test_unclear(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *elsewhere[] = {f->overlay, NULL};

    write_status(f, f->pid, OTHER);
    expect(f, VMIG_ORPHAN_UNCLEAR);
    write_status(f, getpid(), UUID);
    expect(f, VMIG_ORPHAN_UNCLEAR);
    write_status(f, f->pid, UUID);
    /* A disk of the job that it does not have open. */
    g_ptr_array_add(f->disks, g_strdupv((char **)elsewhere));
    expect(f, VMIG_ORPHAN_UNCLEAR);
    g_ptr_array_set_size(f->disks, 0);
    expect(f, VMIG_ORPHAN_UNCLEAR);
}

/* libvirt's daemon is connected to it after all. */
static void test_somebody_is_there(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, f->socket, sizeof address.sun_path);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    expect(f, VMIG_ORPHAN_UNCLEAR);
    close(fd);
}

int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "fake") == 0)
        return fake(argv);
    g_test_init(&argc, &argv, NULL);
    g_test_add("/orphan-qemu/suspended", Fixture, "paused", set_up, test_suspended, tear_down);
    g_test_add("/orphan-qemu/running", Fixture, "running", set_up, test_running, tear_down);
    g_test_add("/orphan-qemu/none", Fixture, "paused", set_up, test_none, tear_down);
    g_test_add("/orphan-qemu/unclear", Fixture, "paused", set_up, test_unclear, tear_down);
    g_test_add("/orphan-qemu/somebody-is-there", Fixture, "paused", set_up, test_somebody_is_there, tear_down);
    return g_test_run();
}
