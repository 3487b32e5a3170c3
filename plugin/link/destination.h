/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parses another host's libvirt URI, and refuses everything in it that could run a program or be taken for an ssh
 * option. Pure. */
#pragma once

#include <glib.h>

#include "core/errors.h"

typedef struct {
    char *scheme; /* "ssh", "tls" or "tcp" */
    char *user;   /* or NULL */
    char *host;   /* name or address; IPv6 without brackets */
    guint port;   /* from the URI; 0: the default of ssh or, for another scheme, of libvirt */
    /* For ssh, or NULL: */
    char *keyfile; /* absolute */
    char *socket;  /* libvirt's there; absolute */
    char *mode;    /* "auto", "direct" or "legacy": which of libvirt's daemons there */
} VmigDestination;

/* qemu+ssh|tls|tcp://[USER@]HOST[:PORT]/system. With ssh also libvirt's parameters (libvirt.org/uri.html) keyfile=,
 * socket=, mode=, and proxy= and no_tty=1, which change nothing: ssh forwards a socket, and never asks. BAD_URI for
 * anything else; the message contains no terminal control characters from the URI. (transfer full) */
VmigDestination *vmig_destination_parse(const char *uri, GError **error);
void vmig_destination_free(VmigDestination *destination);
/* TRUE if it is a valid host name or address. */
gboolean vmig_destination_is_host(const char *text);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigDestination, vmig_destination_free)
