/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The keywords of a states.def, for the one source file of a flow that turns it into rows. That file defines
 * VMIG_STATE_INDEX(symbol) and VMIG_STATE_FLOW before, includes the table with VMIG_STATE defined as VMIG_STATE_ROW,
 * and nothing after it needs the keywords. */
#pragma once

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

/* NEXT(A, B) becomes the indexes of A and B: a name that is not a state of the flow does not compile. */
#define S1(a) VMIG_STATE_INDEX(a)
#define S2(a, ...) VMIG_STATE_INDEX(a), S1(__VA_ARGS__)
#define S3(a, ...) VMIG_STATE_INDEX(a), S2(__VA_ARGS__)
#define S4(a, ...) VMIG_STATE_INDEX(a), S3(__VA_ARGS__)
#define S5(a, ...) VMIG_STATE_INDEX(a), S4(__VA_ARGS__)
#define S6(a, ...) VMIG_STATE_INDEX(a), S5(__VA_ARGS__)
#define S7(a, ...) VMIG_STATE_INDEX(a), S6(__VA_ARGS__)
#define S8(a, ...) VMIG_STATE_INDEX(a), S7(__VA_ARGS__)
#define S9(a, ...) VMIG_STATE_INDEX(a), S8(__VA_ARGS__)
#define S10(a, ...) VMIG_STATE_INDEX(a), S9(__VA_ARGS__)
#define S11(a, ...) VMIG_STATE_INDEX(a), S10(__VA_ARGS__)
#define S12(a, ...) VMIG_STATE_INDEX(a), S11(__VA_ARGS__)
#define S13(a, ...) VMIG_STATE_INDEX(a), S12(__VA_ARGS__)
#define PICK(_1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, name, ...) name
#define STATES(...) PICK(__VA_ARGS__, S13, S12, S11, S10, S9, S8, S7, S6, S5, S4, S3, S2, S1)(__VA_ARGS__)
#define COUNT(...) PICK(__VA_ARGS__, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)

#define NEXT(...) {STATES(__VA_ARGS__)}, COUNT(__VA_ARGS__)
#define NEXT_NONE {0}, 0

#define VMIG_STATE_ROW(symbol, phase, flags, expect, what, entry, undo, next)                                          \
    {&(VMIG_STATE_FLOW), VMIG_STATE_INDEX(symbol), #symbol, VMIG_PHASE_##phase, flags, expect, what, entry, undo, next},
