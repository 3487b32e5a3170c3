/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The socket through which a running job gets a new limit. */
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "link/control.h"

typedef struct {
    char *dir, *path;
    gint calls; /* atomic */
    guint64 last;
} Fixture;

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->dir = g_dir_make_tmp("vmig-control-XXXXXX", NULL);
    f->path = g_build_filename(f->dir, VMIG_CONTROL_SOCKET, NULL);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_assert_cmpint(access(f->path, F_OK), ==, -1); /* nothing is left */
    g_assert_cmpint(g_rmdir(f->dir), ==, 0);
    g_free(f->path);
    g_free(f->dir);
}

static void on_set(gpointer user, guint64 bandwidth)
{
    Fixture *f = user;

    f->last = bandwidth;
    g_atomic_int_inc(&f->calls);
}

static void test_set(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const guint64 values[] = {0, 1, 20971520, G_MAXINT64};
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigControl) control = vmig_control_new(f->path, on_set, f, &error);
    struct stat st;

    g_assert_no_error(error);
    g_assert_cmpint(stat(f->path, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
    for (guint i = 0; i < G_N_ELEMENTS(values); i++) {
        gboolean heard = FALSE;
        vmig_control_ask(f->path, values[i], &heard, &error);
        g_assert_no_error(error);
        g_assert_true(heard);
        g_assert_cmpint(g_atomic_int_get(&f->calls), ==, (int)i + 1);
        g_assert_cmpuint(f->last, ==, values[i]);
    }
}

/* A missing socket, or that of a dead process, is neither an error nor an obstacle. */
static void test_nobody(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    gboolean heard = TRUE;

    g_assert_true(vmig_control_ask(f->path, 1, &heard, &error));
    g_assert_false(heard);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(address.sun_path, f->path, sizeof address.sun_path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    close(fd);
    heard = TRUE;
    g_assert_true(vmig_control_ask(f->path, 1, &heard, &error));
    g_assert_false(heard);
    g_autoptr(VmigControl) control = vmig_control_new(f->path, on_set, f, &error);
    g_assert_no_error(error);
    g_assert_true(vmig_control_ask(f->path, 7, &heard, &error));
    g_assert_true(heard);
}

static char *say(const char *path, const char *words)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char buffer[1024] = "";
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_cmpint(send(fd, words, strlen(words), MSG_NOSIGNAL), ==, (gssize)strlen(words));
    shutdown(fd, SHUT_WR);
    while (recv(fd, buffer + strlen(buffer), sizeof buffer - strlen(buffer) - 1, 0) > 0)
        continue;
    close(fd);
    return g_strdup(buffer);
}

static void test_nonsense(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const char *const words[] = {"\n",
                                        "hello\n",
                                        "{}\n",
                                        "[]\n",
                                        "{\"bandwidth\":-1}\n",
                                        "{\"bandwidth\":\"1\"}\n",
                                        "{\"bandwidth\":1.5}\n",
                                        "{\"bandwidth\":9223372036854775808}\n",
                                        "{\"bandwidth\":18446744073709551617}\n",
                                        "",
                                        "{\"bandwidth\":1}"};
    g_autoptr(GError) error = NULL;
    g_autofree char *large = g_strnfill(5000, 'x');
    gboolean heard = FALSE;

    {
        g_autoptr(VmigControl) control = vmig_control_new(f->path, on_set, f, &error);
        for (guint i = 0; i < G_N_ELEMENTS(words); i++) {
            g_autofree char *answer = say(f->path, words[i]);
            g_assert_nonnull(strstr(answer, "\"error\""));
        }
        g_autofree char *answer = say(f->path, large);
        g_assert_nonnull(strstr(answer, "\"error\""));
        g_assert_cmpint(g_atomic_int_get(&f->calls), ==, 0);
        g_assert_true(vmig_control_ask(f->path, 9, &heard, &error)); /* it still listens */
        g_assert_cmpuint(f->last, ==, 9);
    }
    g_autofree char *far = g_strnfill(200, 'x');
    g_assert_null(vmig_control_new(far, on_set, f, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_PATH);
}

/* A silent client does not delay the end. */
static void test_silent(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    VmigControl *control = vmig_control_new(f->path, on_set, f, &error);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    gint64 begin = g_get_monotonic_time();

    g_strlcpy(address.sun_path, f->path, sizeof address.sun_path);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    vmig_control_free(control);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, 4 * G_USEC_PER_SEC);
    close(fd);
}

static void add(const char *path, void (*test)(Fixture *, gconstpointer))
{
    g_test_add(path, Fixture, NULL, set_up, test, tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("/control/set", test_set);
    add("/control/nobody", test_nobody);
    add("/control/nonsense", test_nonsense);
    add("/control/silent", test_silent);
    return g_test_run();
}
