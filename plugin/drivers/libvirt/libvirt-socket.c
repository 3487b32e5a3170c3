/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connects and disconnects without sending anything to libvirt's daemon. */
#include "drivers/libvirt/libvirt-socket.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <glib.h>

const char *vmig_libvirt_socket_state(const char *socket_path, const char *modular)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (access(socket_path, F_OK) != 0)
        return access(modular, F_OK) == 0 ? "elsewhere" : "missing";
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return "refused";
    g_strlcpy(address.sun_path, socket_path, sizeof address.sun_path);
    gboolean answers = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return answers ? "answers" : "refused";
}
