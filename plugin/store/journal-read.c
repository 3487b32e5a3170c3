/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads jobs: a row is valid only if its sum is right and its record agrees with it. Frequent queries use an index, so
 * that they take as long with a hundred thousand finished jobs as with one. */
#include "store/journal-private.h"

#include <string.h>

/* The columns that read_job() expects. The last one shows whether the row's sum is right. */
#define JOB_COLUMNS                                                                                                    \
    "SELECT id, uuid, domain, state, finished, record,"                                                                \
    " sum = vmig_sum('job', id, uuid, domain, role, state, finished, since, updated, record) FROM job "

static gboolean fail_record(GError **error, const char *id, const char *why)
{
    return vmig_fail(error, VMIG_ERROR_JOURNAL, "`vmig-snap doctor` compares the hosts with the journal.",
                     "the journal's record of job %s is invalid: %s", id, why);
}

/* Row and record must agree: a record that ended up under another row must not be taken for that job. */
static VmigJob *read_job(sqlite3_stmt *stmt, GError **error)
{
    g_autoptr(GError) failure = NULL;
    const char *id = vmig_db_text(stmt, 0);

    if (sqlite3_column_int(stmt, 6) != 1) {
        fail_record(error, id, "its checksum is wrong");
        return NULL;
    }
    g_autoptr(VmigJob) job = vmig_job_from_string(vmig_db_text(stmt, 5), &failure);
    if (job == NULL && (g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_JOURNAL_NEWER) ||
                        g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_JOURNAL_OLDER))) {
        g_propagate_prefixed_error(error, g_steal_pointer(&failure), "job %s: ", id);
        return NULL;
    }
    if (job == NULL) {
        fail_record(error, id, failure->message);
        return NULL;
    }
    if (strcmp(job->id, id) != 0 || strcmp(job->uuid, vmig_db_text(stmt, 1)) != 0 ||
        strcmp(job->domain != NULL ? job->domain : "", vmig_db_text(stmt, 2)) != 0) {
        fail_record(error, id, "it belongs to another job");
        return NULL;
    }
    if (strcmp(job->state, vmig_db_text(stmt, 3)) != 0 ||
        vmig_state_is_final(vmig_job_state(job)) != (sqlite3_column_int(stmt, 4) == 1)) {
        fail_record(error, id, "its state differs from that of the row");
        return NULL;
    }
    return g_steal_pointer(&job);
}

VmigJob *vmig_journal_load(VmigJournal *journal, const char *id, GError **error)
{
    gboolean more = FALSE;
    gsize length = strlen(id);

    if (length < 4 || length > 16 || strspn(id, "0123456789abcdef") != length) {
        vmig_journal_fail_no_job(error, id);
        return NULL;
    }
    /* 'g' is the first character after the hex digits. */
    g_autoptr(sqlite3_stmt) stmt =
        vmig_db_prepare(error, journal, JOB_COLUMNS "WHERE id >= ?1 AND id < ?1 || 'g' ORDER BY id LIMIT 2", "s", id);
    if (stmt == NULL || !vmig_db_step(journal, stmt, &more, error))
        return NULL;
    if (!more) {
        vmig_journal_fail_no_job(error, id);
        return NULL;
    }
    g_autoptr(VmigJob) job = read_job(stmt, error);
    if (job == NULL || !vmig_db_step(journal, stmt, &more, error))
        return NULL;
    if (more) {
        vmig_fail(error, VMIG_ERROR_NO_JOB, "Give more digits.", "more than one job begins with %s", id);
        return NULL;
    }
    return g_steal_pointer(&job);
}

gboolean vmig_journal_find_open(VmigJournal *journal, const char *uuid_or_name, VmigJob **ret, GError **error)
{
    gboolean more = FALSE;
    g_autofree char *lower = g_ascii_strdown(uuid_or_name, -1);
    g_autoptr(sqlite3_stmt) stmt = vmig_db_prepare(
        error, journal, JOB_COLUMNS "INDEXED BY job_open WHERE finished = 0 AND (uuid = ?1 OR domain = ?2) LIMIT 2",
        "ss", lower, uuid_or_name);

    *ret = NULL;
    if (stmt == NULL || !vmig_db_step(journal, stmt, &more, error))
        return FALSE;
    if (!more)
        return TRUE;
    g_autoptr(VmigJob) job = read_job(stmt, error);
    if (job == NULL || !vmig_db_step(journal, stmt, &more, error))
        return FALSE;
    if (more)
        return vmig_fail(error, VMIG_ERROR_AMBIGUOUS_DOMAIN, "Give the UUID or the job.",
                         "'%s' matches two domains with an unfinished job", uuid_or_name);
    *ret = g_steal_pointer(&job);
    return TRUE;
}

gboolean vmig_journal_find_ended(VmigJournal *journal, const char *uuid_or_name, VmigJob **ret, GError **error)
{
    gboolean more = FALSE;
    g_autofree char *lower = g_ascii_strdown(uuid_or_name, -1);
    g_autoptr(sqlite3_stmt) stmt = vmig_db_prepare(
        error, journal, JOB_COLUMNS "WHERE finished = 1 AND (uuid = ?1 OR domain = ?2) ORDER BY updated DESC LIMIT 1",
        "ss", lower, uuid_or_name);

    *ret = NULL;
    if (stmt == NULL || !vmig_db_step(journal, stmt, &more, error))
        return FALSE;
    if (!more)
        return TRUE;
    *ret = read_job(stmt, error);
    return *ret != NULL;
}

static GPtrArray *read_jobs(VmigJournal *journal, gboolean all, gint64 most, GError **error)
{
    g_autoptr(GPtrArray) jobs = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_job_free);
    /* Two statements, so that each uses its own index, whatever the table contains. */
    g_autoptr(sqlite3_stmt) stmt =
        vmig_db_prepare(error, journal,
                        all ? JOB_COLUMNS "ORDER BY updated DESC LIMIT ?1"
                            : JOB_COLUMNS "INDEXED BY job_open WHERE finished = 0 ORDER BY updated DESC LIMIT ?1",
                        "i", most);
    gboolean more = FALSE;

    if (stmt == NULL || !vmig_db_step(journal, stmt, &more, error))
        return NULL;
    while (more) {
        VmigJob *job = read_job(stmt, error);
        if (job == NULL)
            return NULL;
        g_ptr_array_add(jobs, job);
        if (!vmig_db_step(journal, stmt, &more, error))
            return NULL;
    }
    return g_steal_pointer(&jobs);
}

GPtrArray *vmig_journal_list(VmigJournal *journal, gboolean all, GError **error)
{
    return read_jobs(journal, all, -1, error);
}

void vmig_journal_head_free(VmigJournalHead *head)
{
    g_free(head->id);
    g_free(head->uuid);
    g_free(head->domain);
    g_free(head);
}

GPtrArray *vmig_journal_heads(VmigJournal *journal, GError **error)
{
    g_autoptr(GPtrArray) heads = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_journal_head_free);
    g_autoptr(sqlite3_stmt) stmt =
        vmig_db_prepare(error, journal, "SELECT id, uuid, domain, finished FROM job ORDER BY updated DESC", "");
    gboolean more = FALSE;

    if (stmt == NULL || !vmig_db_step(journal, stmt, &more, error))
        return NULL;
    while (more) {
        VmigJournalHead *head = g_new0(VmigJournalHead, 1);
        head->id = g_strdup(vmig_db_text(stmt, 0));
        head->uuid = g_strdup(vmig_db_text(stmt, 1));
        head->domain = g_strdup(vmig_db_text(stmt, 2));
        head->finished = sqlite3_column_int(stmt, 3) == 1;
        g_ptr_array_add(heads, head);
        if (!vmig_db_step(journal, stmt, &more, error))
            return NULL;
    }
    return g_steal_pointer(&heads);
}

GPtrArray *vmig_journal_newest(VmigJournal *journal, guint most, guint *left_out, GError **error)
{
    gint64 n = 0;

    *left_out = 0;
    if (!vmig_db_number(journal, "SELECT count(*) FROM job", &n, error))
        return NULL;
    *left_out = n > most ? (guint)(n - most) : 0;
    return read_jobs(journal, TRUE, most, error);
}

gboolean vmig_journal_may_have_open(const char *path, const char *domain, const char *uuid)
{
    static const char sql[] = "SELECT 1 FROM job INDEXED BY job_open WHERE finished = 0 AND"
                              " (uuid = ?1 OR domain = ?2) LIMIT 1";
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;

    gboolean may = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOFOLLOW, NULL) != SQLITE_OK ||
                   sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK ||
                   sqlite3_bind_text(stmt, 1, uuid, -1, SQLITE_TRANSIENT) != SQLITE_OK ||
                   sqlite3_bind_text(stmt, 2, domain, -1, SQLITE_TRANSIENT) != SQLITE_OK ||
                   sqlite3_step(stmt) != SQLITE_DONE;
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return may;
}
