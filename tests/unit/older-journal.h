/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A journal as written by the previous version of vmig-snap: version 1 of the schema, records of version 2. The
 * statements are a copy of that version's, and must not be derived from the current ones. */
#pragma once

#include <string.h>

#include <glib/gstdio.h>

#include "store/journal-private.h"

#define OLDER_SCHEMA 1

static const char older_ddl[] =
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

    "CREATE TABLE file (job TEXT NOT NULL REFERENCES job (id), path TEXT NOT NULL,"
    " kind TEXT NOT NULL CHECK (kind IN ('part', 'seed', 'overlay', 'park', 'socket', 'base')),"
    " state TEXT NOT NULL CHECK (state IN ('intended', 'made', 'verified', 'redundant', 'removed')),"
    " dev INTEGER NOT NULL, ino INTEGER NOT NULL, born_ns INTEGER NOT NULL, boot TEXT, reason TEXT,"
    " sum BLOB NOT NULL CHECK (sum = vmig_sum('file', job, path, kind, state, dev, ino, born_ns, boot, reason)),"
    " PRIMARY KEY (job, path)) STRICT;"
    "CREATE INDEX file_path ON file (path);"

    "CREATE TABLE reserve (room BLOB NOT NULL) STRICT;";

/* A record as that version wrote it: it contains the XML of a snapshot. */
static inline char *older_record(const char *id, const char *uuid, const char *domain, const char *state)
{
    return g_strdup_printf("{\"version\":2,\"id\":\"%s\",\"uuid\":\"%s\",\"domain\":\"%s\",\"state\":\"%s\","
                           "\"source_host\":\"vmig-a\",\"dest_host\":\"vmig-b\",\"token\":\"%s\",\"snapshots\":"
                           "[{\"name\":\"s1\",\"state\":\"shutoff\",\"xml\":\"<domainsnapshot/>\",\"dest_xml\":"
                           "\"<domainsnapshot/>\",\"creation_time\":1700000000,\"current\":true}]}",
                           id, uuid, domain, state, strcmp(state, "DONE") == 0 ? "destination" : "source");
}

/* Adds a job in this state. */
static inline void older_add(sqlite3 *db, const char *id, const char *uuid, const char *domain, const char *state)
{
    g_autofree char *record = older_record(id, uuid, domain, state);
    int finished = strcmp(state, "DONE") == 0 || strcmp(state, "ROLLED_BACK") == 0;
    char *sql =
        sqlite3_mprintf("INSERT INTO job VALUES (%Q, %Q, %Q, 'source', %Q, %d, 1700000000, 1700000001, %Q,"
                        " vmig_sum('job', %Q, %Q, %Q, 'source', %Q, %d, 1700000000, 1700000001, %Q));"
                        "INSERT INTO token VALUES (%Q, 'source', 1, vmig_sum('token', %Q, 'source', 1));",
                        id, uuid, domain, state, finished, record, id, uuid, domain, state, finished, record, id, id);

    g_assert_cmpint(sqlite3_exec(db, sql, NULL, NULL, NULL), ==, SQLITE_OK);
    sqlite3_free(sql);
}

/* Adds a file of a job. */
static inline void older_file(sqlite3 *db, const char *job, const char *path, const char *kind, const char *state)
{
    char *sql = sqlite3_mprintf("INSERT INTO file VALUES (%Q, %Q, %Q, %Q, 1, 2, 3, NULL, NULL,"
                                " vmig_sum('file', %Q, %Q, %Q, %Q, 1, 2, 3, NULL, NULL))",
                                job, path, kind, state, job, path, kind, state);

    g_assert_cmpint(sqlite3_exec(db, sql, NULL, NULL, NULL), ==, SQLITE_OK);
    sqlite3_free(sql);
}

/* Creates an empty journal with mode 0600 at path and opens it. */
static inline sqlite3 *older_journal(const char *path, const char *machine_id)
{
    sqlite3 *db = NULL;
    g_autofree char *head = g_strdup_printf("PRAGMA page_size = 4096; PRAGMA application_id = %d; PRAGMA user_version ="
                                            " %d; %s INSERT INTO reserve VALUES (zeroblob(262144));",
                                            VMIG_JOURNAL_APPLICATION, OLDER_SCHEMA, older_ddl);
    char *meta = sqlite3_mprintf("INSERT INTO meta VALUES ('machine-id', %Q, vmig_sum('meta', 'machine-id', %Q))",
                                 machine_id, machine_id);

    g_assert_cmpint(sqlite3_open(path, &db), ==, SQLITE_OK);
    g_assert_true(vmig_db_add_functions(db));
    g_assert_cmpint(sqlite3_exec(db, head, NULL, NULL, NULL), ==, SQLITE_OK);
    g_assert_cmpint(sqlite3_exec(db, meta, NULL, NULL, NULL), ==, SQLITE_OK);
    sqlite3_free(meta);
    g_assert_cmpint(g_chmod(path, 0600), ==, 0);
    return db;
}
