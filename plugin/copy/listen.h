/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a server that this process starts is to be reached: a unix socket, or a TCP port out of a range. */
#pragma once

#include <glib.h>

#include "core/errors.h"

typedef struct {
    const char *socket;          /* the path of a unix socket, mode 0600; NULL: a port */
    guint first_port, last_port; /* the first that is free is taken, on all addresses of this host */
    const char *tls_dir;         /* of a port: QEMU's x509 files; who connects needs a certificate of the same CA. NULL:
                                  * whoever can reach the port can write */
    const char *identity;        /* with tls_dir: the name in the only certificate that may connect */
} VmigListen;

/* An open socket that listens, *port where it is one, or -1. A stale unix socket goes first. Errors: IO, BAD_PATH,
 * UNSUPPORTED where no port of the range is free. */
int vmig_listen_open(const VmigListen *listen, guint *port, GError **error);
/* A connection to a socket that listens. IO. */
int vmig_listen_connect(int listen_fd, GError **error);
