/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One run: plan, migrate, and resume as often as necessary, as the session does. */
#include "sim.h"

#include <stdio.h>

#include "flows/migrate/migrate-flow.h"
#include "store/journal-private.h"
#include "../roles.h"

#define MOST_PROCESSES 40
#define PARKS_BEFORE_HEALING 2
#define PARKS_AFTER_HEALING 3

void sim_trace(Sim *sim, const char *format, ...)
{
    va_list args;

    if (!sim->trace)
        return;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    printf("%14.6f  %s\n", (double)sim->now / G_USEC_PER_SEC, text);
}

static void connect_peer(Sim *sim, VmigEnv *env)
{
    VmigHost *host = sim->here == 0 ? &env->dest : &env->source;
    SimHost *peer = sim_peer(sim);

    peer->agent = TRUE;
    /* The folder of the connection's sockets: open_link() of env-real.c. */
    sim_here(sim)->rundir = TRUE;
    host->hypervisor = sim_hypervisor_new(peer);
    host->node = sim_node_new(peer);
}

/* Like reconnect() of env-real.c: a live link is left alone. */
static gboolean reconnect(VmigEnv *env, GError **error)
{
    Sim *sim = env->recipe;
    VmigHost *host = sim->here == 0 ? &env->dest : &env->source;

    if (sim->dead)
        return vmig_fail(error, VMIG_ERROR_CRASHED, NULL, "the process died before");
    if (host->node != NULL && sim_peer(sim)->agent && sim->now >= sim_peer(sim)->down_until)
        return TRUE;
    g_clear_pointer(&host->hypervisor, vmig_hypervisor_free);
    g_clear_pointer(&host->node, vmig_node_free);
    if (sim->now < sim_peer(sim)->down_until)
        return vmig_fail(error, VMIG_ERROR_UNREACHABLE, NULL, "%s does not answer", sim_peer(sim)->name);
    connect_peer(sim, env);
    return TRUE;
}

static VmigEnv *make_env(Sim *sim)
{
    VmigEnv *env = g_new0(VmigEnv, 1);
    VmigHost *here = sim->here == 0 ? &env->source : &env->dest;

    here->hypervisor = sim_hypervisor_new(sim_here(sim));
    here->node = sim_node_new(sim_here(sim));
    if (sim->now >= sim_peer(sim)->down_until)
        connect_peer(sim, env);
    env->one_at_a_time = TRUE;
    env->reconnect = reconnect;
    env->recipe = sim;
    env->copier = sim_copier_new(sim);
    env->clock = sim_clock_new(sim);
    env->random = sim_tool_random_new(sim);
    env->run_dir = g_strdup_printf("/run/vmig-snap/%s", sim->job_id);
    env->peer_uri = g_strdup("qemu+ssh://dest/system");
    return env;
}

static void on_state(gpointer user, const VmigJob *job)
{
    Sim *sim = user;

    sim->state = vmig_job_state(job);
    sim->visited |= 1ull << sim->state->index;
    sim_trace(sim, "==== %s", job->state);
    if (sim->broken == SIM_BREAK_FACTS && sim->state == VMIG_MIGRATE(COPY))
        sim->machine->job->merge = VMIG_MERGE_DONE;
    sim_check_expected(sim, job);
    sim_meddle_entered(sim, job);
}

static void on_note(gpointer user, const VmigJob *job G_GNUC_UNUSED, const char *text)
{
    sim_trace(user, "note: %s", text);
}

static void on_retry(gpointer user, const VmigJob *job, const GError *why, gint64 delay_us)
{
    sim_trace(user, "retry of %s in %.1f s: %s", job->state, (double)delay_us / G_USEC_PER_SEC, why->message);
}

/* To choose kept images as base copies, the plan checks more than is simulated: every definition and every image of the
 * destination. Here nothing prevents it. */
static void begin_with_kept(Sim *sim, VmigJob *job)
{
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++) {
            VmigFile *file = disk->files->pdata[k];
            if (sim_file_find(sim_dest(sim), file->path[VMIG_DEST]) != NULL)
                file->kept = g_strdup(SIM_KEPT_JOB);
        }
    }
}

static VmigJob *plan(Sim *sim, VmigEnv *env)
{
    VmigOptions options = {.merge = (char *)(sim->direct ? "mirror" : "commit"),
                           .transport = (char *)"tls",
                           .policy = (char *)"default",
                           .keep_source = sim->keep_source,
                           .verify = sim->seed % 4 == 1}; /* not random, so that the other choices stay the same */
    g_autoptr(VmigPathMap) map = vmig_path_map_new();
    VmigPlanRequest request = {.domain = "guest",
                               .map = map,
                               .options = &options,
                               .job_id = sim->job_id,
                               .connect_uri = "qemu:///system",
                               .dest_uri = "qemu+tls://dest/system"};
    g_autoptr(GError) error = NULL;

    vmig_path_map_add_dir(map, "/img=/data", NULL);
    if (g_strcmp0(sim_dest(sim)->folder, "/img") == 0) {
        vmig_path_map_free(map);
        map = vmig_path_map_new();
        request.map = map;
    }
    if (sim_random_percent(&sim->env, 20))
        options.timeout = 2 + sim_random_below(&sim->env, 30);
    g_autoptr(VmigPlan) result = vmig_plan_make(env, sim_source(sim)->journal, &request, &error);
    if (result == NULL || result->job == NULL) {
        if (result != NULL)
            vmig_plan_to_error(result, &error);
        /* This is possible if a system call fails. */
        if (sim->reopen == NULL)
            sim_violate(sim, "the plan is refused: %s", error->message);
        return NULL;
    }
    begin_with_kept(sim, result->job);
    return g_steal_pointer(&result->job);
}

static VmigJob *load(SimHost *host)
{
    g_autoptr(GError) error = NULL;
    VmigJob *job = vmig_journal_load(host->journal, host->sim->job_id, &error);

    if (job == NULL && host->sim->reopen != NULL && !g_error_matches(error, VMIG_ERROR, VMIG_ERROR_NO_JOB))
        host->sim->stuck = TRUE;
    return job;
}

static void run_machine(Sim *sim, VmigEnv *env, const VmigPolicy *policy, VmigJob *job)
{
    VmigReporter reporter = {.state = on_state, .retry = on_retry, .note = on_note, .user = sim};
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigMachine) machine =
        vmig_machine_new(&vmig_flow_migrate, env, sim_here(sim)->journal, sim->here == 1, policy, &reporter, job);

    sim->machine = machine;
    machine->set_aside = sim->exit == VMIG_EXIT_BY_SET_ASIDE;
    machine->without_verify = sim->exit == VMIG_EXIT_BY_WITHOUT_VERIFY;
    machine->only_back = sim->exit == VMIG_EXIT_BY_CANCEL;
    if (machine->only_back)
        vmig_machine_cancel(machine);
    if (!vmig_machine_run(machine, &error))
        sim_trace(sim, "the process ends: %s", error->message);
    sim->machine = NULL;
}

static gboolean knows_job(const SimHost *host)
{
    const char *owner = token_in(host->journal, host->sim->job_id, NULL);

    return owner != NULL;
}

/* After the switchover a job can be resumed on either host. */
static void choose_host(Sim *sim)
{
    const char *owner = token_in(sim_dest(sim)->journal, sim->job_id, NULL);
    gboolean there = (g_strcmp0(owner, vmig_role_name(VMIG_DEST)) == 0 || (sim->old.put_back && owner != NULL)) &&
                     sim->now >= sim_dest(sim)->down_until;

    sim->here = there && sim_random_percent(&sim->chance, 40) ? 1 : 0;
    if (sim->old.put_back && sim->old.host == sim_source(sim) && !knows_job(sim_source(sim)))
        sim->here = 1; /* that host's journal is from before the job */
    /* The process's own host must be up. */
    if (sim->now < sim_here(sim)->down_until && sim->here == 0)
        sim_advance_to(sim, sim_here(sim)->down_until, FALSE);
}

static void run_process(Sim *sim, const VmigPolicy *policy)
{
    sim->dead = FALSE;
    sim->dead_clock = 0;
    sim->processes++;
    g_autoptr(VmigJob) known = sim->processes == 1 ? NULL : load(sim_here(sim));
    /* Like carry_on() of jobs.c: an ended job is not opened. If the last process was killed at that moment and left a
     * socket folder, doctor removes it. */
    if (sim->processes > 1 && (known == NULL || vmig_state_is_final(vmig_job_state(known)))) {
        if (known != NULL)
            sim_source(sim)->rundir = sim_dest(sim)->rundir = FALSE;
        return;
    }
    g_autoptr(VmigEnv) env = make_env(sim);
    VmigJob *job = known != NULL ? g_steal_pointer(&known) : plan(sim, env);
    if (job == NULL)
        return;
    sim_trace(sim, "---- process %u on the %s: %s", sim->processes, sim_here(sim)->name, job->state);
    run_machine(sim, env, policy, job);
    if (sim->reopen != NULL)
        sim->stuck = !sim->reopen(sim);
    else
        sim_here(sim)->journal->broken = FALSE;
    /* Its operation locks, receivers and hashes end with it. */
    sim_end_agent(sim_source(sim));
    sim_end_agent(sim_dest(sim));
}

static gboolean is_over(Sim *sim, const VmigJob *job, guint *parks)
{
    VmigState state = vmig_job_state(job);

    sim->ended = vmig_state_is_final(state) && !sim->dead;
    /* doctor removes what a finished job could not remove. */
    for (guint i = 0; vmig_state_is_final(state) && i < G_N_ELEMENTS(sim->hosts); i++)
        if (sim->hosts[i].rundir_stuck)
            sim->hosts[i].rundir = FALSE;
    if (sim->ended)
        return TRUE;
    if (state != VMIG_MIGRATE(PARKED) || sim->dead)
        return FALSE;
    (*parks)++;
    sim_trace(sim, "parked in %s: %s", job->parked_state, job->error_message);
    if (sim->healed)
        return *parks >= PARKS_AFTER_HEALING;
    if (*parks < PARKS_BEFORE_HEALING)
        return FALSE;
    sim_fault_heal(sim);
    *parks = 0;
    return FALSE;
}

static SimOutcome outcome_of(const VmigJob *job)
{
    VmigState state = job != NULL ? vmig_job_state(job) : VMIG_MIGRATE(PLAN);

    if (state == VMIG_MIGRATE(PLAN))
        return SIM_REFUSED;
    switch (vmig_state_end(state)) {
    case VMIG_END_MOVED:
        return SIM_DONE;
    case VMIG_END_BACK:
        return SIM_ROLLED_BACK;
    case VMIG_END_ASIDE:
        return SIM_SET_ASIDE;
    case VMIG_END_NONE:
    default:
        return SIM_PARKED;
    }
}

/* Does what the text of parks.def says about a guest that exists on both hosts. */
static void end_second_copy(Sim *sim)
{
    SimHost *loser = sim_owner(sim) == sim_dest(sim) ? sim_source(sim) : sim_dest(sim);

    sim_trace(sim, "operator: ends the copy on the %s", loser->name);
    sim_operator_end_copy(loser);
}

/* In most runs the process that sets the job aside dies on its way. In some of these the job is resumed normally before
 * the operator repeats the command. From its own random stream. */
static void die_while_set_aside(Sim *sim, const VmigPolicy *policy)
{
    SimRandom r;

    sim_random_seed(&r, sim->seed, 8);
    while (sim_random_percent(&r, 60) && sim->violation == NULL) {
        sim->aside_dies = 1 + sim_random_below(&r, 45);
        run_process(sim, policy);
        sim->aside_dies = 0;
        if (sim->dead && sim_random_percent(&r, 30)) {
            sim->exit = 0;
            run_process(sim, policy);
            sim->exit = VMIG_EXIT_BY_SET_ASIDE;
        }
    }
}

/* Runs one of the commands that status names, last one first: the first is resume, which was already tried. On the
 * owner's host. */
static gboolean use_exit(Sim *sim, const VmigPolicy *policy, const VmigPark *park)
{
    static const VmigParkExits order[] = {VMIG_EXIT_BY_WITHOUT_VERIFY, VMIG_EXIT_BY_CANCEL, VMIG_EXIT_BY_SET_ASIDE};

    for (guint i = 0; i < G_N_ELEMENTS(order); i++) {
        if ((park->exits & order[i]) == 0)
            continue;
        sim->here = sim_owner(sim) == sim_dest(sim) ? 1 : 0;
        sim->exit = order[i];
        sim->keep_source = sim->keep_source || order[i] == VMIG_EXIT_BY_WITHOUT_VERIFY;
        if (order[i] == VMIG_EXIT_BY_SET_ASIDE)
            die_while_set_aside(sim, policy);
        run_process(sim, policy);
        sim->exit = 0;
        g_autoptr(VmigJob) job = load(sim_here(sim));
        if (job == NULL || vmig_state_is_final(vmig_job_state(job)))
            return TRUE;
    }
    return FALSE;
}

/* Nothing prevents the job from finishing any more, but it is still parked: the operator does what status says. */
static VmigJob *leave_hold(Sim *sim, const VmigPolicy *policy, VmigJob *parked)
{
    g_autoptr(VmigJob) job = parked;

    for (guint tries = 0; tries < 3 && !sim->stuck && sim->violation == NULL; tries++) {
        VmigPark park = vmig_park_of(job);
        if (park.exits == VMIG_EXIT_BY_RESUME)
            end_second_copy(sim);
        else if (use_exit(sim, policy, &park))
            break;
        run_process(sim, policy);
        VmigJob *now = sim->stuck ? NULL : load(sim_here(sim));
        if (now == NULL)
            break;
        vmig_job_free(job);
        job = now;
        if (vmig_job_state(job) != VMIG_MIGRATE(PARKED))
            break;
    }
    VmigJob *end = sim->stuck ? NULL : load(sim_here(sim));
    if (end == NULL)
        return NULL;
    sim->ended = vmig_state_is_final(vmig_job_state(end));
    if (!sim->ended)
        sim_violate(sim, "parked with no command that helps in %s: %s", end->parked_state, end->error_message);
    return end;
}

/* The other host's journal may not have the end: a resume there records it, and changes nothing else. */
static void end_other(Sim *sim, const VmigPolicy *policy)
{
    g_autoptr(VmigJob) before = load(sim_peer(sim));
    g_autoptr(VmigJob) after = NULL;

    if (sim->stuck || before == NULL || vmig_state_is_final(vmig_job_state(before)))
        return;
    sim->here = 1 - sim->here;
    run_process(sim, policy);
    after = sim->stuck ? NULL : load(sim_here(sim));
    if (after != NULL && !vmig_state_is_final(vmig_job_state(after)))
        sim_violate(sim, "the %s's journal is left in %s (%s)", sim_here(sim)->name, after->state,
                    after->error_message != NULL ? after->error_message : "no error");
}

/* Only while the other journal, which is the correct one then, has the token, and not when all is over: a journal that
 * never had the job stays like that. */
static void put_back_old(Sim *sim)
{
    if (sim->old.journal == NULL)
        return;
    const SimHost *other = sim->old.host->is_dest ? sim_source(sim) : sim_dest(sim);
    const char *owner = token_in(other->journal, sim->job_id, NULL);
    g_autoptr(VmigJob) there = load(sim_dest(sim));
    if (g_strcmp0(owner, vmig_role_name(VMIG_DEST)) != 0)
        return;
    if (there == NULL || !vmig_state_is_final(vmig_job_state(there)))
        sim_journal_put_back(sim);
}

SimOutcome sim_run(Sim *sim)
{
    g_autoptr(VmigPolicy) policy = vmig_policy_default();
    g_autoptr(VmigJob) job = NULL;
    gboolean over = FALSE;
    guint parks = 0;

    while (!over && sim->violation == NULL && sim->processes < MOST_PROCESSES) {
        if (sim->processes >= MOST_PROCESSES / 2)
            sim_fault_heal(sim);
        put_back_old(sim);
        choose_host(sim);
        run_process(sim, policy);
        g_clear_pointer(&job, vmig_job_free);
        job = sim->stuck ? NULL : load(sim_here(sim));
        if (sim->stuck)
            return SIM_PARKED;
        over = job == NULL || is_over(sim, job, &parks);
        if (!over)
            sim_advance(sim, sim_random_scale(&sim->env, 10 * SIM_MS, 1000 * SIM_S));
    }
    if (sim->violation != NULL)
        return outcome_of(job);
    if (!over)
        sim_violate(sim, "%u processes did not bring it to an end: it is in %s", sim->processes, job->state);
    sim_fault_heal(sim);
    if (job != NULL && sim->violation == NULL && vmig_job_state(job) == VMIG_MIGRATE(PARKED)) {
        if (!sim->foreign)
            sim_violate(sim, "parked for ever in %s: %s", job->parked_state, job->error_message);
        job = leave_hold(sim, policy, g_steal_pointer(&job));
    }
    if (sim->ended)
        end_other(sim, policy);
    if (sim->stuck)
        return SIM_PARKED;
    sim_check_end(sim, job);
    return outcome_of(job);
}
