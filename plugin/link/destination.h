/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The libvirt URI of another host, taken apart, and everything in it that could run a program or name an option of ssh
 * refused. Pure. */
#pragma once

#include <glib.h>

#include "core/errors.h"

typedef struct {
    char *scheme;  /* "ssh", "tls" or "tcp" */
    char *user;    /* or NULL */
    char *host;    /* a name or an address, an IPv6 one without brackets */
    guint port;    /* of the URI, 0 for the default: ssh's, or libvirt's where the scheme is another one */
    char *keyfile; /* of ssh, absolute, or NULL */
} VmigDestination;

/* qemu+ssh|tls|tcp://[USER@]HOST[:PORT]/system, and ?keyfile=/PATH with ssh. BAD_URI for everything else, and nothing
 * of it in the message that could move a cursor. (transfer full) */
VmigDestination *vmig_destination_parse(const char *uri, GError **error);
void vmig_destination_free(VmigDestination *destination);
/* Is it the name or address of a host? */
gboolean vmig_destination_is_host(const char *text);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigDestination, vmig_destination_free)
