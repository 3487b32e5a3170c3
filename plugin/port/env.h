/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Everything outside the process, as the flow sees it: two hosts, what moves bytes between them,
 * time and chance. env-real.c makes the real one; tests/sim makes one from a seed.
 *
 * Folder plugin/port: interfaces only: one host's files (node.h), one host's libvirt (hypervisor.h), what copies, the
 * clock and chance (env.h). The flows see nothing else of the world.
 */
#pragma once

#include <glib.h>

#include "core/job.h"
#include "port/hypervisor.h"
#include "port/node.h"

typedef struct VmigClock VmigClock;
typedef struct VmigRandom VmigRandom;
typedef struct VmigCopier VmigCopier;

typedef struct {
    gint64 (*now)(VmigClock *self);  /* microseconds, monotonic, goes on while the host sleeps */
    gint64 (*wall)(VmigClock *self); /* microseconds since the epoch, for people only */
    /* Returns at that time, or earlier when something happened on either host. */
    void (*wait)(VmigClock *self, gint64 until);
    void (*free)(VmigClock *self);
} VmigClockOps;

struct VmigClock {
    const VmigClockOps *ops;
};

typedef struct {
    void (*bytes)(VmigRandom *self, guint8 *buffer, gsize length);
    double (*unit)(VmigRandom *self); /* [0, 1) */
    void (*free)(VmigRandom *self);
} VmigRandomOps;

struct VmigRandom {
    const VmigRandomOps *ops;
};

/* One copy's progress; called from any thread, at most a few times a second for each copy. */
typedef struct {
    guint64 done; /* bytes of the file dealt with, holes included */
    guint64 sent; /* of them those that crossed the network; the others are holes, zeros, or were there already */
    guint64 total;
} VmigCopyProgress;

/* One file of a send(). */
typedef struct {
    const VmigFile *file;       /* not owned */
    const char *const *sockets; /* NULL-terminated, not owned: the connections are spread over them. Unix sockets, or
                                 * NBD URIs */
    gboolean fresh;             /* there is nothing in the part: all data is sent, and nobody asked what is there */
    VmigHashKey key;            /* the receiver's */
    /* What comes out (transfer full): */
    char *hash;      /* of what was read */
    char *rewritten; /* unless fresh: the blocks that were written to, for "received" */
} VmigCopyTask;

/* user is for both. They are called from any thread. */
typedef struct {
    /* What the destination has from block first on, as a page of copy/known-blocks.h. (transfer full) */
    gboolean (*known)(gpointer user, guint index, guint64 first, GBytes **page, GError **error);
    void (*progress)(gpointer user, guint index, const VmigCopyProgress *now); /* may be NULL */
    gpointer user;
} VmigCopyEvents;

typedef struct {
    /* Sends all files (VmigCopyTask) at the same time, each to a receiver on the destination: of what is there already
     * only what differs. Hashes what it read. */
    gboolean (*send)(VmigCopier *self, GPtrArray *tasks, const VmigCopyEvents *events, GError **error);
    void (*cancel)(VmigCopier *self);                             /* from any thread */
    void (*set_bandwidth)(VmigCopier *self, guint64 bytes_per_s); /* of all copies together; 0 is without limit */
    void (*free)(VmigCopier *self);
} VmigCopierOps;

struct VmigCopier {
    const VmigCopierOps *ops;
};

typedef struct {
    VmigHypervisor *hypervisor; /* NULL while the host cannot be reached */
    VmigNode *node;
} VmigHost;

typedef struct VmigEnv {
    VmigHost source;
    VmigHost dest;
    VmigCopier *copier;
    VmigClock *clock;
    VmigRandom *random;
    char *tool;             /* this host's name to the agent on the other one, or NULL */
    char *run_dir;          /* "/run/vmig-snap/JOB", the same on both hosts */
    gboolean one_at_a_time; /* no two threads may ask the hosts: a simulation */
    gint64 stall_limit;     /* microseconds in which a copy has to move; 0: VMIG_STALL_LIMIT */
    /* Makes the connection to the other host anew where it broke; NULL: there is nothing to be made. */
    gboolean (*reconnect)(struct VmigEnv *env, GError **error);
    /* Did somebody ask, since the last time, that the job be tried at once? NULL: nobody can. */
    gboolean (*asked)(struct VmigEnv *env);
    /* Makes more connections for the copies, as many as the hosts can make use of, where they go over one that
     * encrypts in one thread; copy_links counts them afterwards. What fails is not needed. NULL: there is no such. */
    void (*widen)(struct VmigEnv *env);
    char *copy_transport; /* "tls" or "tcp": the base copies go to a port there; NULL: to their sockets */
    char *copy_uri_head, *copy_uri_tail; /* around the port and the export's name */
    char *copy_tls_dir;                  /* with "tls": this host's certificates */
    guint copy_links;                    /* further sockets of each base copy: vmig_env_copy_sockets() */
    GPtrArray *links;                    /* the connections behind them, or NULL */
    /* FALSE with the error set where that name does not resolve on this host. NULL: nobody knows. */
    gboolean (*resolves)(struct VmigEnv *env, const char *name, GError **error);
    gpointer link; /* what both hosts are connected through; goes after everything that uses it */
    GDestroyNotify link_free;
    gpointer recipe; /* of the connection, for reconnect() */
    GDestroyNotify recipe_free;
    char *peer_uri; /* for VmigMigrateParams */
    char *migrate_uri;
    char *disks_uri;
} VmigEnv;

#define VMIG_STALL_LIMIT (30 * G_USEC_PER_SEC)

void vmig_env_free(VmigEnv *env);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigEnv, vmig_env_free)

/* run_dir/NAME (transfer full) */
char *vmig_env_socket(const VmigEnv *env, const char *name);
/* Where the base copy of that number is received: the first is its socket on both hosts, the others lead there by
 * further connections. (transfer full) */
char **vmig_env_copy_sockets(const VmigEnv *env, guint index);
/* The same where the base copies go to a port. (transfer full) */
char **vmig_env_copy_uris(const VmigEnv *env, guint port, const char *export);
/* ".N" for the Nth of the further connections (transfer full) */
char *vmig_env_copy_suffix(guint link);
G_GNUC_UNUSED static inline void vmig_random_free(VmigRandom *random)
{
    random->ops->free(random);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigRandom, vmig_random_free)
