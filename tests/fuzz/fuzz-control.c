/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The control socket of a job: any bytes from whoever connects, and any bytes as the answer to who asks. The server
 * says one JSON object and goes on; a bandwidth that it sets is one that was asked for. */
#include <sys/socket.h>
#include <sys/un.h>

#include "link/control.h"
#include "os/json-read.h"
#include "tests/fuzz/fuzz.h"

static guint sets;

static void set(gpointer user G_GNUC_UNUSED, guint64 bandwidth G_GNUC_UNUSED)
{
    g_atomic_int_inc((gint *)&sets);
}

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    g_assert(strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    return address;
}

static void put(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0)
            break; /* it has read enough */
        data += sent;
        size -= (size_t)sent;
    }
    shutdown(fd, SHUT_WR);
}

static void ask_server(const uint8_t *data, size_t size)
{
    static VmigControl *control;
    g_autofree char *path = g_build_filename(fuzz_folder(), "s", NULL);
    struct sockaddr_un address = address_of(path);
    char answer[8192];
    gsize got = 0;
    ssize_t part;

    if (control == NULL)
        control = vmig_control_new(path, set, NULL, NULL);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    guint before = (guint)g_atomic_int_get((gint *)&sets);
    g_assert(control != NULL && fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    put(fd, data, size);
    while (got < sizeof answer && (part = recv(fd, answer + got, sizeof answer - got, 0)) > 0)
        got += (gsize)part;
    close(fd);
    /* Where it did not read all, the kernel may throw its answer away. */
    if (got == 0)
        return;
    g_assert(answer[got - 1] == '\n');
    g_autoptr(JsonObject) reply = vmig_json_parse(answer, got - 1, NULL);
    g_assert(reply != NULL);
    gboolean done = (guint)g_atomic_int_get((gint *)&sets) == before + 1;
    g_assert(done == !json_object_has_member(reply, "error"));
}

typedef struct {
    int listen_fd;
    const uint8_t *data;
    size_t size;
} Server;

static gpointer answer_once(gpointer user)
{
    const Server *server = user;
    int fd = accept(server->listen_fd, NULL, NULL);

    put(fd, server->data, server->size);
    close(fd);
    return NULL;
}

static void answer_client(const uint8_t *data, size_t size)
{
    g_autofree char *path = g_build_filename(fuzz_folder(), "c", NULL);
    struct sockaddr_un address = address_of(path);
    g_autoptr(GError) error = NULL;
    Server server = {socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), data, size};
    gboolean heard = FALSE;

    unlink(path);
    g_assert(bind(server.listen_fd, (struct sockaddr *)&address, sizeof address) == 0);
    g_assert(listen(server.listen_fd, 1) == 0);
    GThread *thread = g_thread_new("server", answer_once, &server);
    gboolean ok = vmig_control_ask(path, 1, &heard, &error);
    g_assert(ok == (error == NULL));
    g_thread_join(thread);
    close(server.listen_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] == 'C')
        answer_client(data + 1, size - 1);
    else
        ask_server(data + 1, size - 1);
    return 0;
}
