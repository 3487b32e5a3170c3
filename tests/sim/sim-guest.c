/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest: it writes numbered blocks; every write is acknowledged at once and must exist forever. */
#include "sim.h"
#include "flows/migrate/states.h"

#include <string.h>

SimQemu *sim_guest_runner(Sim *sim)
{
    for (guint h = 0; h < 2; h++)
        if (sim->hosts[h].domain.qemu != NULL && sim->hosts[h].domain.qemu->running)
            return sim->hosts[h].domain.qemu;
    return NULL;
}

/* The steps after these states resume the guest at the latest. */
static gboolean tool_looks(const Sim *sim)
{
    VmigState state = sim->machine != NULL ? vmig_job_state(sim->machine->job) : VMIG_MIGRATE(PLAN);

    return state == VMIG_MIGRATE(ACTIVATE) || state == VMIG_MIGRATE(COMMIT) || state == VMIG_MIGRATE(PIVOT) ||
           state == VMIG_MIGRATE(REDEFINE) || state == VMIG_MIGRATE(BACK_COMMIT) || state == VMIG_MIGRATE(BACK_PIVOT);
}

/* werror=enospc: QEMU stops the CPUs and repeats the write after they are resumed. */
static void stop_on_error(SimHost *host)
{
    host->no_space_guest = FALSE;
    host->tool_owes = tool_looks(host->sim);
    sim_qemu_stop(host->domain.qemu);
    host->domain.run = VMIG_RUN_IO_ERROR;
    host->sim->woken = TRUE;
    sim_trace(host->sim, "%s: the guest stops on an I/O error", host->name);
}

void sim_guest_tick(Sim *sim)
{
    SimGuest *guest = &sim->guest;
    SimQemu *qemu = sim_guest_runner(sim);

    guest->due = SIM_NEVER;
    if (qemu == NULL)
        return;
    if (qemu->host->no_space_guest || sim_is_full(qemu->host)) {
        stop_on_error(qemu->host);
        return;
    }
    guint disk = sim_random_below(&sim->env, guest->n_disks);
    guint block = sim_random_below(&sim->env, SIM_BLOCKS);
    guest->last[disk][block] = ++guest->counter;
    sim_qemu_write(qemu, disk, block, guest->counter);
    /* If nothing happens for an hour, it need not write a million times. */
    guest->due = sim->now + (sim_random_scale(&sim->env, SIM_MS, 200 * SIM_MS) << MIN(guest->idle, 14));
    guest->idle++;
}

void sim_guest_free_kept(gpointer data)
{
    SimKept *kept = data;

    g_free(kept->name);
    g_free(kept);
}

void sim_guest_keep(Sim *sim, guint disk, const char *name, const guint32 *blocks)
{
    SimKept *kept = g_new0(SimKept, 1);

    kept->name = g_strdup(name);
    kept->disk = disk;
    memcpy(kept->blocks, blocks, sizeof kept->blocks);
    g_ptr_array_add(sim->guest.kept, kept);
}
