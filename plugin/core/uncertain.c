/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decision table. Rows are tried from the top; the first that fits decides. */
#include "core/uncertain.h"

enum {
    UNREACHABLE = 1 << VMIG_SEEN_UNREACHABLE,
    ABSENT = 1 << VMIG_SEEN_ABSENT,
    RUNNING = 1 << VMIG_SEEN_RUNNING,
    STOPPED = 1 << VMIG_SEEN_STOPPED,
    MIGRATING = 1 << VMIG_SEEN_MIGRATING,
    SEEN_ANY = 0x1f,
    NONE = 1 << VMIG_TOKEN_NONE,
    HALF = 1 << VMIG_TOKEN_SOURCE_ONLY,
    DEST = 1 << VMIG_TOKEN_DEST,
    TOKEN_ANY = 0x7,
    NO = 1,
    YES = 2,
    MAYBE = 3,
};

static const struct {
    guint source;
    guint dest;
    guint token;
    guint proven; /* the source cannot have run since the guest arrived */
    VmigDecision decision;
} table[] = {
    /* Two runners, or a source that runs although it gave the token away: never by us. */
    {RUNNING, RUNNING, TOKEN_ANY, MAYBE, VMIG_DECIDE_ALARM},
    {RUNNING, SEEN_ANY, HALF | DEST, MAYBE, VMIG_DECIDE_ALARM},

    /* The destination has the token: only it may run. */
    {SEEN_ANY, STOPPED | RUNNING, DEST, MAYBE, VMIG_DECIDE_FORWARD},
    {SEEN_ANY, UNREACHABLE, DEST, MAYBE, VMIG_DECIDE_WAIT},
    {SEEN_ANY, ABSENT, DEST, MAYBE, VMIG_DECIDE_DOWN},
    {SEEN_ANY, MIGRATING, DEST, MAYBE, VMIG_DECIDE_ALARM},

    /* The source gave it away and died before the destination had it. It never takes it back by itself. */
    {SEEN_ANY, STOPPED | ABSENT, HALF, MAYBE, VMIG_DECIDE_FORWARD}, /* ABSENT: its disks are complete, cold there */
    {SEEN_ANY, RUNNING, HALF, MAYBE, VMIG_DECIDE_FORWARD},          /* the journal there was replaced by an older one */
    {SEEN_ANY, UNREACHABLE, HALF, MAYBE, VMIG_DECIDE_WAIT},
    {SEEN_ANY, MIGRATING, HALF, MAYBE, VMIG_DECIDE_WAIT},

    /* No token: nothing ran on the destination. */
    {SEEN_ANY, RUNNING, NONE, MAYBE, VMIG_DECIDE_ALARM},
    {MIGRATING, SEEN_ANY, NONE, MAYBE, VMIG_DECIDE_ADOPT},
    {RUNNING | STOPPED, SEEN_ANY, NONE, MAYBE, VMIG_DECIDE_BACK},
    /* That the source's QEMU is gone now is no fence for the time before: libvirt lets the source go on by itself when
     * the destination's last reply is lost, and what it wrote from then on is only there. What arrived is the guest
     * only if the source is proven to have stood still. Else its own disks, which miss nothing, are. */
    {ABSENT, STOPPED, NONE, YES, VMIG_DECIDE_FORWARD},
    {ABSENT, STOPPED, NONE, NO, VMIG_DECIDE_DOWN},
    {ABSENT, ABSENT | MIGRATING, NONE, MAYBE, VMIG_DECIDE_DOWN},
    {ABSENT, UNREACHABLE, NONE, MAYBE, VMIG_DECIDE_WAIT},
    {UNREACHABLE, SEEN_ANY, NONE, MAYBE, VMIG_DECIDE_WAIT},
};

static VmigDecision by_table(const VmigFacts *facts)
{
    guint proven = facts->confirmed || facts->fenced ? YES : NO;
    /* A stale copy counts as none: it is removed, and never runs. */
    VmigSeen dest = facts->revoked && facts->token == VMIG_TOKEN_NONE && facts->dest == VMIG_SEEN_STOPPED
                        ? VMIG_SEEN_ABSENT
                        : facts->dest;

    for (guint i = 0; i < G_N_ELEMENTS(table); i++)
        if ((table[i].source & (1u << facts->source)) && (table[i].dest & (1u << dest)) &&
            (table[i].token & (1u << facts->token)) && (table[i].proven & proven))
            return table[i].decision;
    return VMIG_DECIDE_ALARM;
}

VmigDecision vmig_uncertain_decide(const VmigFacts *facts)
{
    VmigDecision decision = by_table(facts);
    gboolean onward =
        decision == VMIG_DECIDE_FORWARD || (decision == VMIG_DECIDE_DOWN && facts->token != VMIG_TOKEN_NONE);

    /* Another guest has the UUID there: this one can neither run nor be completed before that one is gone. */
    return facts->stranger && onward ? VMIG_DECIDE_WAIT : decision;
}

const char *vmig_decision_name(VmigDecision decision)
{
    static const char *const names[] = {
        [VMIG_DECIDE_ADOPT] = "adopt", [VMIG_DECIDE_BACK] = "back", [VMIG_DECIDE_FORWARD] = "forward",
        [VMIG_DECIDE_WAIT] = "wait",   [VMIG_DECIDE_DOWN] = "down", [VMIG_DECIDE_ALARM] = "alarm",
    };
    return names[decision];
}
