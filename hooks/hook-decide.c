/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table. Rows are tried from the top; the first that fits decides; what fits none is not let through.
 *
 * Why each veto: a guest that starts from the base while its overlay holds newer writes is thrown back in time and can
 * never be put together again; one that starts on a host without the token may run twice; one that starts in the
 * middle of an offline commit meets disks that are being written. */
#include "hooks/hook-decide.h"

#include <string.h>

#define IN(state) (1u << VMIG_STATE_##state)
#define BEFORE (IN(PLAN) | IN(LOCK) | IN(OVERLAY) | IN(SEED) | IN(HANDOVER) | IN(DETACH))
#define UNSETTLED (IN(UNCERTAIN) | IN(ROLLBACK))
/* The record of the other host may lag behind the token. */
#define ARRIVED (IN(HANDOVER) | IN(DETACH) | IN(MIGRATE) | IN(UNCERTAIN) | IN(SWITCHED) | IN(COMMIT))
#define ANY_STATE (~0u)

enum {
    NO = 1,
    YES = 2,
    ANY = 3,
    SOURCE = 1,
    DEST = 2,
    BASES = 1 << VMIG_HOOK_CHAIN_BASES,
    OVERLAYS = 1 << VMIG_HOOK_CHAIN_OVERLAYS,
    MIXED = 1 << VMIG_HOOK_CHAIN_MIXED,
    OTHERS = 1 << VMIG_HOOK_CHAIN_OTHER,
    NOT_SEEN = 1 << VMIG_HOOK_CHAIN_UNKNOWN,
    ANY_CHAIN = 0x1f,
};

typedef struct {
    guint side;  /* which side this host is */
    guint token; /* who may run the guest */
    guint state;
    guint handed;
    guint pivoted;
    guint overlays;
    guint busy;
    guint incoming;
    guint chain;
    VmigHookVerdict verdict;
} Row;

/* A start: `virsh start`, autostart, a revert, a saved image, and the start that is half of a migration. */
static const Row starts[] = {
    /* side, token, state, handed, pivoted, overlays, busy, incoming, chain, verdict */
    /* The destination has the guest: for good. */
    {SOURCE, DEST, ANY_STATE, ANY, ANY, ANY, ANY, ANY, ANY_CHAIN, VMIG_HOOK_VETO_TWIN},

    /* On the source, which has it. While it is handed over nobody may say that it stays: the destination may be given
     * the token because the source's QEMU is gone. */
    {SOURCE, SOURCE, IN(MIGRATE), ANY, ANY, ANY, ANY, ANY, ANY_CHAIN, VMIG_HOOK_VETO_UNDECIDED},
    {SOURCE, SOURCE, UNSETTLED, YES, ANY, ANY, ANY, ANY, ANY_CHAIN, VMIG_HOOK_VETO_UNDECIDED},
    /* Were the overlays ever in use? A crash right there leaves that to resume. */
    {SOURCE, SOURCE, IN(OVERLAY), ANY, NO, YES, ANY, ANY, BASES, VMIG_HOOK_VETO_UNDECIDED},
    {SOURCE, SOURCE, BEFORE | UNSETTLED, ANY, NO, YES, ANY, ANY, OVERLAYS, VMIG_HOOK_ALLOW},
    {SOURCE, SOURCE, BEFORE | UNSETTLED, ANY, NO, NO, ANY, ANY, BASES, VMIG_HOOK_ALLOW},
    {SOURCE, SOURCE, IN(BACK_COMMIT), ANY, NO, YES, YES, ANY, ANY_CHAIN, VMIG_HOOK_VETO_REPAIR},
    {SOURCE, SOURCE, IN(BACK_COMMIT), ANY, NO, YES, NO, ANY, OVERLAYS, VMIG_HOOK_ALLOW},
    /* Some disks may be on their base already: only the repair knows. */
    {SOURCE, SOURCE, IN(BACK_PIVOT), ANY, NO, YES, ANY, ANY, ANY_CHAIN, VMIG_HOOK_VETO_REPAIR},
    {SOURCE, SOURCE, IN(BACK_COMMIT) | IN(BACK_PIVOT), ANY, NO, NO, ANY, ANY, BASES, VMIG_HOOK_ALLOW},
    {SOURCE, SOURCE, IN(BACK_COMMIT) | IN(BACK_PIVOT), ANY, YES, ANY, ANY, ANY, BASES, VMIG_HOOK_ALLOW},
    {SOURCE, SOURCE, IN(BACK_COMMIT) | IN(BACK_PIVOT), ANY, YES, ANY, ANY, ANY, OVERLAYS | MIXED,
     VMIG_HOOK_VETO_OVERLAY},
    {SOURCE, SOURCE, IN(BACK_RESTORE), ANY, ANY, ANY, ANY, ANY, BASES, VMIG_HOOK_ALLOW},
    {SOURCE, SOURCE, IN(BACK_RESTORE), ANY, ANY, ANY, ANY, ANY, OVERLAYS | MIXED, VMIG_HOOK_VETO_OVERLAY},

    /* On the destination, which does not have it: only our own migration comes in. */
    {DEST, SOURCE, IN(HANDOVER) | IN(DETACH) | IN(MIGRATE), ANY, ANY, ANY, ANY, YES, ANY_CHAIN, VMIG_HOOK_ALLOW},
    {DEST, SOURCE, ANY_STATE, ANY, ANY, ANY, ANY, ANY, ANY_CHAIN, VMIG_HOOK_VETO_NOT_YET},

    /* On the destination, which has it. Without the guest the commit is done offline by whoever holds the lock. */
    {DEST, DEST, ARRIVED, ANY, NO, YES, YES, ANY, ANY_CHAIN, VMIG_HOOK_VETO_REPAIR},
    {DEST, DEST, ARRIVED, ANY, NO, YES, NO, ANY, OVERLAYS, VMIG_HOOK_ALLOW},
    {DEST, DEST, ARRIVED, ANY, NO, NO, ANY, ANY, BASES, VMIG_HOOK_ALLOW},
    {DEST, DEST, IN(PIVOT), ANY, NO, YES, ANY, ANY, ANY_CHAIN, VMIG_HOOK_VETO_REPAIR},
    {DEST, DEST, IN(PIVOT), ANY, NO, NO, ANY, ANY, BASES, VMIG_HOOK_ALLOW},
    {DEST, DEST, ARRIVED | IN(PIVOT), ANY, YES, ANY, ANY, ANY, BASES, VMIG_HOOK_ALLOW},
    {DEST, DEST, IN(RESTORE) | IN(CLEAN), ANY, ANY, ANY, ANY, ANY, BASES, VMIG_HOOK_ALLOW},
    {DEST, DEST, ARRIVED | IN(PIVOT), ANY, YES, ANY, ANY, ANY, OVERLAYS | MIXED, VMIG_HOOK_VETO_OVERLAY},
    {DEST, DEST, IN(RESTORE) | IN(CLEAN), ANY, ANY, ANY, ANY, ANY, OVERLAYS | MIXED, VMIG_HOOK_VETO_OVERLAY},

    /* What is left says why as far as the definition tells. */
    {ANY, ANY, ANY_STATE, ANY, ANY, ANY, ANY, ANY, NOT_SEEN, VMIG_HOOK_VETO_UNREADABLE},
    {ANY, ANY, ANY_STATE, ANY, ANY, ANY, ANY, ANY, BASES | MIXED, VMIG_HOOK_VETO_BASE},
    {ANY, ANY, ANY_STATE, ANY, ANY, ANY, ANY, ANY, OTHERS | OVERLAYS, VMIG_HOOK_VETO_CHAIN},
};

static guint yes_no(gboolean value)
{
    return value ? YES : NO;
}

static VmigHookVerdict decide_start(const VmigHookFacts *f)
{
    for (guint i = 0; i < G_N_ELEMENTS(starts); i++) {
        const Row *row = &starts[i];
        if ((row->side & (f->is_source ? SOURCE : DEST)) && (row->token & (f->token_dest ? DEST : SOURCE)) &&
            (row->state & (1u << f->state)) && (row->handed & yes_no(f->handed)) &&
            (row->pivoted & yes_no(f->pivoted)) && (row->overlays & yes_no(f->overlays)) &&
            (row->busy & yes_no(f->busy)) && (row->incoming & yes_no(f->incoming)) && (row->chain & (1u << f->chain)))
            return row->verdict;
    }
    return VMIG_HOOK_VETO_UNDECIDED;
}

/* A guest that comes in: only the one that this job waits for, and on the files that this job made for it. */
static VmigHookVerdict decide_migration(const VmigHookFacts *f)
{
    guint waits = IN(HANDOVER) | IN(DETACH) | IN(MIGRATE);
    VmigHookChain right = f->direct ? VMIG_HOOK_CHAIN_BASES : VMIG_HOOK_CHAIN_OVERLAYS;

    if (f->same_domain && f->own_mark && !f->is_source && !f->token_dest && (waits & (1u << f->state)) &&
        f->chain == right)
        return VMIG_HOOK_ALLOW;
    return VMIG_HOOK_VETO_MIGRATION;
}

VmigHookVerdict vmig_hook_decide(const VmigHookFacts *f)
{
    gboolean start = f->op == VMIG_HOOK_PREPARE || f->op == VMIG_HOOK_RESTORE;

    if (!vmig_hook_op_may_veto(f->op) || f->known == VMIG_HOOK_FREE)
        return VMIG_HOOK_ALLOW;
    if (f->known == VMIG_HOOK_UNTRUSTED)
        return f->marked ? VMIG_HOOK_VETO_JOURNAL : VMIG_HOOK_ALLOW;
    if (f->known == VMIG_HOOK_LEFT)
        return start ? VMIG_HOOK_VETO_TWIN : VMIG_HOOK_ALLOW;
    if (!start)
        return decide_migration(f);
    if (f->same_domain || f->chain == VMIG_HOOK_CHAIN_UNKNOWN)
        return decide_start(f);
    /* Another guest that has the name: it is none of ours as long as it leaves the job's files alone. */
    return f->chain == VMIG_HOOK_CHAIN_OTHER ? VMIG_HOOK_ALLOW : VMIG_HOOK_VETO_FILES;
}

gboolean vmig_hook_wakes(const VmigHookFacts *f)
{
    return f->known == VMIG_HOOK_OPEN && (f->op == VMIG_HOOK_STARTED || f->op == VMIG_HOOK_STOPPED ||
                                          f->op == VMIG_HOOK_RELEASE || f->op == VMIG_HOOK_RECONNECT);
}

const char *vmig_hook_verdict_name(VmigHookVerdict verdict)
{
    static const char *const names[] = {
        [VMIG_HOOK_ALLOW] = "allow",
        [VMIG_HOOK_VETO_TWIN] = "twin",
        [VMIG_HOOK_VETO_NOT_YET] = "not-yet",
        [VMIG_HOOK_VETO_UNDECIDED] = "undecided",
        [VMIG_HOOK_VETO_REPAIR] = "repair",
        [VMIG_HOOK_VETO_BASE] = "base",
        [VMIG_HOOK_VETO_OVERLAY] = "overlay",
        [VMIG_HOOK_VETO_CHAIN] = "chain",
        [VMIG_HOOK_VETO_FILES] = "files",
        [VMIG_HOOK_VETO_MIGRATION] = "migration",
        [VMIG_HOOK_VETO_UNREADABLE] = "unreadable",
        [VMIG_HOOK_VETO_JOURNAL] = "journal",
    };

    return verdict < VMIG_HOOK_VERDICT_LAST ? names[verdict] : "?";
}

/* The daemon's own calls have "-" where the others have a name and a sub-operation; a guest may be called "-". */
VmigHookOp vmig_hook_op(const char *object, const char *op, const char *subop)
{
    static const struct {
        const char *op;
        const char *subop;
        VmigHookOp is;
    } table[] = {
        {"prepare", "begin", VMIG_HOOK_PREPARE},     {"restore", "begin", VMIG_HOOK_RESTORE},
        {"migrate", "begin", VMIG_HOOK_MIGRATE},     {"started", "begin", VMIG_HOOK_STARTED},
        {"stopped", "end", VMIG_HOOK_STOPPED},       {"release", "end", VMIG_HOOK_RELEASE},
        {"reconnect", "begin", VMIG_HOOK_RECONNECT},
    };

    if (strcmp(object, "-") == 0 && strcmp(op, "start") == 0 && strcmp(subop, "-") == 0)
        return VMIG_HOOK_DAEMON_START;
    if (strcmp(object, "-") == 0 && strcmp(op, "reload") == 0)
        return VMIG_HOOK_DAEMON_RELOAD;
    for (guint i = 0; i < G_N_ELEMENTS(table); i++)
        if (strcmp(op, table[i].op) == 0 && strcmp(subop, table[i].subop) == 0)
            return table[i].is;
    return VMIG_HOOK_OTHER;
}

gboolean vmig_hook_op_may_veto(VmigHookOp op)
{
    return op == VMIG_HOOK_PREPARE || op == VMIG_HOOK_RESTORE || op == VMIG_HOOK_MIGRATE;
}
