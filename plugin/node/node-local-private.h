/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the files of the local node: the object, its handlers and the checks of paths. */
#pragma once

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file-id.h"
#include "node/node-local.h"
#include "os/relay.h"

typedef struct {
    VmigNode base;
    char *state_dir, *run_dir, *exe, *machine_id, *qemu_conf, *libvirt_dir, *libvirt_run_dir, *libvirt_uri,
        *libvirt_sockets;
    VmigRole role;
    GPtrArray *roots; /* char * */
    char *tls_dir;
    guint first_port, last_port;
    gboolean serves_peer;
    uid_t login; /* the user who runs this as root; 0: root itself */
    GMutex journal_lock;
    VmigJournal *journal; /* access only with journal_lock held */
    VmigJournal *flow_journal;
    GMutex lock;            /* for the members below; never held during long work */
    GHashTable *oplocks;    /* uuid → HeldLock, in node-local.c */
    GHashTable *receivers;  /* part → running VmigReceiver */
    GHashTable *hashes;     /* part → the hash of the finished copy, until it is received again */
    GHashTable *holds;      /* job → the images of its fence that node-hold.c holds */
    GHashTable *rehearsals; /* id → descriptor of the locked record */
    VmigRelay *relay;       /* to this host's libvirt; NULL: nobody asked for it */
    char *relay_path;
    VmigFileId relay_id; /* of the socket */
    gboolean cancelled;
} VmigLocal;

/* A handler for each method of port/methods.def. The arguments are those that vmig_message_check() accepts, and the
 * reply is empty. */
#define VMIG_METHOD(symbol, function, name, args_, reply_, peer, time)                                                 \
    gboolean vmig_local_do_##function(VmigLocal *local, const struct vmig_##args_ *args, struct vmig_##reply_ *reply,  \
                                      GError **error);
#include "port/methods.def"
#undef VMIG_METHOD

typedef int VmigFd;
static inline void vmig_fd_close(VmigFd fd)
{
    int saved = errno; /* keep the errno of the call whose failure is being reported */

    close(fd);
    errno = saved;
}
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(VmigFd, vmig_fd_close, -1)

/* Opens the folder of a path; follows no symbolic link below the root. *name points into path. Errors: OUTSIDE_ROOTS,
 * NO_DIRECTORY, BAD_PATH. */
int vmig_local_open_folder(VmigLocal *local, const char *path, const char **name, GError **error);
/* Checks a path in the same way; it must not exist or be a regular file with one hard link. */
gboolean vmig_local_check_path(VmigLocal *local, const char *path, GError **error);
/* GATE unless the file name contains the job's ID: no request can name a file of another job. */
gboolean vmig_local_check_ours(VmigLocal *local, const char *job, const char *path, GError **error);
/* INTERFERENCE if a process has the image open for writing. A missing file is unused. */
gboolean vmig_local_check_unused(VmigLocal *local, const char *path, GError **error);
/* stat() below the roots: FALSE in *exists if the file or its folder does not exist. */
gboolean vmig_local_stat(VmigLocal *local, const char *path, struct stat *st, gboolean *exists, GError **error);
/* FALSE also if this cannot be determined. */
gboolean vmig_local_exists(VmigLocal *local, const char *path);
/* The real paths of open files, without symbolic links, for the guard, which knows no roots. NULL-terminated. */
char **vmig_local_real_paths(VmigLocal *local, const char *const *paths, GError **error);
/* TRUE if the open file or folder is on a network or cluster file system, judging by the file system's type. */
gboolean vmig_local_is_shared(int fd, const struct stat *st);
/* According to this host's journal. NO_JOB if it does not have the job. */
gboolean vmig_local_token_is_dest(VmigLocal *local, const char *job, gboolean *ret, GError **error);

/* This host's role in the job: from the journal, or else the role that this node was started with. */
gboolean vmig_local_role(VmigLocal *local, const char *job, VmigRole *ret, GError **error);
/* TRUE if this process holds the operation lock for this job and, unless uuid is NULL, for this domain. */
gboolean vmig_local_holds(VmigLocal *local, const char *job, const char *uuid);
/* TRUE if this host has given away the guest of this job since it booted. */
gboolean vmig_local_was_given(const VmigLocal *local, const char *job);

/* The agent's checks of another host's requests (node-peer.c). They all fail with GATE. The first one applies to every
 * request: may a peer call this method with these arguments? The others check against this host's own record: */
gboolean vmig_local_peer_may(VmigLocal *local, VmigMethod method, gconstpointer args, GError **error);
typedef enum {
    VMIG_PEER_OVERLAY,
    VMIG_PEER_OVERLAY_OR_HOLD,
} VmigPeerFile;
/* Finds the disk to which this host's file belongs, and the record. (transfer full) */
gboolean vmig_local_peer_disk(VmigLocal *local, const char *job, const char *path, VmigPeerFile what, VmigJob **record,
                              const VmigDisk **ret, GError **error);
/* Checks that each path is a base, or an overlay, of the job's source. */
gboolean vmig_local_peer_paths(VmigLocal *local, const char *job, const char *const *paths, gboolean overlays,
                               GError **error);
/* Checks that this is the base copy of a file, and that kept, if given, is an image of the same guest. */
gboolean vmig_local_peer_copy(VmigLocal *local, const char *job, const char *part, const char *dest, const char *kept,
                              GError **error);
/* Checks that the job is about this guest. */
gboolean vmig_local_peer_guest(VmigLocal *local, const char *job, const char *uuid, const char *domain, GError **error);
/* Checks that none of libvirt's definitions of the job's guest on this host names the file. */
gboolean vmig_local_peer_left_by_guest(VmigLocal *local, const char *job, const char *path, GError **error);

/* Sets the images that this process holds too once the guard holds them; replaces the previous plan. */
void vmig_local_hold_plan(VmigLocal *local, const char *job, const char *const *paths);
/* Holds the planned images. Succeeds if none are planned. FALSE, with nothing held, if a process writes to one of them.
 */
gboolean vmig_local_hold(VmigLocal *local, const char *job, GError **error);
void vmig_local_hold_drop(VmigLocal *local, const char *job);

/* The user of an image that existed before the job, by all checks of node/image-users.h, or the reason why it is not
 * the file that the record describes. NULL if it is proven to be that file and unused. leaving: paths of images that
 * are removed with it, or NULL. (transfer full) */
char *vmig_local_image_user(VmigLocal *local, const VmigFile *file, const char *path, const char *const *leaving);
/* The same, immediately before the image is removed or renamed: no QEMU can open it until the descriptor is closed.
 * Returns -1 with the reason to keep it in *why. */
int vmig_local_claim(VmigLocal *local, const VmigFile *file, const char *path, const char *const *leaving, char **why);

/* An image that a finished job left under its original name. */
typedef struct {
    VmigJob *job;  /* NULL: there is none */
    char *why_not; /* why it cannot be a base copy nevertheless, for messages; NULL: it can */
    guint64 bytes; /* allocated size */
} VmigKeptImage;
void vmig_kept_image_clear(VmigKeptImage *kept);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmigKeptImage, vmig_kept_image_clear)
/* Looks for a kept image at the path. The file must exist. */
gboolean vmig_local_kept(VmigLocal *local, const char *path, VmigKeptImage *kept, GError **error);
/* Renames the image that kept_job left at path to the name of the part, which is recorded in the gate. Succeeds again
 * if repeated. DESTINATION_EXISTS if the image has changed. */
gboolean vmig_local_take_kept(VmigLocal *local, const char *job, const char *kept_job, const char *path,
                              const char *part, GError **error);

/* Ends the rehearsals that this process began and that are unfinished because their tool is gone. */
void vmig_local_rehearsals_close(VmigLocal *local);
GHashTable *vmig_local_rehearsals_new(void);

/* Ends the relay to libvirt, and removes its socket. */
void vmig_local_relay_end(VmigLocal *local);

/* RUN_DIR/JOB (transfer full) */
char *vmig_local_job_dir(const VmigLocal *local, const char *job);
