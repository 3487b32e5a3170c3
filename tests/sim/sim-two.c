/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sim-two [--seeds N] [--first SEED] [--seed SEED] [--trace]
 *
 * Two guests migrate at the same time between the same two hosts, in the same direction or in opposite ones, depending
 * on the seed. Each has its own simulation (its images, its QEMUs, its faults), but they share the hosts' journals, and
 * host faults hit both: a power loss, a restart of libvirtd. Each job has its own stack, and the job whose clock is
 * behind runs, call by call, so that a seed always gives the same run. Everything that must hold for one job must hold
 * for both.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "store/journal-private.h"

#define STACK (4 * 1024 * 1024)
#define SECOND_SEED 500000000ull /* far from the first one's: another UUID, another job */
/* With this many runs there are some in which both migrate at the same moment. */
#define MANY 500

typedef struct {
    Sim sim;
    ucontext_t context;
    char *stack;
    gboolean over;
    SimOutcome outcome;
} Job;

typedef struct {
    Job jobs[2];
    ucontext_t main;
    Job *now;
    gboolean both_migrated; /* at the same moment */
    guint64 turns;
    guint64 outcomes[SIM_OUTCOMES];
    guint64 passed, failed, opposite, together;
} Pair;

/* The stacks do not know their creator. */
static Pair *pair;

static void on_log(const char *domain, GLogLevelFlags level G_GNUC_UNUSED, const char *message,
                   gpointer user G_GNUC_UNUSED)
{
    sim_violate(&pair->now->sim, "%s: %s", domain != NULL ? domain : "log", message);
}

/* The journals' transactions belong to the job whose turn it is. */
static void take_turn(Job *job)
{
    pair->now = job;
    pair->turns++;
    for (guint h = 0; h < 2; h++)
        sqlite3_commit_hook(job->sim.hosts[h].journal->db, sim_fault_commit_hook, &job->sim.hosts[h]);
}

static gboolean is_migrating(const Job *job)
{
    return !job->over && job->sim.migration.phase >= SIM_MIG_PREPARE && job->sim.migration.phase < SIM_MIG_RETURNED;
}

static void on_yield(Sim *sim)
{
    Job *mine = (Job *)sim; /* its first member */
    Job *other = &pair->jobs[mine == &pair->jobs[0] ? 1 : 0];

    pair->both_migrated = pair->both_migrated || (is_migrating(mine) && is_migrating(other));
    if (other->over || sim->visited == 0 || sim->now <= other->sim.now)
        return;
    take_turn(other);
    swapcontext(&mine->context, &other->context);
}

static void run_job(void)
{
    Job *job = pair->now;

    job->outcome = sim_run(&job->sim);
    job->over = TRUE;
    job->sim.yield = NULL;
    Job *other = &pair->jobs[job == &pair->jobs[0] ? 1 : 0];
    if (other->over) {
        setcontext(&pair->main);
        return;
    }
    take_turn(other);
    setcontext(&other->context);
}

static void prepare_job(Job *job, guint64 seed, gboolean trace)
{
    char *stack = job->stack != NULL ? job->stack : g_malloc(STACK);

    memset(job, 0, sizeof *job);
    job->stack = stack;
    job->sim.seed = seed;
    job->sim.trace = trace;
    sim_scenario(&job->sim);
    sim_fault_plan(&job->sim, SIM_FAULTS_ALL);
    /* An old journal would also bring back the other job's record from that time, which is another fault. */
    for (guint i = 0; i < job->sim.n_faults; i++)
        if (job->sim.faults[i].kind == SIM_FAULT_OLD)
            job->sim.faults[i].kind = SIM_FAULT_CANCEL;
    getcontext(&job->context);
    job->context.uc_stack.ss_sp = job->stack;
    job->context.uc_stack.ss_size = STACK;
    makecontext(&job->context, run_job, 0);
}

/* The same database, as opened by another process. */
static VmigJournal *other_process(const VmigJournal *journal)
{
    VmigJournal *own = g_new0(VmigJournal, 1);

    *own = *journal;
    own->path = g_strdup(journal->path);
    own->boot_id = g_strdup(journal->boot_id);
    return own;
}

static void drop_other_process(VmigJournal *own)
{
    g_free(own->path);
    g_free(own->boot_id);
    g_free(own);
}

/* The second guest's source is the first one's source, or its destination. */
static void join(gboolean opposite, VmigJournal **journals)
{
    for (guint h = 0; h < 2; h++) {
        SimHost *mine = &pair->jobs[0].sim.hosts[h];
        SimHost *same = &pair->jobs[1].sim.hosts[opposite ? 1 - h : h];
        mine->twin = same;
        same->twin = mine;
        mine->journal = journals[h];
        same->journal = other_process(journals[h]);
    }
    pair->jobs[0].sim.yield = pair->jobs[1].sim.yield = on_yield;
}

static void tell(guint64 seed, const Job *job, guint which)
{
    printf("seed %" G_GUINT64_FORMAT ", guest %u: %s\n    faults:", seed, which + 1, job->sim.violation);
    for (guint i = 0; i < job->sim.next_fault; i++)
        printf(" %s@%u", sim_fault_names[job->sim.faults[i].kind], job->sim.faults[i].at);
    printf("\n    again: sim-two --seed %" G_GUINT64_FORMAT " --trace\n", seed);
}

static void run_pair(guint64 seed, gboolean trace)
{
    VmigJournal *journals[2] = {sim_journal_new("first"), sim_journal_new("second")};
    gboolean opposite = seed % 2 == 0;
    gboolean ok = TRUE;

    pair->both_migrated = FALSE;
    prepare_job(&pair->jobs[0], seed, trace);
    prepare_job(&pair->jobs[1], seed + SECOND_SEED, trace);
    join(opposite, journals);
    take_turn(&pair->jobs[0]);
    swapcontext(&pair->main, &pair->jobs[0].context);
    for (guint i = 0; i < 2; i++) {
        Job *job = &pair->jobs[i];
        pair->outcomes[job->outcome]++;
        if (job->sim.violation != NULL)
            tell(seed, job, i);
        ok = ok && job->sim.violation == NULL;
        for (guint h = 0; i == 1 && h < 2; h++)
            drop_other_process(job->sim.hosts[h].journal);
        sim_clear(&job->sim);
    }
    pair->passed += ok;
    pair->failed += !ok;
    pair->opposite += opposite;
    pair->together += pair->both_migrated;
    for (guint h = 0; h < 2; h++) {
        sqlite3_commit_hook(journals[h]->db, NULL, NULL);
        sim_journal_free(journals[h]);
    }
}

static void print_sum(void)
{
    static const char *const names[] = {"done", "rolled-back", "set-aside", "parked", "refused"};

    printf("outcomes:");
    for (guint i = 0; i < SIM_OUTCOMES; i++)
        printf(" %s %" G_GUINT64_FORMAT, names[i], pair->outcomes[i]);
    printf("\none each way %" G_GUINT64_FORMAT ", both migrated at once %" G_GUINT64_FORMAT ", turns %" G_GUINT64_FORMAT
           "\n%" G_GUINT64_FORMAT " passed, %" G_GUINT64_FORMAT " failed, 0 skipped\n",
           pair->opposite, pair->together, pair->turns, pair->passed, pair->failed);
}

int main(int argc, char **argv)
{
    guint64 first = 1, seeds = 500;
    gboolean trace = FALSE;

    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--trace") == 0)
            trace = TRUE;
        else if (strcmp(argv[i], "--seeds") == 0)
            seeds = g_ascii_strtoull(next, NULL, 10);
        else if (strcmp(argv[i], "--first") == 0)
            first = g_ascii_strtoull(next, NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            first = g_ascii_strtoull(next, NULL, 10), seeds = 1;
    }
    pair = g_new0(Pair, 1);
    g_log_set_default_handler(on_log, NULL);
    for (guint64 i = 0; i < seeds; i++)
        run_pair(first + i, trace);
    print_sum();
    gboolean seldom = seeds >= MANY && (pair->together == 0 || pair->outcomes[SIM_DONE] == 0);
    if (seldom)
        puts("no two guests ever migrated at the same moment");
    gboolean failed = pair->failed > 0 || seldom;
    for (guint i = 0; i < 2; i++)
        g_free(pair->jobs[i].stack);
    g_free(pair);
    return failed ? 1 : 0;
}
