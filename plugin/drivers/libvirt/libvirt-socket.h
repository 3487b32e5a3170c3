/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks whether this host's libvirt listens on the socket that connections from another host use. */
#pragma once

#define VMIG_REMOTE_LIBVIRT_SOCKET "/var/run/libvirt/libvirt-sock"

/* "answers"; "refused": no process listens; "elsewhere": only the modular daemon's own socket exists; "missing". */
const char *vmig_libvirt_socket_state(const char *socket, const char *modular);
