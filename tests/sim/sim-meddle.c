/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What somebody with root's rights does past libvirt and past every lock, at the moments in which a look of the job is
 * all that is left: he writes to a base while it is copied, and he defines the guest on its overlay before CLEAN. */
#include "sim.h"

/* By chances of their own: all else of a seed is the same with or without. */
void sim_meddle_plan(Sim *sim)
{
    SimRandom r;

    sim_random_seed(&r, sim->seed, 7);
    sim->meddle.touches = sim_random_percent(&r, 3);
    sim->meddle.redefines = sim_random_percent(&r, 3);
}

/* Its bytes stay what they were, or the source's own guest would read what it never wrote. */
void sim_meddle_copied(Sim *sim, const char *path)
{
    if (!sim->meddle.touches || sim->healed || sim->meddle.touched)
        return;
    sim_trace(sim, "%s: somebody writes to %s while it is copied", sim_source(sim)->name, path);
    sim_file_touch(sim_source(sim), sim_file_find(sim_source(sim), path));
    sim->meddle.touched = sim->foreign = TRUE;
}

static void name_top(SimDef *def, guint i, const char *path)
{
    SimDefDisk *disk = &def->disks[i];

    while (disk->n_chain > 1)
        sim_def_pop(disk);
    g_free(disk->chain[0]);
    disk->chain[0] = g_strdup(path);
    disk->chain_known = FALSE;
}

/* A host that boots would start the guest by it: not where it has its autostart. */
void sim_meddle_entered(Sim *sim, const VmigJob *job)
{
    SimHost *dest = sim_dest(sim);
    SimDomain *d = &dest->domain;

    if (vmig_job_state(job) != VMIG_STATE_CLEAN || !sim->meddle.redefines || sim->healed || sim->meddle.redefined ||
        sim->autostart || sim->direct || !d->persistent || d->stranger)
        return;
    sim_trace(sim, "%s: somebody defines the guest on its overlays", dest->name);
    sim_domain_before_config(dest);
    for (guint i = 0; i < job->disks->len; i++)
        name_top(&d->config, i, ((const VmigDisk *)job->disks->pdata[i])->dest_overlay);
    sim->meddle.redefined = TRUE;
}

/* He puts it right, as the hint says. */
void sim_meddle_heal(Sim *sim)
{
    SimHost *dest = sim_dest(sim);

    if (!sim->meddle.redefined || !dest->domain.persistent || sim->healed)
        return;
    sim_domain_before_config(dest);
    for (guint i = 0; i < dest->domain.config.n; i++)
        name_top(&dest->domain.config, i, sim->base[1][i][0]);
}

void sim_meddle_check(Sim *sim, VmigState end)
{
    if (end == VMIG_STATE_DONE && sim->meddle.touched)
        sim_violate(sim, "done, although somebody wrote to a base while it was copied");
}
