/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the journal's files: statements with bound arguments, transactions, the schema. */
#pragma once

#include <sqlite3.h>

#include "store/journal.h"

/* Space that is reserved while the disk has some: in the database for new pages, in the rollback file for old ones. */
#define VMIG_JOURNAL_RESERVE (256 * 1024)
#define VMIG_JOURNAL_ROLLBACK_ROOM (1024 * 1024)
/* Up to this size, opening verifies every row. */
#define VMIG_JOURNAL_FULL_CHECK (64 * 1024 * 1024)

G_DEFINE_AUTOPTR_CLEANUP_FUNC(sqlite3_stmt, sqlite3_finalize)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(sqlite3, sqlite3_close)

struct VmigJournal {
    sqlite3 *db;
    char *path;
    char *boot_id;
    GPtrArray *roots; /* char *; NULL: not set */
    gint64 version;   /* of its schema: VMIG_JOURNAL_SCHEMA, or an older one that is only read */
    int dir_fd;       /* of the directory; holds a shared flock against vmig_journal_set_aside() */
    gboolean read_only;
    gboolean broken; /* a sync failed or the database proved to be damaged: all further writes are refused */
};

/* Prepares a statement. types has one letter for each argument: 's' const char * (may be NULL), 'i' gint64. */
sqlite3_stmt *vmig_db_prepare(GError **error, VmigJournal *journal, const char *sql, const char *types, ...);
/* Runs a statement to its end. */
gboolean vmig_db_run(GError **error, VmigJournal *journal, const char *sql, const char *types, ...);
/* *row is TRUE if there is another row. */
gboolean vmig_db_step(VmigJournal *journal, sqlite3_stmt *stmt, gboolean *row, GError **error);
/* The first column of the first row; *ret is 0 if there is none. */
gboolean vmig_db_number(VmigJournal *journal, const char *sql, gint64 *ret, GError **error);
/* Sets the error from SQLite's last error. Returns FALSE. */
gboolean vmig_db_fail(VmigJournal *journal, GError **error, const char *act);
const char *vmig_db_text(sqlite3_stmt *stmt, int column);

/* Runs work in one transaction. If the disk is full, the reserve is released and work runs again, so it must change
 * nothing but the database. id is the job whose history gets a note about it, or NULL. */
typedef gboolean (*VmigDbWork)(VmigJournal *journal, gpointer data, GError **error);
gboolean vmig_db_transaction(VmigJournal *journal, const char *id, VmigDbWork work, gpointer data, GError **error);

/* Adds a line to a job's history; inside a transaction. */
gboolean vmig_db_history(VmigJournal *journal, const char *id, const char *from, const char *to, const char *phase,
                         const char *detail, GError **error);

/* Writes one row of a file, inside a transaction. */
gboolean vmig_db_put_file(VmigJournal *journal, const VmigJournalFile *file, GError **error);

/* All four run inside a transaction. need_texts: STATE unless every text of an unfinished job is stored. put_text:
 * stores one text. put_texts_of: stores the texts that the job has in memory. drop_texts: removes all of a job. */
gboolean vmig_db_need_texts(VmigJournal *journal, const VmigJob *job, GError **error);
gboolean vmig_db_put_text(VmigJournal *journal, const char *id, const char *name, const char *text, GError **error);
gboolean vmig_db_put_texts_of(VmigJournal *journal, const VmigJob *job, GError **error);
gboolean vmig_db_drop_texts(VmigJournal *journal, const char *id, GError **error);

/* Adds a note in the job's current state. NO_JOB if there is none. */
gboolean vmig_db_note(VmigJournal *journal, const char *id, const char *detail, GError **error);

/* vmig_sum(...): every row's CHECK compares it with the column `sum`. */
gboolean vmig_db_add_functions(sqlite3 *db);
/* Added in version 2 of the schema. */
#define VMIG_JOURNAL_TEXT_TABLE                                                                                        \
    "CREATE TABLE text (job TEXT NOT NULL, hash TEXT NOT NULL, body TEXT NOT NULL, size INTEGER NOT NULL,"             \
    " since INTEGER NOT NULL, sum BLOB NOT NULL CHECK (sum = vmig_sum('text', job, hash, size, since)),"               \
    " PRIMARY KEY (job, hash)) STRICT;"
#define VMIG_JOURNAL_FILE_KINDS "'part', 'copy', 'overlay', 'hold', 'socket', 'base'"
#define VMIG_JOURNAL_FILE_TABLE(kinds)                                                                                 \
    "CREATE TABLE file (job TEXT NOT NULL REFERENCES job (id), path TEXT NOT NULL,"                                    \
    " kind TEXT NOT NULL CHECK (kind IN (" kinds ")),"                                                                 \
    " state TEXT NOT NULL CHECK (state IN ('intended', 'made', 'verified', 'redundant', 'removed')),"                  \
    " dev INTEGER NOT NULL, ino INTEGER NOT NULL, born_ns INTEGER NOT NULL, boot TEXT, reason TEXT,"                   \
    " sum BLOB NOT NULL CHECK (sum = vmig_sum('file', job, path, kind, state, dev, ino, born_ns, boot, reason)),"      \
    " PRIMARY KEY (job, path)) STRICT;"
#define VMIG_JOURNAL_FILE_INDEX "CREATE INDEX file_path ON file (path);"
/* Turns an empty database of the current schema into one of that version. NULL if that version never existed. */
const char *vmig_journal_older_schema(gint64 version);
/* For an intact journal of an older version. JOURNAL_OLDER if a job is unfinished. Otherwise it is upgraded to this
 * version in one transaction. A journal that is open for reading only is left unchanged. */
gboolean vmig_journal_upgrade(VmigJournal *journal, GError **error);
/* The schema as statements. */
extern const char vmig_journal_ddl[];

/* Sets NO_JOB with the id. Returns FALSE. */
gboolean vmig_journal_fail_no_job(GError **error, const char *id);
/* NO_JOB if there is none. */
gboolean vmig_journal_need_job(VmigJournal *journal, const char *id, GError **error);
/* TRUE for 16 lower-case hex digits. */
gboolean vmig_journal_is_id(const char *id);
