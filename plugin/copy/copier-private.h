/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by copier.c (all files of one send), copier-link.c (one connection) and copier-blocks.c (its data path). */
#pragma once

#include <libnbd.h>

#include "copy/bandwidth.h"
#include "copy/file-hash.h"
#include "copy/copier-known.h"
#include "port/env.h"

/* One send(). */
typedef struct {
    VmigBandwidth *bandwidth;
    gint64 stall_limit;
    GPtrArray *roots;  /* char *, or NULL */
    guint connections; /* per file */
    gsize request;
    guint depth;
    gsize *buffers_now; /* under lock; the copier keeps the peak */
    gsize *buffers_peak;
    const VmigCopyEvents *events;
    GPtrArray *known; /* under lock: the VmigKnown objects, which an error must stop */
    GMutex lock;
    GError *error; /* the first error; every thread stops once it is set */
    int stop_fd;   /* an eventfd, readable once error is set */
} VmigSend;

void vmig_send_fail(VmigSend *send, GError *error);

/* One file of a send(). */
typedef struct {
    VmigSend *send;
    guint index;
    VmigCopyTask *task;
    const VmigFile *file; /* the task's */
    int fd;
    int direct;    /* or -1 */
    guint8 *pages; /* the file's mapping, only for mincore(), which tells what is cached; NULL if unavailable */
    guint64 size;
    VmigTreeHash *hash;
    VmigBlockWalk *walk;
    VmigKnown *known;  /* what the destination has; NULL: nothing */
    guint8 *rewritten; /* only with known: a bit for each block, under lock */
    gint next_socket;  /* atomic */
    gint64 activity;   /* under lock, like the members below: when the server last did anything */
    GMutex lock;
    guint64 done;
    guint64 sent;
    gint64 last_told;
} VmigCopy;

void vmig_copy_account(VmigCopy *copy, guint64 done, guint64 sent);
/* Takes back progress that was accounted, because the work is repeated. */
void vmig_copy_unaccount(VmigCopy *copy, guint64 done);
gboolean vmig_copy_read(VmigCopy *copy, guint8 *buffer, gsize length, guint64 offset, GError **error);

/* A buffer slot: free, or with one or more requests from it in flight. */
typedef struct VmigSlot {
    struct VmigLink *link;
    guint8 *buffer;
    struct VmigSlot *next; /* in the free list */
    guint parts;           /* requests in flight */
    guint64 done;          /* to account when the last request is acknowledged */
    guint64 sent;
    gboolean optional; /* the server may refuse this as unsupported */
} VmigSlot;

typedef struct VmigLink {
    VmigCopy *copy;
    const char *socket;
    struct nbd_handle *nbd;
    VmigBlockHash *hash;
    VmigSlot *slots;
    VmigSlot *free;
    guint in_flight;
    guint64 export_size;
    gboolean can_zero;
    gboolean can_reserve;
    gboolean can_flush;
    gboolean negotiating; /* a server accepted the connection, and the handshake is not complete */
    int failed;           /* the errno of the first request that failed */
} VmigLink;

/* copier-link.c. Connects and determines what the server supports. */
VmigLink *vmig_link_new(VmigCopy *copy, GError **error);
void vmig_link_free(VmigLink *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigLink, vmig_link_free)
gboolean vmig_link_can_multi(const VmigLink *link);
/* Waits for a free slot. It is returned when all requests from it are acknowledged, or by vmig_link_put_slot(). */
gboolean vmig_link_get_slot(VmigLink *link, VmigSlot **ret, GError **error);
/* The sender holds a part of its own while it makes requests from the slot; release drops it. */
void vmig_link_hold_slot(VmigSlot *slot);
void vmig_link_release_slot(VmigSlot *slot);
/* One request. data has room for the length rounded up to a sector. Takes its share of the bandwidth first. */
gboolean vmig_link_write(VmigLink *link, VmigSlot *slot, guint8 *data, guint64 offset, gsize length, GError **error);
gboolean vmig_link_zero(VmigLink *link, VmigSlot *slot, guint64 offset, guint64 length, guint32 flags, GError **error);
/* Waits until all requests are acknowledged. */
gboolean vmig_link_drain(VmigLink *link, gint64 limit, GError **error);
gboolean vmig_link_flush(VmigLink *link, GError **error);

/* copier-blocks.c. Makes the server allocate space for the file's data; only if nothing is there yet. */
gboolean vmig_link_reserve(VmigLink *link, GError **error);
/* Sends blocks until the walk is finished; all are acknowledged when it returns. */
gboolean vmig_link_run(VmigLink *link, GError **error);
