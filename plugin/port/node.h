/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One host's files, images, journal and guard, as the flow uses them.
 *
 * methods.def lists every method. vmig_node_NAME() below is the typed form of each: it converts the arguments to JSON,
 * passes them to call(), and parses the reply strictly. call() is implemented by
 *   node/node-local.c     this host,
 *   node/agent-client.c   the other host: sends the same JSON to `vmig-snap agent` there, for its node-local.c,
 *   tests/sim             a simulated host,
 * so that a step does not know on which host it runs.
 *
 * Every path is absolute and inside the host's image roots. Every file is created and removed through the journal and
 * the gate (store/gate.h) of its own host. Each method can be repeated.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>

#include "core/errors.h"
#include "core/job.h"
#include "os/block-hash.h"
#include "os/json-read.h"
#include "port/methods.h"

/* Sent in the hello; must be equal on both hosts. */
#define VMIG_PROTOCOL 5

typedef struct VmigNode VmigNode;

typedef struct {
    /* (transfer full), NULL with the error set */
    JsonObject *(*call)(VmigNode *self, VmigMethod method, JsonObject *args, GError **error);
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

typedef struct {
    guint64 protocol;
    char *version; /* vmig-snap's version there */
    char *hostname;
    char *machine_id;
    char *qemu_img_version;
    char **roots; /* the image roots */
    guint64 cpus;
    char *migrate_host;     /* from libvirt's qemu.conf, or NULL */
    gboolean images_denied; /* QEMU is not root there, and libvirt does not give it the images */
    gboolean aes;           /* the CPU has AES instructions */
} VmigNodeFacts;
void vmig_node_facts_free(VmigNodeFacts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigNodeFacts, vmig_node_facts_free)

typedef struct {
    gboolean exists;
    gboolean is_regular;
    gboolean folder_ok; /* its folder exists and is writable */
    gboolean in_roots;
    gboolean shared;    /* on a network or cluster file system */
    guint64 free_bytes; /* of the folder's file system, for an unprivileged user */
    guint64 filesystem; /* st_dev of the folder: equal numbers share the free space */
    guint64 size, dev, ino;
    char *owner_job;   /* the job, finished or not, that owns the file in the journal there; or NULL */
    char *owner_state; /* of that job, or NULL */
    /* An image that a finished job left there when it moved this domain away: a base copy for the way back, unless
     * kept_why_not is set. kept_job is NULL if there is none. */
    char *kept_job, *kept_domain, *kept_why_not;
    guint64 kept_bytes; /* bytes on disk */
} VmigPathFacts;
void vmig_path_facts_free(VmigPathFacts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigPathFacts, vmig_path_facts_free)

typedef struct {
    char *id;
    char *name;            /* escaped if it is not UTF-8 */
    guint64 vm_state_size; /* 0: no memory */
    gint64 date;           /* seconds since the epoch */
} VmigImageSnapshot;

/* One file of a chain. */
typedef struct {
    char *path;  /* plain, without symbolic links below the image root */
    char *named; /* the path in the definition or in the header above */
    char *format;
    char *backing; /* as stored */
    char *backing_format;
    char *backing_path; /* resolved */
    guint64 size, allocated, virtual_size, dev, ino, mtime_ns;
    guint64 version; /* 2 or 3; 0 for raw */
    guint64 bitmaps;
    gboolean encrypted, data_file, dirty;
    GPtrArray *snapshots; /* VmigImageSnapshot */
} VmigImageFacts;
void vmig_image_facts_free(VmigImageFacts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigImageFacts, vmig_image_facts_free)

/* The use of an image, from QEMU's lock bytes (block/file-posix.c: 100 + bit for a permission in use, 200 + bit for one
 * not shared; bit 1 is write, bit 3 resize). */
typedef struct {
    gboolean writer; /* a process has it open for writing (byte 101) */
    gboolean frozen; /* a process blocks writers (byte 201) */
} VmigImageLocks;

/* For the typed interfaces of methods that are not in node.c. ask() takes args; a failure names the host. understood()
 * finishes the parsing of a reply. */
JsonObject *vmig_node_ask(VmigNode *node, VmigMethod method, JsonObject *args, GError **error);
gboolean vmig_node_understood(const VmigReader *reader, const VmigNode *node, VmigMethod method, GError **error);

VmigNodeFacts *vmig_node_hello(VmigNode *node, GError **error);
/* vmig_libvirt_socket_state() on that host. (transfer full) */
char *vmig_node_libvirt_socket(VmigNode *node, GError **error);
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
gboolean vmig_node_catch_up(VmigNode *node, const VmigJob *job, const char *role, GError **error);
/* *ret is NULL if that host does not have the job. */
gboolean vmig_node_record_get(VmigNode *node, const char *id, VmigJob **ret, GError **error);
/* The XML of the job's snapshots, which is not part of the record and must be stored before it
 * (vmig_journal_texts_put()). get returns as many texts, in the order of names, as fit into one message, but at least
 * one. (transfer full) */
char **vmig_node_texts_missing(VmigNode *node, const VmigJob *job, const char *const *names, GError **error);
gboolean vmig_node_texts_put(VmigNode *node, const VmigJob *job, const char *const *texts, GError **error);
char **vmig_node_texts_get(VmigNode *node, const VmigJob *job, const char *const *names, GError **error);
/* Makes the owner durable there; only ever from source to destination. */
gboolean vmig_node_token_put(VmigNode *node, const VmigJob *job, const char *owner, GError **error);

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

/* Starts a receiver on the unix socket for file->part. Valid data in an existing part is kept. key: for the hashes of
 * "known" and "received". *fresh: the part is empty, so "known" is not needed. */
gboolean vmig_node_receive(VmigNode *node, const VmigJob *job, const VmigFile *file, const char *socket,
                           const VmigHashKey *key, gboolean *fresh, GError **error);
/* A receiver on a port. */
typedef struct {
    const char *identity; /* sent: the only permitted client, by the name in its certificate. NULL with "tcp" */
    guint number;         /* returned */
    char export[33];      /* returned: the name of the export, 32 hex digits */
} VmigPort;
/* The same on a port, for "tls" or "tcp". UNSUPPORTED if no port is free. */
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

/* Turns the base copy into a part again, because a migration may have written to it; "receive" continues with its
 * content. Succeeds if repeated. STATE if that host has the token, or while a process holds the file. */
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
/* A QEMU of the job's guest, on the job's disks, of which libvirt has lost track. kind: "none", "suspended", "running",
 * "unclear" (with the reason in why). (transfer full) */
typedef struct {
    char *kind;
    gint64 pid;
    char *why; /* or NULL */
} VmigOrphanFacts;
void vmig_orphan_facts_free(VmigOrphanFacts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigOrphanFacts, vmig_orphan_facts_free)
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

/* The result of vmig_node_rehearsal_begin(). */
typedef struct {
    char *id;
    char **images; /* in the order of the paths */
    char **dead;   /* IDs of rehearsals whose process died */
} VmigRehearsal;
void vmig_rehearsal_free(VmigRehearsal *rehearsal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigRehearsal, vmig_rehearsal_free)

/* Creates an empty image of this format beside each path (NULL-terminated lists of equal length). The process that
 * serves the node holds the rehearsal, which ends with it. */
VmigRehearsal *vmig_node_rehearsal_begin(VmigNode *node, const char *domain, const char *const *paths,
                                         const char *const *formats, GError **error);
/* Unlinks its images. */
gboolean vmig_node_rehearsal_unlink(VmigNode *node, const char *id, GError **error);
/* Removes everything left of it; its twin must be gone. LOCKED while another process holds it. */
gboolean vmig_node_rehearsal_end(VmigNode *node, const char *id, GError **error);
