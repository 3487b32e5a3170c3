/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who runs the guest after a migration ended in a way that nobody saw: one table, no I/O.
 *
 * The token decides wherever it is written; without it nothing ever runs on the destination. No timeout moves it, and
 * what the migration's call returned is no fact. */
#pragma once

#include <glib.h>

typedef enum {
    VMIG_SEEN_UNREACHABLE, /* the host does not answer */
    VMIG_SEEN_ABSENT,      /* no domain, or one that is off */
    VMIG_SEEN_RUNNING,
    VMIG_SEEN_STOPPED,   /* source: paused by the migration. destination: paused, complete */
    VMIG_SEEN_MIGRATING, /* source: its migration job is active. destination: still arriving */
} VmigSeen;

typedef enum {
    VMIG_TOKEN_NONE,        /* the source owns the guest */
    VMIG_TOKEN_SOURCE_ONLY, /* given away in the source's journal, not in the destination's */
    VMIG_TOKEN_DEST,        /* the destination's journal has it */
} VmigToken;

typedef enum {
    VMIG_DECIDE_ADOPT,   /* the migration still runs: watch it or abort it */
    VMIG_DECIDE_BACK,    /* destroy what is on the destination, let the source run */
    VMIG_DECIDE_FORWARD, /* end what is on the source, write the missing token, let the destination run */
    VMIG_DECIDE_WAIT,    /* a host must answer, or an operator must say that it is fenced */
    VMIG_DECIDE_DOWN,    /* the guest itself is off: nothing is started; the owner's chain is complete */
    VMIG_DECIDE_ALARM,   /* cannot happen by us: suspend the side without the token, keep everything */
} VmigDecision;

typedef struct {
    VmigSeen source;
    VmigSeen dest;
    VmigToken token;
    gboolean confirmed; /* the source's libvirt says that the guest was migrated away */
    gboolean fenced;    /* the source's overlays are still held since QEMU let go of them, or an operator's word */
    gboolean stranger;  /* the destination's domain under the UUID is not proven to be what the migration brought */
    gboolean revoked;   /* what arrived is less than the guest: the source went on since, or was tampered with */
} VmigFacts;

VmigDecision vmig_uncertain_decide(const VmigFacts *facts);
const char *vmig_decision_name(VmigDecision decision);
