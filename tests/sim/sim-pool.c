/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Distributes the seeds over processes: each takes the next few after it has finished its last ones, and counts in
 * shared memory. A run does not depend on its process or on earlier runs. */
#include "sim.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_JOBS 256

typedef struct {
    guint64 next; /* seeds already handed out */
    SimCount counts[MOST_JOBS];
} Shared;

typedef struct {
    guint64 first, seeds;
    SimPoolWork work;
    gpointer data;
    Shared *shared;
} Pool;

static void run_chunks(const Pool *pool, SimCount *count)
{
    for (;;) {
        guint64 from = __atomic_fetch_add(&pool->shared->next, SIM_CHUNK, __ATOMIC_RELAXED);
        if (from >= pool->seeds)
            return;
        pool->work(pool->data, count, pool->first + from, MIN(SIM_CHUNK, pool->seeds - from));
    }
}

static void add_count(SimCount *sum, const SimCount *one)
{
    sum->passed += one->passed;
    sum->failed += one->failed;
    sum->seen += one->seen;
    sum->processes += one->processes;
    sum->calls += one->calls;
    sum->kept += one->kept;
    for (guint i = 0; i < SIM_OUTCOMES; i++)
        sum->outcomes[i] += one->outcomes[i];
    VMIG_EACH_STATE (i, &vmig_states_migrate)
        sum->states[i->index] += one->states[i->index];
    for (guint i = 0; i < SIM_FAULT_KINDS; i++)
        sum->fired[i] += one->fired[i];
}

static void wait_for(pid_t pid, SimCount *count)
{
    int status = 0;

    if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    count->failed++;
    printf("seed %" G_GUINT64_FORMAT ": the process that ran it ended (status %d)\n", count->seed, status);
}

void sim_pool_run(guint jobs, guint64 first, guint64 seeds, SimPoolWork work, gpointer data, SimCount *sum)
{
    Shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    Pool pool = {first, seeds, work, data, shared};
    pid_t pids[MOST_JOBS];

    if (shared == MAP_FAILED)
        g_error("no memory for the processes to share");
    jobs = MIN(jobs, MOST_JOBS);
    fflush(stdout);
    for (guint i = 0; jobs > 1 && i < jobs; i++) {
        pids[i] = fork();
        if (pids[i] != 0)
            continue;
        run_chunks(&pool, &shared->counts[i]);
        fflush(stdout);
        _exit(0);
    }
    if (jobs <= 1)
        run_chunks(&pool, &shared->counts[0]);
    for (guint i = 0; jobs > 1 && i < jobs; i++)
        wait_for(pids[i], &shared->counts[i]);
    memset(sum, 0, sizeof *sum);
    for (guint i = 0; i < MAX(jobs, 1); i++)
        add_count(sum, &shared->counts[i]);
    munmap(shared, sizeof *shared);
}
