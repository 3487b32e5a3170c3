/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt's peer-to-peer migration (version 3), phase by phase, and what each side does if the other one is gone. Names
 * in comments are libvirt's functions; src/qemu/qemu_migration.c and qemu_process.c of 9.0. */
#include "sim.h"

#include <string.h>

#define STEPS 5

void sim_migration_clear(SimMigration *m)
{
    g_free(m->dest_xml);
    g_free(m->persistent_xml);
    *m = (SimMigration){.due = SIM_NEVER};
}

static void go(Sim *sim, SimMigPhase phase, gint64 low, gint64 high)
{
    sim->migration.phase = phase;
    sim->migration.due = sim->now + sim_random_scale(&sim->env, low, high);
}

static gboolean net_is_down(const Sim *sim)
{
    return sim->now < sim->net_until || sim->now < sim->hosts[1].libvirt_until;
}

/* Prepare starts the destination's QEMU for the source's connection, and it ends with that (autodestroy). */
static void end_incoming(Sim *sim)
{
    SimHost *dest = sim_dest(sim);

    if (!dest->domain.in_job)
        return;
    dest->domain.in_job = FALSE;
    sim_domain_off(dest);
}

/* qemuMigrationSrcRestoreDomainState(): resumes if it ran before; if that fails the domain is left as it is. */
static void restore_source(Sim *sim)
{
    SimHost *source = sim_source(sim);
    SimDomain *d = &source->domain;
    g_autoptr(GError) error = NULL;

    d->out_job = FALSE;
    if (d->qemu == NULL || sim->migration.stopped_at == 0 || d->run != VMIG_RUN_MIGRATING)
        return;
    if (!sim_qemu_cont(d->qemu, &error)) {
        sim_trace(sim, "%s", error->message);
        /* migration_iteration_finish() starts the CPUs whether it got the images back or not. */
        if (sim->migration.phase < SIM_MIG_REPLY)
            sim_violate(sim, "the source's QEMU dies of a lock when its migration fails");
        return;
    }
    d->run = VMIG_RUN_RUNNING;
    d->cancelled = TRUE;
    if (sim_owner(sim) != source)
        sim_violate(sim, "libvirt lets the source run on, and the token is given");
}

static void fail(Sim *sim, const char *why)
{
    sim_trace(sim, "the migration fails in phase %d: %s", sim->migration.phase, why);
    end_incoming(sim);
    restore_source(sim);
    sim->migration.failed = TRUE;
    go(sim, SIM_MIG_RETURN, SIM_MS, 500 * SIM_MS);
    sim->woken = TRUE;
}

static void begin(Sim *sim)
{
    SimDomain *d = &sim_source(sim)->domain;

    if (d->qemu == NULL || d->out_job || d->snapshots->len > 0 || sim_domain_has_block_job(d)) {
        fail(sim, "qemuMigrationSrcIsAllowed: snapshots, a block job, or not running");
        return;
    }
    d->out_job = TRUE;
    go(sim, SIM_MIG_PREPARE, SIM_MS, 300 * SIM_MS);
}

static void prepare(Sim *sim)
{
    SimHost *dest = sim_dest(sim);
    SimDomain *d = &dest->domain;
    g_autoptr(GError) error = NULL;
    SimDef def = {0};

    if (d->stranger) {
        fail(sim, "a domain of another name has the UUID on the destination");
        return;
    }
    if (d->exists && d->qemu != NULL) {
        fail(sim, "the domain is already active on the destination");
        return;
    }
    SimQemu *qemu =
        sim_def_parse(&def, sim->migration.dest_xml, &error) ? sim_qemu_new(dest, &def, TRUE, &error) : NULL;
    if (qemu == NULL) {
        sim_def_clear(&def);
        fail(sim, error->message);
        return;
    }
    d->live = def;
    d->exists = d->in_job = TRUE;
    d->qemu = qemu;
    d->run = VMIG_RUN_MIGRATING;
    d->migrated = FALSE;
    sim_check_copies(sim);
    sim->migration.steps = 1 + sim_random_below(&sim->env, STEPS);
    go(sim, SIM_MIG_PERFORM, 5 * SIM_MS, 4 * SIM_S);
}

/* The mirror: blocks of the source's top layer, and nothing below it, go into the destination's top: its overlay or,
 * with --merge mirror, its base copy. */
static void mirror(Sim *sim, gboolean all)
{
    const SimQemu *from = sim_source(sim)->domain.qemu;
    SimQemu *to = sim_dest(sim)->domain.qemu;

    for (guint i = 0; i < from->n; i++)
        for (guint b = 0; b < SIM_BLOCKS; b++)
            if (from->disks[i].chain[0]->blocks[b] != 0 && (all || sim_random_percent(&sim->env, 40)))
                to->disks[i].chain[0]->blocks[b] = from->disks[i].chain[0]->blocks[b];
}

static void perform(Sim *sim)
{
    SimMigration *m = &sim->migration;
    SimDomain *d = &sim_source(sim)->domain;

    if (sim_is_full(sim_dest(sim))) {
        fail(sim, "the destination is full: the mirror gets an error");
        return;
    }
    mirror(sim, FALSE);
    if (d->run == VMIG_RUN_IO_ERROR) {
        fail(sim, "VIR_MIGRATE_ABORT_ON_ERROR");
        return;
    }
    if (--m->steps > 0) {
        go(sim, SIM_MIG_PERFORM, 5 * SIM_MS, 4 * SIM_S);
        return;
    }
    /* Pre-switchover: the CPUs stop, the mirrors are in sync and end, the images are released. */
    m->stopped_at = sim->now;
    sim_qemu_stop(d->qemu);
    if (d->run == VMIG_RUN_RUNNING)
        d->run = VMIG_RUN_MIGRATING;
    mirror(sim, TRUE);
    sim_qemu_inactivate(d->qemu);
    sim->woken = TRUE;
    go(sim, SIM_MIG_STOPPED, SIM_MS, 100 * SIM_MS);
}

/* qemuMigrationDstFinish() with VIR_MIGRATE_PAUSED and PERSIST_DEST. */
static void finish(Sim *sim)
{
    SimHost *dest = sim_dest(sim);
    SimDomain *d = &dest->domain;

    sim_domain_before_config(dest);
    g_assert(sim_def_parse(&d->config, sim->migration.persistent_xml, NULL));
    d->persistent = TRUE;
    d->in_job = FALSE;
    d->qemu->incoming = FALSE;
    d->run = VMIG_RUN_PAUSED;
    sim->woken = TRUE;
    go(sim, SIM_MIG_REPLY, SIM_MS, 200 * SIM_MS);
}

/* qemuMigrationSrcConfirm(): the source's QEMU ends. */
static void confirm(Sim *sim)
{
    SimHost *source = sim_source(sim);
    SimDomain *d = &source->domain;

    d->out_job = FALSE;
    if (d->qemu != NULL && !sim->migration.lost_confirm) {
        sim_domain_off(source);
        d->off = VMIG_OFF_ASKED;
        d->migrated = d->exists;
    }
    go(sim, SIM_MIG_RETURN, SIM_MS, 3 * SIM_S);
}

void sim_migration_tick(Sim *sim)
{
    SimMigration *m = &sim->migration;

    m->due = SIM_NEVER;
    if (m->phase == m->fails_at && m->phase != SIM_MIG_NONE) {
        fail(sim, "it was to fail here");
        return;
    }
    gboolean cut = m->phase >= SIM_MIG_PREPARE && m->phase <= SIM_MIG_FINISH && net_is_down(sim);
    gboolean aborted = m->abort && m->phase <= SIM_MIG_STOPPED;
    if (cut || aborted) {
        fail(sim, cut ? "the hosts do not reach each other" : "aborted");
        return;
    }
    switch (m->phase) {
    case SIM_MIG_BEGIN:
        begin(sim);
        break;
    case SIM_MIG_PREPARE:
        prepare(sim);
        break;
    case SIM_MIG_PERFORM:
        perform(sim);
        break;
    case SIM_MIG_STOPPED:
        go(sim, SIM_MIG_FINISH, SIM_MS, 50 * SIM_MS);
        break;
    case SIM_MIG_FINISH:
        finish(sim);
        break;
    case SIM_MIG_REPLY:
        /* The destination has it; the source may not know yet. */
        if (m->lost_reply || net_is_down(sim))
            fail(sim, "the reply of Finish is lost");
        else
            go(sim, SIM_MIG_CONFIRM, SIM_MS, 100 * SIM_MS);
        break;
    case SIM_MIG_CONFIRM:
        confirm(sim);
        break;
    case SIM_MIG_RETURN:
        m->phase = SIM_MIG_RETURNED;
        sim->woken = TRUE;
        break;
    case SIM_MIG_NONE:
    case SIM_MIG_RETURNED:
    default:
        break;
    }
    sim_check_now(sim);
}

static gboolean is_going_on(const SimMigration *m)
{
    return m->phase != SIM_MIG_NONE && m->phase != SIM_MIG_RETURN && m->phase != SIM_MIG_RETURNED;
}

/* Called before the QEMU is ended. */
void sim_migration_qemu_died(Sim *sim, SimHost *host)
{
    SimMigration *m = &sim->migration;

    if (!is_going_on(m) || host->domain.qemu == NULL)
        return;
    if (!host->is_dest) {
        end_incoming(sim);
        host->domain.out_job = FALSE;
        m->failed = TRUE;
        go(sim, SIM_MIG_RETURN, SIM_MS, 100 * SIM_MS);
    } else if (host->domain.in_job) {
        fail(sim, "the destination's QEMU died");
    }
}

/* qemuMigrationSrcRecover and qemuProcessRecoverMigrationOut/In, by phase. The call has lost its connection. */
void sim_migration_libvirt_died(Sim *sim, SimHost *host)
{
    SimMigration *m = &sim->migration;
    SimDomain *d = &sim_source(sim)->domain;

    if (!is_going_on(m))
        return;
    if (host->is_dest) {
        /* FINISH3, complete, PAUSED: the QEMU is kept or killed, depending on how far it had got. */
        if (m->phase == SIM_MIG_REPLY && sim_random_percent(&sim->env, 50)) {
            sim->guest.was_off = TRUE;
            sim_domain_off(host);
        }
        if (m->phase == SIM_MIG_REPLY || m->phase < SIM_MIG_REPLY)
            fail(sim, "the destination's libvirtd is restarted");
        return;
    }
    switch (m->phase) {
    case SIM_MIG_FINISH:
    case SIM_MIG_REPLY:
        end_incoming(sim);
        d->out_job = FALSE;
        m->failed = TRUE;
        go(sim, SIM_MIG_RETURN, SIM_MS, 100 * SIM_MS);
        break;
    case SIM_MIG_CONFIRM:
        m->lost_confirm = FALSE;
        confirm(sim);
        m->failed = TRUE;
        break;
    default:
        fail(sim, "the source's libvirtd is restarted");
        break;
    }
}

static void choose_failures(Sim *sim)
{
    SimMigration *m = &sim->migration;
    SimRandom *r = &sim->chance;

    if (sim->healed || sim->set == SIM_FAULTS_NONE || !sim_random_percent(r, sim->migration_fails))
        return;
    switch (sim_random_below(r, 4)) {
    case 0:
        m->lost_reply = TRUE;
        break;
    case 1:
        m->lost_confirm = TRUE;
        break;
    default:
        m->fails_at = SIM_MIG_BEGIN + sim_random_below(r, 5);
        break;
    }
}

gboolean sim_migrate_begin(SimHost *host, const VmigMigrateParams *params, GError **error)
{
    Sim *sim = host->sim;
    SimMigration *m = &sim->migration;

    if (m->watched) {
        sim_violate(sim, "two migrations at a time in one process");
        return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "two migrations");
    }
    if (m->phase != SIM_MIG_NONE && m->phase != SIM_MIG_RETURNED) {
        m->watched = m->refused = TRUE;
        return TRUE;
    }
    sim_migration_clear(m);
    m->dest_xml = g_strdup(params->dest_xml);
    m->persistent_xml = g_strdup(params->persistent_xml);
    m->watched = TRUE;
    choose_failures(sim);
    go(sim, SIM_MIG_BEGIN, SIM_MS, 100 * SIM_MS);
    return TRUE;
}

void sim_migrate_poll(SimHost *host, VmigMigrateStatus *ret)
{
    const SimMigration *m = &host->sim->migration;

    ret->running = !m->refused && m->phase != SIM_MIG_RETURNED;
    ret->job_seen = ret->running && host->domain.out_job;
    ret->memory_done = ret->disk_done = 1;
    ret->memory_total = ret->disk_total = 2;
}

/* Joins the thread that waits for the call. */
gboolean sim_migrate_end(SimHost *host, GError **error)
{
    Sim *sim = host->sim;
    SimMigration *m = &sim->migration;

    if (!m->watched)
        return TRUE;
    while (!m->refused && m->phase != SIM_MIG_RETURNED)
        sim_advance_to(sim, sim->now + 3600 * SIM_S, TRUE);
    gboolean failed = m->refused || m->failed;
    m->watched = FALSE;
    if (!m->refused)
        sim_migration_clear(m);
    m->refused = FALSE;
    return !failed || vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL, "%s: the migration failed", host->name);
}
