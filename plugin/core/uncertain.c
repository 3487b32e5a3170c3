/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decision table. Rows are tried from the top, and the first match decides. */
#include "core/uncertain.h"

/* The condition of a row for one fact, as a set of values. Each kind of fact has a type of its own, so that a set in
 * the wrong column does not compile. A column that is left out matches everything. */
typedef struct {
    guint seen;
} SeenSet;

typedef struct {
    guint owners;
} TokenSet;

typedef enum {
    ANY_PROOF,
    PROVEN,   /* the source cannot have run since the guest arrived */
    UNPROVEN, /* it may have run */
} Proof;

typedef struct {
    SeenSet source;
    SeenSet dest;
    TokenSet token;
    Proof proof;
    VmigDecision decision;
} Row;

/* clang-format off */
#define SEEN(what) (1u << VMIG_SEEN_##what)
#define IS(what) {.seen = SEEN(what)}
#define IS_ANY_OF(one, other) {.seen = SEEN(one) | SEEN(other)}
#define NOT_GIVEN {.owners = 1u << VMIG_TOKEN_NONE}
#define HALF_GIVEN {.owners = 1u << VMIG_TOKEN_SOURCE_ONLY}
#define GIVEN {.owners = 1u << VMIG_TOKEN_DEST}
#define HALF_OR_GIVEN {.owners = 1u << VMIG_TOKEN_SOURCE_ONLY | 1u << VMIG_TOKEN_DEST}
/* clang-format on */

static const Row table[] = {
    /* The guest runs twice, or the source runs although the token was transferred: vmig-snap never causes either. */
    {.source = IS(RUNNING), .dest = IS(RUNNING), .decision = VMIG_DECIDE_ALARM},
    {.source = IS(RUNNING), .token = HALF_OR_GIVEN, .decision = VMIG_DECIDE_ALARM},

    /* The destination has the token: only the destination may run the guest. */
    {.dest = IS_ANY_OF(STOPPED, RUNNING), .token = GIVEN, .decision = VMIG_DECIDE_FORWARD},
    {.dest = IS(UNREACHABLE), .token = GIVEN, .decision = VMIG_DECIDE_WAIT},
    {.dest = IS(ABSENT), .token = GIVEN, .decision = VMIG_DECIDE_DOWN},
    {.dest = IS(MIGRATING), .token = GIVEN, .decision = VMIG_DECIDE_ALARM},

    /* The source transferred the token, but the destination did not record it. The source never takes it back by
     * itself. ABSENT: the disks there are complete, and the guest is off. RUNNING: the journal there was replaced by an
     * older one. */
    {.dest = IS_ANY_OF(STOPPED, ABSENT), .token = HALF_GIVEN, .decision = VMIG_DECIDE_FORWARD},
    {.dest = IS(RUNNING), .token = HALF_GIVEN, .decision = VMIG_DECIDE_FORWARD},
    {.dest = IS(UNREACHABLE), .token = HALF_GIVEN, .decision = VMIG_DECIDE_WAIT},
    {.dest = IS(MIGRATING), .token = HALF_GIVEN, .decision = VMIG_DECIDE_WAIT},

    /* No token: the guest never ran on the destination. */
    {.dest = IS(RUNNING), .token = NOT_GIVEN, .decision = VMIG_DECIDE_ALARM},
    {.source = IS(MIGRATING), .token = NOT_GIVEN, .decision = VMIG_DECIDE_ADOPT},
    {.source = IS_ANY_OF(RUNNING, STOPPED), .token = NOT_GIVEN, .decision = VMIG_DECIDE_BACK},
    /* A source without QEMU may not have been fenced: libvirt resumes the source by itself if the destination's last
     * reply is lost, and later writes are then only on the source. So the guest that arrived counts only with proof
     * that the source was stopped. Otherwise the source's disks, which are complete, count. */
    {.source = IS(ABSENT), .dest = IS(STOPPED), .token = NOT_GIVEN, .proof = PROVEN, .decision = VMIG_DECIDE_FORWARD},
    {.source = IS(ABSENT), .dest = IS(STOPPED), .token = NOT_GIVEN, .proof = UNPROVEN, .decision = VMIG_DECIDE_DOWN},
    {.source = IS(ABSENT), .dest = IS_ANY_OF(ABSENT, MIGRATING), .token = NOT_GIVEN, .decision = VMIG_DECIDE_DOWN},
    {.source = IS(ABSENT), .dest = IS(UNREACHABLE), .token = NOT_GIVEN, .decision = VMIG_DECIDE_WAIT},
    {.source = IS(UNREACHABLE), .token = NOT_GIVEN, .decision = VMIG_DECIDE_WAIT},
};

static gboolean has_seen(SeenSet set, VmigSeen seen)
{
    return set.seen == 0 || (set.seen & 1u << seen);
}

static gboolean has_owner(TokenSet set, VmigToken owner)
{
    return set.owners == 0 || (set.owners & 1u << owner);
}

static VmigDecision by_table(const VmigFacts *facts)
{
    Proof proof = facts->confirmed || facts->fenced ? PROVEN : UNPROVEN;
    /* A stale copy counts as absent: it is removed and never runs. */
    VmigSeen dest = facts->revoked && facts->token == VMIG_TOKEN_NONE && facts->dest == VMIG_SEEN_STOPPED
                        ? VMIG_SEEN_ABSENT
                        : facts->dest;

    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        const Row *row = &table[i];
        if (has_seen(row->source, facts->source) && has_seen(row->dest, dest) && has_owner(row->token, facts->token) &&
            (row->proof == ANY_PROOF || row->proof == proof))
            return row->decision;
    }
    return VMIG_DECIDE_ALARM;
}

VmigDecision vmig_uncertain_decide(const VmigFacts *facts)
{
    VmigDecision decision = by_table(facts);
    gboolean onward =
        decision == VMIG_DECIDE_FORWARD || (decision == VMIG_DECIDE_DOWN && facts->token != VMIG_TOKEN_NONE);

    /* Another guest has the UUID on the destination: the job's guest can neither run nor be completed there until it is
     * gone. */
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
