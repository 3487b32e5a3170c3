/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* May libvirt do what it is about to do with a guest? Pure: facts in, a verdict and its words out. */
#pragma once

#include <glib.h>

#include "core/states.h"

/* What libvirt calls the hook for (docs/hooks.rst). */
typedef enum {
    VMIG_HOOK_OTHER,   /* start, attach, and what a later libvirt may add */
    VMIG_HOOK_PREPARE, /* a guest is about to start, also one that comes in */
    VMIG_HOOK_RESTORE, /* from a saved image */
    VMIG_HOOK_MIGRATE, /* on the destination, before anything is there */
    VMIG_HOOK_STARTED,
    VMIG_HOOK_STOPPED,
    VMIG_HOOK_RELEASE,
    VMIG_HOOK_RECONNECT,
    VMIG_HOOK_DAEMON_START,
    VMIG_HOOK_DAEMON_RELOAD,
} VmigHookOp;

/* What the journal of this host says of the guest. */
typedef enum {
    VMIG_HOOK_FREE,      /* nothing: no journal, or no unfinished job */
    VMIG_HOOK_OPEN,      /* an unfinished job */
    VMIG_HOOK_LEFT,      /* this host gave the guest away, the job has ended, but not its cleaning here */
    VMIG_HOOK_UNTRUSTED, /* it cannot be read or trusted */
} VmigHookKnown;

/* Which files the definition names for the job's disks. */
typedef enum {
    VMIG_HOOK_CHAIN_UNKNOWN, /* no definition came, or none that can be read */
    VMIG_HOOK_CHAIN_BASES,
    VMIG_HOOK_CHAIN_OVERLAYS,
    VMIG_HOOK_CHAIN_MIXED,
    VMIG_HOOK_CHAIN_OTHER,
} VmigHookChain;

typedef struct {
    VmigHookOp op;
    VmigHookKnown known;
    gboolean marked; /* our element is in <metadata>: a hint, users can write there */

    /* With OPEN only. */
    gboolean same_domain; /* the UUID is the job's, not only the name */
    gboolean own_mark;    /* the id in the mark is this job's */
    gboolean is_source;   /* this host is the source of the job */
    gboolean token_dest;
    VmigState state; /* where it parked, of a parked one */
    gboolean pivoted;
    gboolean overlays; /* on this host overlays hold, or may hold, what the bases do not */
    gboolean handed;   /* libvirt may have been told to migrate */
    gboolean direct;   /* no overlay on the destination */
    gboolean busy;     /* a process works on it: the operation lock is held */
    gboolean incoming; /* `migrate` let this job's guest in a moment ago */
    VmigHookChain chain;
} VmigHookFacts;

typedef enum {
    VMIG_HOOK_ALLOW,
    VMIG_HOOK_VETO_TWIN,      /* the destination has it */
    VMIG_HOOK_VETO_NOT_YET,   /* the source has it */
    VMIG_HOOK_VETO_UNDECIDED, /* nobody has looked yet who has it */
    VMIG_HOOK_VETO_REPAIR,    /* its disks are being put together */
    VMIG_HOOK_VETO_BASE,      /* the definition leaves the guest's last writes out */
    VMIG_HOOK_VETO_OVERLAY,   /* the definition names a file whose content has moved on */
    VMIG_HOOK_VETO_CHAIN,     /* other files than the job's */
    VMIG_HOOK_VETO_FILES,     /* another guest of that name on the job's files */
    VMIG_HOOK_VETO_MIGRATION, /* another migration of a guest with a job here */
    VMIG_HOOK_VETO_UNREADABLE,
    VMIG_HOOK_VETO_JOURNAL,
    VMIG_HOOK_VERDICT_LAST,
} VmigHookVerdict;

VmigHookVerdict vmig_hook_decide(const VmigHookFacts *facts);
/* Should `vmig-snap resume` be woken? */
gboolean vmig_hook_wakes(const VmigHookFacts *facts);
/* "twin", "not-yet"...; for tests and the log. */
const char *vmig_hook_verdict_name(VmigHookVerdict verdict);

VmigHookOp vmig_hook_op(const char *object, const char *op, const char *subop);
/* Whether a failure of the hook is a veto; elsewhere it kills the guest (reconnect, started), or nothing. */
gboolean vmig_hook_op_may_veto(VmigHookOp op);
