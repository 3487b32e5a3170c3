/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One host's files, images, journal and guard, as the flow uses them.
 *
 * methods.def lists every method with the structures of its arguments and its reply. vmig_call_NAME() is generated for
 * each. The functions vmig_node_NAME() below are for its callers: they fill the arguments from a job, and take the
 * reply apart. call() is implemented by node/node-local.c     this host, node/agent-client.c   the other host: sends
 * the messages to `vmig-snap agent` there, for its node-local.c, tests/sim             a simulated host, so that a step
 * does not know on which host it runs.
 *
 * Every path is absolute and inside the host's image roots. Every file is created and removed through the journal and
 * the gate (store/gate.h) of its own host. Each method can be repeated.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "core/job.h"
#include "os/block-hash.h"
#include "port/methods.h"

/* Sent in the hello; must be equal on both hosts. */
#define VMIG_PROTOCOL 7
/* A record is part of messages. With another version of it, but the same protocol, the plan would find both hosts in
 * order, and the job would fail when it hands over its record. Increase both. */
G_STATIC_ASSERT(VMIG_JOB_VERSION == 5 && VMIG_PROTOCOL == 7);

typedef struct VmigNode VmigNode;

typedef struct {
    /* args and reply are the method's structures; the reply is empty before. The caller clears what a failed call has
     * left in the reply. */
    gboolean (*call)(VmigNode *self, VmigMethod method, gconstpointer args, gpointer reply, GError **error);
    void (*hurry)(VmigNode *self, gboolean on); /* NULL: replies are never slow */
    void (*free)(VmigNode *self);
} VmigNodeOps;

struct VmigNode {
    const VmigNodeOps *ops;
    char *host; /* for messages */
};

/* Turned on while the guest is not running: a silent host is given up after seconds, and its connection can be
 * replaced. */
void vmig_node_hurry(VmigNode *node, gboolean on);
void vmig_node_free(VmigNode *node);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigNode, vmig_node_free)

/* Checks the arguments and the reply with their tables (vmig_message_check()), whatever implements the node. A failure
 * names the host and leaves the reply empty. Use vmig_call_NAME(). */
gboolean vmig_node_call(VmigNode *node, VmigMethod method, gconstpointer args, gpointer reply, GError **error);
/* What the caller of a method finds wrong with the reply: PROTOCOL, naming the host. Returns FALSE. */
gboolean vmig_node_refuse(VmigNode *node, VmigMethod method, const char *member, const char *expected, GError **error);

#define VMIG_METHOD(symbol, function, name, args_, reply_, peer, time)                                                 \
    static inline gboolean vmig_call_##function(VmigNode *node, const struct vmig_##args_ *args,                       \
                                                struct vmig_##reply_ *reply, GError **error)                           \
    {                                                                                                                  \
        return vmig_node_call(node, VMIG_METHOD_##symbol, args, reply, error);                                         \
    }
#include "port/methods.def"
#undef VMIG_METHOD

VmigNodeFacts *vmig_node_hello(VmigNode *node, GError **error);
/* Lets connections to run_dir/JOB/VMIG_RELAY_SOCKET there reach that host's libvirt, whose socket is found there. It
 * ends with the agent. socket, mode: from the URI, or NULL. Errors: those of vmig_libvirt_socket_find(). */
gboolean vmig_node_libvirt_relay(VmigNode *node, const char *job, const char *socket, const char *mode, GError **error);
#define VMIG_RELAY_SOCKET "libvirt-relay.sock"
/* The agent of a user who is not root starts itself by sudo. */
#define VMIG_AGENT_ROOT_HINT                                                                                           \
    "Log in to that host as root, or let that user run the agent as root: a file in /etc/sudoers.d there with the "    \
    "line "                                                                                                            \
    "`USER ALL=(root) NOPASSWD: /usr/bin/vmig-snap agent`."
VmigPathFacts *vmig_node_path(VmigNode *node, const char *path, GError **error);
/* The plain path of an existing file. (transfer full) */
char *vmig_node_real_path(VmigNode *node, const char *path, GError **error);
/* Surveys the chain, top first, each file with the bounded reader and then with qemu-img. VmigImageFacts. */
GPtrArray *vmig_node_survey(VmigNode *node, const char *path, const char *format, GError **error);
/* Identity, size and mtime of one file, as in survey, but without reading it. */
gboolean vmig_node_stat(VmigNode *node, const char *path, guint64 *size, guint64 *dev, guint64 *ino, guint64 *mtime_ns,
                        GError **error);
/* The qcow2 header's nb_snapshots; the image may be in use. */
gboolean vmig_node_count_snapshots(VmigNode *node, const char *path, guint32 *count, GError **error);
gboolean vmig_node_locks(VmigNode *node, const char *path, VmigImageLocks *ret, GError **error);
/* The bytes that a file occupies now. */
gboolean vmig_node_allocated(VmigNode *node, const char *path, guint64 *bytes, GError **error);
/* qemu-img check, never a repair. Leaks are not an error, because crashes leave them. */
gboolean vmig_node_check(VmigNode *node, const char *path, const char *format, gint64 *leaks, GError **error);

/* Takes the operation lock of that host. LOCKED names the holder and the time. The process that serves the node holds
 * the lock, so that it ends with that process. tool: the machine ID of a caller on another host, which holds its own
 * host's lock for this job; an agent that still holds the lock here for the same job and tool is ended. NULL on this
 * host. */
gboolean vmig_node_lock(VmigNode *node, const VmigJob *job, const char *tool, GError **error);
gboolean vmig_node_unlock(VmigNode *node, const VmigJob *job, GError **error);
/* Writes to that host's journal; the first call creates the job there. */
gboolean vmig_node_record_put(VmigNode *node, const VmigJob *job, GError **error);
/* TRUE if that host gave the token away since its boot, whatever its journal says now. */
gboolean vmig_node_was_given(VmigNode *node, const VmigJob *job);
/* For a host whose journal was replaced with an older one: writes the record, the token and the list of the job's files
 * in one transaction (vmig_gate_catch_up()). role: that host's role in the job. */
gboolean vmig_node_catch_up(VmigNode *node, const VmigJob *job, VmigRole role, GError **error);
/* *ret is NULL if that host does not have the job. */
gboolean vmig_node_record_get(VmigNode *node, const char *id, VmigJob **ret, GError **error);
/* The XML of the job's snapshots, which is not part of the record and must be stored before it
 * (vmig_journal_texts_put()). get returns as many texts, in the order of names, as fit into one message, but at least
 * one. (transfer full) */
char **vmig_node_texts_missing(VmigNode *node, const VmigJob *job, const char *const *names, GError **error);
gboolean vmig_node_texts_put(VmigNode *node, const VmigJob *job, const char *const *texts, GError **error);
char **vmig_node_texts_get(VmigNode *node, const VmigJob *job, const char *const *names, GError **error);
/* Makes the owner durable there; only ever from source to destination. */
gboolean vmig_node_token_put(VmigNode *node, const VmigJob *job, VmigRole owner, GError **error);

/* Announces a file (overlay, hold) to the gate of that host before libvirt creates it. */
gboolean vmig_node_intend(VmigNode *node, const VmigJob *job, const char *path, const char *kind, GError **error);
/* Records the identity of the created file. */
gboolean vmig_node_made(VmigNode *node, const VmigJob *job, const char *path, GError **error);
/* Removes a file through the gate. reason: why it is redundant, for the journal. Succeeds if the file is missing. */
gboolean vmig_node_remove(VmigNode *node, const VmigJob *job, const char *path, const char *reason, GError **error);
/* Removes an image that the job did not make; only for --source-images delete, after the job's own verification. *kept:
 * the reason to keep it (transfer full); NULL: it was removed. */
gboolean vmig_node_remove_base(VmigNode *node, const VmigJob *job, const VmigFile *file, char **kept, GError **error);
/* The users of these images on that host, except each other: char* for each path, NULL if the image is proven unused
 * (node/image-users.h). domain: UUID of a guest that does not count, or NULL. */
GPtrArray *vmig_node_users(VmigNode *node, const char *const *paths, const char *domain, GError **error);
/* Creates a new, durable qcow2 image on this backing file; removes an existing one of the job first. */
gboolean vmig_node_create_overlay(VmigNode *node, const VmigJob *job, const char *path, guint64 virtual_size,
                                  const char *backing, const char *backing_format, GError **error);
/* qemu-img commit -d, for a guest that is off. */
gboolean vmig_node_commit_offline(VmigNode *node, const VmigJob *job, const char *overlay, GError **error);
/* The paths of the job's own files that still exist there. (transfer full) */
char **vmig_node_leftovers(VmigNode *node, const VmigJob *job, GError **error);

/* Starts a receiver on the unix socket for file->part. Valid data in an existing part is kept. key: for the hashes that
 * vmig_node_known() and vmig_node_received() return. *fresh: the part is empty, so vmig_node_known() is not needed. */
gboolean vmig_node_receive(VmigNode *node, const VmigJob *job, const VmigFile *file, const char *socket,
                           const VmigHashKey *key, gboolean *fresh, GError **error);
/* A receiver on a port. */
typedef struct {
    const char *identity; /* sent: the only permitted client, by the name in its certificate. NULL with "tcp" */
    guint number;         /* returned */
    char export[33];      /* returned: the name of the export, 32 hex digits */
} VmigPort;
/* The same on a port. UNSUPPORTED if no port is free. */
gboolean vmig_node_receive_on_port(VmigNode *node, const VmigJob *job, const VmigFile *file, const char *transport,
                                   const VmigHashKey *key, VmigPort *port, gboolean *fresh, GError **error);
/* What the part has from block first on, as a page of copy/known-blocks.h. Call this before writing to that block. */
gboolean vmig_node_known(VmigNode *node, const VmigJob *job, const VmigFile *file, guint64 first, GBytes **page,
                         GError **error);
/* Ends the receiver, syncs, and returns the hash of the data on the disk, holes as zeros. rewritten: the blocks written
 * in a part that was not fresh; NULL: any. */
gboolean vmig_node_received(VmigNode *node, const VmigJob *job, const VmigFile *file, const char *rewritten,
                            char **hash, GError **error);
/* Writes the backing name into the header if file->rebase is set, syncs, and renames the part to its final name. */
gboolean vmig_node_place(VmigNode *node, const VmigJob *job, const VmigFile *file, GError **error);

/* Turns the base copy into a part again, because a migration may have written to it; vmig_node_receive() continues
 * with its content. Succeeds if repeated. GATE if that host has the token, TIMEOUT while a process holds the file. */
gboolean vmig_node_unplace(VmigNode *node, const VmigJob *job, const VmigFile *file, GError **error);

/* Freezes each path: the guard, a separate process that outlives this one, locks it so that no process can write or
 * resize it. */
gboolean vmig_node_freeze(VmigNode *node, const VmigJob *job, const char *const *paths, GError **error);
gboolean vmig_node_thaw(VmigNode *node, const VmigJob *job, GError **error);
/* Arms the fence: the guard waits until QEMU releases each overlay, so that vmig_node_fence_take() can take them and
 * the source cannot resume on them. */
gboolean vmig_node_fence_arm(VmigNode *node, const VmigJob *job, const char *const *overlays, char **slow,
                             GError **error);
/* *held is TRUE once every overlay is taken. Waits up to wait_us for this. */
gboolean vmig_node_fence_take(VmigNode *node, const VmigJob *job, gint64 wait_us, gboolean *held, GError **error);
/* Ensures that the source's QEMU, which the guest has left, never runs again. GATE unless the journal there says that
 * the destination has the token. *note: a message to report, or NULL. */
gboolean vmig_node_end_source_qemu(VmigNode *node, const VmigJob *job, char **note, GError **error);
/* Looks for a QEMU of the job's guest of which libvirt has lost track. (transfer full) */
VmigOrphanFacts *vmig_node_orphan(VmigNode *node, const VmigJob *job, GError **error);
/* Kills a suspended one and waits for its exit. GATE unless that host's journal says that the job suspended the guest
 * there for a pivot. */
gboolean vmig_node_orphan_end(VmigNode *node, const VmigJob *job, GError **error);
gboolean vmig_node_fence_drop(VmigNode *node, const VmigJob *job, GError **error);
/* Releases everything and ends the guard; succeeds if there is none. */
gboolean vmig_node_guard_stop(VmigNode *node, const VmigJob *job, GError **error);
/* Makes libvirt's persistent definitions durable (libvirt syncs the file but not its folder). */
gboolean vmig_node_sync_config(VmigNode *node, GError **error);
/* Creates and removes /run/vmig-snap/JOB, the folder for the sockets. */
gboolean vmig_node_rundir(VmigNode *node, const VmigJob *job, GError **error);
gboolean vmig_node_rundir_remove(VmigNode *node, const VmigJob *job, GError **error);

/* Creates an empty image of this format beside each path (NULL-terminated lists of equal length). The process that
 * serves the node holds the rehearsal, which ends with it. */
VmigRehearsal *vmig_node_rehearsal_begin(VmigNode *node, const char *domain, const char *const *paths,
                                         const char *const *formats, GError **error);
/* Unlinks its images. */
gboolean vmig_node_rehearsal_unlink(VmigNode *node, const char *id, GError **error);
/* Removes everything left of it; its twin must be gone. LOCKED while another process holds it. */
gboolean vmig_node_rehearsal_end(VmigNode *node, const char *id, GError **error);
