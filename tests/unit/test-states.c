/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The state table: complete, closed, and without a way back after the switchover. */
#include <glib.h>
#include <string.h>

#include "core/states.h"
#include "flows/migrate/states.h"

static void test_texts(void)
{
    VMIG_EACH_STATE (s, &vmig_states_migrate) {
        g_assert_cmpuint(strlen(vmig_state_what(s)), >, 10);
        g_assert_cmpuint(strlen(vmig_state_entry(s)), >, 10);
        g_assert_cmpuint(strlen(vmig_state_undo(s)), >, 3);
    }
}

static void test_names(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    VMIG_EACH_STATE (s, &vmig_states_migrate) {
        const char *name = vmig_state_name(s);
        g_assert_true(g_hash_table_add(seen, (gpointer)name));
        g_assert_true(vmig_state_from_name(&vmig_states_migrate, name) == s);
        g_assert_cmpuint(strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"), ==, strlen(name));
    }
    g_assert_true(vmig_state_from_name(&vmig_states_migrate, "plan") == NULL);
    g_assert_true(vmig_state_from_name(&vmig_states_migrate, "") == NULL);
    g_assert_true(vmig_state_from_name(&vmig_states_migrate, NULL) == NULL);
    g_assert_cmpstr(vmig_state_name(NULL), ==, "?");
}

/* A caller of the library knows a state by its name alone (api/states.c). */
static void test_names_of_all_flows(void)
{
    const VmigStates *states;

    for (guint i = 0; (states = vmig_states_nth(i)) != NULL; i++) {
        g_assert_true(vmig_states_of_flow(states->name) == states);
        g_assert_cmpuint(states->n, <=, VMIG_STATES_MAX);
        VMIG_EACH_STATE (s, states) {
            VmigState first = vmig_state_from_name(NULL, vmig_state_name(s));
            g_assert_true(s->flow == states && s == &states->rows[s->index]);
            g_assert_cmpint(vmig_state_phase(s), ==, vmig_state_phase(first));
            g_assert_cmpint(vmig_state_guest(s), ==, vmig_state_guest(first));
            g_assert_cmpint(vmig_state_end(s), ==, vmig_state_end(first));
        }
    }
    g_assert_null(vmig_states_of_flow("none"));
    g_assert_null(vmig_states_of_flow(NULL));
}

static guint count_next(VmigState from)
{
    guint n = 0;

    VMIG_EACH_STATE (to, &vmig_states_migrate)
        n += vmig_state_may_follow(from, to);
    return n;
}

static void test_final(void)
{
    guint finals = 0;

    VMIG_EACH_STATE (s, &vmig_states_migrate) {
        g_assert_false(vmig_state_may_follow(s, NULL) && !vmig_state_is_final(s));
        if (vmig_state_is_final(s)) {
            finals++;
            g_assert_cmpuint(count_next(s), ==, 0);
            g_assert_true(vmig_state_next(s) == NULL);
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
    seen[from->index] = TRUE;
    VMIG_EACH_STATE (to, &vmig_states_migrate)
        if (vmig_state_may_follow(from, to) && !seen[to->index] && reaches(to, goal, seen))
            return TRUE;
    return FALSE;
}

static void test_reach(void)
{
    VMIG_EACH_STATE (s, &vmig_states_migrate) {
        gboolean forward[VMIG_MIGRATE_STATES] = {FALSE};
        gboolean back[VMIG_MIGRATE_STATES] = {FALSE};
        gboolean from_start[VMIG_MIGRATE_STATES] = {FALSE};
        if (!vmig_state_is_final(s))
            g_assert_true(reaches(s, VMIG_MIGRATE(DONE), forward) || reaches(s, VMIG_MIGRATE(ROLLED_BACK), back));
        g_assert_true(reaches(VMIG_MIGRATE(PLAN), s, from_start));
    }
}

/* By success alone every state reaches an end. */
static void test_success_ends(void)
{
    VMIG_EACH_STATE (s, &vmig_states_migrate) {
        VmigState now = s;
        guint steps = 0;
        while (!vmig_state_is_final(now)) {
            now = vmig_state_next(now);
            g_assert_cmpuint(++steps, <=, VMIG_MIGRATE_STATES);
        }
        if (vmig_state_phase(s) == VMIG_PHASE_BACK)
            g_assert_true(now == VMIG_MIGRATE(ROLLED_BACK));
        else if (vmig_state_phase(s) == VMIG_PHASE_AFTER)
            g_assert_true(now == VMIG_MIGRATE(DONE));
    }
}

static void test_no_way_back(void)
{
    VMIG_EACH_STATE (from, &vmig_states_migrate)
        VMIG_EACH_STATE (to, &vmig_states_migrate) {
            if (!vmig_state_may_follow(from, to))
                continue;
            if (vmig_state_phase(from) == VMIG_PHASE_AFTER) {
                g_assert_cmpint(vmig_state_phase(to), !=, VMIG_PHASE_BACK);
                g_assert_cmpint(vmig_state_phase(to), !=, VMIG_PHASE_FORWARD);
                g_assert_true(to != VMIG_MIGRATE(ROLLED_BACK));
            }
            /* Back turns into forward only where both hosts are asked who has the guest. */
            if (vmig_state_phase(from) == VMIG_PHASE_BACK)
                g_assert_true(vmig_state_phase(to) == VMIG_PHASE_BACK || vmig_state_phase(to) == VMIG_PHASE_END ||
                              to == VMIG_MIGRATE(UNCERTAIN));
            if (to == VMIG_MIGRATE(DONE))
                g_assert_cmpint(vmig_state_phase(from), ==, VMIG_PHASE_AFTER);
        }
}

/* A host that is away for a moment is asked again; while the guest's location is undecided, retries never end in a
 * rollback. */
static void test_uncertain(void)
{
    g_assert_true(vmig_state_may_retry(VMIG_MIGRATE(UNCERTAIN)));
    g_assert_true(vmig_state_may_follow(VMIG_MIGRATE(UNCERTAIN), VMIG_MIGRATE(PARKED)));
    g_assert_false(vmig_state_may_follow(VMIG_MIGRATE(UNCERTAIN), VMIG_MIGRATE(ROLLED_BACK)));
}

/* A state that a policy repeats can park; and a parked job can return to its state. */
static void test_park(void)
{
    VMIG_EACH_STATE (s, &vmig_states_migrate) {
        gboolean parks = vmig_state_may_follow(s, VMIG_MIGRATE(PARKED));
        gboolean turns_back = vmig_state_may_follow(s, VMIG_MIGRATE(ROLLBACK));
        if (vmig_state_may_retry(s))
            g_assert_true(parks || turns_back);
        if (parks)
            g_assert_true(vmig_state_may_follow(VMIG_MIGRATE(PARKED), s));
    }
}

/* Where a failure leads if the step is not repeated: back before the switchover, never after it. */
static void test_on_failure(void)
{
    VMIG_EACH_STATE (s, &vmig_states_migrate) {
        VmigPhase phase = vmig_state_phase(s);
        if (phase == VMIG_PHASE_END)
            continue;
        VmigState to = vmig_state_on_failure(s);
        g_assert_true(vmig_state_may_follow(s, to));
        if (s == VMIG_MIGRATE(PLAN))
            g_assert_true(to == VMIG_MIGRATE(ROLLED_BACK));
        else if (phase == VMIG_PHASE_FORWARD && s != VMIG_MIGRATE(UNCERTAIN))
            g_assert_true(to == VMIG_MIGRATE(ROLLBACK));
        else
            g_assert_true(to == VMIG_MIGRATE(PARKED));
    }
}

/* The engine's columns of a row are consistent with the others. */
static void test_rows(void)
{
    VMIG_EACH_STATE (s, &vmig_states_migrate) {
        VmigPhase phase = vmig_state_phase(s);
        guint source = vmig_state_expected(s, VMIG_SOURCE), dest = vmig_state_expected(s, VMIG_DEST);
        g_assert_cmpuint(source, !=, 0);
        g_assert_cmpuint(dest, !=, 0);
        if (phase == VMIG_PHASE_BACK)
            g_assert_cmpuint(source & VMIG_MAY_BE_ABSENT, ==, 0);
        /* A guest that shut down when it arrived is defined again in PIVOT at the latest. */
        if (phase == VMIG_PHASE_AFTER && s != VMIG_MIGRATE(ACTIVATE) && s != VMIG_MIGRATE(COMMIT) &&
            s != VMIG_MIGRATE(PIVOT))
            g_assert_cmpuint(dest & VMIG_MAY_BE_ABSENT, ==, 0);
        /* Base frozen: only where nothing but the overlay is written. */
        if (vmig_state_is(s, VMIG_STATE_HOLDS))
            g_assert_cmpuint(source, ==, VMIG_MAY_BE_OVERLAY);
        g_assert_cmpint(vmig_state_is(s, VMIG_STATE_NEEDS_SOURCE), ==,
                        phase == VMIG_PHASE_BACK || vmig_state_is(s, VMIG_STATE_FROM_SOURCE));
        if (phase == VMIG_PHASE_FORWARD)
            g_assert_true(vmig_state_is(s, VMIG_STATE_FROM_SOURCE) != vmig_state_is(s, VMIG_STATE_DECIDES));
        if (vmig_state_is(s, VMIG_STATE_HANDS_OVER))
            g_assert_true(vmig_state_next_that(s, VMIG_STATE_DECIDES) == VMIG_MIGRATE(UNCERTAIN));
        if (vmig_state_may_retry(s))
            g_assert_true(vmig_state_next_that(s, VMIG_STATE_WAITS) == VMIG_MIGRATE(PARKED));
    }
    g_assert_false(vmig_state_is(NULL, VMIG_STATE_RETRY));
    g_assert_cmpint(vmig_state_end(NULL), ==, VMIG_END_NONE);
}

static void test_progress(void)
{
    int steps = 0;

    for (VmigState s = VMIG_MIGRATE(PLAN); s != NULL; s = vmig_state_next(s))
        g_assert_cmpint(vmig_state_progress(s), ==, steps++);
    g_assert_cmpint(vmig_state_progress(VMIG_MIGRATE(UNCERTAIN)), ==, -1);
    g_assert_cmpint(vmig_state_progress(VMIG_MIGRATE(BACK_COMMIT)), ==, -1);
    g_assert_cmpint(vmig_state_progress(VMIG_MIGRATE(SET_ASIDE)), ==, -1);
    g_assert_true(vmig_state_of_end(&vmig_states_migrate, VMIG_END_MOVED) == VMIG_MIGRATE(DONE));
    g_assert_true(vmig_state_of_end(&vmig_states_migrate, VMIG_END_BACK) == VMIG_MIGRATE(ROLLED_BACK));
    g_assert_true(vmig_state_of_end(&vmig_states_migrate, VMIG_END_ASIDE) == VMIG_MIGRATE(SET_ASIDE));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/states/texts", test_texts);
    g_test_add_func("/states/names", test_names);
    g_test_add_func("/states/names-of-all-flows", test_names_of_all_flows);
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
