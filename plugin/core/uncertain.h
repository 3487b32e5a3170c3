/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decides who runs the guest after a migration with an unknown end: one table, no I/O.
 *
 * If the token is written, it decides. Without it nothing ever runs on the destination. No timeout moves the token, and
 * the result of the migration call is not a fact.
 */
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
    VMIG_TOKEN_SOURCE_ONLY, /* transferred in the source's journal, but not in the destination's */
    VMIG_TOKEN_DEST,        /* the destination's journal has it */
} VmigToken;

typedef enum {
    VMIG_DECIDE_ADOPT,   /* the migration still runs: watch it or abort it */
    VMIG_DECIDE_BACK,    /* destroy the guest on the destination, let the source run */
    VMIG_DECIDE_FORWARD, /* end the guest on the source, write the missing token, let the destination run */
    VMIG_DECIDE_WAIT,    /* a host must answer, or an operator must confirm that it is fenced */
    VMIG_DECIDE_DOWN,    /* the guest is off: nothing is started; the owner's chain is complete */
    VMIG_DECIDE_ALARM,   /* vmig-snap never causes this: suspend the guest on the host without the token, keep
                          * everything */
} VmigDecision;

typedef struct {
    VmigSeen source;
    VmigSeen dest;
    VmigToken token;
    gboolean confirmed; /* the source's libvirt says that the guest was migrated away */
    gboolean fenced;    /* the source's overlays are held since QEMU released them, or an operator confirmed it */
    gboolean stranger;  /* the domain with the UUID on the destination may not be the one that the migration brought */
    gboolean revoked;   /* the guest that arrived is incomplete: the source continued, or its disks were changed */
} VmigFacts;

VmigDecision vmig_uncertain_decide(const VmigFacts *facts);
const char *vmig_decision_name(VmigDecision decision);
