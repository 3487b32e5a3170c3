/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the hook knows: the journal, the definition that libvirt hands over, the lock and the hook's own marks. Files
 * only: no libvirt, no network. */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "core/job.h"
#include "hooks/hook-decide.h"

/* The same file as in os/config.h, of which this reads two keys. */
#define VMIG_HOOK_CONFIG "/etc/vmig-snap/vmig-snap.conf"

typedef struct {
    char *state_dir;
    char *run_dir;
    char *journal;
    char *lock_dir;
    char *machine_id; /* or NULL: a journal of whatever host is read */
} VmigHookPaths;

/* Error: a configuration that vmig-snap itself would not use. (transfer full) */
VmigHookPaths *vmig_hook_paths_load(const char *config, GError **error);
void vmig_hook_paths_free(VmigHookPaths *paths);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigHookPaths, vmig_hook_paths_free)

/* Facts, and what the words of a veto need beside them. */
typedef struct {
    VmigHookFacts facts;
    VmigJob *job; /* or NULL */
    char *holder; /* who holds the operation lock, or NULL */
    GError *why;  /* with UNTRUSTED */
} VmigHookSight;

/* xml: the definition, or NULL where none came in time. */
VmigHookSight *vmig_hook_look(const VmigHookPaths *paths, VmigHookOp op, const char *name, const char *xml);
void vmig_hook_sight_free(VmigHookSight *sight);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigHookSight, vmig_hook_sight_free)

/* One sentence for who asked libvirt, and what to do. (transfer full) */
char *vmig_hook_words(const VmigHookSight *sight, VmigHookVerdict verdict, const char *name);

/* `migrate` let the guest of that job in: the `prepare` that follows is this one's. */
gboolean vmig_hook_mark_incoming(const VmigHookPaths *paths, const char *uuid, const char *job, GError **error);
/* Takes the mark away; FALSE if there is none, or an old one. */
gboolean vmig_hook_take_incoming(const VmigHookPaths *paths, const char *uuid, const char *job);
/* Proof for `doctor` that libvirtd calls us: RUN-DIR/hook-seen, one line "PID START TIME OP" of the caller. */
void vmig_hook_note_seen(const VmigHookPaths *paths, const char *op);
