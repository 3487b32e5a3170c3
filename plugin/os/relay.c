/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "os/relay.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BUFFER 65536
#define SHORTAGE_US (G_USEC_PER_SEC / 10)

struct VmigRelay {
    int listen_fd;
    char *to;
    GThread *thread;
};

/* Two sockets, and a thread for each direction; the last of them closes both. */
typedef struct {
    gint refs;
    int fds[2];
} Pair;

typedef struct {
    Pair *pair;
    int from, to;
} Direction;

int vmig_relay_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int errnum = errno;
    if (fd >= 0)
        close(fd);
    errno = errnum;
    return -1;
}

static gboolean send_all(int fd, const char *bytes, gsize length)
{
    while (length > 0) {
        gssize sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return FALSE;
        bytes += sent;
        length -= (gsize)sent;
    }
    return TRUE;
}

/* An end of file is passed on; the other direction may have more to say. After an error neither has. */
static gpointer pump(gpointer data)
{
    g_autofree Direction *way = data;
    g_autofree char *buffer = g_malloc(BUFFER);
    gssize got;

    while ((got = recv(way->from, buffer, BUFFER, 0)) > 0 || (got < 0 && errno == EINTR))
        if (got > 0 && !send_all(way->to, buffer, (gsize)got)) {
            shutdown(way->from, SHUT_RDWR);
            break;
        }
    shutdown(way->to, got < 0 ? SHUT_RDWR : SHUT_WR);
    if (g_atomic_int_dec_and_test(&way->pair->refs)) {
        close(way->pair->fds[0]);
        close(way->pair->fds[1]);
        g_free(way->pair);
    }
    return NULL;
}

static void pass_on(int client, const char *to)
{
    int server = vmig_relay_connect(to);

    if (server < 0) {
        close(client);
        return;
    }
    Pair *pair = g_new(Pair, 1);
    *pair = (Pair){2, {client, server}};
    for (guint i = 0; i < 2; i++) {
        Direction *way = g_new(Direction, 1);
        *way = (Direction){pair, i == 0 ? client : server, i == 0 ? server : client};
        g_thread_unref(g_thread_new("vmig-relay", pump, way));
    }
}

/* After shutdown() it is EINVAL. Nothing reports that descriptors or memory are free again. */
static gboolean goes_on(int errnum)
{
    if (errnum == EMFILE || errnum == ENFILE || errnum == ENOBUFS || errnum == ENOMEM)
        g_usleep(SHORTAGE_US);
    return errnum != EINVAL && errnum != EBADF;
}

static gpointer accept_all(gpointer data)
{
    VmigRelay *relay = data;
    int client;

    while ((client = accept4(relay->listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0 || goes_on(errno))
        if (client >= 0)
            pass_on(client, relay->to);
    return NULL;
}

VmigRelay *vmig_relay_start(int listen_fd, const char *to)
{
    VmigRelay *relay = g_new0(VmigRelay, 1);

    relay->listen_fd = listen_fd;
    relay->to = g_strdup(to);
    relay->thread = g_thread_new("vmig-relay", accept_all, relay);
    return relay;
}

void vmig_relay_free(VmigRelay *relay)
{
    if (relay == NULL)
        return;
    shutdown(relay->listen_fd, SHUT_RDWR); /* accept() returns */
    g_thread_join(relay->thread);
    close(relay->listen_fd);
    g_free(relay->to);
    g_free(relay);
}
