/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between mover.c (all files of one send) and mover-link.c (one connection). */
#pragma once

#include <libnbd.h>

#include "host/bandwidth.h"
#include "host/file-hash.h"
#include "host/world.h"

/* One send(). */
typedef struct {
    VmigBandwidth *bandwidth;
    gint64 stall_limit;
    guint connections; /* for each file */
    gsize request;
    guint depth;
    gsize *buffers_now; /* under lock; the mover keeps the peak */
    gsize *buffers_peak;
    void (*progress)(gpointer user, guint index, const VmigCopyProgress *now);
    gpointer user;
    GMutex lock;
    GError *error; /* the first; whoever finds it set stops */
    int stop_fd;   /* an eventfd, readable once error is set */
} VmigSend;

void vmig_send_fail(VmigSend *send, GError *error);

/* One file of it. */
typedef struct {
    VmigSend *send;
    guint index;
    const VmigFile *file;
    const char *socket;
    int fd;
    int direct;    /* or -1 */
    guint8 *pages; /* the file mapped, never touched: mincore() tells what the page cache has. NULL if it cannot */
    guint64 size;
    VmigTreeHash *hash;
    VmigBlockWalk *walk;
    gint64 activity; /* under lock, like what follows: when the server last did anything */
    GMutex lock;
    guint64 done;
    guint64 sent;
    gint64 last_told;
} VmigCopy;

void vmig_copy_account(VmigCopy *copy, guint64 done, guint64 sent);
gboolean vmig_copy_read(VmigCopy *copy, guint8 *buffer, gsize length, guint64 offset, GError **error);

typedef struct VmigLink VmigLink;

/* Connects and looks at what the server can. */
VmigLink *vmig_link_new(VmigCopy *copy, GError **error);
void vmig_link_free(VmigLink *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigLink, vmig_link_free)
gboolean vmig_link_can_multi(const VmigLink *link);
/* Has the server set aside room for the file's data. */
gboolean vmig_link_reserve(VmigLink *link, GError **error);
/* Sends blocks until the walk has no more; all are acknowledged when it returns. */
gboolean vmig_link_run(VmigLink *link, GError **error);
gboolean vmig_link_flush(VmigLink *link, GError **error);
