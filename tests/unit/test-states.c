/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The state table: complete, closed, and without a way back after the switchover. */
#include <glib.h>
#include <string.h>

#include "core/states.h"

static void test_texts(void)
{
    for (int s = 0; s < VMIG_STATE_LAST; s++) {
        g_assert_cmpuint(strlen(vmig_state_what(s)), >, 10);
        g_assert_cmpuint(strlen(vmig_state_entry(s)), >, 10);
        g_assert_cmpuint(strlen(vmig_state_undo(s)), >, 3);
    }
}

static void test_names(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (int s = 0; s < VMIG_STATE_LAST; s++) {
        const char *name = vmig_state_name(s);
        g_assert_true(g_hash_table_add(seen, (gpointer)name));
        g_assert_cmpint(vmig_state_from_name(name), ==, s);
        g_assert_cmpuint(strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"), ==, strlen(name));
    }
    g_assert_cmpint(vmig_state_from_name("plan"), ==, VMIG_STATE_LAST);
    g_assert_cmpint(vmig_state_from_name(""), ==, VMIG_STATE_LAST);
    g_assert_cmpint(vmig_state_from_name(NULL), ==, VMIG_STATE_LAST);
    g_assert_cmpstr(vmig_state_name(VMIG_STATE_LAST), ==, "?");
}

static guint count_next(VmigState from)
{
    guint n = 0;

    for (int to = 0; to < VMIG_STATE_LAST; to++)
        n += vmig_state_may_follow(from, to);
    return n;
}

static void test_final(void)
{
    guint finals = 0;

    for (int s = 0; s < VMIG_STATE_LAST; s++) {
        g_assert_false(vmig_state_may_follow(s, VMIG_STATE_LAST) && !vmig_state_is_final(s));
        if (vmig_state_is_final(s)) {
            finals++;
            g_assert_cmpuint(count_next(s), ==, 0);
            g_assert_cmpint(vmig_state_next(s), ==, VMIG_STATE_LAST);
            g_assert_cmpint(vmig_state_phase(s), ==, VMIG_PHASE_END);
            g_assert_false(vmig_state_may_retry(s));
        } else {
            g_assert_cmpuint(count_next(s), >, 0);
            g_assert_true(vmig_state_may_follow(s, vmig_state_next(s)));
        }
    }
    g_assert_cmpuint(finals, ==, 3);
}

static gboolean reaches(VmigState from, VmigState goal, gboolean *seen)
{
    if (from == goal)
        return TRUE;
    seen[from] = TRUE;
    for (int to = 0; to < VMIG_STATE_LAST; to++)
        if (vmig_state_may_follow(from, to) && !seen[to] && reaches(to, goal, seen))
            return TRUE;
    return FALSE;
}

static void test_reach(void)
{
    for (int s = 0; s < VMIG_STATE_LAST; s++) {
        gboolean forward[VMIG_STATE_LAST] = {FALSE};
        gboolean back[VMIG_STATE_LAST] = {FALSE};
        gboolean from_start[VMIG_STATE_LAST] = {FALSE};
        if (!vmig_state_is_final(s))
            g_assert_true(reaches(s, VMIG_STATE_DONE, forward) || reaches(s, VMIG_STATE_ROLLED_BACK, back));
        g_assert_true(reaches(VMIG_STATE_PLAN, s, from_start));
    }
}

/* By success alone every state reaches an end. */
static void test_success_ends(void)
{
    for (int s = 0; s < VMIG_STATE_LAST; s++) {
        VmigState now = s;
        guint steps = 0;
        while (!vmig_state_is_final(now)) {
            now = vmig_state_next(now);
            g_assert_cmpuint(++steps, <=, VMIG_STATE_LAST);
        }
        if (vmig_state_phase(s) == VMIG_PHASE_BACK)
            g_assert_cmpint(now, ==, VMIG_STATE_ROLLED_BACK);
        else if (vmig_state_phase(s) == VMIG_PHASE_AFTER)
            g_assert_cmpint(now, ==, VMIG_STATE_DONE);
    }
}

static void test_no_way_back(void)
{
    for (int from = 0; from < VMIG_STATE_LAST; from++)
        for (int to = 0; to < VMIG_STATE_LAST; to++) {
            if (!vmig_state_may_follow(from, to))
                continue;
            if (vmig_state_phase(from) == VMIG_PHASE_AFTER) {
                g_assert_cmpint(vmig_state_phase(to), !=, VMIG_PHASE_BACK);
                g_assert_cmpint(vmig_state_phase(to), !=, VMIG_PHASE_FORWARD);
                g_assert_cmpint(to, !=, VMIG_STATE_ROLLED_BACK);
            }
            /* Back turns into forward only where both hosts are asked who has the guest. */
            if (vmig_state_phase(from) == VMIG_PHASE_BACK)
                g_assert_true(vmig_state_phase(to) == VMIG_PHASE_BACK || vmig_state_phase(to) == VMIG_PHASE_END ||
                              to == VMIG_STATE_UNCERTAIN);
            if (to == VMIG_STATE_DONE)
                g_assert_cmpint(vmig_state_phase(from), ==, VMIG_PHASE_AFTER);
        }
}

/* A host that is away for a moment is asked again; while the guest's location is undecided, retries never end in a
 * rollback. */
static void test_uncertain(void)
{
    g_assert_true(vmig_state_may_retry(VMIG_STATE_UNCERTAIN));
    g_assert_true(vmig_state_may_follow(VMIG_STATE_UNCERTAIN, VMIG_STATE_PARKED));
    g_assert_false(vmig_state_may_follow(VMIG_STATE_UNCERTAIN, VMIG_STATE_ROLLED_BACK));
}

/* A state that a policy repeats can park; and a parked job can return to its state. */
static void test_park(void)
{
    for (int s = 0; s < VMIG_STATE_LAST; s++) {
        gboolean parks = vmig_state_may_follow(s, VMIG_STATE_PARKED);
        gboolean turns_back = vmig_state_may_follow(s, VMIG_STATE_ROLLBACK);
        if (vmig_state_may_retry(s))
            g_assert_true(parks || turns_back);
        if (parks)
            g_assert_true(vmig_state_may_follow(VMIG_STATE_PARKED, s));
    }
}

/* Where a failure leads if the step is not repeated: back before the switchover, never after it. */
static void test_on_failure(void)
{
    for (int s = 0; s < VMIG_STATE_LAST; s++) {
        VmigPhase phase = vmig_state_phase(s);
        if (phase == VMIG_PHASE_END)
            continue;
        VmigState to = vmig_state_on_failure(s);
        g_assert_true(vmig_state_may_follow(s, to));
        if (s == VMIG_STATE_PLAN)
            g_assert_cmpint(to, ==, VMIG_STATE_ROLLED_BACK);
        else if (phase == VMIG_PHASE_FORWARD && s != VMIG_STATE_UNCERTAIN)
            g_assert_cmpint(to, ==, VMIG_STATE_ROLLBACK);
        else
            g_assert_cmpint(to, ==, VMIG_STATE_PARKED);
    }
}

/* The engine's columns of a row are consistent with the others. */
static void test_rows(void)
{
    for (int s = 0; s < VMIG_STATE_LAST; s++) {
        VmigPhase phase = vmig_state_phase(s);
        guint source = vmig_state_expected(s, FALSE), dest = vmig_state_expected(s, TRUE);
        g_assert_cmpuint(source, !=, 0);
        g_assert_cmpuint(dest, !=, 0);
        if (phase == VMIG_PHASE_BACK)
            g_assert_cmpuint(source & VMIG_MAY_BE_ABSENT, ==, 0);
        /* A guest that shut down when it arrived is defined again in PIVOT at the latest. */
        if (phase == VMIG_PHASE_AFTER && s != VMIG_STATE_ACTIVATE && s != VMIG_STATE_COMMIT && s != VMIG_STATE_PIVOT)
            g_assert_cmpuint(dest & VMIG_MAY_BE_ABSENT, ==, 0);
        /* Base frozen: only where nothing but the overlay is written. */
        if (vmig_state_is(s, VMIG_STATE_HOLDS))
            g_assert_cmpuint(source, ==, VMIG_MAY_BE_OVERLAY);
        g_assert_cmpint(vmig_state_is(s, VMIG_STATE_NEEDS_SOURCE), ==,
                        phase == VMIG_PHASE_BACK || vmig_state_is(s, VMIG_STATE_FROM_SOURCE));
        if (phase == VMIG_PHASE_FORWARD)
            g_assert_true(vmig_state_is(s, VMIG_STATE_FROM_SOURCE) != vmig_state_is(s, VMIG_STATE_DECIDES));
        if (vmig_state_is(s, VMIG_STATE_HANDS_OVER))
            g_assert_cmpint(vmig_state_next_that(s, VMIG_STATE_DECIDES), ==, VMIG_STATE_UNCERTAIN);
        if (vmig_state_may_retry(s))
            g_assert_cmpint(vmig_state_next_that(s, VMIG_STATE_WAITS), ==, VMIG_STATE_PARKED);
    }
    g_assert_false(vmig_state_is(VMIG_STATE_LAST, VMIG_STATE_RETRY));
    g_assert_cmpint(vmig_state_end(VMIG_STATE_LAST), ==, VMIG_END_NONE);
}

static void test_progress(void)
{
    int steps = 0;

    for (VmigState s = VMIG_STATE_FIRST; s != VMIG_STATE_LAST; s = vmig_state_next(s))
        g_assert_cmpint(vmig_state_progress(s), ==, steps++);
    g_assert_cmpint(vmig_state_progress(VMIG_STATE_UNCERTAIN), ==, -1);
    g_assert_cmpint(vmig_state_progress(VMIG_STATE_BACK_COMMIT), ==, -1);
    g_assert_cmpint(vmig_state_progress(VMIG_STATE_SET_ASIDE), ==, -1);
    g_assert_cmpint(vmig_state_of_end(VMIG_END_MOVED), ==, VMIG_STATE_DONE);
    g_assert_cmpint(vmig_state_of_end(VMIG_END_BACK), ==, VMIG_STATE_ROLLED_BACK);
    g_assert_cmpint(vmig_state_of_end(VMIG_END_ASIDE), ==, VMIG_STATE_SET_ASIDE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/states/texts", test_texts);
    g_test_add_func("/states/names", test_names);
    g_test_add_func("/states/final", test_final);
    g_test_add_func("/states/reach", test_reach);
    g_test_add_func("/states/success-ends", test_success_ends);
    g_test_add_func("/states/no-way-back", test_no_way_back);
    g_test_add_func("/states/uncertain", test_uncertain);
    g_test_add_func("/states/park", test_park);
    g_test_add_func("/states/on-failure", test_on_failure);
    g_test_add_func("/states/rows", test_rows);
    g_test_add_func("/states/progress", test_progress);
    return g_test_run();
}
