/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Passes the connections to one unix socket on to another one, byte for byte, in threads. */
#pragma once

#include <glib.h>

#include "core/errors.h"

typedef struct VmigRelay VmigRelay;

/* Connects to a unix socket. Returns -1 with errno; ENAMETOOLONG if the kernel cannot have such a socket. */
int vmig_relay_connect(const char *path);
/* Takes over a listening socket. A connection is made to `to` for each that arrives; if that fails, it is closed. */
VmigRelay *vmig_relay_start(int listen_fd, const char *to);
/* Takes no further connections. Those that exist go on until either end closes them. NULL is allowed. */
void vmig_relay_free(VmigRelay *relay);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigRelay, vmig_relay_free)
