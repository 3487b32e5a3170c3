/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The decision table: first the rows that were decided by hand, one by one; then the laws that hold for every
 * combination of facts, whatever row applies. */
#include "core/uncertain.h"

#define UNREACHABLE VMIG_SEEN_UNREACHABLE
#define ABSENT VMIG_SEEN_ABSENT
#define RUNNING VMIG_SEEN_RUNNING
#define STOPPED VMIG_SEEN_STOPPED
#define MIGRATING VMIG_SEEN_MIGRATING
#define NONE VMIG_TOKEN_NONE
#define HALF VMIG_TOKEN_SOURCE_ONLY
#define DEST VMIG_TOKEN_DEST
#define ADOPT VMIG_DECIDE_ADOPT
#define BACK VMIG_DECIDE_BACK
#define FORWARD VMIG_DECIDE_FORWARD
#define WAIT VMIG_DECIDE_WAIT
#define DOWN VMIG_DECIDE_DOWN
#define ALARM VMIG_DECIDE_ALARM

typedef struct {
    const char *name;
    VmigSeen source;
    VmigSeen dest;
    VmigToken token;
    enum { NO_MORE, CONFIRMED, FENCED, REVOKED, CONFIRMED_REVOKED } more;
    VmigDecision decision;
} Row;

static VmigFacts facts_of(const Row *row)
{
    return (VmigFacts){.source = row->source,
                       .dest = row->dest,
                       .token = row->token,
                       .confirmed = row->more == CONFIRMED || row->more == CONFIRMED_REVOKED,
                       .fenced = row->more == FENCED,
                       .revoked = row->more == REVOKED || row->more == CONFIRMED_REVOKED};
}

/* A guest that the migration paused is STOPPED. On the destination STOPPED is paused and complete ("Finish done"),
 * MIGRATING is still arriving. */
static const Row rows[] = {
    {"running, absent, no token", RUNNING, ABSENT, NONE, NO_MORE, BACK},
    {"running with its job, arriving, no token", MIGRATING, MIGRATING, NONE, NO_MORE, ADOPT},
    {"running with its job, paused, no token", MIGRATING, STOPPED, NONE, NO_MORE, ADOPT},
    {"running without a job, paused, no token", RUNNING, STOPPED, NONE, NO_MORE, BACK},
    {"running, running, no token", RUNNING, RUNNING, NONE, NO_MORE, ALARM},
    {"running, running, token half given", RUNNING, RUNNING, HALF, NO_MORE, ALARM},
    {"running, running, token given", RUNNING, RUNNING, DEST, NO_MORE, ALARM},
    {"paused, absent, no token", STOPPED, ABSENT, NONE, NO_MORE, BACK},
    {"paused, paused, no token", STOPPED, STOPPED, NONE, NO_MORE, BACK},
    {"paused, unreachable, no token", STOPPED, UNREACHABLE, NONE, NO_MORE, BACK},
    {"paused, paused, token half given", STOPPED, STOPPED, HALF, NO_MORE, FORWARD},
    {"paused, unreachable, token half given", STOPPED, UNREACHABLE, HALF, NO_MORE, WAIT},
    {"paused, unreachable, token given", STOPPED, UNREACHABLE, DEST, NO_MORE, WAIT},
    {"absent, paused, token given", ABSENT, STOPPED, DEST, NO_MORE, FORWARD},
    {"absent and migrated, paused, no token", ABSENT, STOPPED, NONE, CONFIRMED, FORWARD},
    {"crashed with the fence held, paused, no token", ABSENT, STOPPED, NONE, FENCED, FORWARD},
    /* That the QEMU is gone now is no fence: it may have kept running after a lost reply. */
    {"crashed without a fence, paused, no token", ABSENT, STOPPED, NONE, NO_MORE, DOWN},
    {"unreachable, paused, no token", UNREACHABLE, STOPPED, NONE, NO_MORE, WAIT},
    {"unreachable, paused, token given", UNREACHABLE, STOPPED, DEST, NO_MORE, FORWARD},
    {"absent, running, token given", ABSENT, RUNNING, DEST, NO_MORE, FORWARD},
    {"off by itself, absent, no token", ABSENT, ABSENT, NONE, NO_MORE, DOWN},

    /* Rows that are not in that table. */
    {"absent, arriving, no token", ABSENT, MIGRATING, NONE, NO_MORE, DOWN},
    {"absent, unreachable, no token", ABSENT, UNREACHABLE, NONE, NO_MORE, WAIT},
    {"absent and migrated, unreachable, no token", ABSENT, UNREACHABLE, NONE, CONFIRMED, WAIT},
    {"running, unreachable, no token", RUNNING, UNREACHABLE, NONE, NO_MORE, BACK},
    {"absent, stale, no token", ABSENT, STOPPED, NONE, CONFIRMED_REVOKED, DOWN},
    {"unreachable, stale, no token", UNREACHABLE, STOPPED, NONE, REVOKED, WAIT},
    {"paused, stale, no token", STOPPED, STOPPED, NONE, REVOKED, BACK},
    {"absent, running, no token", ABSENT, RUNNING, NONE, NO_MORE, ALARM},
    {"absent, running, token half given", ABSENT, RUNNING, HALF, NO_MORE, FORWARD},
    {"running, paused, token half given", RUNNING, STOPPED, HALF, NO_MORE, ALARM},
    {"running, paused, token given", RUNNING, STOPPED, DEST, NO_MORE, ALARM},
    {"running, absent, token given", RUNNING, ABSENT, DEST, NO_MORE, ALARM},
    {"job not over, paused, token given", MIGRATING, STOPPED, DEST, NO_MORE, FORWARD},
    {"paused, absent, token half given", STOPPED, ABSENT, HALF, NO_MORE, FORWARD},
    {"paused, absent, token given", STOPPED, ABSENT, DEST, NO_MORE, DOWN},
    {"unreachable, unreachable, no token", UNREACHABLE, UNREACHABLE, NONE, NO_MORE, WAIT},
};

static void test_row(gconstpointer data)
{
    const Row *row = data;
    VmigFacts facts = facts_of(row);

    g_assert_cmpstr(vmig_decision_name(vmig_uncertain_decide(&facts)), ==, vmig_decision_name(row->decision));
}

/* --- every combination --- */

typedef void (*Law)(const VmigFacts *f, VmigDecision d);

static void no_resume_there_without_token_or_proof(const VmigFacts *f, VmigDecision d)
{
    if (d == FORWARD && f->token == NONE)
        g_assert_true(f->source == ABSENT && f->dest == STOPPED && !f->revoked && (f->confirmed || f->fenced));
}

static void no_resume_here_with_the_token_given(const VmigFacts *f, VmigDecision d)
{
    if (f->token != NONE)
        g_assert_true(d != BACK && d != ADOPT);
}

static void never_forward_over_a_running_source(const VmigFacts *f, VmigDecision d)
{
    if (f->source == RUNNING)
        g_assert_cmpint(d, !=, FORWARD);
}

static void never_back_over_a_running_destination(const VmigFacts *f, VmigDecision d)
{
    if (f->dest == RUNNING)
        g_assert_true(d == ALARM || (d == FORWARD && f->token != NONE && f->source != RUNNING));
}

static void two_runners_are_an_alarm(const VmigFacts *f, VmigDecision d)
{
    if (f->source == RUNNING && f->dest == RUNNING)
        g_assert_cmpint(d, ==, ALARM);
}

/* A host that does not answer is never taken for one that has nothing. */
static void silence_decides_nothing(const VmigFacts *f, VmigDecision d)
{
    if (f->dest == UNREACHABLE && d == BACK)
        g_assert_true(f->token == NONE && (f->source == RUNNING || f->source == STOPPED));
    if (f->dest == UNREACHABLE)
        g_assert_true(d != FORWARD && d != DOWN);
    if (f->source == UNREACHABLE && f->token == NONE)
        g_assert_true(d == WAIT || (d == ALARM && f->dest == RUNNING));
    if (f->source == UNREACHABLE)
        g_assert_true(d != BACK && d != ADOPT);
}

static void only_a_migration_is_adopted(const VmigFacts *f, VmigDecision d)
{
    if (d == ADOPT)
        g_assert_true(f->source == MIGRATING && f->dest != RUNNING);
}

/* "down" starts nothing, and rolls back only without a token: never with a guest that has its memory. */
static void down_only_without_a_guest(const VmigFacts *f, VmigDecision d)
{
    if (d != DOWN)
        return;
    g_assert_true(f->source != RUNNING && f->dest != RUNNING);
    if (f->token == NONE)
        g_assert_cmpint(f->source, ==, ABSENT);
    else
        g_assert_cmpint(f->dest, ==, ABSENT);
}

/* Proofs of the past and revocations matter only for a token that was not given. */
static void the_token_stands_above_the_rest(const VmigFacts *f, VmigDecision d)
{
    VmigFacts bare = {.source = f->source, .dest = f->dest, .token = f->token};

    if (f->token != NONE)
        g_assert_cmpint(vmig_uncertain_decide(&bare), ==, d);
}

/* More proof never permits less, and a revocation never permits more. */
static void proof_only_opens(const VmigFacts *f, VmigDecision d)
{
    VmigFacts more = *f;
    VmigFacts revoked = *f;

    more.fenced = TRUE;
    if (d == FORWARD)
        g_assert_cmpint(vmig_uncertain_decide(&more), ==, FORWARD);
    revoked.revoked = TRUE;
    if (d != FORWARD)
        g_assert_cmpint(vmig_uncertain_decide(&revoked), !=, FORWARD);
}

/* If another guest has the UUID on the destination, nothing leads there; everything else is unchanged. */
static void a_stranger_bars_the_way_there(const VmigFacts *f, VmigDecision d)
{
    VmigFacts with = *f;

    with.stranger = TRUE;
    VmigDecision barred = vmig_uncertain_decide(&with);
    if (d == FORWARD || (d == DOWN && f->token != NONE))
        g_assert_cmpint(barred, ==, WAIT);
    else
        g_assert_cmpint(barred, ==, d);
}

static const struct {
    const char *name;
    Law law;
} laws[] = {
    {"no-resume-there-without-token-or-proof", no_resume_there_without_token_or_proof},
    {"no-resume-here-with-the-token-given", no_resume_here_with_the_token_given},
    {"never-forward-over-a-running-source", never_forward_over_a_running_source},
    {"never-back-over-a-running-destination", never_back_over_a_running_destination},
    {"two-runners-are-an-alarm", two_runners_are_an_alarm},
    {"silence-decides-nothing", silence_decides_nothing},
    {"only-a-migration-is-adopted", only_a_migration_is_adopted},
    {"down-only-without-a-guest", down_only_without_a_guest},
    {"the-token-stands-above-the-rest", the_token_stands_above_the_rest},
    {"proof-only-opens", proof_only_opens},
    {"a-stranger-bars-the-way-there", a_stranger_bars_the_way_there},
};

static void test_law(gconstpointer data)
{
    Law law = laws[GPOINTER_TO_UINT(data)].law;
    guint n = 0;

    for (guint i = 0; i < 5 * 5 * 3 * 8; i++) {
        VmigFacts f = {.source = i % 5,
                       .dest = i / 5 % 5,
                       .token = i / 25 % 3,
                       .confirmed = (i / 75 & 1) != 0,
                       .fenced = (i / 75 & 2) != 0,
                       .revoked = (i / 75 & 4) != 0};
        law(&f, vmig_uncertain_decide(&f));
        n++;
    }
    g_assert_cmpuint(n, ==, 600);
}

/* Each result of the table is reached by some combination, and each has a name. */
static void test_ends(void)
{
    guint seen = 0;

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
        seen |= 1u << rows[i].decision;
    g_assert_cmpuint(seen, ==, 0x3f);
    for (guint d = ADOPT; d <= ALARM; d++)
        g_assert_nonnull(vmig_decision_name(d));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/uncertain/row/%s", rows[i].name);
        g_test_add_data_func(path, &rows[i], test_row);
    }
    for (guint i = 0; i < G_N_ELEMENTS(laws); i++) {
        g_autofree char *path = g_strdup_printf("/uncertain/law/%s", laws[i].name);
        g_test_add_data_func(path, GUINT_TO_POINTER(i), test_law);
    }
    g_test_add_func("/uncertain/ends", test_ends);
    return g_test_run();
}
