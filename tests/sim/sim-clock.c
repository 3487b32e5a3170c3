/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Time: it jumps from one event to the next. */
#include "sim.h"

gboolean sim_is_full(const SimHost *host)
{
    return host->sim->now < host->full_until;
}

SimHost *sim_source(Sim *sim)
{
    return &sim->hosts[0];
}

SimHost *sim_dest(Sim *sim)
{
    return &sim->hosts[1];
}

SimHost *sim_here(Sim *sim)
{
    return &sim->hosts[sim->here];
}

SimHost *sim_peer(Sim *sim)
{
    return &sim->hosts[1 - sim->here];
}

static gint64 next_due(const Sim *sim)
{
    gint64 due = MIN(sim->guest.due, sim->migration.due);

    for (guint h = 0; h < 2; h++) {
        const SimQemu *qemu = sim->hosts[h].domain.qemu;
        for (guint i = 0; qemu != NULL && i < qemu->n; i++)
            due = MIN(due, qemu->disks[i].job.due);
    }
    return due;
}

static void fire(Sim *sim)
{
    if (sim->guest.due <= sim->now)
        sim_guest_tick(sim);
    if (sim->migration.due <= sim->now)
        sim_migration_tick(sim);
    for (guint h = 0; h < 2; h++) {
        SimQemu *qemu = sim->hosts[h].domain.qemu;
        for (guint i = 0; qemu != NULL && i < qemu->n; i++)
            if (qemu->disks[i].job.due <= sim->now)
                sim_qemu_job_tick(qemu, i);
    }
}

void sim_advance_to(Sim *sim, gint64 until, gboolean stop_on_event)
{
    sim->woken = FALSE;
    for (;;) {
        gint64 due = next_due(sim);
        if (due > until)
            break;
        sim->now = MAX(sim->now, due);
        fire(sim);
        if (stop_on_event && sim->woken)
            return;
    }
    sim->now = MAX(sim->now, until);
}

void sim_advance(Sim *sim, gint64 microseconds)
{
    sim_advance_to(sim, sim->now + microseconds, FALSE);
}

/* In seconds. */
#define TEN_YEARS (10 * 365 * 24 * 3600)

typedef struct {
    VmigClock parent;
    Sim *sim;
} SimClock;

static gint64 clock_now(VmigClock *self)
{
    const Sim *sim = ((SimClock *)self)->sim;

    return sim->now + sim->dead_clock;
}

/* The wall clock may be changed by up to ten years between any two calls: only output for users may depend on it. */
static gint64 clock_wall(VmigClock *self)
{
    const Sim *sim = ((SimClock *)self)->sim;
    guint64 dice = (sim->seed * 1000003 + sim->calls) * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15);
    gint64 jump = (gint64)(dice >> 32) % TEN_YEARS;

    return clock_now(self) + (1700000000 + (dice & 1 ? jump : -jump)) * SIM_S;
}

/* Time also passes for a dead process, so that it reaches its end, but not for the simulated environment. */
static void clock_wait(VmigClock *self, gint64 until)
{
    Sim *sim = ((SimClock *)self)->sim;

    if (sim->dead)
        sim->dead_clock = MAX(sim->dead_clock, until - sim->now);
    else
        sim_advance_to(sim, until, TRUE);
    if (sim->yield != NULL)
        sim->yield(sim);
}

static void clock_free(VmigClock *self)
{
    g_free(self);
}

static const VmigClockOps clock_ops = {clock_now, clock_wall, clock_wait, clock_free};

VmigClock *sim_clock_new(Sim *sim)
{
    SimClock *self = g_new0(SimClock, 1);

    self->parent.ops = &clock_ops;
    self->sim = sim;
    return &self->parent;
}

typedef struct {
    VmigRandom parent;
    Sim *sim;
} SimToolRandom;

static void tool_bytes(VmigRandom *self, guint8 *buffer, gsize length)
{
    for (gsize i = 0; i < length; i++)
        buffer[i] = (guint8)sim_random_next(&((SimToolRandom *)self)->sim->tool);
}

static double tool_unit(VmigRandom *self)
{
    return (double)(sim_random_next(&((SimToolRandom *)self)->sim->tool) >> 11) / 9007199254740992.0;
}

static void tool_free(VmigRandom *self)
{
    g_free(self);
}

static const VmigRandomOps tool_ops = {tool_bytes, tool_unit, tool_free};

VmigRandom *sim_tool_random_new(Sim *sim)
{
    SimToolRandom *self = g_new0(SimToolRandom, 1);

    self->parent.ops = &tool_ops;
    self->sim = sim;
    return &self->parent;
}
