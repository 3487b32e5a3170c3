/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A journal of the previous version. Without unfinished jobs it can be read, and the first write converts it to this
 * version. With one it is refused with its own code and message, and not one byte of it changes. */
#include <glib/gstdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/journal.h"
#include "tests/unit/expect.h"
#include "tests/unit/journal-folder.h"
#include "tests/unit/older-journal.h"
#include "flows/migrate/states.h"

#define ID "0123456789abcdef"
#define ENDED "fedcba9876543210"
#define UUID "6f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21"
#define OTHER "7f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21"
#define MACHINE "3d1219c7c4c5404aaa1f6d2a48adfda4"

/* One ended job; state: of a second job, or NULL. */
static void make(Fixture *f, const char *state)
{
    sqlite3 *db = older_journal(f->path, MACHINE);

    older_add(db, ENDED, OTHER, "old1", "DONE");
    older_file(db, ENDED, "/img/a", "seed", "verified");
    older_file(db, ENDED, "/img/b", "park", "removed");
    older_file(db, ENDED, "/img/c", "base", "made");
    if (state != NULL)
        older_add(db, ID, UUID, "web1", state);
    sqlite3_close(db);
}

static gint64 version_of(const char *path)
{
    g_autofree char *text = NULL;
    gsize length = 0;

    g_assert_true(g_file_get_contents(path, &text, &length, NULL));
    return (guint8)text[63]; /* user_version (sqlite.org/fileformat2.html) */
}

typedef VmigJournal *(*Open)(const char *path, const char *machine_id, GError **error);
static const Open openers[] = {vmig_journal_open_read_only, vmig_journal_open_to_look, vmig_journal_open};

/* Reading leaves it unchanged; the first write converts it with all its content, and the next open finds it intact. */
static void test_carried_over(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    make(f, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(openers); i++) {
        g_assert_cmpint(version_of(f->path), ==, 1);
        g_autoptr(GError) error = NULL;
        g_autoptr(VmigJournal) journal = openers[i](f->path, MACHINE, &error);
        g_assert_no_error(error);
        g_autoptr(VmigJob) job = vmig_journal_load(journal, ENDED, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(job->domain, ==, "old1");
        g_autoptr(GPtrArray) jobs = vmig_journal_list(journal, TRUE, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(jobs->len, ==, 1);
    }
    g_assert_cmpint(version_of(f->path), ==, VMIG_JOURNAL_SCHEMA);
    g_autoptr(VmigJournal) again = vmig_journal_open(f->path, MACHINE, NULL);
    g_assert_nonnull(again);
    assert_ok(vmig_journal_check(again, &error_));
    static const char *const kinds[][2] = {{"/img/a", "copy"}, {"/img/b", "hold"}, {"/img/c", "base"}};
    for (guint i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autoptr(VmigJournalFile) row = NULL;
        assert_ok(vmig_journal_file_get(again, ENDED, kinds[i][0], &row, &error_));
        g_assert_cmpstr(row->kind, ==, kinds[i][1]);
    }
    g_autoptr(VmigJob) fresh = vmig_job_new(&vmig_states_migrate);
    fresh->id = g_strdup(ID);
    fresh->uuid = g_strdup(UUID);
    fresh->domain = g_strdup("web1");
    fresh->host[VMIG_SOURCE] = g_strdup("vmig-a");
    fresh->host[VMIG_DEST] = g_strdup("vmig-b");
    vmig_job_set_state(fresh, VMIG_MIGRATE(PLAN));
    assert_ok(vmig_journal_create_job(again, fresh, VMIG_SOURCE, &error_));
}

/* Each way to open it reports both versions, the job and the guest, and the remedy. */
static void test_unfinished(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    static const char *const states[] = {"PLAN", "SEED", "PARKED", "SWITCHED", "CLEAN"};
    static const char *const words[] = {"is of version 1", "writes version 3", ID, "'web1'"};

    for (guint i = 0; i < G_N_ELEMENTS(states); i++) {
        g_autofree char *before = NULL, *after = NULL;
        gsize length = 0, length_after = 0;
        make(f, states[i]);
        g_assert_true(g_file_get_contents(f->path, &before, &length, NULL));
        for (guint k = 0; k < G_N_ELEMENTS(openers); k++) {
            g_autoptr(GError) error = NULL;
            g_assert_null(openers[k](f->path, MACHINE, &error));
            g_assert_error(error, VMIG_ERROR, VMIG_ERROR_JOURNAL_OLDER);
            for (guint w = 0; w < G_N_ELEMENTS(words); w++)
                g_assert_nonnull(strstr(error->message, words[w]));
            g_assert_nonnull(strstr(error->message, f->path));
            g_assert_nonnull(strstr(vmig_error_hint(error), "vmig-snap cancel " ID ". Then upgrade"));
        }
        g_assert_true(g_file_get_contents(f->path, &after, &length_after, NULL));
        g_assert_cmpmem(before, length, after, length_after);
        g_unlink(f->path);
        g_autofree char *rollback = g_strconcat(f->path, "-journal", NULL);
        g_unlink(rollback);
    }
}

/* For many jobs it reports their number, and the first ones. */
static void test_many_unfinished(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    sqlite3 *db = older_journal(f->path, MACHINE);

    for (guint i = 0; i < 7; i++) {
        g_autofree char *id = g_strdup_printf("%016x", i);
        g_autofree char *uuid = g_strdup_printf("6f2c5c3e-8a4b-4f0e-9d3a-%012x", i);
        older_add(db, id, uuid, "web", "SEED");
    }
    sqlite3_close(db);
    assert_fails_saying(VMIG_ERROR_JOURNAL_OLDER, "7 of its jobs are not finished: 0000000000000000 of 'web', ",
                        vmig_journal_open(f->path, MACHINE, &error_) != NULL);
    assert_fails_saying(VMIG_ERROR_JOURNAL_OLDER, "0000000000000004 of 'web', ...",
                        vmig_journal_open(f->path, MACHINE, &error_) != NULL);
}

/* Being older excuses no damage: other tables, a changed row, another machine. */
static void test_damaged(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    static const char *const changes[] = {
        "DROP TRIGGER token_forward",
        "CREATE TABLE text (job TEXT)",
        "PRAGMA ignore_check_constraints = 1; UPDATE job SET domain = 'web2'",
        "PRAGMA user_version = 2",
        "PRAGMA ignore_check_constraints = 1; UPDATE meta SET value = 'other', sum = vmig_sum('meta', key, 'other')",
    };

    for (guint i = 0; i < G_N_ELEMENTS(changes); i++) {
        sqlite3 *db = NULL;
        make(f, NULL);
        g_assert_cmpint(sqlite3_open(f->path, &db), ==, SQLITE_OK);
        g_assert_true(vmig_db_add_functions(db));
        g_assert_cmpint(sqlite3_exec(db, changes[i], NULL, NULL, NULL), ==, SQLITE_OK);
        sqlite3_close(db);
        assert_fails(VMIG_ERROR_JOURNAL_DAMAGED, vmig_journal_open(f->path, MACHINE, &error_) != NULL);
        g_unlink(f->path);
        g_autofree char *rollback = g_strconcat(f->path, "-journal", NULL);
        g_unlink(rollback);
    }
}

/* A record of an older version in a journal of this one: readable if the job has ended, refused otherwise. */
static void test_record(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *ended = older_record(ENDED, OTHER, "old1", "DONE");
    g_autofree char *open = older_record(ID, UUID, "web1", "PARKED");
    g_autoptr(VmigJournal) journal = vmig_journal_open(f->path, MACHINE, NULL);
    sqlite3 *db = NULL;
    g_autoptr(VmigJob) found = NULL;

    g_autoptr(VmigJob) read = vmig_job_from_string(ended, NULL);
    g_assert_nonnull(read);
    assert_fails_saying(
        VMIG_ERROR_JOURNAL_OLDER,
        "has version 2, but this vmig-snap continues only jobs of version " G_STRINGIFY(VMIG_JOB_VERSION),
        vmig_job_from_string(open, &error_) != NULL);
    g_assert_cmpint(sqlite3_open(f->path, &db), ==, SQLITE_OK);
    g_assert_true(vmig_db_add_functions(db));
    older_add(db, ENDED, OTHER, "old1", "DONE");
    older_add(db, ID, UUID, "web1", "PARKED");
    sqlite3_close(db);
    g_assert_nonnull(journal);
    assert_fails_saying(VMIG_ERROR_JOURNAL_OLDER, "job " ID ": ", vmig_journal_load(journal, ID, &error_) != NULL);
    assert_fails(VMIG_ERROR_JOURNAL_OLDER, vmig_journal_find_open(journal, UUID, &found, &error_));
    assert_fails(VMIG_ERROR_JOURNAL_OLDER, vmig_journal_list(journal, FALSE, &error_) != NULL);
    g_autoptr(VmigJob) old = vmig_journal_load(journal, ENDED, NULL);
    g_assert_nonnull(old);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, func) g_test_add("/journal-older/" name, Fixture, NULL, set_up, func, tear_down)
    ADD("carried-over", test_carried_over);
    ADD("unfinished", test_unfinished);
    ADD("many-unfinished", test_many_unfinished);
    ADD("damaged", test_damaged);
    ADD("record", test_record);
    return g_test_run();
}
