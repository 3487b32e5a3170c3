/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The storage of this host: the methods of node.h themselves.
 *
 * Calls may come from several threads at a time. The operation locks and the receivers live in the object and end with
 * it; the journal and the guard do not.
 *
 * Folder plugin/node: node.h on this host, the agent that serves it to the other host, and the client that reaches
 * another host's agent. Touches images, the journal and the guard, each through its folder.
 */
#pragma once

#include "port/node.h"
#include "store/journal.h"

typedef struct {
    const char *state_dir;        /* of the journal: "/var/lib/vmig-snap" */
    const char *run_dir;          /* of sockets and locks: "/run/vmig-snap" */
    const char *const *roots;     /* outside of these folders nothing is looked at, made or removed */
    const char *exe;              /* of this program, which also is the guard; NULL: as /proc/self/exe has it */
    const char *machine_id;       /* NULL: that of /etc/machine-id */
    const char *role;             /* what this host is in a job that its journal does not know yet: VMIG_ROLE_...; the
                                     process that starts a job is on its source, the agent on its destination */
    gboolean serves_peer;         /* the agent: whoever asks is another host, and is not believed (node-peer.c) */
    const char *tls_dir;          /* QEMU's x509 files, for base copies over TLS; NULL: /etc/pki/qemu */
    guint first_port, last_port;  /* for base copies over TLS or TCP; 0: none */
    const char *qemu_conf;        /* NULL: /etc/libvirt/qemu.conf */
    const char *libvirt_qemu_dir; /* NULL: /etc/libvirt/qemu */
    const char *libvirt_run_dir;  /* NULL: /run/libvirt/qemu */
    const char *libvirt_uri;      /* of this host's libvirt, which is asked who needs an image; NULL: qemu:///system */
} VmigNodeConfig;

/* Opens the journal; makes state_dir and run_dir where they are missing. Copies config. host is the name in messages.
 * Errors: those of vmig_journal_open(), IO, BAD_PATH for a root that is no plain absolute path. */
VmigNode *vmig_node_local_new(const char *host, const VmigNodeConfig *config, GError **error);

/* The journal, for the flow's machine on this host: another connection than that of the methods, because one object
 * belongs to one thread. It belongs to the thread that asks first and lives as long as the storage. (transfer none) */
VmigJournal *vmig_node_local_journal(VmigNode *node, GError **error);

/* These do nothing to a storage of another kind. */
/* From any thread: ends the receivers and fails the calls that have not begun with CANCELLED, from now on. */
void vmig_node_local_cancel(VmigNode *node);
/* Ids of the rehearsals of that host whose process died. Changes nothing. (transfer full) */
char **vmig_rehearsals_dead(const char *state_dir);

/* Lets go of the operation locks, and ends the rehearsals of this process. */
void vmig_node_local_release(VmigNode *node);
