/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds the socket of this host's libvirt, as libvirt's own client does. */
#pragma once

#include <glib.h>

#include "core/errors.h"

/* Where libvirt's daemons listen. */
#define VMIG_LIBVIRT_SOCKETS "/run/libvirt"

/* What of a URI chooses the socket; NULL: libvirt's default. */
typedef struct {
    const char *socket; /* socket=: a path */
    const char *mode;   /* mode=: "auto", "direct" (virtqemud) or "legacy" (libvirtd, or virtproxyd for it) */
} VmigLibvirtWanted;

/* Connects, and disconnects without sending anything. Returns the path of the first socket that answers. In mode "auto"
 * it is virtqemud's if there is one, as in remoteGetUNIXSocket() (remote_sockets.c), and then the other one: a socket
 * outlives its daemon. A path outside `folder` is refused: this host connects to it as root, and another host names it.
 * Errors, with what was tried: UNREACHABLE if a socket exists and no daemon answers, otherwise LIBVIRT_SOCKET.
 * (transfer full) */
char *vmig_libvirt_socket_find(const char *folder, const VmigLibvirtWanted *wanted, GError **error);
