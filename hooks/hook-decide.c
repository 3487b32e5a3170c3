/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decision table. Rows are tried from the top, and the first match decides. Without a match there is a veto.
 *
 * The reasons for the vetoes: a guest that starts from the base while its overlay holds newer writes is reverted to an
 * old state, and overlay and base can never be combined again. A guest that starts on a host without the token may run
 * twice. A guest that starts during an offline commit uses disks that are being written.
 */
#include "hooks/hook-decide.h"

#include <string.h>

/* States by what the job does in them (the column .stage of a states.def). */
#define IN(stage) (1u << VMIG_STAGE_##stage)
#define BEFORE (IN(KEEPS) | IN(FREEZES) | IN(AWAITS))
#define UNSETTLED (IN(SEARCHES) | IN(RETURNS))
/* The state in the other host's record may lag behind the token. */
#define ARRIVED (IN(AWAITS) | IN(MOVES) | IN(SEARCHES) | IN(COMMITTING))

#define BASES (1u << VMIG_HOOK_CHAIN_BASES)
#define OVERLAYS (1u << VMIG_HOOK_CHAIN_OVERLAYS)
#define MIXED (1u << VMIG_HOOK_CHAIN_MIXED)
#define OTHERS (1u << VMIG_HOOK_CHAIN_OTHER)
#define NOT_SEEN (1u << VMIG_HOOK_CHAIN_UNKNOWN)

/* The condition of a row for one fact. Each kind of fact has a type of its own, so that a value in the wrong column
 * does not compile (-Wenum-conversion). A column that is left out matches everything. */
typedef enum {
    EITHER_HOST,
    THE_SOURCE,
    THE_DESTINATION,
} Host;

typedef enum {
    YES_OR_NO,
    YES,
    NO,
} Answer;

/* The source merges its overlays on the way back, the destination after the switchover. */
typedef enum {
    EITHER_WAY,
    THE_WAY_BACK,
    THE_WAY_THERE,
} Way;

typedef struct {
    guint stages;
} StageSet;

typedef struct {
    guint chains;
} ChainSet;

typedef struct {
    Host here;  /* this host's part in the job */
    Host owner; /* the host that may run the guest: it has the token */
    StageSet stage;
    Way way;
    Answer handed;
    Answer pivoted;
    Answer overlays;
    Answer busy;
    Answer incoming;
    ChainSet chain;
    VmigHookVerdict verdict;
} Row;

/* Starts: `virsh start`, autostart, a revert, a saved image, and the start that is a part of a migration. */
/* clang-format off */
#define STAGES(set) {.stages = (set)}
#define CHAINS(set) {.chains = (set)}

static const Row starts[] = {
    /* The destination has the guest, permanently. */
    {.here = THE_SOURCE, .owner = THE_DESTINATION, .verdict = VMIG_HOOK_VETO_TWIN},

    /* The source has the guest. During the migration no start may be allowed: the destination may get the token because
     * the source's QEMU is gone. */
    {.here = THE_SOURCE, .owner = THE_SOURCE, .stage = STAGES(IN(MOVES)), .verdict = VMIG_HOOK_VETO_UNDECIDED},
    {.here = THE_SOURCE, .owner = THE_SOURCE, .stage = STAGES(UNSETTLED),
     .handed = YES, .verdict = VMIG_HOOK_VETO_UNDECIDED},
    /* If a crash happened in OVERLAY, resume has to find out whether the overlays were ever in use. */
    {.here = THE_SOURCE, .owner = THE_SOURCE, .stage = STAGES(IN(FREEZES)),
     .pivoted = NO, .overlays = YES, .chain = CHAINS(BASES), .verdict = VMIG_HOOK_VETO_UNDECIDED},
    {.here = THE_SOURCE, .owner = THE_SOURCE, .stage = STAGES(BEFORE | UNSETTLED),
     .pivoted = NO, .overlays = YES, .chain = CHAINS(OVERLAYS), .verdict = VMIG_HOOK_ALLOW},
    {.here = THE_SOURCE, .owner = THE_SOURCE, .stage = STAGES(BEFORE | UNSETTLED),
     .pivoted = NO, .overlays = NO, .chain = CHAINS(BASES), .verdict = VMIG_HOOK_ALLOW},
    {.here = THE_SOURCE, .owner = THE_SOURCE, .stage = STAGES(IN(COMMITTING)), .way = THE_WAY_BACK,
     .pivoted = NO, .overlays = YES, .busy = YES, .verdict = VMIG_HOOK_VETO_REPAIR},
    {.here = THE_SOURCE, .owner = THE_SOURCE, .stage = STAGES(IN(COMMITTING)), .way = THE_WAY_BACK,
     .pivoted = NO, .overlays = YES, .busy = NO, .chain = CHAINS(OVERLAYS), .verdict = VMIG_HOOK_ALLOW},
    /* Some disks may already be on their bases: only resume can find out. */
    {.here = THE_SOURCE, .owner = THE_SOURCE, .stage = STAGES(IN(PIVOTING)), .way = THE_WAY_BACK,
     .pivoted = NO, .overlays = YES, .verdict = VMIG_HOOK_VETO_REPAIR},
    {.here = THE_SOURCE, .owner = THE_SOURCE, .stage = STAGES(IN(COMMITTING) | IN(PIVOTING)), .way = THE_WAY_BACK,
     .pivoted = NO, .overlays = NO, .chain = CHAINS(BASES), .verdict = VMIG_HOOK_ALLOW},
    {.here = THE_SOURCE, .owner = THE_SOURCE, .stage = STAGES(IN(COMMITTING) | IN(PIVOTING)), .way = THE_WAY_BACK,
     .pivoted = YES, .chain = CHAINS(BASES), .verdict = VMIG_HOOK_ALLOW},
    {.here = THE_SOURCE, .owner = THE_SOURCE, .stage = STAGES(IN(COMMITTING) | IN(PIVOTING)), .way = THE_WAY_BACK,
     .pivoted = YES, .chain = CHAINS(OVERLAYS | MIXED), .verdict = VMIG_HOOK_VETO_OVERLAY},
    {.here = THE_SOURCE, .owner = THE_SOURCE, .stage = STAGES(IN(MERGED)), .way = THE_WAY_BACK,
     .chain = CHAINS(BASES), .verdict = VMIG_HOOK_ALLOW},
    {.here = THE_SOURCE, .owner = THE_SOURCE, .stage = STAGES(IN(MERGED)), .way = THE_WAY_BACK,
     .chain = CHAINS(OVERLAYS | MIXED), .verdict = VMIG_HOOK_VETO_OVERLAY},

    /* The source has the guest, and this is the destination: only the job's own migration may arrive. */
    {.here = THE_DESTINATION, .owner = THE_SOURCE, .stage = STAGES(IN(AWAITS) | IN(MOVES)),
     .incoming = YES, .verdict = VMIG_HOOK_ALLOW},
    {.here = THE_DESTINATION, .owner = THE_SOURCE, .verdict = VMIG_HOOK_VETO_NOT_YET},

    /* The destination has the guest. While the guest is off, the process with the lock may commit offline. */
    {.here = THE_DESTINATION, .owner = THE_DESTINATION, .stage = STAGES(ARRIVED), .way = THE_WAY_THERE,
     .pivoted = NO, .overlays = YES, .busy = YES, .verdict = VMIG_HOOK_VETO_REPAIR},
    {.here = THE_DESTINATION, .owner = THE_DESTINATION, .stage = STAGES(ARRIVED), .way = THE_WAY_THERE,
     .pivoted = NO, .overlays = YES, .busy = NO, .chain = CHAINS(OVERLAYS), .verdict = VMIG_HOOK_ALLOW},
    {.here = THE_DESTINATION, .owner = THE_DESTINATION, .stage = STAGES(ARRIVED), .way = THE_WAY_THERE,
     .pivoted = NO, .overlays = NO, .chain = CHAINS(BASES), .verdict = VMIG_HOOK_ALLOW},
    {.here = THE_DESTINATION, .owner = THE_DESTINATION, .stage = STAGES(IN(PIVOTING)), .way = THE_WAY_THERE,
     .pivoted = NO, .overlays = YES, .verdict = VMIG_HOOK_VETO_REPAIR},
    {.here = THE_DESTINATION, .owner = THE_DESTINATION, .stage = STAGES(IN(PIVOTING)), .way = THE_WAY_THERE,
     .pivoted = NO, .overlays = NO, .chain = CHAINS(BASES), .verdict = VMIG_HOOK_ALLOW},
    {.here = THE_DESTINATION, .owner = THE_DESTINATION, .stage = STAGES(ARRIVED | IN(PIVOTING)), .way = THE_WAY_THERE,
     .pivoted = YES, .chain = CHAINS(BASES), .verdict = VMIG_HOOK_ALLOW},
    {.here = THE_DESTINATION, .owner = THE_DESTINATION, .stage = STAGES(IN(MERGED)), .way = THE_WAY_THERE,
     .chain = CHAINS(BASES), .verdict = VMIG_HOOK_ALLOW},
    {.here = THE_DESTINATION, .owner = THE_DESTINATION, .stage = STAGES(ARRIVED | IN(PIVOTING)), .way = THE_WAY_THERE,
     .pivoted = YES, .chain = CHAINS(OVERLAYS | MIXED), .verdict = VMIG_HOOK_VETO_OVERLAY},
    {.here = THE_DESTINATION, .owner = THE_DESTINATION, .stage = STAGES(IN(MERGED)), .way = THE_WAY_THERE,
     .chain = CHAINS(OVERLAYS | MIXED), .verdict = VMIG_HOOK_VETO_OVERLAY},

    /* All other cases: the definition determines the reason of the veto. */
    {.chain = CHAINS(NOT_SEEN), .verdict = VMIG_HOOK_VETO_UNREADABLE},
    {.chain = CHAINS(BASES | MIXED), .verdict = VMIG_HOOK_VETO_BASE},
    {.chain = CHAINS(OTHERS | OVERLAYS), .verdict = VMIG_HOOK_VETO_CHAIN},
};
/* clang-format on */

static gboolean is_host(Host wanted, VmigRole role)
{
    return wanted == EITHER_HOST || wanted == (role == VMIG_SOURCE ? THE_SOURCE : THE_DESTINATION);
}

static gboolean is_answer(Answer wanted, gboolean fact)
{
    return wanted == YES_OR_NO || wanted == (fact ? YES : NO);
}

static gboolean is_stage(StageSet wanted, VmigState state)
{
    return wanted.stages == 0 || (wanted.stages & 1u << vmig_state_stage(state));
}

static gboolean is_way(Way wanted, VmigState state)
{
    gboolean back = state != NULL && vmig_state_phase(state) == VMIG_PHASE_BACK;

    return wanted == EITHER_WAY || wanted == (back ? THE_WAY_BACK : THE_WAY_THERE);
}

static gboolean is_chain(ChainSet wanted, VmigHookChain chain)
{
    return wanted.chains == 0 || (wanted.chains & 1u << chain);
}

static gboolean fits(const Row *row, const VmigHookFacts *f)
{
    return is_host(row->here, f->here) && is_host(row->owner, f->owner) && is_stage(row->stage, f->state) &&
           is_way(row->way, f->state) && is_answer(row->handed, f->handed) && is_answer(row->pivoted, f->pivoted) &&
           is_answer(row->overlays, f->overlays) && is_answer(row->busy, f->busy) &&
           is_answer(row->incoming, f->incoming) && is_chain(row->chain, f->chain);
}

static VmigHookVerdict decide_start(const VmigHookFacts *f)
{
    for (guint i = 0; i < G_N_ELEMENTS(starts); i++)
        if (fits(&starts[i], f))
            return starts[i].verdict;
    return VMIG_HOOK_VETO_UNDECIDED;
}

/* Admits an arriving guest only if this job waits for it, and only on the files that this job made for it. */
static VmigHookVerdict decide_migration(const VmigHookFacts *f)
{
    guint waits = IN(AWAITS) | IN(MOVES);
    VmigHookChain right = f->direct ? VMIG_HOOK_CHAIN_BASES : VMIG_HOOK_CHAIN_OVERLAYS;

    if (f->same_domain && f->own_mark && f->here == VMIG_DEST && f->owner == VMIG_SOURCE &&
        (waits & (1u << vmig_state_stage(f->state))) && f->chain == right)
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
    /* Another guest with the same name: the job does not concern it as long as it does not use the job's files. */
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

/* The daemon's own calls have "-" as name and sub-operation. But a guest may be called "-" too. */
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
