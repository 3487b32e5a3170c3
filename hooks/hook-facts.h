/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The facts of the hook, from the journal, the definition that libvirt provides, the lock and the hook's own markers.
 * Reads only files: no libvirt, no network. */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "core/job.h"
#include "hooks/hook-decide.h"

/* The configuration file of os/config.h, of which the hook reads two keys. */
#define VMIG_HOOK_CONFIG "/etc/vmig-snap/vmig-snap.conf"

typedef struct {
    char *state_dir;
    char *run_dir;
    char *journal;
    char *lock_dir;
    char *machine_id; /* or NULL: the journal of any host is accepted */
} VmigHookPaths;

/* Fails for a configuration that vmig-snap itself would refuse. (transfer full) */
VmigHookPaths *vmig_hook_paths_load(const char *config, GError **error);
void vmig_hook_paths_free(VmigHookPaths *paths);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigHookPaths, vmig_hook_paths_free)

/* The facts, and additional data for the message of a veto. */
typedef struct {
    VmigHookFacts facts;
    VmigJob *job; /* or NULL */
    char *holder; /* description of the holder of the operation lock, or NULL */
    GError *why;  /* with UNTRUSTED */
} VmigHookSight;

/* xml: the definition, or NULL if none arrived in time. */
VmigHookSight *vmig_hook_look(const VmigHookPaths *paths, VmigHookOp op, const char *name, const char *xml);
void vmig_hook_sight_free(VmigHookSight *sight);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigHookSight, vmig_hook_sight_free)

/* One sentence for the user who called libvirt, with what to do. (transfer full) */
char *vmig_hook_words(const VmigHookSight *sight, VmigHookVerdict verdict, const char *name);

/* Records that `migrate` admitted the guest of that job: the next `prepare` belongs to it. */
gboolean vmig_hook_mark_incoming(const VmigHookPaths *paths, const char *uuid, const char *job, GError **error);
/* Removes that marker. FALSE if there is none, or an old one. */
gboolean vmig_hook_take_incoming(const VmigHookPaths *paths, const char *uuid, const char *job);
/* Proves to `doctor` that libvirtd calls the hook: writes RUN-DIR/hook-seen, one line "PID START TIME OP" of the
 * caller. */
void vmig_hook_note_seen(const VmigHookPaths *paths, const char *op);
