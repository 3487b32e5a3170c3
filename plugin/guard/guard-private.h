/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by guard.c (the process), guard-fence.c and guard-client.c (starts it and sends requests). */
#pragma once

#include <glib.h>
#include <pthread.h>
#include <sys/types.h>

#include "core/file-id.h"
#include "core/errors.h"

/* Listens on a socket for this user alone; -1 with the error set. Removes a stale socket first. */
int vmig_guard_listen(const char *socket_path, GError **error);
/* TRUE if the peer of the connection is this user. */
gboolean vmig_guard_peer_is_us(int fd);

typedef struct {
    GMutex lock;
    GCond changed;
    GPtrArray *frozen; /* VmigHeld */
    GPtrArray *fences; /* VmigHeld */
    const char *socket;
    int quit_fd; /* an eventfd */
    gboolean quitting;
    guint clients;
} VmigGuard;

/* One frozen file, or one fence. */
typedef struct {
    VmigGuard *guard;
    char *path;
    int fd;
    VmigFileId file;
    /* only for a fence: */
    GThread *thread;
    pthread_t id;
    gboolean waiting; /* id is valid */
    gboolean drop;
    gboolean over;  /* the thread no longer waits */
    gboolean free;  /* QEMU released the image and has not opened it again since */
    gboolean taken; /* QEMU opened it again: earlier copies are stale, and the fence can never be taken */
    gboolean held;
    int failed; /* errno */
} VmigHeld;

void vmig_guard_held_free(gpointer held);
/* (transfer full) */
VmigHeld *vmig_guard_open(VmigGuard *guard, const char *path, int flags, GError **error);
VmigHeld *vmig_guard_find(GPtrArray *list, const VmigHeld *wanted);

/* Call all of these with the lock held. */
gboolean vmig_guard_arm(VmigGuard *guard, char **paths, GError **error);
/* rest: "" or "wait MS". Returns the reply. */
char *vmig_guard_take(VmigGuard *guard, const char *rest, GError **error);
void vmig_guard_drop(VmigGuard *guard);
/* "yes", or "no REASON": whether a fence's thread can have real-time priority. */
char *vmig_guard_try_quick(void);
guint vmig_guard_count_held(const VmigGuard *guard);
/* The number of overlays that QEMU released and has not opened again since. */
guint vmig_guard_count_free(const VmigGuard *guard);
