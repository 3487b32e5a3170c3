/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parses another host's libvirt URI, and refuses everything in it that could run a program or be taken for an ssh
 * option. Pure. */
#pragma once

#include <glib.h>

#include "core/errors.h"

typedef struct {
    char *scheme;  /* "ssh", "tls" or "tcp" */
    char *user;    /* or NULL */
    char *host;    /* name or address; IPv6 without brackets */
    guint port;    /* from the URI; 0: the default of ssh or, for another scheme, of libvirt */
    char *keyfile; /* for ssh, absolute; or NULL */
} VmigDestination;

/* qemu+ssh|tls|tcp://[USER@]HOST[:PORT]/system, with ssh also ?keyfile=/PATH. BAD_URI for anything else; the message
 * contains no terminal control characters from the URI. (transfer full) */
VmigDestination *vmig_destination_parse(const char *uri, GError **error);
void vmig_destination_free(VmigDestination *destination);
/* TRUE if it is a valid host name or address. */
gboolean vmig_destination_is_host(const char *text);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigDestination, vmig_destination_free)
