/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a server of this process listens: on a unix socket, or on a TCP port from a range. */
#pragma once

#include <sys/types.h>

#include <glib.h>

#include "core/errors.h"

typedef struct {
    const char *socket;          /* path of a unix socket, mode 0600; NULL: a port */
    uid_t admitted;              /* a user who may connect to the socket as well; 0: none */
    guint first_port, last_port; /* the first free one is used, on all addresses of this host */
    const char *tls_dir;  /* QEMU's x509 files: clients need a certificate of the same CA. NULL: any client can write */
    const char *identity; /* with tls_dir: the name in the only certificate that may connect */
} VmigListen;

/* Opens a listening socket and sets *port for a port; or returns -1. Removes a stale unix socket first. Errors: IO,
 * BAD_PATH, UNSUPPORTED if no port of the range is free. */
int vmig_listen_open(const VmigListen *listen, guint *port, GError **error);
/* Connects to a listening socket. IO. */
int vmig_listen_connect(int listen_fd, GError **error);
