/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holds a record against its state's row of facts, and against the few laws that hold in every state. */
#include "core/job-facts.h"

#include "core/errors.h"

static gboolean is_owner(VmigOwnerRule wanted, gboolean dest)
{
    return wanted == VMIG_EITHER_OWNS || wanted == (dest ? VMIG_DEST_OWNS : VMIG_SOURCE_OWNS);
}

static gboolean is_in(guint set, guint level)
{
    return set == 0 || (set & 1u << level) != 0;
}

static gboolean is_right(VmigFactRule rule, gboolean fact)
{
    return rule == VMIG_FACT_ALLOWED || (rule == VMIG_FACT_REQUIRED) == fact;
}

static gboolean has_copies(const VmigJob *job, VmigCopySet set)
{
    for (guint i = 0; i < job->artifacts->len; i++) {
        const VmigArtifact *artifact = job->artifacts->pdata[i];
        for (guint k = 0; k < artifact->files->len; k++)
            if (!is_in(set.copies, ((const VmigFile *)artifact->files->pdata[k])->copy))
                return FALSE;
    }
    return TRUE;
}

/* The first fact that the row does not admit; NULL: none. */
static const char *against_row(const VmigJob *job, const VmigLegalFacts *row)
{
    if (!is_owner(row->owner, job->owner == VMIG_DEST))
        return "token";
    if (!is_in(row->overlays.overlays, job->overlays))
        return job->overlays == VMIG_OVERLAYS_DIVERGED ? "diverged" : "frozen";
    if (!is_in(row->merge.stages, job->merge))
        return "the stage of the merge";
    if (!has_copies(job, row->copies))
        return "the base copies";
    if (!is_right(row->begun, job->migration_begun))
        return "migration_begun";
    if (!is_right(row->revoked, job->revoked))
        return "revoked";
    if (!is_right(row->suspended, job->suspended))
        return "suspended";
    if (!is_right(row->start_again, job->start_again))
        return "start_again";
    if (!is_right(row->verified, job->verified))
        return "verified";
    return is_right(row->source_clean, job->source_clean) ? NULL : "source_clean";
}

static gboolean any_disk_pivoted(const VmigJob *job)
{
    for (guint i = 0; i < job->disks->len; i++)
        if (((const VmigDisk *)job->disks->pdata[i])->pivoted)
            return TRUE;
    return FALSE;
}

/* What holds in every state: a pair of facts that exclude each other; NULL: none. */
static const char *against_laws(const VmigJob *job)
{
    if (job->revoked && job->owner == VMIG_DEST)
        return "what arrived on the destination was revoked, but the destination owns the guest";
    if (job->merge >= VMIG_MERGE_PIVOTING)
        return NULL;
    if (any_disk_pivoted(job))
        return "a disk is pivoted, but no pivot was begun";
    if (job->suspended)
        return "the job suspended the guest for a pivot, but no pivot was begun";
    return job->start_again ? "the guest is to be started again on its bases, but no pivot was begun" : NULL;
}

/* Only a bug, or a change of the journal by hand, leads here. */
#define HINT                                                                                                           \
    "Keep a copy of the journals of both hosts, and do not start the guest on another host. vmig-snap doctor lists "   \
    "on "                                                                                                              \
    "each host what the job left there."

gboolean vmig_job_facts_are_legal(const VmigJob *job, GError **error)
{
    VmigState work = vmig_job_work_state(job);
    VmigState state = work != NULL ? work : vmig_job_state(job);
    const char *law = against_laws(job);
    const char *fact = state != NULL ? against_row(job, &state->flow->facts[state->index]) : NULL;

    if (law != NULL)
        return vmig_fail(error, VMIG_ERROR_JOURNAL, HINT, "the record contradicts itself: %s", law);
    return fact == NULL || vmig_fail(error, VMIG_ERROR_JOURNAL, HINT,
                                     "the record contradicts itself: a job in state %s cannot have this value of: %s",
                                     vmig_state_name(state), fact);
}

void vmig_job_note_arrival(VmigJob *job)
{
    job->migration_begun = TRUE;
    job->overlays = MAX(job->overlays, VMIG_OVERLAYS_IN_USE);
    for (guint i = 0; i < job->artifacts->len; i++) {
        const VmigArtifact *artifact = job->artifacts->pdata[i];
        for (guint k = 0; k < artifact->files->len; k++) {
            VmigFile *file = artifact->files->pdata[k];
            file->copy = MAX(file->copy, VMIG_BASE_COPY_PLACED);
        }
    }
}
