/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The way to libvirt's socket: which socket is taken, and what the relay passes on. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "copy/listen.h"
#include "drivers/libvirt/libvirt-socket.h"
#include "os/relay.h"

static char *dir;

static char *in_dir(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static int listen_at(const char *name)
{
    g_autofree char *path = in_dir(name);
    g_autoptr(GError) error = NULL;
    guint port;
    int fd = vmig_listen_open(&(VmigListen){.socket = path}, &port, &error);

    g_assert_no_error(error);
    return fd;
}

static void expect_failure(const char *socket, const char *mode, VmigErrorCode code)
{
    g_autoptr(GError) error = NULL;
    const VmigLibvirtWanted wanted = {socket, mode};

    g_assert_null(vmig_libvirt_socket_find(dir, &wanted, &error));
    g_assert_error(error, VMIG_ERROR, (int)code);
}

static void expect_socket(const char *socket, const char *mode, const char *expected)
{
    g_autoptr(GError) error = NULL;
    const VmigLibvirtWanted wanted = {socket, mode};
    g_autofree char *found = vmig_libvirt_socket_find(dir, &wanted, &error);
    g_autofree char *path = in_dir(expected);

    g_assert_no_error(error);
    g_assert_cmpstr(found, ==, path);
}

/* Without a daemon, with each, and with the socket that a dead daemon has left. */
static void test_found(void)
{
    g_autofree char *modular = in_dir("virtqemud-sock");
    g_autofree char *monolithic = in_dir("libvirt-sock");

    expect_failure(NULL, NULL, VMIG_ERROR_LIBVIRT_SOCKET);
    int old = listen_at("libvirt-sock");
    expect_socket(NULL, NULL, "libvirt-sock");
    expect_failure(NULL, "direct", VMIG_ERROR_LIBVIRT_SOCKET);
    int new = listen_at("virtqemud-sock");
    expect_socket(NULL, NULL, "virtqemud-sock");
    expect_socket(NULL, "auto", "virtqemud-sock");
    expect_socket(NULL, "legacy", "libvirt-sock");
    expect_socket(monolithic, NULL, "libvirt-sock");
    close(new);
    expect_socket(NULL, NULL, "libvirt-sock");
    expect_failure(modular, NULL, VMIG_ERROR_UNREACHABLE);
    close(old);
    expect_failure(NULL, NULL, VMIG_ERROR_UNREACHABLE);
    g_unlink(modular);
    g_unlink(monolithic);
}

/* Another host names the socket, and this one connects as root. */
static void test_foreign(void)
{
    g_autofree char *up = in_dir("../libvirt-sock");
    g_autofree char *below = in_dir("below/libvirt-sock");

    expect_failure("/run/docker.sock", NULL, VMIG_ERROR_LIBVIRT_SOCKET);
    expect_failure(up, NULL, VMIG_ERROR_LIBVIRT_SOCKET);
    expect_failure(below, NULL, VMIG_ERROR_LIBVIRT_SOCKET);
    expect_failure("libvirt-sock", NULL, VMIG_ERROR_LIBVIRT_SOCKET);
}

static gpointer echo(gpointer data)
{
    int client = accept(GPOINTER_TO_INT(data), NULL, NULL);
    char buffer[4096];
    gssize got;

    while ((got = recv(client, buffer, sizeof buffer, 0)) > 0)
        g_assert_cmpint(send(client, buffer, (gsize)got, MSG_NOSIGNAL), ==, got);
    close(client);
    return NULL;
}

static gpointer send_much(gpointer data)
{
    int fd = GPOINTER_TO_INT(data);
    char buffer[4096];

    for (guint i = 0; i < 1000; i++) {
        memset(buffer, (int)i, sizeof buffer);
        g_assert_cmpint(send(fd, buffer, sizeof buffer, 0), ==, sizeof buffer);
    }
    shutdown(fd, SHUT_WR);
    return NULL;
}

/* 4 MB both ways at once; the end of one direction is passed on, and the other one still has its bytes. */
static void test_passed_on(void)
{
    g_autofree char *here = in_dir("relay");
    g_autofree char *there = in_dir("server");
    int server = listen_at("server");
    g_autoptr(VmigRelay) relay = vmig_relay_start(listen_at("relay"), there);
    GThread *answers = g_thread_new("echo", echo, GINT_TO_POINTER(server));
    int fd = vmig_relay_connect(here);
    char buffer[4096];
    gsize length = 0;
    gssize got;

    g_assert_cmpint(fd, >=, 0);
    GThread *sender = g_thread_new("send", send_much, GINT_TO_POINTER(fd));
    while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0)
        for (gssize i = 0; i < got; i++, length++)
            g_assert_cmpint((guchar)buffer[i], ==, (guchar)(length / sizeof buffer));
    g_assert_cmpuint(length, ==, 1000 * sizeof buffer);
    g_thread_join(sender);
    g_thread_join(answers);
    close(fd);
    close(server);
    g_unlink(here);
    g_unlink(there);
}

/* Nobody listens there: the client sees the end of the connection, and the next one is accepted. */
static void test_no_server(void)
{
    g_autofree char *here = in_dir("relay");
    g_autofree char *there = in_dir("nobody");
    VmigRelay *relay = vmig_relay_start(listen_at("relay"), there);
    char byte;

    for (guint i = 0; i < 3; i++) {
        int fd = vmig_relay_connect(here);
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(recv(fd, &byte, 1, 0), <=, 0);
        close(fd);
    }
    vmig_relay_free(relay);
    g_assert_cmpint(vmig_relay_connect(here), ==, -1);
    g_unlink(here);
}

/* The socket of a login that is not root's: root and that user connect, and no other. */
static void test_admitted(void)
{
    g_autofree char *path = in_dir("admitted");
    g_autoptr(GError) error = NULL;
    guint port;

    if (geteuid() != 0) {
        g_test_skip("needs root, to be another user");
        return;
    }
    g_assert_cmpint(g_chmod(dir, 0711), ==, 0);
    int listening = vmig_listen_open(&(VmigListen){.socket = path, .admitted = 12345}, &port, &error);
    g_assert_no_error(error);
    static const struct {
        uid_t user;
        gboolean enters;
    } users[] = {{0, TRUE}, {12345, TRUE}, {12346, FALSE}};
    for (guint i = 0; i < G_N_ELEMENTS(users); i++) {
        g_assert_cmpint(seteuid(users[i].user), ==, 0);
        int fd = vmig_relay_connect(path);
        int errnum = errno;
        g_assert_cmpint(seteuid(0), ==, 0);
        g_assert_cmpint(fd >= 0, ==, users[i].enters);
        if (fd >= 0)
            close(fd);
        else
            g_assert_cmpint(errnum, ==, EACCES);
    }
    close(listening);
    g_unlink(path);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("vmig-relay-XXXXXX", NULL);
    g_test_add_func("/relay/found", test_found);
    g_test_add_func("/relay/foreign", test_foreign);
    g_test_add_func("/relay/passed-on", test_passed_on);
    g_test_add_func("/relay/no-server", test_no_server);
    g_test_add_func("/relay/admitted", test_admitted);
    int result = g_test_run();
    g_rmdir(dir);
    g_free(dir);
    return result;
}
