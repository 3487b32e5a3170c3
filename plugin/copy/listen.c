/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Listening sockets. */
#include "copy/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/acl.h"

#define BACKLOG 64

static int give_up(int fd)
{
    if (fd >= 0)
        close(fd);
    return -1;
}

static int open_unix(const char *path, uid_t admitted, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;

    if (strlen(path) >= sizeof address.sun_path) {
        vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "the path of the socket %s is too long", path);
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void)unlink(path); /* of a server that was killed; if this fails, bind() reports it */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* fchmod() before bind() gives the socket file its mode at once, so that no other user can ever connect. */
    if (fd >= 0 && fchmod(fd, 0600) == 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        (admitted == 0 || vmig_acl_set(path, &(VmigAcl){.user = admitted, .owner = 6, .its = 6}) == 0) &&
        listen(fd, BACKLOG) == 0)
        return fd;
    vmig_fail_errno(error, errno, "cannot listen on %s", path);
    return give_up(fd);
}

/* IPv6 and IPv4 on one socket; IPv4 alone if the kernel has no IPv6. */
static int open_port(guint port)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any, .sin6_port = htons((guint16)port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((guint16)port)};
    int off = 0, on = 1, fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    gboolean is_six = fd >= 0;

    if (!is_six)
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        (is_six && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0))
        return give_up(fd);
    if ((is_six ? bind(fd, (struct sockaddr *)&six, sizeof six) : bind(fd, (struct sockaddr *)&four, sizeof four)) ==
            0 &&
        listen(fd, BACKLOG) == 0)
        return fd;
    return give_up(fd);
}

int vmig_listen_open(const VmigListen *to, guint *port, GError **error)
{
    *port = 0;
    if (to->socket != NULL)
        return open_unix(to->socket, to->admitted, error);
    for (guint i = to->first_port; i <= to->last_port; i++) {
        int fd = open_port(i);
        if (fd < 0)
            continue;
        *port = i;
        return fd;
    }
    vmig_fail(error, VMIG_ERROR_UNSUPPORTED,
              "Increase the range of nbd-ports in /etc/vmig-snap/vmig-snap.conf on the destination.",
              "none of the ports %u to %u is free: %s", to->first_port, to->last_port, g_strerror(errno));
    return -1;
}

int vmig_listen_connect(int listen_fd, GError **error)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;

    /* A connection to "any address" reaches this host. */
    if (getsockname(listen_fd, (struct sockaddr *)&address, &length) == 0) {
        int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&address, length) == 0)
            return fd;
        vmig_fail_errno(error, errno, "cannot connect to a server of this process");
        return give_up(fd);
    }
    vmig_fail_errno(error, errno, "cannot query a socket");
    return -1;
}
