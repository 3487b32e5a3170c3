/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the row of states.def expects of a host's definition: checked against the simulated hosts when a job enters a
 * state, and after every event in it. */
#include "sim.h"

static const char *top_of(SimDomain *domain, const char *target)
{
    SimDefDisk *disk = sim_def_disk(domain->qemu != NULL ? &domain->live : &domain->config, target);

    return disk != NULL && disk->n_chain > 0 ? disk->chain[0] : NULL;
}

/* VmigMayBe; 0: another file. */
static guint found(SimHost *host, const VmigDisk *disk)
{
    const VmigFile *base = vmig_disk_base(disk);
    const char *top = top_of(&host->domain, disk->target);

    if (g_strcmp0(top, host->is_dest ? base->path[VMIG_DEST] : base->path[VMIG_SOURCE]) == 0)
        return VMIG_MAY_BE_BASE;
    return g_strcmp0(top, host->is_dest ? disk->at[VMIG_DEST].overlay : disk->at[VMIG_SOURCE].overlay) == 0
               ? VMIG_MAY_BE_OVERLAY
               : 0;
}

static void check_host(SimHost *host, const VmigJob *job, VmigState state)
{
    Sim *sim = host->sim;
    guint may = vmig_job_expected(job, host->is_dest ? VMIG_DEST : VMIG_SOURCE);

    if (host->domain.stranger)
        return; /* it does not belong to the job */
    if (!host->domain.exists) {
        if (!(may & VMIG_MAY_BE_ABSENT))
            sim_violate(sim, "the job is in %s, and %s has no definition of the guest", vmig_state_name(state),
                        host->name);
        return;
    }
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        guint is = found(host, disk);
        if (!(is & may))
            sim_violate(sim, "the job is in %s, and disk %s on %s is on %s", vmig_state_name(state), disk->target,
                        host->name,
                        is == VMIG_MAY_BE_BASE      ? "its base"
                        : is == VMIG_MAY_BE_OVERLAY ? "its overlay"
                                                    : "another file");
    }
}

void sim_check_expected(Sim *sim, const VmigJob *job)
{
    VmigState state = vmig_job_state(job);

    /* No table can anticipate an operator's changes of a definition. */
    if (vmig_state_is_final(state) || vmig_state_is(state, VMIG_STATE_WAITS) || sim->foreign || sim->meddle.redefined ||
        sim->old.put_back)
        return;
    for (guint h = 0; h < 2; h++)
        check_host(&sim->hosts[h], job, state);
}
