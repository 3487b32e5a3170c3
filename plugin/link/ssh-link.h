/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The single ssh connection to the other host: its agent, and forwarded unix sockets, so that libvirt's RPC and the
 * guest's memory and disks need no ports of their own.
 *
 * Folder plugin/link: the connection to the other host: its URI, the ssh connection, and the socket through which
 * settings reach a running process.
 */
#pragma once

#include <gio/gio.h>

#include "core/errors.h"
#include "link/destination.h"
#include "port/node.h"

typedef struct VmigSshLink VmigSshLink;

/* The socket in run_dir that leads to the other host's libvirt. */
#define VMIG_LIBVIRT_SOCKET "libvirt.sock"
/* Sockets whose names begin with this are for this process alone. */
#define VMIG_PRIVATE_SOCKET "copy-"

/* The first two are required; NULL selects the default for the others. */
typedef struct {
    const VmigDestination *destination;
    const char *run_dir;        /* exists and is this user's ("rundir" makes it); the same path on both hosts */
    const char *const *sockets; /* names: run_dir/NAME is forwarded to run_dir/NAME there. NULL: none */
    const char *suffix;         /* appended to NAME on this host only. NULL: none */
    const char *ciphers;        /* -oCiphers=. NULL: depends on this host's CPU */
    gboolean libvirt;           /* run_dir/libvirt.sock is forwarded to the relay of that host's agent */
    const char *host;           /* in messages; NULL: the destination's */
    const char *ssh_command;    /* NULL: ssh */
    const char *agent_command;  /* for the shell there; NULL: "vmig-snap agent" */
    const char *qemu_conf;      /* NULL: /etc/libvirt/qemu.conf */
    GCancellable *cancellable;  /* ends the attempt to connect. NULL: not cancellable */
    gboolean only_forwards;     /* no agent: returns when the sockets exist, and has no node */
} VmigSshLinkOptions;

/* Returns when the agent has sent its hello; the sockets exist by then. QEMU's user owns those that QEMU connects to.
 * The libvirt socket and the private ones stay with this user, because access to that libvirt means root there. With a
 * tls or tcp destination, ssh connects to the same host. Errors: UNREACHABLE with ssh's message, NO_AGENT, PROTOCOL,
 * BAD_PATH for a path that ssh cannot take, the agent's own error if it cannot serve, and CANCELLED. */
VmigSshLink *vmig_ssh_link_open(const VmigSshLinkOptions *options, GError **error);
/* The other host's node, to be freed before the link (transfer full); NULL on later calls. */
VmigNode *vmig_ssh_link_node(VmigSshLink *link);
/* FALSE once ssh has exited. */
gboolean vmig_ssh_link_alive(VmigSshLink *link);
/* ssh's standard error, for messages; may be "". (transfer full) */
char *vmig_ssh_link_words(VmigSshLink *link);
/* Kills ssh, for a dead connection: everything that uses it fails. The link must still be closed. */
void vmig_ssh_link_kill(VmigSshLink *link);
/* Ends the connection; NULL is allowed. ssh never outlives this process. */
void vmig_ssh_link_close(VmigSshLink *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigSshLink, vmig_ssh_link_close)

/* For tests: the argument vector. (transfer full) */
char **vmig_ssh_link_argv(const VmigSshLinkOptions *options, GError **error);
