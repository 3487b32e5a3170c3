/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one ssh connection to the other host: its agent, and unix sockets that it forwards, so that libvirt's RPC, the
 * memory and the disks of a guest need no port of their own.
 *
 * Folder plugin/link: how the other host is reached: its URI, the ssh connection, and the socket by which settings
 * reach a running process.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "link/destination.h"
#include "port/node.h"

typedef struct VmigSshLink VmigSshLink;

/* The socket in run_dir that is the other host's libvirt. */
#define VMIG_LIBVIRT_SOCKET "libvirt.sock"
/* Sockets whose names begin so are for this process alone. */
#define VMIG_PRIVATE_SOCKET "copy-"

/* The first two are needed; NULL elsewhere is the default. */
typedef struct {
    const VmigDestination *destination;
    const char *run_dir;               /* exists and is ours ("rundir" makes it); the same path on both hosts */
    const char *const *sockets;        /* names: run_dir/NAME is forwarded to run_dir/NAME there. NULL: none */
    const char *suffix;                /* run_dir/NAME and this is what is forwarded to run_dir/NAME. NULL: none */
    const char *ciphers;               /* -oCiphers=. NULL: by this host's processor */
    const char *remote_libvirt_socket; /* is forwarded from run_dir/libvirt.sock. NULL: it is not */
    const char *host;                  /* in messages; NULL: as the destination has it */
    const char *ssh_command;           /* NULL: ssh */
    const char *agent_command;         /* for the shell there; NULL: "vmig-snap agent" */
    const char *qemu_conf;             /* NULL: /etc/libvirt/qemu.conf */
    gboolean only_forwards;            /* no agent: returns when the sockets are there, and has no storage */
} VmigSshLinkOptions;

/* Returns when the agent has said hello; the sockets are there then. QEMU's user owns those that QEMU connects to; the
 * one to libvirt and the private ones stay ours, because whoever can connect to that libvirt is root there.
 * With a destination of tls or tcp, ssh goes to the host of the same name.
 * Errors: UNREACHABLE with what ssh said, NO_AGENT, PROTOCOL, BAD_PATH for a path that ssh could not take, and what
 * the agent says of itself where it cannot work. */
VmigSshLink *vmig_ssh_link_open(const VmigSshLinkOptions *options, GError **error);
/* The other host's storage. (transfer full) the first time, to be freed before the link; NULL after that. */
VmigNode *vmig_ssh_link_node(VmigSshLink *link);
/* FALSE once ssh has ended. */
gboolean vmig_ssh_link_alive(VmigSshLink *link);
/* What ssh said on its standard error, for people; may be "". (transfer full) */
char *vmig_ssh_link_words(VmigSshLink *link);
/* Has it end at once, for one that is dead: what goes over it breaks. It is still to be closed. */
void vmig_ssh_link_kill(VmigSshLink *link);
/* Ends the connection; NULL is allowed. ssh also ends with this process, however that ends. */
void vmig_ssh_link_close(VmigSshLink *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigSshLink, vmig_ssh_link_close)

/* For tests: the argument vector. (transfer full) */
char **vmig_ssh_link_argv(const VmigSshLinkOptions *options, GError **error);
