/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between copier.c (all files of one send), copier-link.c (one connection) and copier-blocks.c (what goes over it). */
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
    guint connections; /* for each file */
    gsize request;
    guint depth;
    gsize *buffers_now; /* under lock; the copier keeps the peak */
    gsize *buffers_peak;
    const VmigCopyEvents *events;
    GPtrArray *known; /* under lock: what waits for the destination's word, to be woken by an error */
    GMutex lock;
    GError *error; /* the first; whoever finds it set stops */
    int stop_fd;   /* an eventfd, readable once error is set */
} VmigSend;

void vmig_send_fail(VmigSend *send, GError *error);

/* One file of it. */
typedef struct {
    VmigSend *send;
    guint index;
    VmigCopyTask *task;
    const VmigFile *file; /* the task's */
    int fd;
    int direct;    /* or -1 */
    guint8 *pages; /* the file mapped, never touched: mincore() tells what the page cache has. NULL if it cannot */
    guint64 size;
    VmigTreeHash *hash;
    VmigBlockWalk *walk;
    VmigKnown *known;  /* what the destination has; NULL: nothing */
    guint8 *rewritten; /* with it: a bit for each block, under lock */
    gint next_socket;  /* atomic */
    gint64 activity;   /* under lock, like what follows: when the server last did anything */
    GMutex lock;
    guint64 done;
    guint64 sent;
    gint64 last_told;
} VmigCopy;

void vmig_copy_account(VmigCopy *copy, guint64 done, guint64 sent);
/* What was accounted has to be done again. */
void vmig_copy_unaccount(VmigCopy *copy, guint64 done);
gboolean vmig_copy_read(VmigCopy *copy, guint8 *buffer, gsize length, guint64 offset, GError **error);

/* A request in flight, or several from one buffer, or the room for them. */
typedef struct VmigSlot {
    struct VmigLink *link;
    guint8 *buffer;
    struct VmigSlot *next; /* in the free list */
    guint parts;           /* in flight */
    guint64 done;          /* to account when the last is acknowledged */
    guint64 sent;
    gboolean optional; /* the server may say that it cannot do this */
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
    int failed; /* the errno of the first request that failed */
} VmigLink;

/* copier-link.c. Connects and looks at what the server can. */
VmigLink *vmig_link_new(VmigCopy *copy, GError **error);
void vmig_link_free(VmigLink *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigLink, vmig_link_free)
gboolean vmig_link_can_multi(const VmigLink *link);
/* Waits for a free slot. It is given back when all requests from it are acknowledged, or by vmig_link_put_slot(). */
gboolean vmig_link_get_slot(VmigLink *link, VmigSlot **ret, GError **error);
/* The sender keeps a part of its own while it makes requests from the slot; this lets go of it. */
void vmig_link_hold_slot(VmigSlot *slot);
void vmig_link_release_slot(VmigSlot *slot);
/* One request; data has room for the length rounded up to a sector. Takes its share of the bandwidth first. */
gboolean vmig_link_write(VmigLink *link, VmigSlot *slot, guint8 *data, guint64 offset, gsize length, GError **error);
gboolean vmig_link_zero(VmigLink *link, VmigSlot *slot, guint64 offset, guint64 length, guint32 flags, GError **error);
/* Until all is acknowledged. */
gboolean vmig_link_drain(VmigLink *link, gint64 limit, GError **error);
gboolean vmig_link_flush(VmigLink *link, GError **error);

/* copier-blocks.c. Has the server set aside room for the file's data; only where nothing is there. */
gboolean vmig_link_reserve(VmigLink *link, GError **error);
/* Sends blocks until the walk has no more; all are acknowledged when it returns. */
gboolean vmig_link_run(VmigLink *link, GError **error);
