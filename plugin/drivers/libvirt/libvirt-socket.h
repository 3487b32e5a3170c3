/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether this host's libvirt listens where another host's connection arrives. */
#pragma once

#define VMIG_REMOTE_LIBVIRT_SOCKET "/var/run/libvirt/libvirt-sock"

/* "answers"; "refused": nobody listens there; "elsewhere": only the modular daemon's own socket is there; "missing". */
const char *vmig_libvirt_socket_state(const char *socket, const char *modular);
