/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Gives an invented job the facts that a job in this state must have: a record without them is refused. */
#pragma once

#include "core/job.h"
#include "flows/migrate/states.h"

static inline void put_facts(VmigJob *job, VmigState state)
{
    gboolean after = vmig_state_phase(state) == VMIG_PHASE_AFTER || state == VMIG_MIGRATE(DONE);
    gboolean begun = after || state == VMIG_MIGRATE(MIGRATE);
    gboolean merged = state == VMIG_MIGRATE(REDEFINE) || state == VMIG_MIGRATE(CLEANUP) || state == VMIG_MIGRATE(DONE);
    gboolean copied = begun || state == VMIG_MIGRATE(PREPARE) || state == VMIG_MIGRATE(DROP_METADATA);

    job->overlays = copied || state == VMIG_MIGRATE(COPY) ? VMIG_OVERLAYS_IN_USE : VMIG_OVERLAYS_UNUSED;
    job->merge = merged ? VMIG_MERGE_DONE : VMIG_MERGE_NOT_BEGUN;
    job->migration_begun = begun;
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++)
            ((VmigFile *)disk->files->pdata[k])->copy = copied ? VMIG_BASE_COPY_PLACED : VMIG_BASE_COPY_PART;
    }
}

/* The state, with the facts. */
static inline void put_state(VmigJob *job, VmigState state)
{
    vmig_job_set_state(job, state);
    put_facts(job, state);
}
