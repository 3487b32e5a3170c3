/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The faults of a run: the seed chooses their kinds and the numbers of the calls at which they happen. */
#include "sim.h"

#include <string.h>

#include "store/journal-private.h"

/* More calls than any run needs: a run that makes them never ends. */
#define MOST_CALLS 60000
#define LONGEST (40 * 24 * 3600 * SIM_S)

const char *const sim_fault_names[SIM_FAULT_KINDS] = {
    "error-before", "error-after", "crash-before", "crash-after", "stubborn",  "peer-down",   "net-down",
    "libvirt",      "power",       "qemu",         "cancel",      "guest-off", "guest-pause", "guest-io",
    "no-space",     "block-job",   "operator",     "corrupt",     "journal",   "guard",       "old-journal",
    "forget",       "old-config",  "old-live",     "late-live",
};

static gboolean is_in_set(SimFaultSet set, SimFaultKind kind)
{
    switch (set) {
    case SIM_FAULTS_ERRORS:
        return kind == SIM_FAULT_ERROR_BEFORE || kind == SIM_FAULT_ERROR_AFTER || kind == SIM_FAULT_STUBBORN ||
               kind == SIM_FAULT_PEER_DOWN || kind == SIM_FAULT_NET_DOWN || kind == SIM_FAULT_LIBVIRT ||
               kind == SIM_FAULT_BLOCK_JOB || kind == SIM_FAULT_CORRUPT || kind == SIM_FAULT_SPACE;
    case SIM_FAULTS_CRASHES:
        return kind == SIM_FAULT_CRASH_BEFORE || kind == SIM_FAULT_CRASH_AFTER || kind == SIM_FAULT_JOURNAL;
    case SIM_FAULTS_ALL:
        return TRUE;
    case SIM_FAULTS_NONE:
    default:
        return FALSE;
    }
}

static int by_call(const void *a, const void *b)
{
    const SimFault *x = a, *y = b;

    return x->at < y->at ? -1 : x->at > y->at;
}

/* From its own random stream, so that everything else of a seed is the same with or without it. */
static void plan_old_journal(Sim *sim)
{
    SimRandom r;

    sim_random_seed(&r, sim->seed, 5);
    if (!sim_random_percent(&r, 10) || sim->n_faults == SIM_FAULTS)
        return;
    sim->faults[sim->n_faults++] = (SimFault){SIM_FAULT_OLD, 1 + sim_random_below(&r, 300)};
    sim->old.host = &sim->hosts[sim_random_below(&r, 2)];
    sim->old.after = (guint)sim_random_scale(&r, 1, 200);
}

void sim_fault_plan(Sim *sim, SimFaultSet set)
{
    SimRandom *r = &sim->chance;

    sim->set = set;
    sim->journal_fault = SIM_FAULT_KINDS;
    sim->pivot.kind = SIM_FAULT_KINDS;
    if (set == SIM_FAULTS_NONE)
        return;
    /* Mostly few, so that each is seen alone and in pairs; sometimes many. */
    sim->n_faults = (guint)sim_random_scale(r, 1, SIM_FAULTS);
    for (guint i = 0; i < sim->n_faults; i++) {
        SimFaultKind kind;
        do
            kind = sim_random_below(r, SIM_FAULT_OLD);
        while (!is_in_set(set, kind));
        /* Half of them closely follow the previous one: a second fault hurts most during the recovery from the first.
         */
        guint near = i > 0 ? sim->faults[i - 1].at + (guint)sim_random_scale(r, 1, 60) : 0;
        guint far = 1 + sim_random_below(r, 420);
        sim->faults[i] = (SimFault){kind, i > 0 && sim_random_percent(r, 50) ? near : far};
    }
    if (set == SIM_FAULTS_ALL) {
        plan_old_journal(sim);
        sim_pivot_plan(sim);
        sim_meddle_plan(sim);
    }
    qsort(sim->faults, sim->n_faults, sizeof sim->faults[0], by_call);
    static const guint percents[] = {0, 0, 15, 60};
    sim->migration_fails = set == SIM_FAULTS_CRASHES ? 0 : percents[sim_random_below(r, G_N_ELEMENTS(percents))];
}

/* Everything that belongs to the process that serves a host's node ends with it. */
void sim_end_agent(SimHost *host)
{
    sim_guard_asker_ends(host);
    g_clear_pointer(&host->oplock, g_free);
    g_hash_table_remove_all(host->receivers);
    g_hash_table_remove_all(host->hashes);
    host->agent = FALSE;
    g_clear_pointer(&host->rehearsed, g_free); /* AUTODESTROY: the tool's connection ended the same way */
}

void sim_crash(Sim *sim)
{
    if (sim->dead)
        return;
    sim_trace(sim, "the process dies");
    sim->dead = TRUE;
    sim->migration.watched = sim->migration.refused = FALSE;
    if (sim->migration.phase == SIM_MIG_RETURNED)
        sim_migration_clear(&sim->migration);
    sim_here(sim)->journal->broken = TRUE;
    sim_end_agent(sim_source(sim));
    sim_end_agent(sim_dest(sim));
}

static void lose_peer(Sim *sim, gboolean net)
{
    gint64 until = sim->now + sim_random_scale(&sim->chance, SIM_S, 3000 * SIM_S);

    sim_peer(sim)->down_until = MAX(sim_peer(sim)->down_until, until);
    if (net)
        sim->net_until = MAX(sim->net_until, until);
    sim_end_agent(sim_peer(sim));
}

void sim_power_loss(Sim *sim, SimHost *host)
{
    SimDomain *d = &host->domain;

    sim_trace(sim, "%s loses power", host->name);
    g_free(host->journal->boot_id);
    host->journal->boot_id = g_strdup_printf("boot %u", ++sim->boots);
    if (host == sim_here(sim))
        sim_crash(sim);
    if (host->orphan != NULL)
        sim->guest.was_off = TRUE;
    g_clear_pointer(&host->orphan, sim_qemu_kill);
    sim_guest_lost(sim, host);
    d->off = VMIG_OFF_UNKNOWN;
    host->booted = TRUE;
    sim_migration_libvirt_died(sim, host);
    sim_domain_lose_config(host);
    if (d->exists && !d->persistent)
        sim_domain_drop(host);
    sim_guard_kill(host);
    host->rundir = host->given = FALSE;
    sim_end_agent(host);
    gint64 up = sim->now + sim_random_scale(&sim->chance, 20 * SIM_S, 600 * SIM_S);
    host->down_until = MAX(host->down_until, up);
    sim->net_until = MAX(sim->net_until, up);
    /* libvirt starts the guest at boot. The real hook would refuse a guest that this host does not own; here there is
     * none. */
    if (d->persistent && d->autostart && !sim_domain_start(host, FALSE, NULL))
        sim_trace(sim, "%s: autostart fails", host->name);
}

static void restart_libvirt(Sim *sim, SimHost *host)
{
    sim_trace(sim, "%s: libvirtd is restarted", host->name);
    host->libvirt_until = sim->now + sim_random_scale(&sim->chance, 200 * SIM_MS, 20 * SIM_S);
    sim_migration_libvirt_died(sim, host);
}

/* Failed, cancelled, or vanished without an event; a commit may also stop making progress. */
static void hit_block_job(Sim *sim, SimQemuDisk *disk)
{
    guint what = sim_random_below(&sim->chance, 4);

    if (what < 3) {
        static const VmigBlockEnd ends[] = {VMIG_BLOCK_END_FAILED, VMIG_BLOCK_END_CANCELLED, VMIG_BLOCK_END_UNKNOWN};
        sim_qemu_end_job(disk, ends[what]);
    } else if (disk->job.kind == VMIG_BLOCK_JOB_COMMIT && !disk->job.ready) {
        disk->job.stalled = TRUE;
        disk->job.due = SIM_NEVER;
    }
}

static void end_some_block_job(Sim *sim)
{
    for (guint h = 0; h < 2; h++) {
        SimQemu *qemu = sim->hosts[h].domain.qemu;
        for (guint i = 0; qemu != NULL && i < qemu->n; i++) {
            if (qemu->disks[i].job.kind == VMIG_BLOCK_JOB_NONE)
                continue;
            sim_trace(sim, "%s: the block job of disk %u ends or stalls", sim->hosts[h].name, i);
            hit_block_job(sim, &qemu->disks[i]);
            return;
        }
    }
    sim->commit_fails = 1 + sim_random_below(&sim->chance, SIM_BLOCKS);
}

static void qemu_dies(Sim *sim, SimHost *host)
{
    if (host->domain.qemu != NULL)
        sim_trace(sim, "%s: QEMU dies", host->name);
    sim_guest_lost(sim, host);
}

static void choose_journal_fault(Sim *sim)
{
    static const SimFaultKind kinds[] = {SIM_FAULT_CRASH_BEFORE, SIM_FAULT_CRASH_AFTER, SIM_FAULT_CRASH_AFTER,
                                         SIM_FAULT_ERROR_BEFORE};
    guint n = sim->set == SIM_FAULTS_CRASHES ? 3 : 4;

    sim->journal_fault = kinds[sim_random_below(&sim->chance, n)];
}

/* Another job runs on the same hosts: affected only after it was planned and before its faults end. */
static gboolean shares_fate(const SimHost *host)
{
    return host->twin != NULL && host->twin->sim->yield != NULL && host->twin->sim->visited != 0 &&
           !host->twin->sim->healed;
}

void sim_fault_happen(Sim *sim, SimFaultKind kind, SimHost *host, SimCall *call)
{
    sim->fired[kind] = TRUE;
    sim_trace(sim, "fault %s at call %u (%s)", sim_fault_names[kind], sim->calls, call->method);
    switch (kind) {
    case SIM_FAULT_ERROR_BEFORE:
        call->fail_before = TRUE;
        break;
    case SIM_FAULT_ERROR_AFTER:
        call->fail_after = TRUE;
        break;
    case SIM_FAULT_CRASH_BEFORE:
        sim_crash(sim);
        break;
    case SIM_FAULT_CRASH_AFTER:
        call->crash_after = TRUE;
        break;
    case SIM_FAULT_STUBBORN:
        sim->stubborn = call->method;
        sim->stubborn_until = sim->now + sim_random_scale(&sim->chance, SIM_S, 8000 * SIM_S);
        break;
    case SIM_FAULT_PEER_DOWN:
    case SIM_FAULT_NET_DOWN:
        lose_peer(sim, kind == SIM_FAULT_NET_DOWN);
        break;
    case SIM_FAULT_LIBVIRT:
        restart_libvirt(sim, host);
        if (shares_fate(host))
            restart_libvirt(host->twin->sim, host->twin);
        break;
    case SIM_FAULT_POWER:
        sim_power_loss(sim, host);
        if (shares_fate(host))
            sim_power_loss(host->twin->sim, host->twin);
        break;
    case SIM_FAULT_QEMU:
        qemu_dies(sim, host);
        break;
    case SIM_FAULT_CANCEL:
        vmig_machine_cancel(sim->machine);
        break;
    case SIM_FAULT_GUEST_OFF:
        sim_guest_off(sim);
        break;
    case SIM_FAULT_GUEST_PAUSE:
        sim_guest_pause(sim);
        break;
    case SIM_FAULT_GUEST_IO:
        host->no_space_guest = TRUE;
        break;
    case SIM_FAULT_SPACE:
        host->full_until = sim->now + sim_random_scale(&sim->chance, SIM_S, 2000 * SIM_S);
        break;
    case SIM_FAULT_BLOCK_JOB:
        end_some_block_job(sim);
        break;
    case SIM_FAULT_OPERATOR:
        sim_operator_act(sim);
        break;
    case SIM_FAULT_CORRUPT:
        sim->corrupt = TRUE;
        break;
    case SIM_FAULT_JOURNAL:
        choose_journal_fault(sim);
        break;
    case SIM_FAULT_GUARD:
        sim_guard_kill(&sim->hosts[0]);
        break;
    case SIM_FAULT_OLD:
        if (sim->script != NULL) {
            sim->old.host = host;
            sim->old.after = G_MAXUINT; /* another line ends the process */
        }
        if (sim->reopen == NULL && !sim_owner(sim)->is_dest)
            sim_journal_keep_old(sim, sim->old.host);
        break;
    case SIM_FAULT_FORGET:
    case SIM_FAULT_OLD_CONFIG:
    case SIM_FAULT_OLD_LIVE:
    case SIM_FAULT_LATE_LIVE:
    case SIM_FAULT_KINDS:
    default:
        g_assert_not_reached();
    }
    sim_check_now(sim);
}

/* A journal cannot be replaced under a running process: the process dies some time after it gave the token. */
static void die_for_old_journal(Sim *sim)
{
    if (!sim->healed && sim->old.journal != NULL && sim_owner(sim)->is_dest && sim->old.after-- == 1)
        sim_crash(sim);
}

static gboolean crashed(GError **error)
{
    return vmig_fail(error, VMIG_ERROR_CRASHED, NULL, "the process died here");
}

static gboolean fail_call(Sim *sim, const SimCall *call, GError **error)
{
    static const VmigErrorCode libvirt[] = {VMIG_ERROR_HYPERVISOR, VMIG_ERROR_CONNECTION, VMIG_ERROR_TIMEOUT};
    static const VmigErrorCode node[] = {VMIG_ERROR_IO, VMIG_ERROR_NO_SPACE, VMIG_ERROR_CONNECTION};
    guint n = call->libvirt || call->host == sim_peer(sim) ? 3 : 2;
    const VmigErrorCode *codes = call->libvirt ? libvirt : node;
    VmigErrorCode code = codes[sim_random_below(&sim->chance, n)];

    if (strcmp(call->method, "rundir-remove") == 0)
        call->host->rundir_stuck = TRUE;
    return vmig_fail(error, code, NULL, "%s: '%s' fails by the simulation", call->host->name, call->method);
}

static gboolean never_ends(Sim *sim)
{
    if (sim->calls < MOST_CALLS && sim->now < LONGEST)
        return FALSE;
    sim_violate(sim, "it does not come to an end: %u calls, %" G_GINT64_FORMAT " s", sim->calls, sim->now / SIM_S);
    sim_crash(sim);
    return TRUE;
}

static void run_faults(Sim *sim, SimCall *call)
{
    if (sim->aside_dies > 0 && --sim->aside_dies == 0) {
        if (sim->calls % 2 == 0)
            sim_crash(sim);
        else
            call->crash_after = TRUE;
    }
    while (!sim->healed && sim->machine != NULL && sim->next_fault < sim->n_faults &&
           sim->faults[sim->next_fault].at <= sim->calls) {
        SimHost *host = &sim->hosts[sim_random_below(&sim->chance, 2)];
        sim_fault_happen(sim, sim->faults[sim->next_fault++].kind, host, call);
    }
    sim_script_call(sim, call);
}

static gboolean is_reachable(Sim *sim, const SimCall *call)
{
    if (call->host == sim_peer(sim) && sim->now < call->host->down_until)
        return FALSE;
    if (!call->libvirt)
        return call->host == sim_here(sim) || call->host->agent;
    return sim->now >= call->host->libvirt_until;
}

static gboolean begin_call(Sim *sim, SimCall *call, SimHost *host, const char *method, GError **error)
{
    call->host = host;
    call->method = method;
    call->fail_before = call->fail_after = call->crash_after = FALSE;
    if (sim->yield != NULL)
        sim->yield(sim);
    if (sim->dead)
        return crashed(error);
    sim->calls++;
    sim->guest.idle = 0;
    if (sim->guest.due > sim->now + 100 * SIM_MS && sim_guest_runner(sim) != NULL)
        sim->guest.due = sim->now + sim_random_scale(&sim->env, SIM_MS, 100 * SIM_MS);
    sim_advance(sim, sim_random_scale(&sim->env, 20, 3 * SIM_MS));
    run_faults(sim, call);
    die_for_old_journal(sim);
    if (never_ends(sim) || sim->dead)
        return crashed(error);
    if (!is_reachable(sim, call)) {
        sim_advance(sim, sim_random_scale(&sim->env, SIM_MS, 15 * SIM_S));
        return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "%s does not answer", host->name);
    }
    if (call->fail_before || (method == sim->stubborn && sim->now < sim->stubborn_until && !sim->healed))
        return fail_call(sim, call, error);
    return TRUE;
}

gboolean sim_libvirt_begin(Sim *sim, SimCall *call, SimHost *host, const char *method, GError **error)
{
    call->libvirt = TRUE;
    sim_pivot_follow(host);
    sim_stranger_check(host, method);
    return begin_call(sim, call, host, method, error);
}

gboolean sim_node_begin(Sim *sim, SimCall *call, SimHost *host, const char *method, GError **error)
{
    call->libvirt = FALSE;
    return begin_call(sim, call, host, method, error);
}

gboolean sim_call_end(Sim *sim, SimCall *call, gboolean ok, GError **error)
{
    if (sim->trace)
        sim_trace(sim, "%4u %s: %s%s", sim->calls, call->host->name, call->method, ok ? "" : " FAILED");
    sim_hash_call(sim, call, ok);
    sim_check_now(sim);
    if (call->crash_after)
        sim_crash(sim);
    if (sim->dead || call->fail_after) {
        g_clear_error(error);
        return sim->dead ? crashed(error) : fail_call(sim, call, error);
    }
    return ok;
}

/* Called by SQLite before a transaction is committed. Nonzero: it is rolled back. */
int sim_fault_commit_hook(gpointer data)
{
    SimHost *host = data;
    Sim *sim = host->sim;
    SimFaultKind kind = sim->journal_fault;

    if (host != sim_here(sim) || kind == SIM_FAULT_KINDS)
        return 0;
    sim->journal_fault = SIM_FAULT_KINDS;
    switch (kind) {
    case SIM_FAULT_ERROR_BEFORE:
        sim_trace(sim, "a transaction of the journal fails");
        return 1;
    case SIM_FAULT_CRASH_BEFORE:
        sim_crash(sim);
        return 1;
    case SIM_FAULT_CRASH_AFTER:
        sim_crash(sim);
        return 0;
    default:
        return 0;
    }
}

/* The operator resumes a guest that QEMU stopped for lack of space once there is some, unless the tool has to do that.
 */
static void let_go_on(SimHost *host)
{
    SimDomain *d = &host->domain;

    host->no_space_guest = FALSE;
    host->full_until = 0;
    if ((!host->tool_owes || host->sim->foreign) && d->qemu != NULL && d->run == VMIG_RUN_IO_ERROR && !d->out_job &&
        sim_qemu_cont(d->qemu, NULL))
        d->run = VMIG_RUN_RUNNING;
}

void sim_fault_heal(Sim *sim)
{
    if (!sim->healed)
        sim_trace(sim, "nothing goes wrong any more");
    sim_meddle_heal(sim);
    sim->healed = TRUE;
    sim->stubborn_until = sim->net_until = 0;
    sim->journal_fault = SIM_FAULT_KINDS;
    sim->corrupt = FALSE;
    sim->commit_fails = 0;
    sim_stranger_leave(sim);
    for (guint h = 0; h < 2; h++) {
        sim->hosts[h].down_until = sim->hosts[h].libvirt_until = 0;
        sim_pivot_heal(&sim->hosts[h]);
        let_go_on(&sim->hosts[h]);
    }
}
