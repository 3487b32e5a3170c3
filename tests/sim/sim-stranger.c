/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Another guest with the same UUID on the destination: a user restored it there while the job runs. It is not the guest
 * that the job moves, and the job must not touch it. */
#include "sim.h"

#include <string.h>

void sim_stranger_come(Sim *sim)
{
    SimHost *dest = sim_dest(sim);
    SimDomain *d = &dest->domain;

    if (d->exists || sim->healed)
        return;
    d->exists = d->persistent = d->stranger = sim->stranger = TRUE;
    d->run = sim_random_percent(&sim->chance, 50) ? VMIG_RUN_RUNNING : VMIG_RUN_SHUTOFF;
    d->id = ++sim->runs;
    d->config.n = sim->guest.n_disks;
    for (guint i = 0; i < d->config.n; i++) {
        SimDefDisk *disk = &d->config.disks[i];
        disk->target = g_strdup_printf("vd%c", 'a' + i);
        disk->chain[disk->n_chain++] = g_strdup_printf("%s/restored-%u.qcow2", dest->folder, i);
    }
    sim_trace(sim, "%s: somebody restores another guest with the same UUID, %s", dest->name, vmig_run_name(d->run));
}

/* Its owner gives it another UUID, as the tool's hint says. */
void sim_stranger_leave(Sim *sim)
{
    if (!sim_dest(sim)->domain.stranger)
        return;
    sim_trace(sim, "the other guest gets a UUID of its own");
    sim_domain_drop(sim_dest(sim));
    sim->stranger = FALSE;
}

void sim_stranger_check(SimHost *host, const char *method)
{
    static const char *const changes[] = {"destroy",       "undefine",        "suspend",         "resume",
                                          "start",         "define",          "set-metadata",    "update-disk",
                                          "set-autostart", "snapshot-define", "snapshot-forget", NULL};

    if (host->domain.stranger && g_strv_contains(changes, method))
        sim_violate(host->sim, "%s: %s of another guest, which has the same UUID", host->name, method);
}
