/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The real journal (store/journal.c and what is below it) on a database in memory, fast enough for millions of runs:
 *  - the schema is the real one, in a database without a file: opening and checking files is tested elsewhere, and
 *    would take most of the time of a run;
 *  - the rows' checksums are the schema's, computed by a faster function: no bits flip here;
 *  - each statement is parsed once: this program's prepare and finalize override those of the library. */
#include <dlfcn.h>
#include <string.h>

#include "sim.h"
#include "store/journal-private.h"

typedef struct {
    sqlite3_stmt *stmt;
    gboolean busy;
} Kept;

typedef int (*Finalize)(sqlite3_stmt *stmt);

/* For all journals here: db → (SQL → Kept); stmt → Kept. Single-threaded. */
static GHashTable *databases;
static GHashTable *statements;

static int really_finalize(sqlite3_stmt *stmt)
{
    static Finalize finalize;

    if (finalize == NULL)
        *(void **)&finalize = dlsym(RTLD_NEXT, "sqlite3_finalize");
    return finalize(stmt);
}

static void kept_free(gpointer data)
{
    Kept *kept = data;

    g_hash_table_remove(statements, kept->stmt);
    really_finalize(kept->stmt);
    g_free(kept);
}

int sqlite3_prepare_v2(sqlite3 *db, const char *sql, int length, sqlite3_stmt **stmt, const char **tail)
{
    GHashTable *known = databases != NULL ? g_hash_table_lookup(databases, db) : NULL;
    Kept *kept = known != NULL ? g_hash_table_lookup(known, sql) : NULL;

    if (kept != NULL && !kept->busy) {
        kept->busy = TRUE;
        *stmt = kept->stmt;
        return SQLITE_OK;
    }
    int rc = sqlite3_prepare_v3(db, sql, length, 0, stmt, tail);
    if (rc != SQLITE_OK || known == NULL || kept != NULL)
        return rc;
    kept = g_new0(Kept, 1);
    kept->stmt = *stmt;
    kept->busy = TRUE;
    g_hash_table_insert(known, g_strdup(sql), kept);
    g_hash_table_insert(statements, kept->stmt, kept);
    return SQLITE_OK;
}

int sqlite3_finalize(sqlite3_stmt *stmt)
{
    Kept *kept = statements != NULL ? g_hash_table_lookup(statements, stmt) : NULL;

    if (kept == NULL)
        return really_finalize(stmt);
    kept->busy = FALSE;
    sqlite3_clear_bindings(stmt);
    return sqlite3_reset(stmt);
}

static guint64 mix(guint64 h, const guint8 *bytes, int n)
{
    for (; n >= 8; n -= 8, bytes += 8) {
        guint64 word;
        memcpy(&word, bytes, sizeof word);
        h = (h ^ word) * G_GUINT64_CONSTANT(0x9fb21c651e98df25);
        h ^= h >> 32;
    }
    for (; n > 0; n--, bytes++)
        h = (h ^ *bytes) * G_GUINT64_CONSTANT(0x100000001b3);
    return h;
}

static void fast_sum(sqlite3_context *context, int n_values, sqlite3_value **values)
{
    guint64 h = 1;

    for (int i = 0; i < n_values; i++) {
        const void *bytes = sqlite3_value_text(values[i]);
        int n = bytes != NULL ? sqlite3_value_bytes(values[i]) : -1;
        h = mix(h, (const guint8 *)&n, sizeof n);
        if (n > 0)
            h = mix(h, bytes, n);
    }
    sqlite3_result_blob(context, &h, sizeof h, SQLITE_TRANSIENT);
}

/* From here on its statements are kept. Not while it reads its schema: the library frees those statements itself. */
static void keep_statements(sqlite3 *db)
{
    g_hash_table_insert(databases, db, g_hash_table_new_full(g_str_hash, g_str_equal, g_free, kept_free));
}

VmigJournal *sim_journal_new(const char *name)
{
    VmigJournal *journal = g_new0(VmigJournal, 1);

    journal->path = g_strdup(name);
    journal->boot_id = g_strdup("boot");
    journal->dir_fd = -1;
    if (sqlite3_open_v2(":memory:", &journal->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
        sqlite3_create_function_v2(journal->db, "vmig_sum", -1, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS,
                                   NULL, fast_sum, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(journal->db, vmig_journal_ddl, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(journal->db, "PRAGMA foreign_keys = ON", NULL, NULL, NULL) != SQLITE_OK)
        g_error("the journal's schema: %s", sqlite3_errmsg(journal->db));
    sqlite3_extended_result_codes(journal->db, 1);
    if (databases == NULL) {
        databases = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, (GDestroyNotify)g_hash_table_unref);
        statements = g_hash_table_new(g_direct_hash, g_direct_equal);
    }
    keep_statements(journal->db);
    return journal;
}

void sim_journal_free(VmigJournal *journal)
{
    g_hash_table_remove(databases, journal->db);
    vmig_journal_close(journal);
}

static void copy_all(sqlite3 *to, sqlite3 *from)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");

    if (backup == NULL || sqlite3_backup_step(backup, -1) != SQLITE_DONE || sqlite3_backup_finish(backup) != SQLITE_OK)
        g_error("a copy of a journal: %s", sqlite3_errmsg(to));
}

void sim_journal_keep_old(Sim *sim, SimHost *host)
{
    if (sqlite3_open(":memory:", (sqlite3 **)&sim->old.journal) != SQLITE_OK)
        g_error("no memory for a journal");
    copy_all(sim->old.journal, host->journal->db);
}

void sim_journal_put_back(Sim *sim)
{
    sqlite3 *db = sim->old.host->journal->db;

    sim_trace(sim, "%s: its journal is replaced by an older one", sim->old.host->name);
    g_hash_table_remove(databases, db);
    copy_all(db, sim->old.journal);
    if (sqlite3_exec(db, "SELECT count(*) FROM job", NULL, NULL, NULL) != SQLITE_OK)
        g_error("the older journal: %s", sqlite3_errmsg(db));
    keep_statements(db);
    sim_journal_drop_old(sim);
    sim->old.put_back = TRUE;
}

void sim_journal_drop_old(Sim *sim)
{
    sqlite3_close(g_steal_pointer(&sim->old.journal));
}
