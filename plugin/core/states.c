/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Includes the table of states.def once for each thing that is derived from it. */
#include "core/states.h"

/* The keywords of the table. */
enum {
    RETRY = VMIG_STATE_RETRY,
    NEEDS_SOURCE = VMIG_STATE_NEEDS_SOURCE,
    NEEDS_DEST = VMIG_STATE_NEEDS_DEST,
    NEEDS_BOTH = NEEDS_SOURCE | NEEDS_DEST,
    FROM_SOURCE = VMIG_STATE_FROM_SOURCE,
    HOLDS = VMIG_STATE_HOLDS,
    MERGES = VMIG_STATE_MERGES,
    COMPLETE = VMIG_STATE_COMPLETE,
    HANDS_OVER = VMIG_STATE_HANDS_OVER,
    DECIDES = VMIG_STATE_DECIDES,
    WAITS = VMIG_STATE_WAITS,
    BASE = VMIG_MAY_BE_BASE,
    OVERLAY = VMIG_MAY_BE_OVERLAY,
    ABSENT = VMIG_MAY_BE_ABSENT,
    ANY = VMIG_MAY_BE_ANY,
};
#define FREEZES VMIG_STAGE_FREEZES
#define AWAITS VMIG_STAGE_AWAITS
#define MOVES VMIG_STAGE_MOVES
#define SEARCHES VMIG_STAGE_SEARCHES
#define RETURNS VMIG_STAGE_RETURNS
#define COMMITTING VMIG_STAGE_COMMITTING
#define PIVOTING VMIG_STAGE_PIVOTING
#define MERGED VMIG_STAGE_MERGED
#define OVER VMIG_STAGE_OVER
#define UNTOUCHED VMIG_GUEST_UNTOUCHED
#define ON_ITS_WAY VMIG_GUEST_ON_ITS_WAY
#define UNDECIDED VMIG_GUEST_UNDECIDED
#define ARRIVED VMIG_GUEST_ARRIVED
#define MIGRATION VMIG_SET_MIGRATION
#define COMMITS VMIG_SET_COMMITS
#define MOVED VMIG_END_MOVED
#define BACK VMIG_END_BACK
#define ASIDE VMIG_END_ASIDE
#define EXPECT(...)                                                                                                    \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
#define MAX_NEXT 14

/* NEXT(A, B) becomes {VMIG_STATE_A, VMIG_STATE_B}: a name that is not a state does not compile. */
#define S1(a) VMIG_STATE_##a
#define S2(a, ...) VMIG_STATE_##a, S1(__VA_ARGS__)
#define S3(a, ...) VMIG_STATE_##a, S2(__VA_ARGS__)
#define S4(a, ...) VMIG_STATE_##a, S3(__VA_ARGS__)
#define S5(a, ...) VMIG_STATE_##a, S4(__VA_ARGS__)
#define S6(a, ...) VMIG_STATE_##a, S5(__VA_ARGS__)
#define S7(a, ...) VMIG_STATE_##a, S6(__VA_ARGS__)
#define S8(a, ...) VMIG_STATE_##a, S7(__VA_ARGS__)
#define S9(a, ...) VMIG_STATE_##a, S8(__VA_ARGS__)
#define S10(a, ...) VMIG_STATE_##a, S9(__VA_ARGS__)
#define S11(a, ...) VMIG_STATE_##a, S10(__VA_ARGS__)
#define S12(a, ...) VMIG_STATE_##a, S11(__VA_ARGS__)
#define S13(a, ...) VMIG_STATE_##a, S12(__VA_ARGS__)
#define PICK(_1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, name, ...) name
#define STATES(...) PICK(__VA_ARGS__, S13, S12, S11, S10, S9, S8, S7, S6, S5, S4, S3, S2, S1)(__VA_ARGS__)
#define COUNT(...) PICK(__VA_ARGS__, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)

#undef NEXT
#undef NEXT_NONE
#define NEXT(...) {STATES(__VA_ARGS__)}, COUNT(__VA_ARGS__)
#define NEXT_NONE {VMIG_STATE_LAST}, 0

typedef struct {
    guint source;
    guint dest;
    VmigStage stage;
    VmigGuestAt guest;
    VmigSet set;
    VmigEnd end;
} Expected;

typedef struct {
    const char *name;
    VmigPhase phase;
    guint flags;
    Expected expected;
    const char *what;
    const char *entry;
    const char *undo;
    VmigState next[MAX_NEXT];
    guint n_next;
} StateRow;

static const StateRow rows[] = {
#define VMIG_STATE(symbol, phase, flags, expect, what, entry, undo, next)                                              \
    {#symbol, VMIG_PHASE_##phase, flags, expect, what, entry, undo, next},
#include "core/states.def"
#undef VMIG_STATE
};

const char *vmig_state_name(VmigState state)
{
    return state < VMIG_STATE_LAST ? rows[state].name : "?";
}

VmigState vmig_state_from_name(const char *name)
{
    for (guint i = 0; i < VMIG_STATE_LAST; i++)
        if (g_strcmp0(rows[i].name, name) == 0)
            return i;
    return VMIG_STATE_LAST;
}

const char *vmig_state_what(VmigState state)
{
    g_return_val_if_fail(state < VMIG_STATE_LAST, "");
    return rows[state].what;
}

const char *vmig_state_entry(VmigState state)
{
    g_return_val_if_fail(state < VMIG_STATE_LAST, "");
    return rows[state].entry;
}

const char *vmig_state_undo(VmigState state)
{
    g_return_val_if_fail(state < VMIG_STATE_LAST, "");
    return rows[state].undo;
}

VmigPhase vmig_state_phase(VmigState state)
{
    g_return_val_if_fail(state < VMIG_STATE_LAST, VMIG_PHASE_END);
    return rows[state].phase;
}

gboolean vmig_state_may_retry(VmigState state)
{
    g_return_val_if_fail(state < VMIG_STATE_LAST, FALSE);
    return vmig_state_is(state, VMIG_STATE_RETRY);
}

gboolean vmig_state_is(VmigState state, guint flags)
{
    return state < VMIG_STATE_LAST && (rows[state].flags & flags) == flags;
}

guint vmig_state_expected(VmigState state, VmigRole role)
{
    if (state >= VMIG_STATE_LAST)
        return ANY;
    return role == VMIG_DEST ? rows[state].expected.dest : rows[state].expected.source;
}

VmigStage vmig_state_stage(VmigState state)
{
    return state < VMIG_STATE_LAST ? rows[state].expected.stage : VMIG_STAGE_OVER;
}

VmigGuestAt vmig_state_guest(VmigState state)
{
    g_return_val_if_fail(state < VMIG_STATE_LAST, VMIG_GUEST_AT_OWNER);
    return rows[state].expected.guest;
}

VmigSet vmig_state_set(VmigState state)
{
    g_return_val_if_fail(state < VMIG_STATE_LAST, VMIG_SET_NOTHING);
    return rows[state].expected.set;
}

VmigEnd vmig_state_end(VmigState state)
{
    return state < VMIG_STATE_LAST ? rows[state].expected.end : VMIG_END_NONE;
}

int vmig_state_progress(VmigState state)
{
    int steps = 0;

    for (VmigState at = 0; at < VMIG_STATE_LAST; at = vmig_state_next(at), steps++)
        if (at == state)
            return steps;
    return -1;
}

VmigState vmig_state_next(VmigState state)
{
    g_return_val_if_fail(state < VMIG_STATE_LAST, VMIG_STATE_LAST);
    return rows[state].n_next > 0 ? rows[state].next[0] : VMIG_STATE_LAST;
}

gboolean vmig_state_may_follow(VmigState from, VmigState to)
{
    g_return_val_if_fail(from < VMIG_STATE_LAST, FALSE);
    for (guint i = 0; i < rows[from].n_next; i++)
        if (rows[from].next[i] == to)
            return TRUE;
    return FALSE;
}

static gboolean leads_back(VmigState state)
{
    return vmig_state_phase(state) == VMIG_PHASE_BACK || vmig_state_end(state) == VMIG_END_BACK;
}

VmigState vmig_state_on_failure(VmigState state)
{
    g_return_val_if_fail(state < VMIG_STATE_LAST, VMIG_STATE_LAST);
    if (vmig_state_phase(state) == VMIG_PHASE_FORWARD && !vmig_state_is(state, VMIG_STATE_DECIDES))
        for (guint i = 1; i < rows[state].n_next; i++)
            if (leads_back(rows[state].next[i]))
                return rows[state].next[i];
    return vmig_state_next_that(state, VMIG_STATE_WAITS);
}

VmigState vmig_state_next_that(VmigState state, VmigStateFlag flag)
{
    g_return_val_if_fail(state < VMIG_STATE_LAST, VMIG_STATE_LAST);
    for (guint i = 0; i < rows[state].n_next; i++)
        if (vmig_state_is(rows[state].next[i], flag))
            return rows[state].next[i];
    return VMIG_STATE_LAST;
}

VmigState vmig_state_of_end(VmigEnd end)
{
    VmigState state = 0;

    while (state < VMIG_STATE_LAST && vmig_state_end(state) != end)
        state++;
    return state;
}

gboolean vmig_state_is_final(VmigState state)
{
    return vmig_state_end(state) != VMIG_END_NONE;
}
