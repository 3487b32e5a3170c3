/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The facts of a record: every combination in every state, held against laws that do not come from the table. */
#include <string.h>

#include "core/errors.h"
#include "core/job-facts.h"
#include "flows/migrate/states.h"

typedef struct {
    gboolean dest; /* owns the guest */
    VmigOverlays overlays;
    VmigMergeStage merge;
    VmigBaseCopy copy;
    gboolean begun, revoked, suspended, start_again, verified, source_clean, disk;
} Facts;

static VmigJob *make_job(void)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);
    VmigDisk *disk = vmig_disk_new();

    job->id = g_strdup("0123456789abcdef");
    job->uuid = g_strdup("4dea22b3-1d52-d8f3-2516-782e98ab3fa0");
    g_ptr_array_add(disk->files, vmig_file_new());
    vmig_job_add(job, disk);
    return job;
}

static void put(VmigJob *job, VmigState state, const Facts *f)
{
    VmigDisk *disk = job->disks->pdata[0];

    vmig_job_set_state(job, state);
    job->owner = f->dest ? VMIG_DEST : VMIG_SOURCE;
    job->overlays = f->overlays;
    job->merge = f->merge;
    ((VmigFile *)disk->files->pdata[0])->copy = f->copy;
    disk->pivoted = f->disk;
    job->migration_begun = f->begun;
    job->revoked = f->revoked;
    job->suspended = f->suspended;
    job->start_again = f->start_again;
    job->verified = f->verified;
    job->source_clean = f->source_clean;
}

/* The mixed radix number n as facts; FALSE after the last. */
static gboolean nth(guint n, Facts *f)
{
    gboolean *const flags[] = {&f->dest,        &f->begun,    &f->revoked,      &f->suspended,
                               &f->start_again, &f->verified, &f->source_clean, &f->disk};

    for (guint i = 0; i < G_N_ELEMENTS(flags); i++, n /= 2)
        *flags[i] = n % 2;
    f->overlays = n % 3;
    f->merge = n / 3 % 4;
    f->copy = n / 12 % 3;
    return n / 36 == 0;
}

static gboolean is_end_of_merge(VmigState state)
{
    return state == VMIG_MIGRATE(REDEFINE) || state == VMIG_MIGRATE(CLEANUP) || state == VMIG_MIGRATE(DONE);
}

/* FALSE: no job may ever be like that. TRUE says nothing. */
static gboolean may_be(VmigState state, const Facts *f)
{
    VmigPhase phase = vmig_state_phase(state);
    gboolean onward = phase == VMIG_PHASE_AFTER || state == VMIG_MIGRATE(DONE);
    gboolean ends = state == VMIG_MIGRATE(CLEANUP) || state == VMIG_MIGRATE(DONE);

    if ((f->suspended || f->start_again || f->disk) && f->merge < VMIG_MERGE_PIVOTING)
        return FALSE;
    if (f->revoked && f->dest)
        return FALSE;
    if (state == VMIG_MIGRATE(SET_ASIDE) || state == VMIG_MIGRATE(PARKED))
        return TRUE;
    if (phase == VMIG_PHASE_FORWARD && (f->merge != VMIG_MERGE_NOT_BEGUN || f->suspended || f->start_again))
        return FALSE;
    if (onward && (!f->dest || !f->begun || f->overlays == VMIG_OVERLAYS_UNUSED || f->copy == VMIG_BASE_COPY_PART))
        return FALSE;
    if (f->dest && (state == VMIG_MIGRATE(BACK_COMMIT) || state == VMIG_MIGRATE(BACK_PIVOT) ||
                    state == VMIG_MIGRATE(BACK_REDEFINE) || state == VMIG_MIGRATE(ROLLED_BACK)))
        return FALSE;
    if (is_end_of_merge(state) && (f->merge != VMIG_MERGE_DONE || f->suspended))
        return FALSE;
    /* A base copy is dirty only after a migration was begun. */
    if (f->copy == VMIG_BASE_COPY_DIRTY && vmig_state_is(state, VMIG_STATE_HOLDS))
        return FALSE;
    return ends || (!f->verified && !f->source_clean);
}

static void test_all(void)
{
    g_autoptr(VmigJob) job = make_job();
    guint legal[VMIG_MIGRATE_STATES] = {0}, all = 0;
    Facts f = {0};

    for (; nth(all, &f); all++)
        VMIG_EACH_STATE (state, &vmig_states_migrate) {
            g_autoptr(GError) error = NULL;
            put(job, state, &f);
            gboolean is = vmig_job_facts_are_legal(job, &error);
            g_assert_true(is == (error == NULL));
            if (is && !may_be(state, &f))
                g_error("%s, combination %u is legal", vmig_state_name(state), all);
            legal[state->index] += is;
        }
    g_assert_cmpuint(all, ==, 256 * 36);
    /* The state before the first change has one; a job may end in far fewer ways than it may be set aside. */
    g_assert_cmpuint(legal[VMIG_MIGRATE_INDEX_PLAN], ==, 1);
    g_assert_cmpuint(legal[VMIG_MIGRATE_INDEX_LOCK], ==, 2);
    g_assert_cmpuint(legal[VMIG_MIGRATE_INDEX_OVERLAY], ==, 4);
    g_assert_cmpuint(legal[VMIG_MIGRATE_INDEX_COPY], ==, 4);
    VMIG_EACH_STATE (state, &vmig_states_migrate)
        g_assert_cmpuint(legal[state->index], >, 0);
    g_assert_cmpuint(legal[VMIG_MIGRATE_INDEX_DONE], <, legal[VMIG_MIGRATE_INDEX_SET_ASIDE] / 50);
}

/* What a migration without a failure goes through, and a rollback from its middle. */
static void test_paths(void)
{
    static const struct {
        VmigState state;
        Facts facts;
    } steps[] = {
        {VMIG_MIGRATE(PLAN), {0}},
        {VMIG_MIGRATE(OVERLAY), {.overlays = VMIG_OVERLAYS_IN_USE}},
        {VMIG_MIGRATE(COPY), {.overlays = VMIG_OVERLAYS_IN_USE}},
        {VMIG_MIGRATE(PREPARE), {.overlays = VMIG_OVERLAYS_IN_USE, .copy = VMIG_BASE_COPY_PLACED}},
        {VMIG_MIGRATE(MIGRATE), {.overlays = VMIG_OVERLAYS_IN_USE, .copy = VMIG_BASE_COPY_DIRTY, .begun = TRUE}},
        {VMIG_MIGRATE(MIGRATE),
         {.dest = TRUE, .overlays = VMIG_OVERLAYS_IN_USE, .copy = VMIG_BASE_COPY_PLACED, .begun = TRUE}},
        /* The other host's record is older than its token. */
        {VMIG_MIGRATE(PREPARE), {.dest = TRUE, .overlays = VMIG_OVERLAYS_IN_USE, .copy = VMIG_BASE_COPY_PLACED}},
        {VMIG_MIGRATE(PIVOT),
         {.dest = TRUE,
          .overlays = VMIG_OVERLAYS_IN_USE,
          .merge = VMIG_MERGE_PIVOTING,
          .copy = VMIG_BASE_COPY_PLACED,
          .begun = TRUE,
          .suspended = TRUE,
          .disk = TRUE}},
        {VMIG_MIGRATE(DONE),
         {.dest = TRUE,
          .overlays = VMIG_OVERLAYS_IN_USE,
          .merge = VMIG_MERGE_DONE,
          .copy = VMIG_BASE_COPY_PLACED,
          .begun = TRUE,
          .verified = TRUE,
          .source_clean = TRUE,
          .disk = TRUE}},
        {VMIG_MIGRATE(ROLLBACK), {.overlays = VMIG_OVERLAYS_IN_USE, .begun = TRUE, .revoked = TRUE}},
        {VMIG_MIGRATE(BACK_COMMIT), {.overlays = VMIG_OVERLAYS_DIVERGED, .revoked = TRUE}},
        {VMIG_MIGRATE(ROLLED_BACK), {.overlays = VMIG_OVERLAYS_IN_USE, .merge = VMIG_MERGE_DONE, .revoked = TRUE}},
    };
    g_autoptr(VmigJob) job = make_job();

    for (guint i = 0; i < G_N_ELEMENTS(steps); i++) {
        g_autoptr(GError) error = NULL;
        put(job, steps[i].state, &steps[i].facts);
        vmig_job_facts_are_legal(job, &error);
        g_assert_no_error(error);
    }
}

/* A record that contradicts itself is not read, and the message names the fact. */
static void test_read(void)
{
    static const struct {
        VmigState state;
        Facts facts;
        const char *names;
    } cases[] = {
        {VMIG_MIGRATE(COPY), {.overlays = VMIG_OVERLAYS_IN_USE, .merge = VMIG_MERGE_DONE}, "the stage of the merge"},
        {VMIG_MIGRATE(BACK_COMMIT), {.dest = TRUE, .overlays = VMIG_OVERLAYS_IN_USE}, "token"},
        {VMIG_MIGRATE(COMMIT),
         {.overlays = VMIG_OVERLAYS_IN_USE, .copy = VMIG_BASE_COPY_PLACED, .begun = TRUE},
         "token"},
        {VMIG_MIGRATE(COPY), {.overlays = VMIG_OVERLAYS_IN_USE, .copy = VMIG_BASE_COPY_DIRTY}, "the base copies"},
        {VMIG_MIGRATE(COPY), {.overlays = VMIG_OVERLAYS_IN_USE, .begun = TRUE}, "migration_begun"},
        {VMIG_MIGRATE(COPY), {0}, "frozen"},
        {VMIG_MIGRATE(COPY), {.overlays = VMIG_OVERLAYS_DIVERGED}, "diverged"},
        {VMIG_MIGRATE(COPY), {.overlays = VMIG_OVERLAYS_IN_USE, .revoked = TRUE}, "revoked"},
        {VMIG_MIGRATE(COPY), {.overlays = VMIG_OVERLAYS_IN_USE, .verified = TRUE}, "verified"},
        {VMIG_MIGRATE(COPY), {.overlays = VMIG_OVERLAYS_IN_USE, .source_clean = TRUE}, "source_clean"},
        {VMIG_MIGRATE(BACK_REDEFINE), {.merge = VMIG_MERGE_DONE, .suspended = TRUE}, "suspended"},
        {VMIG_MIGRATE(BACK_PIVOT), {.suspended = TRUE}, "no pivot was begun"},
        {VMIG_MIGRATE(BACK_PIVOT), {.disk = TRUE}, "no pivot was begun"},
        {VMIG_MIGRATE(BACK_PIVOT), {.start_again = TRUE}, "no pivot was begun"},
        {VMIG_MIGRATE(UNCERTAIN), {.dest = TRUE, .revoked = TRUE}, "was revoked"},
    };
    g_autoptr(VmigJob) job = make_job();

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        for (int parked = 0; parked < 2; parked++) {
            g_autoptr(GError) error = NULL;
            put(job, cases[i].state, &cases[i].facts);
            if (parked) {
                g_free(job->parked_state);
                job->parked_state = g_strdup(job->state);
                vmig_job_set_state(job, VMIG_MIGRATE(PARKED));
            }
            g_autofree char *text = vmig_job_to_string(job);
            g_assert_null(vmig_job_from_string(text, &error));
            g_assert_error(error, VMIG_ERROR, VMIG_ERROR_JOURNAL);
            if (strstr(error->message, cases[i].names) == NULL)
                g_error("'%s' does not name '%s'", error->message, cases[i].names);
            /* A copy in memory is always the same as its original. */
            g_autoptr(VmigJob) copy = vmig_job_copy(job);
            g_assert_cmpint(copy->merge, ==, job->merge);
        }
    }
}

/* Each level of a fact is a flag of its own in the record, as in older versions. */
static void test_levels(void)
{
    static const char *const flags[] = {"commit_started", "pivoting", "pivoted"};
    g_autoptr(VmigJob) job = make_job();

    vmig_job_set_state(job, VMIG_MIGRATE(SET_ASIDE));
    for (guint stage = 0; stage <= VMIG_MERGE_DONE; stage++) {
        vmig_job_reach_merge(job, stage);
        vmig_job_reach_merge(job, VMIG_MERGE_NOT_BEGUN); /* it never goes back */
        g_autoptr(JsonObject) object = vmig_job_to_json(job);
        for (guint i = 0; i < G_N_ELEMENTS(flags); i++)
            g_assert_cmpint(json_object_get_boolean_member(object, flags[i]), ==, i < stage);
        g_autoptr(VmigJob) again = vmig_job_from_json(object, NULL);
        g_assert_cmpint(again->merge, ==, stage);
        /* One flag suffices: the stages before it are included. */
        for (guint i = 0; i + 1 < stage; i++)
            json_object_set_boolean_member(object, flags[i], FALSE);
        g_autoptr(VmigJob) sparse = vmig_job_from_json(object, NULL);
        g_assert_cmpint(sparse->merge, ==, stage);
    }
}

/* What the flags of an ended job of an older version mean is not checked: it is only displayed. */
static void test_older(void)
{
    g_autoptr(VmigJob) job = make_job();
    g_autoptr(GError) error = NULL;

    put(job, VMIG_MIGRATE(DONE), &(Facts){.revoked = TRUE});
    job->version = VMIG_JOB_VERSION - 1;
    g_autofree char *text = vmig_job_to_string(job);
    g_autoptr(VmigJob) read = vmig_job_from_string(text, &error);
    g_assert_no_error(error);
    g_assert_nonnull(read);
}

/* Whatever a legal record of a state before the switchover knows: if the guest arrived nevertheless, the job can go on.
 * Only what a migration was revoked for never arrives. */
static void test_arrival(void)
{
    g_autoptr(VmigJob) job = make_job();
    guint arrived = 0;
    Facts f;

    VMIG_EACH_STATE (state, &vmig_states_migrate) {
        for (guint n = 0; vmig_state_phase(state) == VMIG_PHASE_FORWARD && nth(n, &f); n++) {
            put(job, state, &f);
            if (f.revoked || !vmig_job_facts_are_legal(job, NULL))
                continue;
            vmig_job_note_arrival(job);
            vmig_job_set_state(job, VMIG_MIGRATE(ACTIVATE));
            job->owner = VMIG_DEST;
            g_autoptr(GError) error = NULL;
            vmig_job_facts_are_legal(job, &error);
            g_assert_no_error(error);
            arrived++;
        }
    }
    g_assert_cmpuint(arrived, >, 30);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/job-facts/all", test_all);
    g_test_add_func("/job-facts/paths", test_paths);
    g_test_add_func("/job-facts/read", test_read);
    g_test_add_func("/job-facts/levels", test_levels);
    g_test_add_func("/job-facts/older", test_older);
    g_test_add_func("/job-facts/arrival", test_arrival);
    return g_test_run();
}
