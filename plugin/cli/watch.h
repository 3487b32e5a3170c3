/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs a command on a job: shows its events, rolls it back on signals, prints its result. */
#pragma once

#include "vmig-snap/vmig-snap.h"
#include "cli/background.h"
#include "cli/cli.h"

typedef struct VmigWatch VmigWatch;

typedef enum {
    VMIG_WISH_FORWARD, /* migrate, resume */
    VMIG_WISH_BACK,    /* cancel */
} VmigWish;

/* background: NULL in the foreground. From now on SIGINT and SIGTERM cancel vmig_watch_cancellable(), and SIGHUP is
 * ignored. */
VmigWatch *vmig_watch_new(VmigSession *session, const VmigMode *mode, VmigBackground *background);
void vmig_watch_free(VmigWatch *watch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigWatch, vmig_watch_free)

/* The cancellable of the watched call. (transfer none) */
GCancellable *vmig_watch_cancellable(VmigWatch *watch);
/* Prints the result, or the error if result is NULL. Returns the exit code. */
int vmig_watch_end(VmigWatch *watch, VmigWish wish, JsonNode *result, const GError *error);
/* Prints a line that belongs to the result; nothing with --json or --quiet. */
void vmig_watch_say(VmigWatch *watch, const char *text);
