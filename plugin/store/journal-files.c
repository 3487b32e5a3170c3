/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The journal's rows that belong to a job: its files, for the gate, and its history. */
#include "store/journal-private.h"

#include <string.h>

#define FILE_COLUMNS                                                                                                   \
    "SELECT job, path, kind, state, dev, ino, born_ns, boot, reason,"                                                  \
    " sum = vmig_sum('file', job, path, kind, state, dev, ino, born_ns, boot, reason) FROM file "

void vmig_journal_set_roots(VmigJournal *journal, GPtrArray *roots)
{
    g_clear_pointer(&journal->roots, g_ptr_array_unref);
    journal->roots = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < roots->len; i++)
        g_ptr_array_add(journal->roots, g_strdup(roots->pdata[i]));
}

GPtrArray *vmig_journal_roots(const VmigJournal *journal)
{
    return journal->roots;
}

VmigJournalFile *vmig_journal_file_new(const char *job, const char *path, const char *kind, const char *state)
{
    VmigJournalFile *file = g_new0(VmigJournalFile, 1);

    file->job = g_strdup(job);
    file->path = g_strdup(path);
    file->kind = g_strdup(kind);
    file->state = g_strdup(state);
    return file;
}

void vmig_journal_file_free(VmigJournalFile *file)
{
    g_free(file->job);
    g_free(file->path);
    g_free(file->kind);
    g_free(file->state);
    g_free(file->boot);
    g_free(file->reason);
    g_free(file);
}

static VmigJournalFile *read_file(sqlite3_stmt *stmt, GError **error)
{
    if (sqlite3_column_int(stmt, 9) != 1) {
        vmig_fail(error, VMIG_ERROR_JOURNAL, "`vmig-snap doctor` compares the hosts with the journal.",
                  "the journal's row of a file of job %s is damaged", vmig_db_text(stmt, 0));
        return NULL;
    }
    VmigJournalFile *file = vmig_journal_file_new(vmig_db_text(stmt, 0), vmig_db_text(stmt, 1), vmig_db_text(stmt, 2),
                                                  vmig_db_text(stmt, 3));
    file->dev = (guint64)sqlite3_column_int64(stmt, 4);
    file->ino = (guint64)sqlite3_column_int64(stmt, 5);
    file->born_ns = sqlite3_column_int64(stmt, 6);
    file->boot = g_strdup(vmig_db_text(stmt, 7));
    file->reason = g_strdup(vmig_db_text(stmt, 8));
    return file;
}

gboolean vmig_journal_file_get(VmigJournal *journal, const char *job, const char *path, VmigJournalFile **ret,
                               GError **error)
{
    gboolean more = FALSE;
    g_autoptr(sqlite3_stmt) stmt =
        vmig_db_prepare(error, journal, FILE_COLUMNS "WHERE job = ?1 AND path = ?2", "ss", job, path);

    *ret = NULL;
    if (stmt == NULL || !vmig_db_step(journal, stmt, &more, error))
        return FALSE;
    if (more)
        *ret = read_file(stmt, error);
    return !more || *ret != NULL;
}

typedef struct {
    const VmigJournalFile *file;
    const VmigJournalFile *second;
} Files;

gboolean vmig_db_put_file(VmigJournal *journal, const VmigJournalFile *f, GError **error)
{
    return vmig_db_run(error, journal,
                       "INSERT INTO file VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
                       " vmig_sum('file', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)) ON CONFLICT (job, path) DO UPDATE SET"
                       " kind = excluded.kind, state = excluded.state, dev = excluded.dev, ino = excluded.ino,"
                       " born_ns = excluded.born_ns, boot = excluded.boot, reason = excluded.reason,"
                       " sum = excluded.sum",
                       "ssssiiiss", f->job, f->path, f->kind, f->state, (gint64)f->dev, (gint64)f->ino, f->born_ns,
                       f->boot, f->reason);
}

static gboolean write_files(VmigJournal *journal, gpointer data, GError **error)
{
    const Files *files = data;

    return vmig_db_put_file(journal, files->file, error) &&
           (files->second == NULL || vmig_db_put_file(journal, files->second, error));
}

gboolean vmig_journal_file_put(VmigJournal *journal, const VmigJournalFile *file, const VmigJournalFile *second,
                               GError **error)
{
    Files files = {file, second};

    return vmig_db_transaction(journal, file->job, write_files, &files, error);
}

static GPtrArray *read_files(VmigJournal *journal, sqlite3_stmt *stmt, GError **error)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_journal_file_free);
    gboolean more = FALSE;

    if (stmt == NULL || !vmig_db_step(journal, stmt, &more, error))
        return NULL;
    while (more) {
        VmigJournalFile *file = read_file(stmt, error);
        if (file == NULL)
            return NULL;
        g_ptr_array_add(files, file);
        if (!vmig_db_step(journal, stmt, &more, error))
            return NULL;
    }
    return g_steal_pointer(&files);
}

GPtrArray *vmig_journal_file_list(VmigJournal *journal, const char *job, const char *path, GError **error)
{
    g_autoptr(sqlite3_stmt) stmt =
        job != NULL
            ? vmig_db_prepare(error, journal, FILE_COLUMNS "WHERE job = ?1 AND state <> 'removed' ORDER BY rowid", "s",
                              job)
            : vmig_db_prepare(error, journal, FILE_COLUMNS "WHERE path = ?1 AND state <> 'removed' ORDER BY rowid DESC",
                              "s", path);

    return read_files(journal, stmt, error);
}

GPtrArray *vmig_journal_files_left(VmigJournal *journal, GError **error)
{
    g_autoptr(sqlite3_stmt) stmt = vmig_db_prepare(
        error, journal,
        FILE_COLUMNS "WHERE state <> 'removed' AND kind <> 'base'"
                     " AND NOT EXISTS (SELECT 1 FROM job WHERE job.id = file.job AND job.state = 'SET_ASIDE')"
                     " AND job NOT IN (SELECT id FROM job INDEXED BY job_open WHERE finished = 0)"
                     " AND NOT (kind = 'copy' AND EXISTS (SELECT 1 FROM token WHERE token.job = file.job AND"
                     " token.owner = 'destination'))",
        "");

    return read_files(journal, stmt, error);
}

static gboolean fail_line(GError **error, const char *id)
{
    return vmig_fail(error, VMIG_ERROR_JOURNAL, "`vmig-snap doctor` compares the hosts with the journal.",
                     "a line of the history of job %s in the journal is damaged", id);
}

void vmig_journal_entry_free(VmigJournalEntry *entry)
{
    g_free(entry->job);
    g_free(entry->from);
    g_free(entry->to);
    g_free(entry->phase);
    g_free(entry->detail);
    g_free(entry);
}

GPtrArray *vmig_journal_history(VmigJournal *journal, const char *id, GError **error)
{
    g_autoptr(GPtrArray) entries = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_journal_entry_free);
    gboolean more = FALSE;

    if (!vmig_journal_need_job(journal, id, error))
        return NULL;
    g_autoptr(sqlite3_stmt) stmt =
        vmig_db_prepare(error, journal,
                        "SELECT seq, job, from_state, to_state, phase, wall_us, boot_us, detail,"
                        " sum = vmig_sum('transition', seq, job, from_state, to_state, phase, wall_us, boot_us, detail)"
                        " FROM transition WHERE job = ?1 ORDER BY seq",
                        "s", id);
    if (stmt == NULL || !vmig_db_step(journal, stmt, &more, error))
        return NULL;
    while (more) {
        if (sqlite3_column_int(stmt, 8) != 1) {
            fail_line(error, id);
            return NULL;
        }
        VmigJournalEntry *entry = g_new0(VmigJournalEntry, 1);
        *entry = (VmigJournalEntry){
            .seq = sqlite3_column_int64(stmt, 0),
            .job = g_strdup(vmig_db_text(stmt, 1)),
            .from = g_strdup(vmig_db_text(stmt, 2)),
            .to = g_strdup(vmig_db_text(stmt, 3)),
            .phase = g_strdup(vmig_db_text(stmt, 4)),
            .wall_us = sqlite3_column_int64(stmt, 5),
            .boot_us = sqlite3_column_int64(stmt, 6),
            .detail = g_strdup(vmig_db_text(stmt, 7)),
        };
        g_ptr_array_add(entries, entry);
        if (!vmig_db_step(journal, stmt, &more, error))
            return NULL;
    }
    return g_steal_pointer(&entries);
}

gboolean vmig_journal_pending(VmigJournal *journal, const char *id, gboolean *pending, VmigState *to, GError **error)
{
    gboolean more = FALSE;

    *pending = FALSE;
    *to = NULL;
    if (!vmig_journal_need_job(journal, id, error))
        return FALSE;
    g_autoptr(sqlite3_stmt) stmt = vmig_db_prepare(
        error, journal,
        "SELECT phase, to_state, sum = vmig_sum('transition', seq, job, from_state, to_state, phase, wall_us, boot_us,"
        " detail) FROM transition WHERE job = ?1 AND phase <> 'note' ORDER BY seq DESC LIMIT 1",
        "s", id);
    if (stmt == NULL || !vmig_db_step(journal, stmt, &more, error))
        return FALSE;
    if (more && sqlite3_column_int(stmt, 2) != 1)
        return fail_line(error, id);
    *pending = more && strcmp(vmig_db_text(stmt, 0), "intent") == 0;
    if (*pending)
        *to = vmig_state_from_name(NULL, vmig_db_text(stmt, 1));
    return TRUE;
}
