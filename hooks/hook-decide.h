/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decides whether libvirt may start, restore or admit a guest. Pure: the input is facts, the output a verdict and its
 * name. */
#pragma once

#include <glib.h>

#include "core/states.h"

/* The operations for which libvirt calls the hook (docs/hooks.rst). */
typedef enum {
    VMIG_HOOK_OTHER,   /* start, attach, and operations of later libvirt versions */
    VMIG_HOOK_PREPARE, /* a guest is about to start, including one that arrives by migration */
    VMIG_HOOK_RESTORE, /* from a saved image */
    VMIG_HOOK_MIGRATE, /* on the destination, before anything exists there */
    VMIG_HOOK_STARTED,
    VMIG_HOOK_STOPPED,
    VMIG_HOOK_RELEASE,
    VMIG_HOOK_RECONNECT,
    VMIG_HOOK_DAEMON_START,
    VMIG_HOOK_DAEMON_RELOAD,
} VmigHookOp;

/* The journal's knowledge about the guest on this host. */
typedef enum {
    VMIG_HOOK_FREE,      /* nothing: no journal, or no unfinished job */
    VMIG_HOOK_OPEN,      /* an unfinished job */
    VMIG_HOOK_LEFT,      /* this host gave the guest away and the job has ended, but this host is not cleaned up yet */
    VMIG_HOOK_UNTRUSTED, /* the journal cannot be read or trusted */
} VmigHookKnown;

/* The files that the definition names for the job's disks. */
typedef enum {
    VMIG_HOOK_CHAIN_UNKNOWN, /* there is no definition, or it cannot be read */
    VMIG_HOOK_CHAIN_BASES,
    VMIG_HOOK_CHAIN_OVERLAYS,
    VMIG_HOOK_CHAIN_MIXED,
    VMIG_HOOK_CHAIN_OTHER,
} VmigHookChain;

typedef struct {
    VmigHookOp op;
    VmigHookKnown known;
    gboolean marked; /* vmig-snap's element is in <metadata>: only a hint, because users can write there */

    /* Valid only with OPEN. */
    gboolean same_domain; /* the UUID is the job's, not just the name */
    gboolean own_mark;    /* the id in the element is this job's */
    VmigRole here;        /* this host's part in the job */
    VmigRole owner;       /* the host that has the token */
    VmigState state;      /* for a parked job the state in which it parked */
    gboolean pivoted;
    gboolean overlays; /* on this host overlays hold, or may hold, data that the bases do not */
    gboolean handed;   /* libvirt may have been asked to migrate */
    gboolean direct;   /* no overlay on the destination (merge "mirror") */
    gboolean busy;     /* a process works on the job: the operation lock is held */
    gboolean incoming; /* `migrate` has just admitted this job's guest */
    VmigHookChain chain;
} VmigHookFacts;

typedef enum {
    VMIG_HOOK_ALLOW,
    VMIG_HOOK_VETO_TWIN,      /* the destination has the guest */
    VMIG_HOOK_VETO_NOT_YET,   /* the source has the guest */
    VMIG_HOOK_VETO_UNDECIDED, /* it is not decided yet which host has the guest */
    VMIG_HOOK_VETO_REPAIR,    /* its disks are being merged or pivoted */
    VMIG_HOOK_VETO_BASE,      /* the definition omits the guest's last writes */
    VMIG_HOOK_VETO_OVERLAY,   /* the definition names an overlay that is stale */
    VMIG_HOOK_VETO_CHAIN,     /* other files than the job's */
    VMIG_HOOK_VETO_FILES,     /* another guest of that name uses the job's files */
    VMIG_HOOK_VETO_MIGRATION, /* another migration of a guest with a job on this host */
    VMIG_HOOK_VETO_UNREADABLE,
    VMIG_HOOK_VETO_JOURNAL,
    VMIG_HOOK_VERDICT_LAST,
} VmigHookVerdict;

VmigHookVerdict vmig_hook_decide(const VmigHookFacts *facts);
/* Whether `vmig-snap resume` is to be started. */
gboolean vmig_hook_wakes(const VmigHookFacts *facts);
/* "twin", "not-yet"...; for tests and the log. */
const char *vmig_hook_verdict_name(VmigHookVerdict verdict);

VmigHookOp vmig_hook_op(const char *object, const char *op, const char *subop);
/* Whether a failure of the hook is a veto. For the other operations libvirt ignores it, or kills the guest (reconnect,
 * started). */
gboolean vmig_hook_op_may_veto(VmigHookOp op);
