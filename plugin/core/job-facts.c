/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of the facts that a job may have in each state, and the few laws that hold in every state.
 *
 * A host's record may lag behind its token, which has a table of its own in the journal: the states before the
 * switchover admit either owner. A job that was set aside keeps the facts that it had, whatever they were.
 */
#include "core/job-facts.h"

#include "core/errors.h"

/* The condition of a row for one fact. Each kind of fact has a type of its own, so that a value in the wrong column
 * does not compile. */
typedef enum {
    EITHER_OWNER,
    SOURCE_OWNS,
    DEST_OWNS,
} Owner;

typedef enum {
    ALLOWED,
    REQUIRED,
    FORBIDDEN,
} Rule;

/* Sets of levels; an empty one allows all. */
typedef struct {
    guint overlays;
} OverlaySet;

typedef struct {
    guint stages;
} MergeSet;

typedef struct {
    guint copies;
} CopySet;

typedef struct {
    Owner owner;
    OverlaySet overlays;
    MergeSet merge;
    CopySet copies; /* every base copy is one of them */
    Rule begun;     /* migration_begun */
    Rule revoked;
    Rule suspended;
    Rule start_again;
    Rule verified;
    Rule source_clean;
} Row;

/* clang-format off */
#define USE(what) (1u << VMIG_OVERLAYS_##what)
#define OVERLAYS(set) {.overlays = (set)}
#define STAGE(what) (1u << VMIG_MERGE_##what)
#define MERGE(set) {.stages = (set)}
#define COPY(what) (1u << VMIG_BASE_COPY_##what)
#define COPIES(set) {.copies = (set)}
#define MAY_BE_WRITTEN (USE(IN_USE) | USE(DIVERGED))

static const Row rows[VMIG_STATE_LAST] = {
    /* Before the switchover nothing is merged. */
    [VMIG_STATE_PLAN] = {.owner = SOURCE_OWNS, .overlays = OVERLAYS(USE(UNUSED)), .merge = MERGE(STAGE(NOT_BEGUN)),
        .copies = COPIES(COPY(PART)), .begun = FORBIDDEN, .revoked = FORBIDDEN, .suspended = FORBIDDEN,
        .start_again = FORBIDDEN, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [VMIG_STATE_LOCK] = {.overlays = OVERLAYS(USE(UNUSED)), .merge = MERGE(STAGE(NOT_BEGUN)),
        .copies = COPIES(COPY(PART)), .begun = FORBIDDEN, .revoked = FORBIDDEN, .suspended = FORBIDDEN,
        .start_again = FORBIDDEN, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [VMIG_STATE_OVERLAY] = {.overlays = OVERLAYS(USE(UNUSED) | USE(IN_USE)),
        .merge = MERGE(STAGE(NOT_BEGUN)), .copies = COPIES(COPY(PART)), .begun = FORBIDDEN, .revoked = FORBIDDEN,
        .suspended = FORBIDDEN, .start_again = FORBIDDEN, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [VMIG_STATE_COPY] = {.overlays = OVERLAYS(USE(IN_USE)), .merge = MERGE(STAGE(NOT_BEGUN)),
        .copies = COPIES(COPY(PART) | COPY(PLACED)), .begun = FORBIDDEN, .revoked = FORBIDDEN, .suspended = FORBIDDEN,
        .start_again = FORBIDDEN, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [VMIG_STATE_PREPARE] = {.overlays = OVERLAYS(USE(IN_USE)), .merge = MERGE(STAGE(NOT_BEGUN)),
        .copies = COPIES(COPY(PLACED)), .begun = FORBIDDEN, .revoked = FORBIDDEN, .suspended = FORBIDDEN,
        .start_again = FORBIDDEN, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [VMIG_STATE_DROP_METADATA] = {.overlays = OVERLAYS(USE(IN_USE)), .merge = MERGE(STAGE(NOT_BEGUN)),
        .copies = COPIES(COPY(PLACED)), .begun = FORBIDDEN, .revoked = FORBIDDEN, .suspended = FORBIDDEN,
        .start_again = FORBIDDEN, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    /* A new try proves a base copy again that the last one may have written to. */
    [VMIG_STATE_MIGRATE] = {.overlays = OVERLAYS(USE(IN_USE)), .merge = MERGE(STAGE(NOT_BEGUN)), .begun = REQUIRED,
        .suspended = FORBIDDEN, .start_again = FORBIDDEN, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    /* Also entered from ROLLBACK, which may follow any state before it. */
    [VMIG_STATE_UNCERTAIN] = {.merge = MERGE(STAGE(NOT_BEGUN)), .suspended = FORBIDDEN, .start_again = FORBIDDEN,
        .verified = FORBIDDEN, .source_clean = FORBIDDEN},

    /* After it the destination owns the guest, and every base copy is in place. */
    [VMIG_STATE_ACTIVATE] = {.owner = DEST_OWNS, .overlays = OVERLAYS(MAY_BE_WRITTEN),
        .merge = MERGE(STAGE(NOT_BEGUN) | STAGE(COMMITTING)), .copies = COPIES(COPY(PLACED) | COPY(DIRTY)),
        .begun = REQUIRED, .revoked = FORBIDDEN, .suspended = FORBIDDEN, .start_again = FORBIDDEN,
        .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [VMIG_STATE_COMMIT] = {.owner = DEST_OWNS, .overlays = OVERLAYS(MAY_BE_WRITTEN),
        .copies = COPIES(COPY(PLACED) | COPY(DIRTY)), .begun = REQUIRED, .revoked = FORBIDDEN, .verified = FORBIDDEN,
        .source_clean = FORBIDDEN},
    [VMIG_STATE_PIVOT] = {.owner = DEST_OWNS, .overlays = OVERLAYS(MAY_BE_WRITTEN),
        .copies = COPIES(COPY(PLACED) | COPY(DIRTY)), .begun = REQUIRED, .revoked = FORBIDDEN, .verified = FORBIDDEN,
        .source_clean = FORBIDDEN},
    [VMIG_STATE_REDEFINE] = {.owner = DEST_OWNS, .overlays = OVERLAYS(MAY_BE_WRITTEN), .merge = MERGE(STAGE(DONE)),
        .copies = COPIES(COPY(PLACED) | COPY(DIRTY)), .begun = REQUIRED, .revoked = FORBIDDEN, .suspended = FORBIDDEN,
        .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [VMIG_STATE_CLEANUP] = {.owner = DEST_OWNS, .overlays = OVERLAYS(MAY_BE_WRITTEN), .merge = MERGE(STAGE(DONE)),
        .copies = COPIES(COPY(PLACED) | COPY(DIRTY)), .begun = REQUIRED, .revoked = FORBIDDEN, .suspended = FORBIDDEN},
    /* source_clean: a source that has lost its record of the job keeps its files. */
    [VMIG_STATE_DONE] = {.owner = DEST_OWNS, .overlays = OVERLAYS(MAY_BE_WRITTEN), .merge = MERGE(STAGE(DONE)),
        .copies = COPIES(COPY(PLACED) | COPY(DIRTY)), .begun = REQUIRED, .revoked = FORBIDDEN, .suspended = FORBIDDEN},

    /* On the way back the source owns the guest and merges its own overlays. ROLLBACK itself still asks both hosts
     * which of them has the token. */
    [VMIG_STATE_ROLLBACK] = {.merge = MERGE(STAGE(NOT_BEGUN)), .suspended = FORBIDDEN, .start_again = FORBIDDEN,
        .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [VMIG_STATE_BACK_COMMIT] = {.owner = SOURCE_OWNS, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [VMIG_STATE_BACK_PIVOT] = {.owner = SOURCE_OWNS, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [VMIG_STATE_BACK_REDEFINE] = {.owner = SOURCE_OWNS, .suspended = FORBIDDEN, .verified = FORBIDDEN,
        .source_clean = FORBIDDEN},
    [VMIG_STATE_ROLLED_BACK] = {.owner = SOURCE_OWNS, .suspended = FORBIDDEN, .verified = FORBIDDEN,
        .source_clean = FORBIDDEN},
    [VMIG_STATE_SET_ASIDE] = {.owner = EITHER_OWNER},
    [VMIG_STATE_PARKED] = {.owner = EITHER_OWNER}, /* the row of the state in which it parked counts */
};
/* clang-format on */

static gboolean is_owner(Owner wanted, gboolean dest)
{
    return wanted == EITHER_OWNER || wanted == (dest ? DEST_OWNS : SOURCE_OWNS);
}

static gboolean is_in(guint set, guint level)
{
    return set == 0 || (set & 1u << level) != 0;
}

static gboolean is_right(Rule rule, gboolean fact)
{
    return rule == ALLOWED || (rule == REQUIRED) == fact;
}

static gboolean has_copies(const VmigJob *job, CopySet set)
{
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++)
            if (!is_in(set.copies, ((const VmigFile *)disk->files->pdata[k])->copy))
                return FALSE;
    }
    return TRUE;
}

/* The first fact that the row does not admit; NULL: none. */
static const char *against_row(const VmigJob *job, const Row *row)
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
    VmigState state = work != VMIG_STATE_LAST ? work : vmig_job_state(job);
    const char *law = against_laws(job);
    const char *fact = state != VMIG_STATE_LAST ? against_row(job, &rows[state]) : NULL;

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
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++) {
            VmigFile *file = disk->files->pdata[k];
            file->copy = MAX(file->copy, VMIG_BASE_COPY_PLACED);
        }
    }
}
