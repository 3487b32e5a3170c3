/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the flow asks of one host's files, images, journal and guard.
 *
 * methods.def names every method. vmig_node_NAME() below is the typed face of each: it puts the arguments into JSON,
 * hands them to call(), and reads the reply strictly. Behind call() is node/node-local.c     this host,
 *   node/agent-client.c   the other host: the same JSON, sent to `vmig-snap agent` there, which hands it to node-local,
 *   tests/sim             a simulated host,
 * so that a step does not know which host it runs on.
 *
 * Every path is absolute and inside the host's image roots. Every file is made and removed through the journal and the
 * gate (store/gate.h) of its own host. Each method can be repeated.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>

#include "core/errors.h"
#include "core/job.h"
#include "os/block-hash.h"
#include "port/methods.h"

/* Of the hello; both sides must have the same. */
#define VMIG_PROTOCOL 5

typedef struct VmigNode VmigNode;

typedef struct {
    /* (transfer full), NULL with the error set */
    JsonObject *(*call)(VmigNode *self, VmigMethod method, JsonObject *args, GError **error);
    void (*hurry)(VmigNode *self, gboolean on); /* NULL: there is nobody that could be slow to answer */
    void (*free)(VmigNode *self);
} VmigNodeOps;

struct VmigNode {
    const VmigNodeOps *ops;
    char *host; /* for messages */
};

/* While nobody runs the guest: a host that falls silent is given up after seconds, and its connection can be made anew.
 */
void vmig_node_hurry(VmigNode *node, gboolean on);
void vmig_node_free(VmigNode *node);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigNode, vmig_node_free)

typedef struct {
    guint64 protocol;
    char *version; /* of vmig-snap there */
    char *hostname;
    char *machine_id;
    char *qemu_img_version;
    char **roots; /* the image roots */
    guint64 cpus;
    char *migrate_host;     /* of libvirt's qemu.conf, or NULL */
    gboolean images_denied; /* libvirt does not give QEMU, which is not root there, the images */
    gboolean aes;           /* the processor has instructions for AES */
} VmigNodeFacts;
void vmig_node_facts_free(VmigNodeFacts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigNodeFacts, vmig_node_facts_free)

typedef struct {
    gboolean exists;
    gboolean is_regular;
    gboolean folder_ok; /* its folder exists and can be written */
    gboolean in_roots;
    gboolean shared;    /* on a network or cluster file system */
    guint64 free_bytes; /* of the folder's file system, for an unprivileged writer */
    guint64 filesystem; /* st_dev of the folder: equal numbers share the free space */
    guint64 size, dev, ino;
    char *owner_job;   /* the unfinished or finished job whose file it is, by the journal there, or
                          NULL */
    char *owner_state; /* of that job, or NULL */
    /* An image that a finished job left there when it moved that domain away: a base copy for its way back, unless
     * there is a reason against it. kept_job is NULL where there is none. */
    char *kept_job, *kept_domain, *kept_why_not;
    guint64 kept_bytes; /* that it occupies */
} VmigPathFacts;
void vmig_path_facts_free(VmigPathFacts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigPathFacts, vmig_path_facts_free)

/* One internal snapshot as its image has it. */
typedef struct {
    char *id;
    char *name;            /* escaped where it is not UTF-8 */
    guint64 vm_state_size; /* 0: no memory */
    gint64 date;           /* seconds since the epoch */
} VmigImageSnapshot;

/* One file of a chain as a survey found it. */
typedef struct {
    char *path;  /* plain, without symbolic links below the image root */
    char *named; /* as the definition, or the header above, leads to it */
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

/* Who holds the image, from QEMU's lock bytes (block/file-posix.c: 100 + bit for a permission that
 * is used, 200 + bit for one that is not shared; bit 1 is write, bit 3 resize). */
typedef struct {
    gboolean writer; /* somebody has it open for writing (byte 101) */
    gboolean frozen; /* somebody refuses writers (byte 201) */
} VmigImageLocks;

VmigNodeFacts *vmig_node_hello(VmigNode *node, GError **error);
/* vmig_libvirt_socket_state() of that host. (transfer full) */
char *vmig_node_libvirt_socket(VmigNode *node, GError **error);
VmigPathFacts *vmig_node_path(VmigNode *node, const char *path, GError **error);
/* The plain path of an existing file. (transfer full) */
char *vmig_node_real_path(VmigNode *node, const char *path, GError **error);
/* The chain, top first, each read by the bounded reader and then by qemu-img.
 * VmigImageFacts. */
GPtrArray *vmig_node_survey(VmigNode *node, const char *path, const char *format, GError **error);
/* Identity, size and mtime of one file: survey's numbers without reading it. */
gboolean vmig_node_stat(VmigNode *node, const char *path, guint64 *size, guint64 *dev, guint64 *ino, guint64 *mtime_ns,
                        GError **error);
/* The qcow2 header's nb_snapshots, read while it is in use */
gboolean vmig_node_count_snapshots(VmigNode *node, const char *path, guint32 *count, GError **error);
gboolean vmig_node_locks(VmigNode *node, const char *path, VmigImageLocks *ret, GError **error);
/* Bytes that a file occupies now */
gboolean vmig_node_allocated(VmigNode *node, const char *path, guint64 *bytes, GError **error);
/* qemu-img check, never a repair. A leak is no error (crashes leave them). */
gboolean vmig_node_check(VmigNode *node, const char *path, const char *format, gint64 *leaks, GError **error);

/* The operation lock of that host; LOCKED says who and since when. Held by the
 * process that serves the storage, so that it ends with it. tool: who asks from another host, and holds the lock of its
 * own host for this job: an agent that still holds it here for the same is ended. NULL on this host. */
gboolean vmig_node_lock(VmigNode *node, const VmigJob *job, const char *tool, GError **error);
gboolean vmig_node_unlock(VmigNode *node, const VmigJob *job, GError **error);
/* The journal of that host. put makes the job there the first time. */
gboolean vmig_node_record_put(VmigNode *node, const VmigJob *job, GError **error);
/* Whether that host gave the token away since its boot, whatever its journal says now. */
gboolean vmig_node_was_given(VmigNode *node, const VmigJob *job);
/* For a host whose journal was replaced by an older one: record, token and which files are the job's, all at once
 * (vmig_gate_catch_up()). role: what that host is in the job. */
gboolean vmig_node_catch_up(VmigNode *node, const VmigJob *job, const char *role, GError **error);
/* *ret is NULL where that host does not know the job. */
gboolean vmig_node_record_get(VmigNode *node, const char *id, VmigJob **ret, GError **error);
/* The XML of the job's snapshots, which is not part of the record and has to
 * be there before it (vmig_journal_texts_put()). get gives as many of the first names as fit into a message, and at
 * least one. (transfer full) */
char **vmig_node_texts_missing(VmigNode *node, const VmigJob *job, const char *const *names, GError **error);
gboolean vmig_node_texts_put(VmigNode *node, const VmigJob *job, const char *const *texts, GError **error);
char **vmig_node_texts_get(VmigNode *node, const VmigJob *job, const char *const *names, GError **error);
/* Makes the owner durable there; source → destination only, ever. */
gboolean vmig_node_token_put(VmigNode *node, const VmigJob *job, const char *owner, GError **error);

/* adopt: names a file that libvirt makes or made (overlay, hold) to the gate of that host, before
 * it is made. */
gboolean vmig_node_intend(VmigNode *node, const VmigJob *job, const char *path, const char *kind, GError **error);
/* Records its identity. */
gboolean vmig_node_made(VmigNode *node, const VmigJob *job, const char *path, GError **error);
/* Through the gate. reason says why it is redundant, for the journal. A missing file is
 * success. */
gboolean vmig_node_remove(VmigNode *node, const VmigJob *job, const char *path, const char *reason, GError **error);
/* An image that the job did not make, only for --source-images delete, after the
 * job's own verification. *kept says why it stays (transfer full), NULL: it is gone. */
gboolean vmig_node_remove_base(VmigNode *node, const VmigJob *job, const VmigFile *file, char **kept, GError **error);
/* Who needs these images on that host, that they lie on each other apart: char* for each path, NULL where it
 * is proven that nobody does (node/image-users.h). domain: UUID of a guest that does not count, or NULL. */
GPtrArray *vmig_node_users(VmigNode *node, const char *const *paths, const char *domain, GError **error);
/* A fresh, durable qcow2 on that backing file; one of the job's that is there
 * already goes first. */
gboolean vmig_node_create_overlay(VmigNode *node, const VmigJob *job, const char *path, guint64 virtual_size,
                                  const char *backing, const char *backing_format, GError **error);
/* Qemu-img commit -d, for a guest that is off. */
gboolean vmig_node_commit_offline(VmigNode *node, const VmigJob *job, const char *overlay, GError **error);
/* Paths of the job's own files that still exist there. (transfer full) */
char **vmig_node_leftovers(VmigNode *node, const VmigJob *job, GError **error);

/* A receiver on the unix socket for file->part. Of a part that is there already what is good is kept.
 * key: of the hashes that "known" and "received" tell. *fresh: there is nothing in it, nobody needs to ask. */
gboolean vmig_node_receive(VmigNode *node, const VmigJob *job, const VmigFile *file, const char *socket,
                           const VmigHashKey *key, gboolean *fresh, GError **error);
/* Where a receiver on a port is to be found. */
typedef struct {
    const char *identity; /* goes there: the only client, by the name in its certificate. NULL with "tcp" */
    guint number;         /* comes back */
    char export[33];      /* comes back: the name of the export, 32 hex digits */
} VmigPort;
/* The same on a port, for "tls" or "tcp". UNSUPPORTED where none is free. */
gboolean vmig_node_receive_on_port(VmigNode *node, const VmigJob *job, const VmigFile *file, const char *transport,
                                   const VmigHashKey *key, VmigPort *port, gboolean *fresh, GError **error);
/* What the part has from block first on, as a page of copy/known-blocks.h. Before that block is written to. */
gboolean vmig_node_known(VmigNode *node, const VmigJob *job, const VmigFile *file, guint64 first, GBytes **page,
                         GError **error);
/* Ends the receiver, syncs, and says the hash of what is there on the disk, holes as zeros. rewritten: the
 * blocks that were written to, of a part that was not fresh; NULL: any. */
gboolean vmig_node_received(VmigNode *node, const VmigJob *job, const VmigFile *file, const char *rewritten,
                            char **hash, GError **error);
/* Writes the header's backing name where file->rebase is set, syncs, and gives the part
 * its final name. */
gboolean vmig_node_place(VmigNode *node, const VmigJob *job, const VmigFile *file, GError **error);

/* The base copy is a part again, because a migration may have written into it; "receive" goes on with what
 * is in it. Repeated it is success. STATE with the token on that host, or while a process holds the file. */
gboolean vmig_node_unplace(VmigNode *node, const VmigJob *job, const VmigFile *file, GError **error);

/* guard-freeze: a process of its own that outlives this one holds "nobody may write or resize" on
 * each path. */
gboolean vmig_node_freeze(VmigNode *node, const VmigJob *job, const char *const *paths, GError **error);
gboolean vmig_node_thaw(VmigNode *node, const VmigJob *job, GError **error);
/* guard-fence: the same process takes each overlay the moment QEMU lets go of it, so that nobody
 * can resume on it. */
gboolean vmig_node_fence_arm(VmigNode *node, const VmigJob *job, const char *const *overlays, char **slow,
                             GError **error);
/* TRUE in *held once every overlay is taken. Waits up to wait_us for it. */
gboolean vmig_node_fence_take(VmigNode *node, const VmigJob *job, gint64 wait_us, gboolean *held, GError **error);
/* The guest's QEMU on the source, which the guest has left, never runs again. GATE unless the
 * journal there says that the token is the destination's. What is to be told of it, or NULL, in *note. */
gboolean vmig_node_end_source_qemu(VmigNode *node, const VmigJob *job, char **note, GError **error);
/* Is there a QEMU of the job's guest, on the job's disks, that libvirt does not know of? kind: "none",
 * "suspended", "running", "unclear" (*why says what of it). (transfer full) */
typedef struct {
    char *kind;
    gint64 pid;
    char *why; /* or NULL */
} VmigOrphanFacts;
void vmig_orphan_facts_free(VmigOrphanFacts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigOrphanFacts, vmig_orphan_facts_free)
VmigOrphanFacts *vmig_node_orphan(VmigNode *node, const VmigJob *job, GError **error);
/* Kills a suspended one and waits for its end. GATE unless the journal there says that the job suspended
 * the guest for a pivot, on that host. */
gboolean vmig_node_orphan_end(VmigNode *node, const VmigJob *job, GError **error);
gboolean vmig_node_fence_drop(VmigNode *node, const VmigJob *job, GError **error);
/* Lets go of everything and ends the process; none there is success. */
gboolean vmig_node_guard_stop(VmigNode *node, const VmigJob *job, GError **error);
/* Makes libvirt's persistent definitions durable (libvirt syncs the file but not its
 * folder). */
gboolean vmig_node_sync_config(VmigNode *node, GError **error);
/* "rundir", "rundir-remove": /run/vmig-snap/JOB for the sockets. */
gboolean vmig_node_rundir(VmigNode *node, const VmigJob *job, GError **error);
gboolean vmig_node_rundir_remove(VmigNode *node, const VmigJob *job, GError **error);

/* What "rehearsal-begin" made. */
typedef struct {
    char *id;
    char **images; /* in the order of the paths that were given */
    char **dead;   /* ids of rehearsals whose process died */
} VmigRehearsal;
void vmig_rehearsal_free(VmigRehearsal *rehearsal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigRehearsal, vmig_rehearsal_free)

/* An empty image of that format beside each path (NULL-terminated lists of one length). It is held
 * by the process that serves the storage, and ends with it. */
VmigRehearsal *vmig_node_rehearsal_begin(VmigNode *node, const char *domain, const char *const *paths,
                                         const char *const *formats, GError **error);
/* Its images lose their names. */
gboolean vmig_node_rehearsal_unlink(VmigNode *node, const char *id, GError **error);
/* Nothing is left of it, once its twin is gone. LOCKED while another process holds it. */
gboolean vmig_node_rehearsal_end(VmigNode *node, const char *id, GError **error);
