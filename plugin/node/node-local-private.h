/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of node-local share: the object, its handlers and how a path gets checked. */
#pragma once

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/json-read.h"
#include "node/node-local.h"

typedef struct {
    VmigNode base;
    char *state_dir, *run_dir, *exe, *machine_id, *role, *qemu_conf, *libvirt_dir, *libvirt_run_dir, *libvirt_uri;
    GPtrArray *roots; /* char * */
    char *tls_dir;
    guint first_port, last_port;
    gboolean serves_peer;
    GMutex journal_lock;
    VmigJournal *journal; /* only with journal_lock held */
    VmigJournal *flow_journal;
    GMutex lock;            /* of what follows; never held over long work */
    GHashTable *oplocks;    /* uuid → HeldLock, in node-local.c */
    GHashTable *receivers;  /* part → VmigReceiver that runs */
    GHashTable *hashes;     /* part → what "received" said, until it is received again */
    GHashTable *holds;      /* job → what node-hold.c holds of its fence */
    GHashTable *rehearsals; /* id → descriptor of the locked record */
    gboolean cancelled;
} VmigLocal;

/* NULL with the error set. Mistakes in args are told by the dispatcher if the handler returns NULL without an error. */
typedef JsonObject *(*VmigLocalHandler)(VmigLocal *local, VmigReader *args, GError **error);

/* One for each method of port/methods.def. */
#define VMIG_METHOD(symbol, function, name, peer, time)                                                                \
    JsonObject *vmig_local_do_##function(VmigLocal *local, VmigReader *args, GError **error);
#include "port/methods.def"
#undef VMIG_METHOD

typedef int VmigFd;
static inline void vmig_fd_close(VmigFd fd)
{
    int saved = errno; /* of the call whose failure is being told */

    close(fd);
    errno = saved;
}
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(VmigFd, vmig_fd_close, -1)

/* The reply of a method that has nothing to say. */
static inline JsonObject *vmig_local_done(gboolean ok)
{
    return ok ? json_object_new() : NULL;
}

/* TRUE if all that was read so far was there. */
gboolean vmig_local_args(const VmigReader *args, GError **error);
/* The job's id, NULL with a mistake where it is none. */
const char *vmig_local_job(VmigReader *args);

/* Opens the folder of a path, with no symbolic link below the root. OUTSIDE_ROOTS, NO_DIRECTORY, BAD_PATH.
 * *name points into path. */
int vmig_local_open_folder(VmigLocal *local, const char *path, const char **name, GError **error);
/* The same, to know that the path is good: nothing or a regular file with one name may be there. */
gboolean vmig_local_check_path(VmigLocal *local, const char *path, GError **error);
/* GATE unless the file's name carries the job's id: no request can name somebody else's file. */
gboolean vmig_local_check_ours(VmigLocal *local, const char *job, const char *path, GError **error);
/* INTERFERENCE where somebody has the image open for writing; a file that is not there is nobody's. */
gboolean vmig_local_check_unused(VmigLocal *local, const char *path, GError **error);
/* stat() beneath the roots: FALSE in *exists where there is nothing, and where there is no folder. */
gboolean vmig_local_stat(VmigLocal *local, const char *path, struct stat *st, gboolean *exists, GError **error);
/* FALSE where that cannot be told, too. */
gboolean vmig_local_exists(VmigLocal *local, const char *path);
/* The paths of open files, with no symbolic link in them, for the guard, which knows no roots. NULL-terminated. */
char **vmig_local_real_paths(VmigLocal *local, const char *const *paths, GError **error);
/* Is the open file or folder on a network or cluster file system, by the kind of it? */
gboolean vmig_local_is_shared(int fd, const struct stat *st);
/* By this host's journal. NO_JOB where it does not know the job. */
gboolean vmig_local_token_is_dest(VmigLocal *local, const char *job, gboolean *ret, GError **error);

/* What this host is in that job: what the journal says, or what whoever serves the storage was started as. (transfer
 * full) */
char *vmig_local_role(VmigLocal *local, const char *job, GError **error);
/* Does this process hold the operation lock for that job, of that domain where it is not NULL? */
gboolean vmig_local_holds(VmigLocal *local, const char *job, const char *uuid);
/* Did this host give the guest of that job away since it booted? */
gboolean vmig_local_was_given(const VmigLocal *local, const char *job);

/* What the agent holds another host's requests against: node-peer.c. All GATE. First for each request: may a peer
 * ask that, with these arguments? Then, by this host's own record: */
gboolean vmig_local_peer_may(VmigLocal *local, VmigMethod method, JsonObject *args, GError **error);
typedef enum {
    VMIG_PEER_OVERLAY,
    VMIG_PEER_OVERLAY_OR_HOLD,
} VmigPeerFile;
/* the disk whose file on this host that is, and the record that it belongs to (transfer full), */
gboolean vmig_local_peer_disk(VmigLocal *local, const char *job, const char *path, VmigPeerFile what, VmigJob **record,
                              const VmigDisk **ret, GError **error);
/* is each of these a base, or an overlay, of the job's source, */
gboolean vmig_local_peer_paths(VmigLocal *local, const char *job, const char *const *paths, gboolean overlays,
                               GError **error);
/* is that the copy of a file, and what it begins with an image of the same guest, */
gboolean vmig_local_peer_copy(VmigLocal *local, const char *job, const char *part, const char *dest, const char *kept,
                              GError **error);
/* is the job about that guest. */
gboolean vmig_local_peer_guest(VmigLocal *local, const char *job, const char *uuid, const char *domain, GError **error);
/* By libvirt's definitions of the job's guest here: none names that file. */
gboolean vmig_local_peer_left_by_guest(VmigLocal *local, const char *job, const char *path, GError **error);

/* Which images this process is to hold as well, once the guard has them; replaces what was held. */
void vmig_local_hold_plan(VmigLocal *local, const char *job, const char *const *paths);
/* Holds them; nothing is success where nothing was planned. FALSE, and nothing is held: somebody writes to one. */
gboolean vmig_local_hold(VmigLocal *local, const char *job, GError **error);
void vmig_local_hold_drop(VmigLocal *local, const char *job);

/* Who needs an image that was there before the job, by all of node/image-users.h, or that it is not the file that the
 * record describes; NULL where it is proven that it is, and that nothing needs it. leaving: paths of images that go
 * with it, or NULL. (transfer full) */
char *vmig_local_image_user(VmigLocal *local, const VmigFile *file, const char *path, const char *const *leaving);
/* The same, immediately before the image is removed or renamed: no QEMU can open it until the descriptor is closed. -1
 * with why it stays. */
int vmig_local_claim(VmigLocal *local, const VmigFile *file, const char *path, const char *const *leaving, char **why);

/* An image that a finished job left under its own name. */
typedef struct {
    VmigJob *job;  /* NULL: no job did */
    char *why_not; /* why it cannot be a base copy all the same, for people; NULL: it can */
    guint64 bytes; /* that it occupies */
} VmigKeptImage;
void vmig_kept_image_clear(VmigKeptImage *kept);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmigKeptImage, vmig_kept_image_clear)
/* What of that lies at the path. The file exists. */
gboolean vmig_local_kept(VmigLocal *local, const char *path, VmigKeptImage *kept, GError **error);
/* Gives the image that kept_job left at path the name of the part, which is intended. Repeated it is success.
 * DESTINATION_EXISTS if it is not what it was. */
gboolean vmig_local_take_kept(VmigLocal *local, const char *job, const char *kept_job, const char *path,
                              const char *part, GError **error);

/* Ends what this process began and did not end: its tool is gone. */
void vmig_local_rehearsals_close(VmigLocal *local);
GHashTable *vmig_local_rehearsals_new(void);

/* RUN_DIR/JOB (transfer full) */
char *vmig_local_job_dir(const VmigLocal *local, const char *job);
