/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A journal that is years old: thousands of ended jobs with correct checksums, written at once. */
#pragma once

#include "store/journal-private.h"
#include "tests/unit/legal.h"
#include "flows/migrate/states.h"

/* Adds n finished jobs of domains "old-1".. to the existing journal at path. */
static inline void add_ended_jobs(const char *path, guint n)
{
    static const char sql[] =
        "BEGIN;"
        "CREATE TEMP TABLE old AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT %u)"
        " SELECT n, printf('e%%015x', n) AS id, printf('%%08x-0000-4000-8000-%%012x', n, n) AS uuid,"
        " 'old-' || n AS domain FROM c;"
        "CREATE TEMP TABLE old2 AS SELECT *, replace(replace(replace(%s, '@ID', id), '@UUID', uuid), '@DOMAIN', domain)"
        " AS record FROM old;"
        "INSERT INTO job SELECT id, uuid, domain, 'source', 'DONE', 1, 1700000000, n, record,"
        " vmig_sum('job', id, uuid, domain, 'source', 'DONE', 1, 1700000000, n, record) FROM old2;"
        "INSERT INTO token SELECT id, 'destination', 2, vmig_sum('token', id, 'destination', 2) FROM old;"
        "INSERT INTO transition SELECT 1000 + n, id, 'CLEANUP', 'DONE', 'result', 0, 0, NULL,"
        " vmig_sum('transition', 1000 + n, id, 'CLEANUP', 'DONE', 'result', 0, 0, NULL) FROM old;"
        "COMMIT;";
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_migrate);
    sqlite3 *db = NULL;
    char *message = NULL;

    job->id = g_strdup("@ID");
    job->uuid = g_strdup("@UUID");
    job->domain = g_strdup("@DOMAIN");
    job->host[VMIG_SOURCE] = g_strdup("vmig-a");
    job->host[VMIG_DEST] = g_strdup("vmig-b");
    put_state(job, VMIG_MIGRATE(DONE));
    job->owner = VMIG_DEST;
    g_autofree char *record = vmig_job_to_string(job);
    char *quoted = sqlite3_mprintf("%Q", record);
    g_autofree char *all = g_strdup_printf(sql, n, quoted);
    sqlite3_free(quoted);
    g_assert_cmpint(sqlite3_open(path, &db), ==, SQLITE_OK);
    g_assert_true(vmig_db_add_functions(db));
    if (sqlite3_exec(db, "PRAGMA synchronous = OFF; PRAGMA journal_mode = PERSIST; PRAGMA temp_store = MEMORY;", NULL,
                     NULL, &message) != SQLITE_OK ||
        sqlite3_exec(db, all, NULL, NULL, &message) != SQLITE_OK)
        g_error("the old jobs: %s", message);
    sqlite3_close(db);
}
