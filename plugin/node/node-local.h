/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The node of this host: implements the methods of node.h.
 *
 * Calls may come from several threads at a time. The operation locks and the receivers belong to the object and end
 * with it. The journal and the guard outlive it.
 *
 * Folder plugin/node: implements node.h for this host, the agent that serves it to the other host, and the client of
 * the other host's agent. It accesses images, the journal and the guard through their folders.
 */
#pragma once

#include "port/node.h"
#include "store/journal.h"

typedef struct {
    const char *state_dir;    /* of the journal: "/var/lib/vmig-snap" */
    const char *run_dir;      /* of sockets and locks: "/run/vmig-snap" */
    const char *const *roots; /* nothing outside these folders is examined, created or removed */
    const char *exe;          /* the command, which is also run as the guard; NULL: this program or the installed one */
    const char *machine_id;   /* NULL: from /etc/machine-id */
    /* this host's role in a job that its journal does not have yet: source for the process that starts a job,
     * destination for the agent */
    VmigRole role;
    uid_t login;                  /* the user who runs the agent as root, and whose sshd forwards; 0: root itself */
    gboolean serves_peer;         /* the agent: requests come from another host and are not trusted (node-peer.c) */
    const char *tls_dir;          /* QEMU's x509 files, for base copies over TLS; NULL: /etc/pki/qemu */
    guint first_port, last_port;  /* for base copies over TLS or TCP; 0: none */
    const char *qemu_conf;        /* NULL: /etc/libvirt/qemu.conf */
    const char *libvirt_qemu_dir; /* NULL: /etc/libvirt/qemu */
    const char *libvirt_run_dir;  /* NULL: /run/libvirt/qemu */
    const char *libvirt_sockets;  /* NULL: VMIG_LIBVIRT_SOCKETS */
    const char *libvirt_uri;      /* this host's libvirt, asked for users of images; NULL: qemu:///system */
} VmigNodeConfig;

/* Opens the journal; creates state_dir and run_dir if they are missing. Copies config. host is the name in messages.
 * Errors: those of vmig_journal_open(), IO, BAD_PATH for a root that is not a plain absolute path. */
VmigNode *vmig_node_local_new(const char *host, const VmigNodeConfig *config, GError **error);

/* The journal for the flow's state machine on this host. It has its own connection, because a journal object belongs to
 * one thread: the first that calls this. It lives as long as the node. (transfer none) */
VmigJournal *vmig_node_local_journal(VmigNode *node, GError **error);

/* The following functions do nothing for a node of another kind. */
/* Callable from any thread. Ends the receivers; calls that begin later fail with CANCELLED. */
void vmig_node_local_cancel(VmigNode *node);
/* IDs of this host's rehearsals whose process died. Changes nothing. (transfer full) */
char **vmig_rehearsals_dead(const char *state_dir);

/* Releases the operation locks and ends the rehearsals of this process. */
void vmig_node_local_release(VmigNode *node);
