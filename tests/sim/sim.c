/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sim [--seeds N] [--first SEED] [--seed SEED] [--jobs N] [--trace] [--hash] [--tell N]
 *     [--faults none|errors|crashes|all] [--break fence|token|order|facts|copy]
 *
 * Runs one migration for each seed, in an environment derived from it, and prints the invariants that did not hold.
 * --break injects a bug that must be found: exit code 1 only if exactly the invariant for it noticed it. --tell N: how
 * many failing seeds each process reports individually. --hash: prints a line for each seed with a hash of its run.
 */
#include "sim.h"

#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/journal-private.h"
#include "flows/migrate/states.h"

/* With this many runs and all faults, each state is reached. */
#define LARGE_RUN 5000
/* From this number on, another process is worth its start. */
#define MANY 500

typedef struct {
    guint64 first, seeds;
    guint64 tell; /* failing seeds to report individually */
    guint64 jobs; /* 0: as many as there are CPUs, if there are many seeds */
    gboolean trace;
    gboolean hash;
    SimFaultSet faults;
    SimScript script;
    SimBreak broken;
    VmigJournal *journals[2];
    SimCount *count;
} Runner;

/* The violation that each injected bug must cause. */
static const char *const seen_as[] = {
    [SIM_BREAK_FENCE] = "the guest runs on both hosts", [SIM_BREAK_TOKEN] = "whose journal does not have the token",
    [SIM_BREAK_ORDER] = "the last acknowledged one is", [SIM_BREAK_FACTS] = "the record contradicts itself",
    [SIM_BREAK_COPY] = "a seed that is not the base",
};

static sigjmp_buf escape;
static volatile sig_atomic_t inside;

static void on_signal(int signum)
{
    if (inside)
        siglongjmp(escape, signum);
    signal(signum, SIG_DFL);
    raise(signum);
}

static void drop_journals(Runner *r)
{
    for (guint h = 0; h < 2; h++)
        g_clear_pointer(&r->journals[h], sim_journal_free);
}

static void renew_journals(Runner *r)
{
    static const char *const names[] = {"source", "dest"};

    drop_journals(r);
    for (guint h = 0; h < 2; h++)
        r->journals[h] = sim_journal_new(names[h]);
}

static const char *const fault_sets[] = {"none", "errors", "crashes", "all"};
static const char *const breaks[] = {"nothing", "fence", "token", "order", "facts", "copy"};

/* In one write, because other processes print theirs. */
static void tell(const Runner *r, const Sim *sim, const char *violation)
{
    g_autoptr(GString) out = g_string_new(NULL);

    if (r->count->failed > r->tell)
        return;
    g_string_append_printf(out, "seed %" G_GUINT64_FORMAT ": %s\n    faults:", sim->seed, violation);
    for (guint i = 0; i < sim->next_fault; i++)
        g_string_append_printf(out, " %s@%u", sim_fault_names[sim->faults[i].kind], sim->faults[i].at);
    g_string_append_printf(out, "\n    again: sim --seed %" G_GUINT64_FORMAT " --faults %s --trace", sim->seed,
                           fault_sets[r->faults]);
    if (r->broken != SIM_BREAK_NOTHING)
        g_string_append_printf(out, " --break %s", breaks[r->broken]);
    puts(out->str);
    fflush(stdout);
}

static void count(SimCount *to, const Sim *sim, SimOutcome outcome)
{
    to->outcomes[outcome]++;
    to->processes += sim->processes;
    to->calls += sim->calls;
    to->kept += sim->took_kept;
    VMIG_EACH_STATE (i, &vmig_states_migrate)
        to->states[i->index] += (sim->visited >> i->index) & 1;
    for (guint i = 0; i < SIM_FAULT_KINDS; i++)
        to->fired[i] += sim->fired[i];
}

/* GLib reports incorrect use: an error set twice, an invalid NULL. */
static void on_log(const char *domain, GLogLevelFlags level G_GNUC_UNUSED, const char *message, gpointer user)
{
    sim_violate(user, "%s: %s", domain != NULL ? domain : "log", message);
}

static void run_seed(Runner *r, guint64 seed)
{
    static Sim sim; /* not on the stack, which a signal handler's longjmp discards */
    SimOutcome outcome;

    memset(&sim, 0, sizeof sim);
    sim.seed = seed;
    sim.trace = r->trace;
    r->count->seed = seed;
    sim.broken = r->broken;
    sim_scenario(&sim);
    sim.hosts[0].journal = r->journals[0];
    sim.hosts[1].journal = r->journals[1];
    for (guint h = 0; h < 2; h++) {
        sqlite3_commit_hook(r->journals[h]->db, sim_fault_commit_hook, &sim.hosts[h]);
        /* An earlier run of this process may have rebooted the host. */
        g_free(r->journals[h]->boot_id);
        r->journals[h]->boot_id = g_strdup("boot");
    }
    sim_fault_plan(&sim, r->faults);
    sim.script = r->script.n > 0 ? &r->script : NULL;
    g_log_set_default_handler(on_log, &sim);
    int signum = sigsetjmp(escape, 1);
    if (signum != 0) {
        inside = 0;
        r->count->failed++;
        g_autofree char *text = g_strdup_printf("signal %d: the machine aborts", signum);
        tell(r, &sim, text);
        r->journals[0] = r->journals[1] = NULL; /* they may be in the middle of an operation */
        renew_journals(r);
        return; /* its memory is leaked */
    }
    inside = 1;
    outcome = sim_run(&sim);
    inside = 0;
    sim_script_check(&sim);
    if (sim.violation == NULL && r->faults == SIM_FAULTS_NONE && r->script.n == 0 && outcome != SIM_DONE)
        sim_violate(&sim, "nothing went wrong, and it is not done");
    for (guint h = 0; h < 2; h++)
        sqlite3_commit_hook(r->journals[h]->db, NULL, NULL);
    if (r->hash) {
        sim_hash_end(&sim, outcome);
        printf("%" G_GUINT64_FORMAT " %016" G_GINT64_MODIFIER "x\n", seed, sim.hash);
    }
    count(r->count, &sim, outcome);
    if (sim.violation != NULL) {
        r->count->failed++;
        r->count->seen += r->broken != SIM_BREAK_NOTHING && strstr(sim.violation, seen_as[r->broken]) != NULL;
        tell(r, &sim, sim.violation);
    } else {
        r->count->passed++;
    }
    sim_clear(&sim);
}

static void run_seeds(gpointer data, SimCount *counts, guint64 first, guint64 n)
{
    Runner *r = data;

    r->count = counts;
    renew_journals(r); /* it gets slower as it grows */
    for (guint64 i = 0; i < n; i++)
        run_seed(r, first + i);
    drop_journals(r);
}

static void print_histogram(const SimCount *sum)
{
    static const char *const outcomes[] = {"done", "rolled-back", "set-aside", "parked", "refused"};

    printf("outcomes:");
    for (guint i = 0; i < SIM_OUTCOMES; i++)
        printf(" %s %" G_GUINT64_FORMAT, outcomes[i], sum->outcomes[i]);
    printf("\nstates:");
    VMIG_EACH_STATE (i, &vmig_states_migrate)
        printf(" %s %" G_GUINT64_FORMAT, vmig_state_name(i), sum->states[i->index]);
    printf("\nfaults:");
    for (guint i = 0; i < SIM_FAULT_KINDS; i++)
        printf(" %s %" G_GUINT64_FORMAT, sim_fault_names[i], sum->fired[i]);
    printf("\nprocesses %" G_GUINT64_FORMAT ", calls %" G_GUINT64_FORMAT ", with an older image %" G_GUINT64_FORMAT
           "\n",
           sum->processes, sum->calls, sum->kept);
}

/* A branch that is never taken proves nothing. */
static void check_coverage(const Runner *r, SimCount *sum)
{
    if (r->faults != SIM_FAULTS_ALL || r->seeds < LARGE_RUN)
        return;
    VMIG_EACH_STATE (i, &vmig_states_migrate) {
        if (sum->states[i->index] > 0 || i == VMIG_MIGRATE(PLAN))
            continue;
        printf("state %s was never reached\n", vmig_state_name(i));
        sum->failed++;
    }
    if (sum->kept == 0) {
        puts("no seed began with an image that an earlier job kept");
        sum->failed++;
    }
}

static gboolean parse_name(const char *text, const char *const *names, guint n, int *ret)
{
    for (guint i = 0; i < n; i++)
        if (g_strcmp0(names[i], text) == 0) {
            *ret = (int)i;
            return TRUE;
        }
    return FALSE;
}

static gboolean parse(Runner *r, int argc, char **argv)
{
    int value = 0;

    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--trace") == 0 || strcmp(argv[i], "--hash") == 0) {
            *(argv[i][2] == 't' ? &r->trace : &r->hash) = TRUE;
            continue;
        }
        i++;
        if (strcmp(argv[i - 1], "--seeds") == 0)
            r->seeds = g_ascii_strtoull(next, NULL, 10);
        else if (strcmp(argv[i - 1], "--jobs") == 0)
            r->jobs = g_ascii_strtoull(next, NULL, 10);
        else if (strcmp(argv[i - 1], "--first") == 0)
            r->first = g_ascii_strtoull(next, NULL, 10);
        else if (strcmp(argv[i - 1], "--tell") == 0)
            r->tell = g_ascii_strtoull(next, NULL, 10);
        else if (strcmp(argv[i - 1], "--seed") == 0)
            r->first = g_ascii_strtoull(next, NULL, 10), r->seeds = 1;
        else if (strcmp(argv[i - 1], "--faults") == 0 && parse_name(next, fault_sets, G_N_ELEMENTS(fault_sets), &value))
            r->faults = (SimFaultSet)value;
        else if (strcmp(argv[i - 1], "--when") == 0 && sim_script_add(&r->script, next))
            r->faults = SIM_FAULTS_NONE;
        else if (strcmp(argv[i - 1], "--break") == 0 && parse_name(next, breaks, G_N_ELEMENTS(breaks), &value))
            r->broken = (SimBreak)value;
        else
            return FALSE;
    }
    return TRUE;
}

int main(int argc, char **argv)
{
    Runner r = {.first = 1, .seeds = 1000, .tell = 20, .faults = SIM_FAULTS_ALL};
    SimCount sum;

    if (!parse(&r, argc, argv)) {
        fprintf(stderr, "usage: sim [--seeds N] [--first SEED] [--seed SEED] [--jobs N] [--trace] [--hash] [--tell N]\n"
                        "           [--faults none|errors|crashes|all] [--break fence|token|order|facts|copy]\n"
                        "           [--when STATE/METHOD/source|dest[#N]=FAULT[@source|@dest]]...\n");
        return 2;
    }
    /* Memory is reused constantly: do not return it to the kernel each time. */
    mallopt(M_TRIM_THRESHOLD, 1 << 28);
    mallopt(M_MMAP_THRESHOLD, 1 << 28);
    mallopt(M_TOP_PAD, 1 << 24);
    signal(SIGSEGV, on_signal);
    signal(SIGABRT, on_signal);
    if (r.jobs == 0)
        r.jobs = r.seeds >= MANY && !r.trace ? g_get_num_processors() : 1;
    sim_pool_run((guint)r.jobs, r.first, r.seeds, run_seeds, &r, &sum);
    check_coverage(&r, &sum);
    print_histogram(&sum);
    printf("%" G_GUINT64_FORMAT " passed, %" G_GUINT64_FORMAT " failed, 0 skipped\n", sum.passed, sum.failed);
    if (r.broken != SIM_BREAK_NOTHING) {
        printf("\"%s\" was seen in %" G_GUINT64_FORMAT " runs\n", seen_as[r.broken], sum.seen);
        return sum.seen > 0 ? 1 : 0;
    }
    return sum.failed > 0 ? 1 : 0;
}
