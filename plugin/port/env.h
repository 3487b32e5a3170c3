/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Everything outside the process, as the flow sees it: two hosts, the copier, time and randomness. env-real.c makes the
 * real one, tests/sim a simulated one from a random seed.
 *
 * Folder plugin/port: interfaces only: one host's files (node.h), one host's libvirt (hypervisor.h), the copier, the
 * clock and randomness (env.h). The flows access nothing else outside the process.
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
    gint64 (*now)(VmigClock *self);  /* microseconds, monotonic, continues while the host is suspended */
    gint64 (*wall)(VmigClock *self); /* microseconds since the epoch, only for display */
    /* Returns at that time, or earlier when an event arrived from either host. */
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

/* The progress of one copy. Called from any thread, at most a few times a second for each copy. */
typedef struct {
    guint64 done; /* bytes of the file that are finished, holes included */
    guint64 sent; /* of these, the bytes sent over the network; the others are holes, zeros or were already there */
    guint64 total;
} VmigCopyProgress;

typedef struct {
    const VmigFile *file;       /* not owned */
    const char *const *sockets; /* NULL-terminated, not owned: sockets or NBD URIs; connections are spread over them */
    gboolean fresh;             /* the part is empty: all data is sent, without asking what is there */
    VmigHashKey key;            /* the receiver's */
    /* Results (transfer full): */
    char *hash;      /* of the data read */
    char *rewritten; /* the blocks written, for vmig_node_received(); NULL if fresh */
} VmigCopyTask;

/* Called from any thread. */
typedef struct {
    /* What the destination has from block first on, as a page of copy/known-blocks.h. (transfer full) */
    gboolean (*known)(gpointer user, guint index, guint64 first, GBytes **page, GError **error);
    void (*progress)(gpointer user, guint index, const VmigCopyProgress *now); /* may be NULL */
    gpointer user;
} VmigCopyEvents;

typedef struct {
    /* Sends all files (VmigCopyTask) in parallel, each to its receiver on the destination. Sends only the blocks that
     * differ from what is already there. Hashes all data read. */
    gboolean (*send)(VmigCopier *self, GPtrArray *tasks, const VmigCopyEvents *events, GError **error);
    void (*cancel)(VmigCopier *self);                             /* from any thread */
    void (*set_bandwidth)(VmigCopier *self, guint64 bytes_per_s); /* of all copies together; 0: unlimited */
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
    union {
        struct {
            VmigHost source;
            VmigHost dest;
        };
        VmigHost host[2]; /* by VmigRole */
    };
    VmigCopier *copier;
    VmigClock *clock;
    VmigRandom *random;
    char *tool;             /* this host's machine ID, which the other host's agent records with its lock; or NULL */
    char *run_dir;          /* "/run/vmig-snap/JOB", the same on both hosts */
    gboolean one_at_a_time; /* only one thread may call the hosts at a time: a simulation */
    gint64 stall_limit;     /* microseconds within which a copy must make progress; 0: VMIG_STALL_LIMIT */
    /* Reconnects to the other host after the connection broke; NULL: there is no connection to remake. */
    gboolean (*reconnect)(struct VmigEnv *env, GError **error);
    /* TRUE if a user asked since the last call to retry the job at once. NULL: no user can. */
    gboolean (*asked)(struct VmigEnv *env);
    /* Opens more connections for the copies, as many as the hosts have use for, if one connection encrypts in a single
     * thread. copy_links then counts them. Failures are ignored. NULL: not applicable. */
    void (*widen)(struct VmigEnv *env);
    char *copy_transport;                /* "tls" or "tcp": base copies go to a port there; NULL: to their sockets */
    char *copy_uri_head, *copy_uri_tail; /* around the port and the export's name */
    char *copy_tls_dir;                  /* with "tls": this host's certificates */
    guint copy_links;                    /* additional sockets of each base copy: vmig_env_copy_sockets() */
    GPtrArray *links;                    /* the connections behind them, or NULL */
    /* FALSE with the error set if this name does not resolve on this host. NULL: unknown. */
    gboolean (*resolves)(struct VmigEnv *env, const char *name, GError **error);
    gpointer link; /* the connection to both hosts; freed after everything that uses it */
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
/* The sockets that lead to the receiver of this base copy. The first is the receiver's own, the same on both hosts; the
 * others reach it through the additional connections. (transfer full) */
char **vmig_env_copy_sockets(const VmigEnv *env, guint index);
/* The same for base copies that go to a port. (transfer full) */
char **vmig_env_copy_uris(const VmigEnv *env, guint port, const char *export);
/* ".N" for the Nth additional connection (transfer full) */
char *vmig_env_copy_suffix(guint link);
G_GNUC_UNUSED static inline void vmig_random_free(VmigRandom *random)
{
    random->ops->free(random);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigRandom, vmig_random_free)
