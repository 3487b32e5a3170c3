/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes jobs, transitions and the token. journal-open.c opens the file, journal-db.c calls SQLite, journal-read.c
 * reads jobs, and journal-files.c has files and history. */
#include "store/journal-private.h"

#include <string.h>

#include "core/job-facts.h"

/* The columns of the row besides the record. */
typedef struct {
    VmigRole role;
    char *state;
    gint64 finished;
    gint64 since;
    VmigRole token;
} JobRow;

static void job_row_free(JobRow *row)
{
    g_free(row->state);
    g_free(row);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JobRow, job_row_free)

gboolean vmig_journal_is_id(const char *id)
{
    return id != NULL && strlen(id) == 16 && strspn(id, "0123456789abcdef") == 16;
}

gboolean vmig_journal_fail_no_job(GError **error, const char *id)
{
    return vmig_fail(error, VMIG_ERROR_NO_JOB, "`vmig-snap list --all` shows the jobs.",
                     "job %s is not in the journal of this host", id);
}

/* *ret is NULL if there is none. */
static gboolean get_row(VmigJournal *journal, const char *id, JobRow **ret, GError **error)
{
    gboolean more = FALSE;
    g_autoptr(sqlite3_stmt) stmt =
        vmig_db_prepare(error, journal,
                        "SELECT role, state, finished, since, owner,"
                        " job.sum = vmig_sum('job', id, uuid, domain, role, state, finished, since, updated, record)"
                        " AND token.sum = vmig_sum('token', job, owner, token.seq)"
                        " FROM job LEFT JOIN token ON token.job = job.id WHERE id = ?1",
                        "s", id);

    *ret = NULL;
    if (stmt == NULL || !vmig_db_step(journal, stmt, &more, error))
        return FALSE;
    if (!more)
        return TRUE;
    if (sqlite3_column_int(stmt, 5) != 1)
        return vmig_fail(error, VMIG_ERROR_JOURNAL, "`vmig-snap doctor` compares the hosts with the journal.",
                         "the journal's row of job %s is damaged", id);
    g_autoptr(JobRow) row = g_new0(JobRow, 1);
    if (!vmig_role_parse(vmig_db_text(stmt, 0), &row->role) || !vmig_role_parse(vmig_db_text(stmt, 4), &row->token))
        return vmig_fail(error, VMIG_ERROR_JOURNAL, NULL, "the journal's row of job %s names no role", id);
    row->state = g_strdup(vmig_db_text(stmt, 1));
    row->finished = sqlite3_column_int64(stmt, 2);
    row->since = sqlite3_column_int64(stmt, 3);
    *ret = g_steal_pointer(&row);
    return TRUE;
}

static gboolean need_row(VmigJournal *journal, const char *id, JobRow **ret, GError **error)
{
    return get_row(journal, id, ret, error) && (*ret != NULL || vmig_journal_fail_no_job(error, id));
}

gboolean vmig_journal_need_job(VmigJournal *journal, const char *id, GError **error)
{
    g_autoptr(JobRow) row = NULL;

    return need_row(journal, id, &row, error);
}

static gboolean check_job(const VmigJob *job, GError **error)
{
    if (!vmig_journal_is_id(job->id))
        return vmig_fail(error, VMIG_ERROR_BAD_NAME, NULL, "'%s' is not the id of a job",
                         job->id != NULL ? job->id : "");
    /* Lower case only, as libvirt writes it: uniqueness of the unfinished job per UUID relies on text comparison. */
    if (job->uuid == NULL || !g_uuid_string_is_valid(job->uuid) || strpbrk(job->uuid, "ABCDEF") != NULL)
        return vmig_fail(error, VMIG_ERROR_BAD_NAME, NULL, "job %s: '%s' is not a UUID", job->id,
                         job->uuid != NULL ? job->uuid : "");
    if (vmig_job_state(job) == NULL)
        return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "job %s: '%s' is not a state", job->id,
                         job->state != NULL ? job->state : "");
    return TRUE;
}

/* A record that cannot be read again must not replace one that can: its facts must go together, and JSON is UTF-8, but
 * paths are bytes. */
static char *record_text(const VmigJob *job, GError **error)
{
    g_autofree char *record = vmig_job_to_string(job);

    if (job->version == VMIG_JOB_VERSION && !vmig_job_facts_are_legal(job, error)) {
        g_prefix_error(error, "job %s: ", job->id);
        return NULL;
    }
    if (g_utf8_validate(record, -1, NULL))
        return g_steal_pointer(&record);
    vmig_fail(error, VMIG_ERROR_BAD_NAME, NULL, "job %s: a path or name in its record is not UTF-8", job->id);
    return NULL;
}

/* Fails if the domain has an unfinished job, and names it. */
static gboolean check_unlocked(VmigJournal *journal, const VmigJob *job, GError **error)
{
    gboolean more = FALSE;
    g_autoptr(sqlite3_stmt) stmt = vmig_db_prepare(
        error, journal, "SELECT id, role, state, since FROM job WHERE uuid = ?1 AND finished = 0", "s", job->uuid);

    if (stmt == NULL || !vmig_db_step(journal, stmt, &more, error))
        return FALSE;
    if (!more)
        return TRUE;
    g_autoptr(GDateTime) since = g_date_time_new_from_unix_local(sqlite3_column_int64(stmt, 3));
    g_autofree char *when = since != NULL ? g_date_time_format(since, "%F %T") : g_strdup("an unknown time");
    return vmig_fail(error, VMIG_ERROR_LOCKED, "`vmig-snap status` shows it; resume or cancel it first.",
                     "domain %s has the unfinished job %s since %s: this host is its %s, state %s",
                     job->domain != NULL ? job->domain : job->uuid, vmig_db_text(stmt, 0), when, vmig_db_text(stmt, 1),
                     vmig_db_text(stmt, 2));
}

typedef struct {
    const VmigJob *job;
    VmigRole role;
} NewJob;

static gboolean insert_job(VmigJournal *journal, gpointer data, GError **error)
{
    const NewJob *new_job = data;
    const VmigJob *job = new_job->job;
    g_autofree char *record = record_text(job, error);
    g_autoptr(JobRow) row = NULL;
    gint64 updated = 0;

    if (record == NULL || !get_row(journal, job->id, &row, error))
        return FALSE;
    if (row != NULL)
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL, "the journal already has a job %s", job->id);
    if (!check_unlocked(journal, job, error) || !vmig_db_put_texts_of(journal, job, error) ||
        !vmig_db_need_texts(journal, job, error) ||
        !vmig_db_number(journal, "SELECT coalesce(max(updated), 0) + 1 FROM job", &updated, error))
        return FALSE;
    return vmig_db_run(error, journal,
                       "INSERT INTO job VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
                       " vmig_sum('job', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9))",
                       "sssssiiis", job->id, job->uuid, job->domain != NULL ? job->domain : "",
                       vmig_role_name(new_job->role), job->state, (gint64)vmig_state_is_final(vmig_job_state(job)),
                       job->started != 0 ? (gint64)job->started : g_get_real_time() / G_USEC_PER_SEC, updated,
                       record) &&
           vmig_db_run(error, journal, "INSERT INTO token VALUES (?1, ?2, 1, vmig_sum('token', ?1, ?2, 1))", "ss",
                       job->id, vmig_role_name(job->owner)) &&
           vmig_db_note(journal, job->id, "the job begins on this host", error);
}

gboolean vmig_journal_create_job(VmigJournal *journal, const VmigJob *job, VmigRole role, GError **error)
{
    NewJob new_job = {job, role};

    return check_job(job, error) && vmig_db_transaction(journal, job->id, insert_job, &new_job, error);
}

/* Updates the record and the columns that derive from it. The token has a table of its own, so that no record, however
 * old, can change it. */
static gboolean update_job(VmigJournal *journal, const VmigJob *job, const JobRow *row, GError **error)
{
    g_autofree char *record = record_text(job, error);
    gint64 updated = 0;

    if (record == NULL)
        return FALSE;
    if (row->token != job->owner)
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL,
                         "job %s: the guest's owner is %s in the record, but %s in the journal", job->id,
                         vmig_role_name(job->owner), vmig_role_name(row->token));
    gboolean ends = vmig_state_is_final(vmig_job_state(job));
    if (!vmig_db_number(journal, "SELECT coalesce(max(updated), 0) + 1 FROM job", &updated, error) ||
        (ends && vmig_job_end(job) != VMIG_END_ASIDE && !vmig_db_drop_texts(journal, job->id, error)))
        return FALSE;
    return vmig_db_run(error, journal,
                       "UPDATE job SET uuid = ?2, domain = ?3, state = ?4, finished = ?5, updated = ?6, record = ?7,"
                       " sum = vmig_sum('job', ?1, ?2, ?3, role, ?4, ?5, since, ?6, ?7) WHERE id = ?1",
                       "ssssiis", job->id, job->uuid, job->domain != NULL ? job->domain : "", job->state, (gint64)ends,
                       updated, record);
}

static gboolean same_state(const VmigJob *job, const JobRow *row, GError **error)
{
    if (strcmp(row->state, job->state) == 0)
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_CONTRADICTION, "Check whether another process works on this job.",
                     "job %s is in state %s according to the journal, not in %s", job->id, row->state, job->state);
}

static gboolean save_job(VmigJournal *journal, gpointer data, GError **error)
{
    const VmigJob *job = data;
    g_autoptr(JobRow) row = NULL;

    return need_row(journal, job->id, &row, error) && same_state(job, row, error) &&
           update_job(journal, job, row, error);
}

gboolean vmig_journal_save(VmigJournal *journal, const VmigJob *job, GError **error)
{
    return check_job(job, error) && vmig_db_transaction(journal, job->id, save_job, (gpointer)job, error);
}

/* The owner of a finished job must match the token: with DONE it is the destination. A job that was set aside may end
 * on either host, and does not move the token. */
static gboolean check_end(const VmigJob *job, VmigRole token, GError **error)
{
    gboolean given = token == VMIG_DEST;
    VmigState state = vmig_job_state(job);

    if (!vmig_state_is_final(state) || vmig_state_end(state) == VMIG_END_ASIDE ||
        given == (vmig_state_end(state) == VMIG_END_MOVED))
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL,
                     "job %s cannot end as %s: according to this host's journal the %s owns the guest", job->id,
                     job->state, vmig_role_name(token));
}

/* Decisions recorded on this host cannot be undone by the other host's process. */
static gboolean check_put(VmigJournal *journal, const VmigJob *job, const JobRow *row, VmigRole role, GError **error)
{
    VmigState old = vmig_state_from_name(job->flow, row->state);
    VmigState new = vmig_job_state(job);
    g_autoptr(VmigJob) own = vmig_journal_load(journal, job->id, error);

    if (own == NULL)
        return FALSE;
    if (row->role != role)
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL, "this host is the %s of job %s, not its %s",
                         vmig_role_name(row->role), job->id, vmig_role_name(role));
    if (row->finished != 0 && old != new)
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL,
                         "job %s has ended on this host as %s: it cannot become %s", job->id, row->state, job->state);
    VmigPhase phase = vmig_state_phase(new);
    gboolean back = phase == VMIG_PHASE_FORWARD || phase == VMIG_PHASE_BACK || vmig_state_end(new) == VMIG_END_BACK;
    if (back && vmig_state_phase(old) == VMIG_PHASE_AFTER)
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL,
                         "job %s is in state %s on this host: it cannot go back to %s", job->id, row->state,
                         job->state);
    return check_end(job, row->token, error) && vmig_job_check_told(own, job, row->role, error);
}

static gboolean put_job(VmigJournal *journal, gpointer data, GError **error)
{
    const NewJob *new_job = data;
    const VmigJob *job = new_job->job;
    g_autoptr(JobRow) row = NULL;

    if (!get_row(journal, job->id, &row, error))
        return FALSE;
    if (row == NULL && vmig_state_is_final(vmig_job_state(job)))
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL,
                         "job %s has ended, and this host's journal does not have it: this host never worked on it",
                         job->id);
    if (row == NULL)
        return insert_job(journal, data, error);
    if (!check_put(journal, job, row, new_job->role, error) || !vmig_db_need_texts(journal, job, error) ||
        !update_job(journal, job, row, error))
        return FALSE;
    return strcmp(row->state, job->state) == 0 ||
           vmig_db_history(journal, job->id, row->state, job->state, "result", "by the other host", error);
}

/* If the first record of a job on this host shows the token as transferred, this host knew the job before. Its journal
 * is an older one, and needs more than the record. */
static gboolean put_known(VmigJournal *journal, gpointer data, GError **error)
{
    const NewJob *new_job = data;
    g_autoptr(JobRow) row = NULL;

    if (!get_row(journal, new_job->job->id, &row, error))
        return FALSE;
    if (row == NULL && new_job->job->owner == VMIG_DEST)
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL,
                         "job %s is past the switchover, and this host's journal does not have it", new_job->job->id);
    return put_job(journal, data, error);
}

gboolean vmig_journal_put(VmigJournal *journal, const VmigJob *job, VmigRole role, GError **error)
{
    NewJob new_job = {job, role};

    return check_job(job, error) && vmig_db_transaction(journal, job->id, put_known, &new_job, error);
}

typedef struct {
    const VmigJob *job; /* with commit: already in the new state */
    VmigState from;
    VmigState to;
    const char *detail;
    gboolean commit;
} Transition;

static gboolean write_transition(VmigJournal *journal, gpointer data, GError **error)
{
    const Transition *t = data;
    const char *from = vmig_state_name(t->from);
    g_autoptr(JobRow) row = NULL;

    if (!need_row(journal, t->job->id, &row, error))
        return FALSE;
    if (strcmp(row->state, from) != 0)
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, "Check whether another process works on this job.",
                         "job %s is in state %s according to the journal, not in %s", t->job->id, row->state, from);
    if (t->commit && !update_job(journal, t->job, row, error))
        return FALSE;
    return vmig_db_history(journal, t->job->id, from, vmig_state_name(t->to), t->commit ? "result" : "intent",
                           t->detail, error);
}

static gboolean check_transition(const VmigJob *job, VmigState to, GError **error)
{
    if (!check_job(job, error))
        return FALSE;
    if (!vmig_state_may_follow(vmig_job_state(job), to))
        return vmig_fail(error, VMIG_ERROR_INTERNAL, "This is a bug in vmig-snap.", "job %s: %s does not follow %s",
                         job->id, vmig_state_name(to), job->state);
    return TRUE;
}

gboolean vmig_journal_begin_transition(VmigJournal *journal, const VmigJob *job, VmigState to, const char *detail,
                                       GError **error)
{
    Transition t = {job, vmig_job_state(job), to, detail, FALSE};

    return check_transition(job, to, error) && vmig_db_transaction(journal, job->id, write_transition, &t, error);
}

gboolean vmig_journal_commit_transition(VmigJournal *journal, VmigJob *job, VmigState to, const char *detail,
                                        GError **error)
{
    VmigState from = vmig_job_state(job);
    Transition t = {job, from, to, detail, TRUE};

    if (!check_transition(job, to, error))
        return FALSE;
    vmig_job_set_state(job, to);
    if (vmig_db_transaction(journal, job->id, write_transition, &t, error))
        return TRUE;
    vmig_job_set_state(job, from);
    return FALSE;
}

typedef struct {
    const char *id;
    const char *text;
} Note;

static gboolean write_note(VmigJournal *journal, gpointer data, GError **error)
{
    const Note *note = data;

    return vmig_db_note(journal, note->id, note->text, error);
}

gboolean vmig_journal_note(VmigJournal *journal, const char *id, const char *detail, GError **error)
{
    Note note = {id, detail};

    return vmig_db_transaction(journal, id, write_note, &note, error);
}

gboolean vmig_journal_role(VmigJournal *journal, const char *id, VmigRole *ret, GError **error)
{
    g_autoptr(JobRow) row = NULL;

    if (!need_row(journal, id, &row, error))
        return FALSE;
    *ret = row->role;
    return TRUE;
}

gboolean vmig_journal_token(VmigJournal *journal, const char *id, VmigRole *ret, GError **error)
{
    g_autoptr(JobRow) row = NULL;

    if (!need_row(journal, id, &row, error))
        return FALSE;
    *ret = row->token;
    return TRUE;
}

/* The token moves only in this direction. */
static gboolean move_token(VmigJournal *journal, const char *id, JobRow *row, GError **error)
{
    if (row->finished != 0)
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL, "job %s has ended as %s: its token cannot move", id,
                         row->state);
    if (!vmig_db_run(error, journal,
                     "UPDATE token SET owner = ?2, seq = seq + 1,"
                     " sum = vmig_sum('token', job, ?2, seq + 1) WHERE job = ?1",
                     "ss", id, vmig_role_name(VMIG_DEST)))
        return FALSE;
    row->token = VMIG_DEST;
    return TRUE;
}

typedef struct {
    const char *id;
    VmigRole owner;
} NewToken;

/* The record contains the token too, for the other host. Both change together. */
static gboolean write_token(VmigJournal *journal, gpointer data, GError **error)
{
    const NewToken *want = data;
    g_autoptr(JobRow) row = NULL;

    if (!need_row(journal, want->id, &row, error))
        return FALSE;
    /* Written again, because data read after a failed sync need not be on the disk. */
    if (row->token == want->owner)
        return vmig_db_note(journal, want->id, "the token stays where it is", error);
    if (row->token == VMIG_DEST)
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL,
                         "job %s: the destination owns the guest, and the token cannot go back", want->id);
    g_autoptr(VmigJob) job = vmig_journal_load(journal, want->id, error);
    if (job == NULL || !move_token(journal, want->id, row, error))
        return FALSE;
    job->owner = VMIG_DEST;
    return update_job(journal, job, row, error) &&
           vmig_db_note(journal, want->id, "the destination owns the guest", error);
}

gboolean vmig_journal_set_token(VmigJournal *journal, const char *id, VmigRole owner, GError **error)
{
    NewToken want = {id, owner};

    return vmig_db_transaction(journal, id, write_token, &want, error);
}

typedef struct {
    NewJob job;
    GPtrArray *files; /* VmigJournalFile */
} CatchUp;

static gboolean catch_up(VmigJournal *journal, gpointer data, GError **error)
{
    const CatchUp *c = data;
    const VmigJob *job = c->job.job;
    g_autoptr(JobRow) row = NULL;

    if (!get_row(journal, job->id, &row, error))
        return FALSE;
    gboolean given = job->owner == VMIG_DEST && row != NULL && row->token != VMIG_DEST;
    if (given && !move_token(journal, job->id, row, error))
        return FALSE;
    if (!put_job(journal, (gpointer)&c->job, error))
        return FALSE;
    for (guint i = 0; i < c->files->len; i++)
        if (!vmig_db_put_file(journal, c->files->pdata[i], error))
            return FALSE;
    return vmig_db_note(journal, job->id, "this journal was replaced by an older one: the other host's record", error);
}

gboolean vmig_journal_catch_up(VmigJournal *journal, const VmigJob *job, VmigRole role, GPtrArray *files,
                               GError **error)
{
    CatchUp all = {{job, role}, files};

    return check_job(job, error) && vmig_db_transaction(journal, job->id, catch_up, &all, error);
}
