/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between guard.c (the process), guard-fence.c and guard-client.c (who starts and asks it). */
#pragma once

#include <glib.h>
#include <pthread.h>
#include <sys/types.h>

#include "core/errors.h"

/* A socket listens there for this user alone; -1 with the error set. A stale socket goes first. */
int vmig_guard_listen(const char *socket_path, GError **error);
/* Is the other end of a connection this user's? */
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

/* One file that is frozen, or one fence. */
typedef struct {
    VmigGuard *guard;
    char *path;
    int fd;
    dev_t dev;
    ino_t ino;
    /* a fence's: */
    GThread *thread;
    pthread_t id;
    gboolean waiting; /* id is known */
    gboolean drop;
    gboolean over;  /* the thread has nothing to wait for any more */
    gboolean free;  /* QEMU let go of the image and has not had it again since */
    gboolean taken; /* it had it again: what was copied before is stale, and the fence can never be got */
    gboolean held;
    int failed; /* errno */
} VmigHeld;

void vmig_guard_held_free(gpointer held);
/* (transfer full) */
VmigHeld *vmig_guard_open(VmigGuard *guard, const char *path, int flags, GError **error);
VmigHeld *vmig_guard_find(GPtrArray *list, const VmigHeld *wanted);

/* All of these with the lock held. */
gboolean vmig_guard_arm(VmigGuard *guard, char **paths, GError **error);
/* rest: "" or "wait MS". The answer. */
char *vmig_guard_take(VmigGuard *guard, const char *rest, GError **error);
void vmig_guard_drop(VmigGuard *guard);
/* "yes", or "no REASON": may a fence's thread come before all other processes? */
char *vmig_guard_try_quick(void);
guint vmig_guard_count_held(const VmigGuard *guard);
/* Of overlays that QEMU let go of and has not had again since. */
guint vmig_guard_count_free(const VmigGuard *guard);
