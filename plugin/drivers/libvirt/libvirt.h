/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The real hypervisor: one connection to one libvirt.
 *
 * Folder plugin/drivers/libvirt: implements hypervisor.h with libvirt and its QEMU, and reads libvirt's own facts of
 * this host: its files, its sockets, the user that QEMU runs as.
 */
#pragma once

#include "port/hypervisor.h"
#include "os/waker.h"

/* Starts libvirt's event loop in its own thread, once. Call before the first connection. */
gboolean vmig_libvirt_init(GError **error);

/* Connects. host is the name in messages; NULL: the name that libvirt reports. A connection that breaks later is
 * reopened at the next call. Errors: UNREACHABLE. */
VmigHypervisor *vmig_libvirt_new(const char *uri, const char *host, VmigWaker *waker, GError **error);
