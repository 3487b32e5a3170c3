/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SQLite as the journal needs it: bound statements, errors in this project's domain, transactions that tolerate a full
 * disk. */
#include "store/journal-private.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

/* Every row has a sum over all of its columns, because SQLite's pages have no checksums: otherwise a record with a
 * flipped bit would be accepted. As a CHECK it is verified by PRAGMA integrity_check, and a writer without the function
 * cannot write. */
const char vmig_journal_ddl[] =
    "CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL,"
    " sum BLOB NOT NULL CHECK (sum = vmig_sum('meta', key, value))) STRICT;"

    "CREATE TABLE job (id TEXT PRIMARY KEY NOT NULL, uuid TEXT NOT NULL, domain TEXT NOT NULL,"
    " role TEXT NOT NULL CHECK (role IN ('source', 'destination')), state TEXT NOT NULL,"
    " finished INTEGER NOT NULL CHECK (finished IN (0, 1)), since INTEGER NOT NULL, updated INTEGER NOT NULL,"
    " record TEXT NOT NULL,"
    " sum BLOB NOT NULL CHECK (sum = vmig_sum('job', id, uuid, domain, role, state, finished, since, updated, record))"
    ") STRICT;"
    "CREATE UNIQUE INDEX job_open ON job (uuid) WHERE finished = 0;"
    "CREATE INDEX job_updated ON job (updated);"
    "CREATE TRIGGER job_final BEFORE UPDATE ON job WHEN OLD.finished > NEW.finished OR OLD.id <> NEW.id"
    " OR OLD.uuid <> NEW.uuid OR OLD.role <> NEW.role"
    " BEGIN SELECT RAISE(ABORT, 'a job keeps its identity and its end'); END;"

    "CREATE TABLE transition (seq INTEGER PRIMARY KEY NOT NULL, job TEXT NOT NULL REFERENCES job (id),"
    " from_state TEXT NOT NULL, to_state TEXT NOT NULL,"
    " phase TEXT NOT NULL CHECK (phase IN ('intent', 'result', 'note')),"
    " wall_us INTEGER NOT NULL, boot_us INTEGER NOT NULL, detail TEXT,"
    " sum BLOB NOT NULL CHECK (sum = vmig_sum('transition', seq, job, from_state, to_state, phase, wall_us, boot_us,"
    " detail))) STRICT;"
    "CREATE INDEX transition_job ON transition (job, seq);"

    "CREATE TABLE token (job TEXT PRIMARY KEY NOT NULL REFERENCES job (id),"
    " owner TEXT NOT NULL CHECK (owner IN ('source', 'destination')), seq INTEGER NOT NULL,"
    " sum BLOB NOT NULL CHECK (sum = vmig_sum('token', job, owner, seq))) STRICT;"
    "CREATE TRIGGER token_once BEFORE INSERT ON token WHEN EXISTS (SELECT 1 FROM token WHERE job = NEW.job)"
    " BEGIN SELECT RAISE(ABORT, 'the token exists'); END;"
    "CREATE TRIGGER token_forward BEFORE UPDATE ON token WHEN OLD.owner = 'destination' OR OLD.job <> NEW.job"
    " BEGIN SELECT RAISE(ABORT, 'the token is never given back'); END;"
    "CREATE TRIGGER token_kept BEFORE DELETE ON token"
    " BEGIN SELECT RAISE(ABORT, 'the token is never taken away'); END;"

    VMIG_JOURNAL_FILE_TABLE(VMIG_JOURNAL_FILE_KINDS) VMIG_JOURNAL_FILE_INDEX

        VMIG_JOURNAL_TEXT_TABLE

    "CREATE TABLE reserve (room BLOB NOT NULL) STRICT;";

/* The hash includes the type and length of each value, so that no two rows hash the same text. */
static void sum_function(sqlite3_context *context, int n_values, sqlite3_value **values)
{
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    guint8 digest[32];
    gsize length = sizeof digest;

    for (int i = 0; i < n_values; i++) {
        int type = sqlite3_value_type(values[i]);
        const void *bytes = sqlite3_value_text(values[i]);
        g_autofree char *head = g_strdup_printf("%d:%d:", type, bytes != NULL ? sqlite3_value_bytes(values[i]) : 0);
        g_checksum_update(checksum, (const guchar *)head, -1);
        if (bytes != NULL)
            g_checksum_update(checksum, bytes, sqlite3_value_bytes(values[i]));
    }
    g_checksum_get_digest(checksum, digest, &length);
    sqlite3_result_blob(context, digest, 16, SQLITE_TRANSIENT);
}

gboolean vmig_db_add_functions(sqlite3 *db)
{
    return sqlite3_create_function_v2(db, "vmig_sum", -1, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, NULL,
                                      sum_function, NULL, NULL, NULL) == SQLITE_OK;
}

/* SQLite reports a full disk as SQLITE_FULL if write() gave ENOSPC. It reports a quota or a file size limit as an I/O
 * error (os_unix.c, unixWrite). */
static gboolean is_full(int code, int errnum)
{
    return (code & 0xff) == SQLITE_FULL || ((code & 0xff) == SQLITE_IOERR && code != SQLITE_IOERR_FSYNC &&
                                            (errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG));
}

gboolean vmig_db_fail(VmigJournal *journal, GError **error, const char *act)
{
    int code = sqlite3_extended_errcode(journal->db);
    int errnum = sqlite3_system_errno(journal->db);
    const char *text = sqlite3_errmsg(journal->db);

    if (is_full(code, errnum))
        return vmig_fail(error, VMIG_ERROR_NO_SPACE, "Free some space on that file system, then run vmig-snap resume.",
                         "cannot %s the journal %s: its disk is full", act, journal->path);
    switch (code & 0xff) {
    case SQLITE_BUSY:
        return vmig_fail(error, VMIG_ERROR_TIMEOUT, "Check which vmig-snap processes run on this host.",
                         "cannot %s the journal %s: another process keeps it busy", act, journal->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        journal->broken = TRUE;
        return vmig_fail(
            error, VMIG_ERROR_JOURNAL_DAMAGED,
            "`vmig-snap doctor` compares the hosts with the journal; `doctor --fix` sets the journal aside.",
            "cannot %s the journal %s: it is damaged (%s)", act, journal->path, text);
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return vmig_fail(error, VMIG_ERROR_JOURNAL, "Is the file system mounted read-only?",
                         "cannot %s the journal %s: it cannot be written (%s)", act, journal->path, text);
    case SQLITE_CONSTRAINT:
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL, "cannot %s the journal %s: %s", act, journal->path,
                         text);
    default:
        /* After a failed fsync the contents of the disk are unknown, and a second fsync would report success. */
        journal->broken = journal->broken || code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC;
        return vmig_fail(error, VMIG_ERROR_JOURNAL, "Look for I/O errors in the kernel's log.",
                         "cannot %s the journal %s: %s%s%s", act, journal->path, text, errnum != 0 ? ": " : "",
                         errnum != 0 ? g_strerror(errnum) : "");
    }
}

static sqlite3_stmt *prepare_va(GError **error, VmigJournal *journal, const char *sql, const char *types, va_list args)
{
    g_autoptr(sqlite3_stmt) stmt = NULL;
    int rc = sqlite3_prepare_v2(journal->db, sql, -1, &stmt, NULL);

    for (int i = 0; rc == SQLITE_OK && types[i] != '\0'; i++) {
        if (types[i] == 'i')
            rc = sqlite3_bind_int64(stmt, i + 1, va_arg(args, gint64));
        else
            rc = sqlite3_bind_text(stmt, i + 1, va_arg(args, const char *), -1, SQLITE_TRANSIENT);
    }
    if (rc != SQLITE_OK) {
        vmig_db_fail(journal, error, "use");
        return NULL;
    }
    return g_steal_pointer(&stmt);
}

sqlite3_stmt *vmig_db_prepare(GError **error, VmigJournal *journal, const char *sql, const char *types, ...)
{
    va_list args;

    va_start(args, types);
    sqlite3_stmt *stmt = prepare_va(error, journal, sql, types, args);
    va_end(args);
    return stmt;
}

gboolean vmig_db_step(VmigJournal *journal, sqlite3_stmt *stmt, gboolean *row, GError **error)
{
    int rc = sqlite3_step(stmt);

    *row = rc == SQLITE_ROW;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return vmig_db_fail(journal, error, sqlite3_stmt_readonly(stmt) ? "use" : "write");
    return TRUE;
}

gboolean vmig_db_run(GError **error, VmigJournal *journal, const char *sql, const char *types, ...)
{
    va_list args;
    gboolean row = TRUE;

    va_start(args, types);
    g_autoptr(sqlite3_stmt) stmt = prepare_va(error, journal, sql, types, args);
    va_end(args);
    if (stmt == NULL)
        return FALSE;
    while (row)
        if (!vmig_db_step(journal, stmt, &row, error))
            return FALSE;
    return TRUE;
}

gboolean vmig_db_number(VmigJournal *journal, const char *sql, gint64 *ret, GError **error)
{
    gboolean row = FALSE;
    g_autoptr(sqlite3_stmt) stmt = vmig_db_prepare(error, journal, sql, "");

    if (stmt == NULL || !vmig_db_step(journal, stmt, &row, error))
        return FALSE;
    *ret = row ? sqlite3_column_int64(stmt, 0) : 0;
    return TRUE;
}

const char *vmig_db_text(sqlite3_stmt *stmt, int column)
{
    return (const char *)sqlite3_column_text(stmt, column);
}

static gint64 boot_time_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (gint64)now.tv_sec * G_USEC_PER_SEC + now.tv_nsec / 1000;
}

gboolean vmig_db_history(VmigJournal *journal, const char *id, const char *from, const char *to, const char *phase,
                         const char *detail, GError **error)
{
    gint64 seq = 0;

    if (!vmig_db_number(journal, "SELECT coalesce(max(seq), 0) + 1 FROM transition", &seq, error))
        return FALSE;
    return vmig_db_run(error, journal,
                       "INSERT INTO transition VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,"
                       " vmig_sum('transition', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8))",
                       "issssiis", seq, id, from, to, phase, g_get_real_time(), boot_time_us(), detail);
}

gboolean vmig_db_note(VmigJournal *journal, const char *id, const char *detail, GError **error)
{
    gboolean row = FALSE;
    g_autoptr(sqlite3_stmt) stmt = vmig_db_prepare(error, journal, "SELECT state FROM job WHERE id = ?1", "s", id);

    if (stmt == NULL || !vmig_db_step(journal, stmt, &row, error))
        return FALSE;
    if (!row)
        return vmig_fail(error, VMIG_ERROR_NO_JOB, NULL, "job %s is not in the journal of this host", id);
    return vmig_db_history(journal, id, vmig_db_text(stmt, 0), vmig_db_text(stmt, 0), "note", detail, error);
}

static gboolean run_once(VmigJournal *journal, VmigDbWork work, gpointer data, GError **error)
{
    if (!vmig_db_run(error, journal, "BEGIN IMMEDIATE", ""))
        return FALSE;
    if (work(journal, data, error) && vmig_db_run(error, journal, "COMMIT", ""))
        return TRUE;
    /* Some errors have already rolled back. If the rollback itself fails, the next process that opens the file rolls
     * back. */
    if (!sqlite3_get_autocommit(journal->db))
        vmig_db_run(NULL, journal, "ROLLBACK", "");
    return FALSE;
}

typedef struct {
    const char *id;
    VmigDbWork work;
    gpointer data;
} Retry;

static gboolean again_with_note(VmigJournal *journal, gpointer data, GError **error)
{
    const Retry *retry = data;

    return retry->work(journal, retry->data, error) &&
           (retry->id == NULL ||
            vmig_db_note(journal, retry->id, "the journal's disk is full: its reserved space is in use", error));
}

static gboolean drop_reserve(VmigJournal *journal, gpointer data, GError **error)
{
    gboolean *released = data;

    if (!vmig_db_run(error, journal, "DELETE FROM reserve", ""))
        return FALSE;
    *released = sqlite3_changes(journal->db) > 0;
    return TRUE;
}

gboolean vmig_journal_release_reserve(VmigJournal *journal, gboolean *released, GError **error)
{
    *released = FALSE;
    return run_once(journal, drop_reserve, released, error);
}

gboolean vmig_db_transaction(VmigJournal *journal, const char *id, VmigDbWork work, gpointer data, GError **error)
{
    g_autoptr(GError) failure = NULL;
    gboolean released = FALSE;
    Retry retry = {id, work, data};

    if (journal->read_only || journal->broken)
        return vmig_fail(error, VMIG_ERROR_JOURNAL,
                         journal->broken ? "Look for I/O errors in the kernel's log, then run vmig-snap resume." : NULL,
                         "cannot write to the journal %s: %s", journal->path,
                         journal->broken ? "an earlier write failed" : "it is open for reading only");
    if (run_once(journal, work, data, &failure))
        return TRUE;
    if (g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_SPACE) &&
        vmig_journal_release_reserve(journal, &released, NULL) && released) {
        g_clear_error(&failure);
        return run_once(journal, again_with_note, &retry, error);
    }
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
}
