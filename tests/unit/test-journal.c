/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The journal: what it refuses to open, what it refuses to write, and that damage never turns into another state. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/journal.h"
#include "tests/unit/many-jobs.h"
#include "tests/unit/expect.h"
#include "tests/unit/journal-folder.h"
#include "tests/unit/legal.h"
#include "flows/migrate/states.h"
#include "tests/roles.h"

#define ID "0123456789abcdef"
#define UUID "6f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21"
#define MACHINE "3d1219c7c4c5404aaa1f6d2a48adfda4"

static VmigJournal *open_ok(const char *path)
{
    g_autoptr(GError) error = NULL;
    VmigJournal *journal = vmig_journal_open(path, MACHINE, &error);

    g_assert_no_error(error);
    g_assert_nonnull(journal);
    return journal;
}

static VmigJob *make_job(const char *id, const char *uuid, const char *name)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);

    job->id = g_strdup(id);
    job->uuid = g_strdup(uuid);
    job->domain = g_strdup(name);
    job->started = 1700000000;
    return job;
}

static VmigJournal *with_job(Fixture *f, VmigJob **job)
{
    VmigJournal *journal = open_ok(f->path);

    *job = make_job(ID, UUID, "web1");
    assert_ok(vmig_journal_create_job(journal, *job, VMIG_SOURCE, &error_));
    return journal;
}

/* Runs SQL like a user who does not have vmig_sum() but may disable the checks. */
static void damage(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    char *message = NULL;

    g_assert_cmpint(sqlite3_open(path, &db), ==, SQLITE_OK);
    sqlite3_exec(db, "PRAGMA ignore_check_constraints = ON; PRAGMA writable_schema = ON", NULL, NULL, NULL);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        g_error("%s: %s", sql, message);
    sqlite3_close(db);
}

static gboolean exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static void test_create(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *dir = g_build_filename(f->dir, "new", NULL);
    g_autofree char *path = g_build_filename(dir, "journal.db", NULL);
    struct stat st;

    assert_fails(VMIG_ERROR_NO_JOB, vmig_journal_open_read_only(path, NULL, &error_) != NULL);
    g_assert_false(exists(dir));
    g_autoptr(VmigJournal) journal = open_ok(path);
    g_assert_cmpint(stat(dir, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 07777, ==, 0700);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
    g_assert_cmpint(st.st_size, >, 256 * 1024);
    g_autofree char *rollback = g_strconcat(path, "-journal", NULL);
    g_assert_cmpint(stat(rollback, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
    g_assert_cmpint(st.st_blocks * 512, >=, 1024 * 1024);
    g_autoptr(GDir) files = g_dir_open(dir, 0, NULL);
    guint n = 0;
    while (g_dir_read_name(files) != NULL)
        n++;
    g_assert_cmpuint(n, ==, 2);
    g_assert_cmpstr(vmig_journal_path(journal), ==, path);
    g_assert_cmpuint(strlen(vmig_journal_boot_id(journal)), ==, 36);
    assert_ok(vmig_journal_check(journal, &error_));
    assert_fails(VMIG_ERROR_BAD_PATH, vmig_journal_open("journal.db", NULL, &error_) != NULL);
    assert_fails(VMIG_ERROR_JOURNAL, vmig_journal_open("/nonexistent/a/journal.db", NULL, &error_) != NULL);
    assert_fails(VMIG_ERROR_NO_JOB, vmig_journal_open_read_only("/nonexistent/journal.db", NULL, &error_) != NULL);
}

static void refuse_as(Fixture *f, int code, const char *saying)
{
    assert_fails_saying(code, saying, vmig_journal_open(f->path, MACHINE, &error_) != NULL);
    assert_fails_saying(code, saying, vmig_journal_open_read_only(f->path, MACHINE, &error_) != NULL);
}

static void refuse_file(Fixture *f, const char *saying)
{
    refuse_as(f, VMIG_ERROR_JOURNAL, saying);
}

/* Only this code permits `doctor --fix` to set the journal aside. */
static void refuse_damaged(Fixture *f, const char *saying)
{
    refuse_as(f, VMIG_ERROR_JOURNAL_DAMAGED, saying);
}

static void test_refused_files(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *other = g_build_filename(f->dir, "other", NULL);
    g_autofree char *rollback = g_strconcat(f->path, "-journal", NULL);
    g_autofree char *link = g_strconcat(f->dir, ".link", NULL);
    g_autofree char *through = g_build_filename(link, "journal.db", NULL);

    vmig_journal_close(open_ok(f->path));
    chmod(f->path, 0640);
    refuse_file(f, "other users can read");
    chmod(f->path, 0600);
    chmod(f->dir, 0720);
    refuse_file(f, "other users can write to");
    chmod(f->dir, 0700);
    g_assert_cmpint(symlink(f->dir, link), ==, 0);
    assert_fails(VMIG_ERROR_JOURNAL, vmig_journal_open(through, MACHINE, &error_) != NULL);
    g_unlink(link);
    g_assert_cmpint(linkat(AT_FDCWD, f->path, AT_FDCWD, other, 0), ==, 0);
    refuse_file(f, "second hard link");
    g_unlink(f->path);
    g_assert_cmpint(symlink(other, f->path), ==, 0);
    refuse_file(f, "symbolic link");
    g_unlink(f->path);
    g_assert_cmpint(mkfifo(f->path, 0600), ==, 0);
    refuse_file(f, "not a regular file");
    g_unlink(f->path);
    refuse_damaged(f, "only its rollback file is left");
    g_assert_cmpint(rename(other, f->path), ==, 0);
    g_unlink(rollback);
    g_assert_cmpint(symlink("/etc/passwd", rollback), ==, 0);
    refuse_file(f, "symbolic link");
    g_unlink(rollback);
    vmig_journal_close(open_ok(f->path));
    if (geteuid() != 0)
        return;
    g_assert_cmpint(chown(f->path, 1, 1), ==, 0);
    refuse_file(f, "belongs to another user");
    g_assert_cmpint(chown(f->path, 0, 0), ==, 0);
    g_assert_cmpint(chown(f->dir, 1, 1), ==, 0);
    refuse_file(f, "belongs to another user");
    g_assert_cmpint(chown(f->dir, 0, 0), ==, 0);
    vmig_journal_close(open_ok(f->path));
}

static void test_refused_contents(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(VmigJob) job = NULL;

    vmig_journal_close(with_job(f, &job));
    assert_fails_saying(VMIG_ERROR_JOURNAL_DAMAGED, "machine-id", vmig_journal_open(f->path, "other", &error_) != NULL);
    vmig_journal_close(vmig_journal_open(f->path, NULL, NULL));
    damage(f->path, "PRAGMA user_version = 4");
    assert_fails(VMIG_ERROR_JOURNAL_NEWER, vmig_journal_open(f->path, NULL, &error_) != NULL);
    damage(f->path, "PRAGMA user_version = 0");
    refuse_damaged(f, "version number");
    damage(f->path, "PRAGMA user_version = 3; PRAGMA application_id = 1");
    refuse_damaged(f, "not a journal of vmig-snap");
    damage(f->path, "PRAGMA application_id = 0x766d736a; DROP TRIGGER token_forward");
    refuse_damaged(f, "tables are not");
    damage(f->path, "CREATE TRIGGER token_forward BEFORE UPDATE ON token BEGIN SELECT 1; END");
    refuse_damaged(f, "tables are not");
    g_assert_true(g_file_set_contents(f->path, "", 0, NULL));
    chmod(f->path, 0600);
    refuse_damaged(f, "empty");
    g_autofree char *text = g_strnfill(9000, 'x');
    g_assert_true(g_file_set_contents(f->path, text, -1, NULL));
    chmod(f->path, 0600);
    refuse_damaged(f, "damaged");
}

static void test_changed_rows(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    const char *changes[] = {
        "UPDATE job SET state = 'DONE'",
        "UPDATE job SET finished = 1",
        "UPDATE job SET domain = 'web2'",
        "UPDATE job SET record = replace(record, 'web1', 'web2')",
        "UPDATE job SET updated = 7",
        "UPDATE token SET owner = 'destination'",
        "UPDATE transition SET to_state = 'DONE'",
        "UPDATE file SET state = 'redundant'",
        "UPDATE file SET path = '/b'",
        "UPDATE meta SET value = 'x'",
    };

    for (guint i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autoptr(VmigJob) job = NULL;
        g_autoptr(VmigJournalFile) file = vmig_journal_file_new(ID, "/a", "part", "made");
        VmigJournal *journal = with_job(f, &job);
        assert_ok(vmig_journal_file_put(journal, file, NULL, &error_));
        damage(f->path, changes[i]);
        /* Also in a process that has it open. */
        if (i < 4)
            assert_fails(VMIG_ERROR_JOURNAL, vmig_journal_load(journal, ID, &error_) != NULL);
        if (i == 5)
            assert_fails(VMIG_ERROR_JOURNAL, token_in(journal, ID, &error_) != NULL);
        if (i == 6)
            assert_fails(VMIG_ERROR_JOURNAL, vmig_journal_history(journal, ID, &error_) != NULL);
        if (i == 7)
            assert_fails(VMIG_ERROR_JOURNAL, vmig_journal_file_list(journal, ID, NULL, &error_) != NULL);
        vmig_journal_close(journal);
        refuse_damaged(f, "CHECK constraint");
        g_unlink(f->path);
        g_autofree char *rollback = g_strconcat(f->path, "-journal", NULL);
        g_unlink(rollback);
    }
}

/* A row with a correct checksum, but with another job's record or another state in it. */
static void test_record_disagrees(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    struct {
        const char *from;
        const char *to;
    } cases[] = {
        {"\"state\":\"PLAN\"", "\"state\":\"DONE\""},
        {"\"id\":\"0123", "\"id\":\"9123"},
        {"\"uuid\":\"6f2c", "\"uuid\":\"7f2c"},
        {"\"domain\":\"web1\"", "\"domain\":\"web2\""},
        {"{", "["},
        {"\"state\":\"PLAN\"", "\"state\":5"},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(VmigJob) job = make_job(ID, UUID, "web1");
        g_autofree char *old = vmig_job_to_string(job);
        g_autoptr(GString) text = g_string_new(old);
        VmigJob *found = NULL;

        g_assert_cmpuint(g_string_replace(text, cases[i].from, cases[i].to, 1), ==, 1);
        {
            g_autoptr(VmigJournal) journal = with_job(f, &found);
            vmig_job_free(g_steal_pointer(&found));
        }
        /* Computes the checksum by hand. */
        g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
        const char *columns[] = {"3job",  "3" ID, "3" UUID,      "3web1", "3source",
                                 "3PLAN", "10",   "11700000000", "11",    NULL};
        for (guint c = 0; c < 10; c++) {
            const char *value = columns[c] != NULL ? columns[c] + 1 : text->str;
            g_autofree char *head = g_strdup_printf("%c:%zu:", columns[c] != NULL ? columns[c][0] : '3', strlen(value));
            g_checksum_update(sum, (const guchar *)head, -1);
            g_checksum_update(sum, (const guchar *)value, -1);
        }
        g_autofree char *hex = g_strndup(g_checksum_get_string(sum), 32);
        g_autofree char *sql = g_strdup_printf("UPDATE job SET record = '%s', sum = x'%s'", text->str, hex);
        damage(f->path, sql);
        VmigJournal *journal = open_ok(f->path);
        assert_fails_saying(VMIG_ERROR_JOURNAL, ID, vmig_journal_load(journal, ID, &error_) != NULL);
        assert_fails_saying(VMIG_ERROR_JOURNAL, ID, vmig_journal_list(journal, TRUE, &error_) != NULL);
        assert_fails_saying(VMIG_ERROR_JOURNAL, ID, vmig_journal_find_open(journal, UUID, &found, &error_));
        g_assert_null(found);
        vmig_journal_close(journal);
        g_unlink(f->path);
        g_autofree char *rollback = g_strconcat(f->path, "-journal", NULL);
        g_unlink(rollback);
    }
}

static void test_jobs(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(VmigJob) job = NULL;
    g_autoptr(VmigJournal) journal = with_job(f, &job);
    g_autoptr(VmigJob) same = make_job("fedcba9876543210", UUID, "web1");
    g_autoptr(VmigJob) second = make_job("0123456789abcd00", "7f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21", "web2");
    g_autoptr(VmigJob) bad = make_job("0123", UUID, "web1");
    g_autoptr(VmigJob) bad_uuid = make_job("aaaaaaaaaaaaaaaa", "6F2C5C3E-8a4b-4f0e-9d3a-0d9f5c1b7e21", "web1");

    assert_fails_saying(VMIG_ERROR_LOCKED, ID, vmig_journal_create_job(journal, same, VMIG_DEST, &error_));
    assert_fails_saying(VMIG_ERROR_LOCKED, "source", vmig_journal_create_job(journal, same, VMIG_DEST, &error_));
    assert_fails_saying(VMIG_ERROR_LOCKED, "2023-11-1", vmig_journal_put(journal, same, VMIG_DEST, &error_));
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_create_job(journal, job, VMIG_SOURCE, &error_));
    assert_fails(VMIG_ERROR_BAD_NAME, vmig_journal_create_job(journal, bad, VMIG_SOURCE, &error_));
    assert_fails(VMIG_ERROR_BAD_NAME, vmig_journal_create_job(journal, bad_uuid, VMIG_SOURCE, &error_));
    assert_fails(VMIG_ERROR_NO_JOB, vmig_journal_save(journal, second, &error_));
    assert_ok(vmig_journal_create_job(journal, second, VMIG_DEST, &error_));

    g_autoptr(VmigJob) by_prefix = vmig_journal_load(journal, "0123456789abcde", NULL);
    g_assert_cmpstr(by_prefix->id, ==, ID);
    assert_fails_saying(VMIG_ERROR_NO_JOB, "more than one", vmig_journal_load(journal, "0123", &error_) != NULL);
    const char *none[] = {"012", "", "ffff", "0123456789abcdef0", "0123456789ABCDEF", "012%", "fedcba9876543210"};
    for (guint i = 0; i < G_N_ELEMENTS(none); i++)
        assert_fails(VMIG_ERROR_NO_JOB, vmig_journal_load(journal, none[i], &error_) != NULL);

    g_autoptr(VmigJob) open1 = NULL;
    g_autoptr(VmigJob) open2 = NULL;
    g_autoptr(VmigJob) open3 = NULL;
    assert_ok(vmig_journal_find_open(journal, "web1", &open1, &error_));
    g_assert_cmpstr(open1->id, ==, ID);
    assert_ok(vmig_journal_find_open(journal, "7F2C5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21", &open2, &error_));
    g_assert_cmpstr(open2->id, ==, second->id);
    assert_ok(vmig_journal_find_open(journal, "web3", &open3, &error_));
    g_assert_null(open3);
    g_autoptr(VmigJob) twin = make_job("aaaa456789abcd00", "8f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21", UUID);
    assert_ok(vmig_journal_create_job(journal, twin, VMIG_SOURCE, &error_));
    assert_fails(VMIG_ERROR_AMBIGUOUS_DOMAIN, vmig_journal_find_open(journal, UUID, &open3, &error_));

    job->live_xml = g_strdup("/images/\xff");
    assert_fails(VMIG_ERROR_BAD_NAME, vmig_journal_save(journal, job, &error_));
    g_clear_pointer(&job->live_xml, g_free);
    bad_uuid->live_xml = g_strdup("\xc3");
    memcpy(bad_uuid->uuid, "6f2c5c3e", 8);
    assert_fails(VMIG_ERROR_BAD_NAME, vmig_journal_create_job(journal, bad_uuid, VMIG_SOURCE, &error_));
    job->bytes_copied = 42;
    assert_ok(vmig_journal_save(journal, job, &error_));
    g_autoptr(GPtrArray) jobs = vmig_journal_list(journal, FALSE, NULL);
    g_assert_cmpuint(jobs->len, ==, 3);
    g_assert_cmpstr(((VmigJob *)jobs->pdata[0])->id, ==, ID);
    g_assert_cmpuint(((VmigJob *)jobs->pdata[0])->bytes_copied, ==, 42);
    const char *role = role_in(journal, second->id, NULL);
    g_assert_cmpstr(role, ==, "destination");
    assert_fails(VMIG_ERROR_NO_JOB, role_in(journal, "ffffffffffffffff", &error_) != NULL);
    assert_fails(VMIG_ERROR_NO_JOB, vmig_journal_note(journal, "ffffffffffffffff", "x", &error_));
    assert_fails(VMIG_ERROR_NO_JOB, vmig_journal_history(journal, "ffffffffffffffff", &error_) != NULL);
}

/* Follows the table to its end, as the state machine does. */
static void test_transitions(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(VmigJob) job = NULL;
    g_autoptr(VmigJob) again = make_job("fedcba9876543210", UUID, "web1");
    g_autoptr(VmigJournal) journal = with_job(f, &job);
    gboolean pending = TRUE;
    VmigState to;
    guint n = 1;

    assert_ok(vmig_journal_pending(journal, ID, &pending, &to, &error_));
    g_assert_false(pending);
    assert_fails(VMIG_ERROR_INTERNAL, vmig_journal_begin_transition(journal, job, VMIG_MIGRATE(DONE), NULL, &error_));
    assert_fails(VMIG_ERROR_INTERNAL, vmig_journal_commit_transition(journal, job, VMIG_MIGRATE(DONE), NULL, &error_));
    g_assert_cmpstr(job->state, ==, "PLAN");
    while (!vmig_state_is_final(vmig_job_state(job))) {
        VmigState next = vmig_state_next(vmig_job_state(job));
        if (next == VMIG_MIGRATE(ACTIVATE)) {
            assert_ok(vmig_journal_set_token(journal, ID, VMIG_DEST, &error_));
            job->owner = VMIG_DEST;
        }
        assert_ok(vmig_journal_begin_transition(journal, job, next, "why", &error_));
        assert_ok(vmig_journal_note(journal, ID, "in between", &error_));
        assert_ok(vmig_journal_pending(journal, ID, &pending, &to, &error_));
        g_assert_true(pending);
        g_assert_true(to == next);
        g_autoptr(VmigJob) stored = vmig_journal_load(journal, ID, NULL);
        g_assert_cmpstr(stored->state, ==, job->state);
        put_facts(job, next);
        assert_ok(vmig_journal_commit_transition(journal, job, next, NULL, &error_));
        assert_ok(vmig_journal_pending(journal, ID, &pending, &to, &error_));
        g_assert_false(pending);
        /* A process that did not notice cannot continue from the job's former state. */
        assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_begin_transition(journal, stored, next, NULL, &error_));
        n += 3;
    }
    g_autoptr(GPtrArray) history = vmig_journal_history(journal, ID, NULL);
    g_assert_cmpuint(history->len, ==, n + 1); /* and the token */
    for (guint i = 0; i < history->len; i++) {
        const char *detail = ((const VmigJournalEntry *)history->pdata[i])->detail;
        if (detail != NULL && strcmp(detail, "the destination owns the guest") == 0)
            g_ptr_array_remove_index(history, i);
    }
    g_assert_cmpuint(history->len, ==, n);
    for (guint i = 1; i < history->len; i++) {
        const VmigJournalEntry *a = history->pdata[i - 1];
        const VmigJournalEntry *b = history->pdata[i];
        g_assert_cmpint(a->seq, <, b->seq);
        g_assert_cmpint(a->boot_us, <=, b->boot_us);
        g_assert_cmpstr(b->phase, ==, i % 3 == 1 ? "intent" : i % 3 == 2 ? "note" : "result");
    }
    g_autoptr(GPtrArray) unfinished = vmig_journal_list(journal, FALSE, NULL);
    g_autoptr(GPtrArray) all = vmig_journal_list(journal, TRUE, NULL);
    g_autoptr(VmigJob) ended = NULL;
    g_autoptr(VmigJob) none = NULL;
    g_assert_cmpuint(unfinished->len, ==, 0);
    g_assert_cmpuint(all->len, ==, 1);
    assert_ok(vmig_journal_save(journal, job, &error_));
    put_state(job, VMIG_MIGRATE(CLEANUP));
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_save(journal, job, &error_));
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_put(journal, job, VMIG_SOURCE, &error_));
    assert_fails(VMIG_ERROR_CONTRADICTION,
                 vmig_journal_commit_transition(journal, job, VMIG_MIGRATE(PARKED), NULL, &error_));
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_set_token(journal, ID, VMIG_SOURCE, &error_));
    /* The domain is free again. */
    assert_ok(vmig_journal_create_job(journal, again, VMIG_SOURCE, &error_));
    assert_ok(vmig_journal_find_ended(journal, "web1", &ended, &error_));
    g_assert_cmpstr(ended->id, ==, ID);
    assert_ok(vmig_journal_find_ended(journal, "web2", &none, &error_));
    g_assert_null(none);
}

static void test_token(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(VmigJob) job = NULL;
    VmigJournal *journal = with_job(f, &job);

    const char *first = token_in(journal, ID, NULL);
    g_assert_cmpstr(first, ==, "source");
    assert_ok(vmig_journal_set_token(journal, ID, VMIG_SOURCE, &error_));
    /* What could not be read again is not written. */
    job->suspended = TRUE;
    assert_fails(VMIG_ERROR_JOURNAL, vmig_journal_save(journal, job, &error_));
    job->suspended = FALSE;
    assert_ok(vmig_journal_commit_transition(journal, job, VMIG_MIGRATE(LOCK), NULL, &error_));
    job->owner = VMIG_DEST;
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_save(journal, job, &error_));
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_put(journal, job, VMIG_SOURCE, &error_));
    assert_ok(vmig_journal_set_token(journal, ID, VMIG_DEST, &error_));
    assert_ok(vmig_journal_set_token(journal, ID, VMIG_DEST, &error_));
    assert_ok(vmig_journal_save(journal, job, &error_));
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_set_token(journal, ID, VMIG_SOURCE, &error_));
    g_autoptr(VmigJob) stored = vmig_journal_load(journal, ID, NULL);
    g_assert_true(stored->owner == VMIG_DEST);
    job->owner = VMIG_SOURCE;
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_save(journal, job, &error_));
    vmig_journal_close(journal);
    /* The table itself enforces this for any client. */
    const char *back[] = {"UPDATE token SET owner = 'source'", "DELETE FROM token",
                          "REPLACE INTO token VALUES ('" ID "', 'source', 1, x'00')"};
    for (guint i = 0; i < G_N_ELEMENTS(back); i++) {
        sqlite3 *db = NULL;
        g_assert_cmpint(sqlite3_open(f->path, &db), ==, SQLITE_OK);
        sqlite3_exec(db, "PRAGMA ignore_check_constraints = ON", NULL, NULL, NULL);
        g_assert_cmpint(sqlite3_exec(db, back[i], NULL, NULL, NULL), ==, SQLITE_CONSTRAINT);
        sqlite3_close(db);
    }
    journal = open_ok(f->path);
    const char *owner = token_in(journal, ID, NULL);
    g_assert_cmpstr(owner, ==, "destination");
    assert_fails(VMIG_ERROR_NO_JOB, token_in(journal, "ffffffffffffffff", &error_) != NULL);
    assert_fails(VMIG_ERROR_NO_JOB, vmig_journal_set_token(journal, "ffffffffffffffff", VMIG_SOURCE, &error_));
    vmig_journal_close(journal);
}

/* A journal from before the switchover, or before the job: takes over the other host's record in one transaction. */
static void test_catch_up(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_journal_file_free);
    g_autoptr(VmigJournal) journal = open_ok(f->path);
    g_autoptr(VmigJob) job = make_job(ID, UUID, "web1");
    g_autoptr(VmigJob) other = make_job("fedcba9876543210", UUID, "web1");
    g_autoptr(VmigJournalFile) row = NULL;

    g_ptr_array_add(files, vmig_journal_file_new(ID, "/images/vda." ID, "overlay", "made"));
    job->owner = VMIG_DEST;
    put_state(job, VMIG_MIGRATE(ACTIVATE));
    /* Another job has the domain: nothing of it is written. */
    assert_ok(vmig_journal_create_job(journal, other, VMIG_DEST, &error_));
    assert_fails(VMIG_ERROR_LOCKED, vmig_journal_catch_up(journal, job, VMIG_DEST, files, &error_));
    assert_fails(VMIG_ERROR_NO_JOB, token_in(journal, ID, &error_) != NULL);
    put_state(other, VMIG_MIGRATE(ROLLED_BACK));
    assert_ok(vmig_journal_put(journal, other, VMIG_DEST, &error_));
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_set_token(journal, other->id, VMIG_DEST, &error_));

    assert_ok(vmig_journal_catch_up(journal, job, VMIG_DEST, files, &error_));
    const char *owner = token_in(journal, ID, NULL);
    g_assert_cmpstr(owner, ==, "destination");
    assert_ok(vmig_journal_file_get(journal, ID, "/images/vda." ID, &row, &error_));
    g_assert_cmpstr(row->state, ==, "made");
    job->owner = VMIG_SOURCE;
    put_state(job, VMIG_MIGRATE(ROLLBACK));
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_catch_up(journal, job, VMIG_DEST, files, &error_));
    job->owner = VMIG_DEST;
    /* A later state here is kept, and a job that ended without the token never gets it. */
    put_state(job, VMIG_MIGRATE(PIVOT));
    assert_ok(vmig_journal_catch_up(journal, job, VMIG_DEST, files, &error_));
    put_state(job, VMIG_MIGRATE(MIGRATE));
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_catch_up(journal, job, VMIG_DEST, files, &error_));
    other->owner = VMIG_DEST;
    put_state(other, VMIG_MIGRATE(ACTIVATE));
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_catch_up(journal, other, VMIG_DEST, files, &error_));
    const char *source = token_in(journal, other->id, NULL);
    g_assert_cmpstr(source, ==, "source");
    assert_ok(vmig_journal_check(journal, &error_));
}

static void test_put(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(VmigJournal) journal = open_ok(f->path);
    g_autoptr(VmigJob) job = make_job(ID, UUID, "web1");

    assert_ok(vmig_journal_put(journal, job, VMIG_DEST, &error_));
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_put(journal, job, VMIG_SOURCE, &error_));
    put_state(job, VMIG_MIGRATE(PREPARE));
    assert_ok(vmig_journal_put(journal, job, VMIG_DEST, &error_));
    assert_ok(vmig_journal_put(journal, job, VMIG_DEST, &error_));
    /* This journal decides who owns the guest. */
    put_state(job, VMIG_MIGRATE(DONE));
    assert_fails_saying(VMIG_ERROR_CONTRADICTION, "cannot end as DONE",
                        vmig_journal_put(journal, job, VMIG_DEST, &error_));
    assert_ok(vmig_journal_set_token(journal, ID, VMIG_DEST, &error_));
    job->owner = VMIG_DEST;
    put_state(job, VMIG_MIGRATE(COMMIT));
    assert_ok(vmig_journal_put(journal, job, VMIG_DEST, &error_));
    VmigState back[] = {VMIG_MIGRATE(MIGRATE), VMIG_MIGRATE(ROLLBACK), VMIG_MIGRATE(ROLLED_BACK),
                        VMIG_MIGRATE(UNCERTAIN)};
    for (guint i = 0; i < G_N_ELEMENTS(back); i++) {
        put_state(job, back[i]);
        assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_put(journal, job, VMIG_DEST, &error_));
    }
    put_state(job, VMIG_MIGRATE(PARKED));
    assert_ok(vmig_journal_put(journal, job, VMIG_DEST, &error_));
    put_state(job, VMIG_MIGRATE(DONE));
    assert_ok(vmig_journal_put(journal, job, VMIG_DEST, &error_));
    assert_ok(vmig_journal_put(journal, job, VMIG_DEST, &error_));
    g_autoptr(VmigJob) other = make_job(ID, "7f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21", "web1");
    put_state(other, VMIG_MIGRATE(DONE));
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_put(journal, other, VMIG_DEST, &error_));
    /* If the journal was lost, the other host returns the record: token, files and all, or nothing. */
    g_autoptr(GPtrArray) files = g_ptr_array_new();
    g_autoptr(VmigJob) lost = make_job("fedcba9876543210", UUID, "web1");
    lost->owner = VMIG_DEST;
    put_state(lost, VMIG_MIGRATE(COMMIT));
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_put(journal, lost, VMIG_DEST, &error_));
    put_state(lost, VMIG_MIGRATE(DONE));
    assert_fails_saying(VMIG_ERROR_CONTRADICTION, "never worked on it",
                        vmig_journal_catch_up(journal, lost, VMIG_DEST, files, &error_));
    put_state(lost, VMIG_MIGRATE(COMMIT));
    assert_ok(vmig_journal_catch_up(journal, lost, VMIG_DEST, files, &error_));
    assert_ok(vmig_journal_put(journal, lost, VMIG_DEST, &error_));
    const char *owner = token_in(journal, lost->id, NULL);
    g_assert_cmpstr(owner, ==, "destination");
}

/* Several processes create the journal and write to it in parallel; no line is lost, one of them gets the domain. */
static void test_processes(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    enum { N = 6, NOTES = 15 };
    pid_t pids[N];
    int winners = 0;

    for (int i = 0; i < N; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            g_autofree char *id = g_strdup_printf("00000000000000%02x", i);
            g_autofree char *own = g_strdup_printf("aaaaaaaaaaaaaa%02x", i);
            g_autofree char *uuid = g_strdup_printf("6f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b0%03x", i);
            VmigJournal *journal = vmig_journal_open(f->path, MACHINE, NULL);
            VmigJob *job = make_job(id, UUID, "web1");
            VmigJob *mine = make_job(own, uuid, "own");
            if (journal == NULL || !vmig_journal_create_job(journal, mine, VMIG_SOURCE, NULL))
                _exit(2);
            gboolean won = vmig_journal_create_job(journal, job, VMIG_SOURCE, NULL);
            for (int k = 0; k < NOTES; k++)
                if (!vmig_journal_note(journal, own, "x", NULL))
                    _exit(3);
            _exit(won ? 1 : 0);
        }
    }
    for (int i = 0; i < N; i++) {
        int status = 0;
        g_assert_cmpint(waitpid(pids[i], &status, 0), ==, pids[i]);
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), <=, 1);
        winners += WEXITSTATUS(status);
    }
    g_assert_cmpint(winners, ==, 1);
    g_autoptr(VmigJournal) journal = open_ok(f->path);
    g_autoptr(GPtrArray) jobs = vmig_journal_list(journal, TRUE, NULL);
    g_assert_cmpuint(jobs->len, ==, N + 1);
    guint lines = 0;
    for (guint i = 0; i < jobs->len; i++) {
        g_autoptr(GPtrArray) history = vmig_journal_history(journal, ((VmigJob *)jobs->pdata[i])->id, NULL);
        lines += history->len;
    }
    g_assert_cmpuint(lines, ==, N + 1 + N * NOTES);
}

/* A process killed at any moment leaves what it had committed, and nothing incomplete. */
static void test_killed(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(VmigJob) job = NULL;
    int fds[2];

    vmig_journal_close(with_job(f, &job));
    for (int round = 0; round < 40; round++) {
        guint64 reported = 0;
        guint64 value;
        g_assert_cmpint(pipe(fds), ==, 0);
        pid_t pid = fork();
        if (pid == 0) {
            VmigJournal *journal = vmig_journal_open(f->path, MACHINE, NULL);
            VmigJob *mine = journal != NULL ? vmig_journal_load(journal, ID, NULL) : NULL;
            if (mine == NULL)
                _exit(1);
            for (;;) {
                mine->bytes_copied++;
                g_free(mine->live_xml);
                mine->live_xml = g_strnfill((gsize)(mine->bytes_copied % 7) * 5000, 'x');
                if (!vmig_journal_save(journal, mine, NULL) || write(fds[1], &mine->bytes_copied, 8) != 8)
                    _exit(1);
            }
        }
        close(fds[1]);
        g_usleep((gulong)g_test_rand_int_range(2000, 30000));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        while (read(fds[0], &value, sizeof value) == sizeof value)
            reported = value;
        close(fds[0]);
        g_autoptr(VmigJournal) journal =
            round % 2 == 0 ? open_ok(f->path) : vmig_journal_open_read_only(f->path, NULL, NULL);
        g_autoptr(VmigJob) stored = vmig_journal_load(journal, ID, NULL);
        g_assert_nonnull(stored);
        g_assert_cmpuint(stored->bytes_copied, >=, reported);
        if (reported > 0)
            g_assert_cmpuint(stored->bytes_copied, <=, reported + 1);
        g_assert_cmpuint(stored->bytes_copied % 7 * 5000, ==, stored->live_xml != NULL ? strlen(stored->live_xml) : 0);
    }
}

static void test_set_aside(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(VmigJob) job = NULL;
    g_autofree char *name = NULL;
    g_autofree char *second = NULL;
    g_autofree char *rollback = g_strconcat(f->path, "-journal", NULL);

    assert_fails(VMIG_ERROR_NO_JOB, vmig_journal_set_aside(f->path, &name, &error_));
    VmigJournal *journal = with_job(f, &job);
    assert_fails(VMIG_ERROR_LOCKED, vmig_journal_set_aside(f->path, &name, &error_));
    vmig_journal_close(journal);
    assert_ok(vmig_journal_set_aside(f->path, &name, &error_));
    g_assert_false(exists(f->path));
    g_assert_false(exists(rollback));
    g_assert_true(exists(name));
    journal = vmig_journal_open(name, MACHINE, NULL);
    vmig_job_free(vmig_journal_load(journal, ID, NULL));
    vmig_journal_close(journal);
    journal = open_ok(f->path);
    assert_fails(VMIG_ERROR_NO_JOB, vmig_journal_load(journal, ID, &error_) != NULL);
    vmig_journal_close(journal);
    /* A crash between the two renames. */
    g_unlink(f->path);
    refuse_damaged(f, "only its rollback file");
    assert_ok(vmig_journal_set_aside(f->path, &second, &error_));
    vmig_journal_close(open_ok(f->path));
}

/* A reader of a damaged file may see the previous content, or nothing at all. */
static gboolean is_previous(const char *path, const char *right, const char *right_history)
{
    g_autoptr(VmigJournal) journal = vmig_journal_open_read_only(path, MACHINE, NULL);

    if (journal == NULL)
        return TRUE;
    g_autoptr(VmigJob) job = vmig_journal_load(journal, ID, NULL);
    g_autoptr(VmigJob) open = NULL;
    gboolean found = vmig_journal_find_open(journal, "web1", &open, NULL);
    const char *owner = token_in(journal, ID, NULL);
    g_autoptr(GPtrArray) history = vmig_journal_history(journal, ID, NULL);
    g_autoptr(GPtrArray) files = vmig_journal_file_list(journal, ID, NULL, NULL);
    if (job == NULL || !found || open == NULL || owner == NULL || history == NULL || files == NULL)
        return FALSE;
    g_autofree char *text = vmig_job_to_string(job);
    g_autofree char *text2 = vmig_job_to_string(open);
    g_autoptr(GString) lines = g_string_new(owner);
    for (guint i = 0; i < history->len; i++) {
        const VmigJournalEntry *e = history->pdata[i];
        g_string_append_printf(lines, "|%s %s %s %s", e->from, e->to, e->phase, e->detail);
    }
    for (guint i = 0; i < files->len; i++) {
        const VmigJournalFile *e = files->pdata[i];
        g_string_append_printf(lines, "|%s %s %s %" G_GUINT64_FORMAT, e->path, e->kind, e->state, e->ino);
    }
    return strcmp(text, right) == 0 && strcmp(text2, right) == 0 &&
           (*right_history == '\0' || strcmp(lines->str, right_history) == 0);
}

static char *small_journal(Fixture *f, char **history_text)
{
    g_autoptr(VmigJob) job = NULL;
    VmigJournal *journal = with_job(f, &job);
    g_autoptr(VmigJournalFile) file = vmig_journal_file_new(ID, "/images/a." ID ".part", "part", "made");
    g_autoptr(VmigJob) other = make_job("fedcba9876543210", "7f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21", "web2");

    file->dev = 5;
    file->ino = 12345;
    /* Older states of the same record remain in pages that are now free. */
    job->live_xml = g_strnfill(9000, 'o');
    assert_ok(vmig_journal_save(journal, job, &error_));
    g_clear_pointer(&job->live_xml, g_free);
    assert_ok(vmig_journal_commit_transition(journal, job, VMIG_MIGRATE(LOCK), NULL, &error_));
    assert_ok(vmig_journal_begin_transition(journal, job, VMIG_MIGRATE(OVERLAY), NULL, &error_));
    assert_ok(vmig_journal_file_put(journal, file, NULL, &error_));
    assert_ok(vmig_journal_create_job(journal, other, VMIG_DEST, &error_));
    vmig_journal_close(journal);
    *history_text = g_strdup("source|PLAN PLAN note the job begins on this host|PLAN LOCK result (null)|LOCK OVERLAY "
                             "intent (null)|/images/a." ID ".part part made 12345");
    return vmig_job_to_string(job);
}

static void test_truncated(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *history = NULL;
    g_autofree char *right = small_journal(f, &history);
    g_autofree char *bytes = NULL;
    gsize length = 0;

    g_assert_true(is_previous(f->path, right, history));
    g_assert_true(g_file_get_contents(f->path, &bytes, &length, NULL));
    for (gsize keep = 0; keep < length; keep += keep < 600 ? 7 : 509) {
        g_assert_cmpint(truncate(f->path, (off_t)keep), ==, 0);
        /* SQLite reads the rest of a last page as zeros, which it may have been. */
        g_autoptr(VmigJournal) journal = vmig_journal_open_read_only(f->path, MACHINE, NULL);
        g_assert_true(journal == NULL || (keep > length - 4096 && is_previous(f->path, right, history)));
        int fd = open(f->path, O_WRONLY);
        g_assert_cmpint(pwrite(fd, bytes + keep, length - keep, (off_t)keep), ==, (gssize)(length - keep));
        close(fd);
    }
    g_assert_true(is_previous(f->path, right, history));
}

static void test_flipped(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *history = NULL;
    g_autofree char *right = small_journal(f, &history);
    g_autofree char *bytes = NULL;
    gsize length = 0;
    guint refused = 0;
    guint tried = 0;

    g_assert_true(is_previous(f->path, right, history));
    g_assert_true(g_file_get_contents(f->path, &bytes, &length, NULL));
    int fd = open(f->path, O_RDWR);
    for (gsize i = 0; i < length; i++) {
        /* Most of it is the reserve, which is zeros. */
        if (bytes[i] == 0 && i >= 100 && i % 211 != 0)
            continue;
        for (int bit = 0; bit < 8; bit++) {
            if (!g_test_thorough() && i >= 100 && bit + (i < 4096 ? 0 : 16 * (int)(i % 2)) != (int)(i / 2 % 8))
                continue;
            char flipped = (char)(bytes[i] ^ (1 << bit));
            g_assert_cmpint(pwrite(fd, &flipped, 1, (off_t)i), ==, 1);
            if (!is_previous(f->path, right, history))
                g_error("byte %zu, bit %d: another state", i, bit);
            VmigJournal *journal = vmig_journal_open_read_only(f->path, MACHINE, NULL);
            refused += journal == NULL;
            tried++;
            g_clear_pointer(&journal, vmig_journal_close);
            g_assert_cmpint(pwrite(fd, bytes + i, 1, (off_t)i), ==, 1);
        }
    }
    close(fd);
    g_test_message("%u flips, %u refused", tried, refused);
    g_assert_cmpuint(refused, >, tried / 4);
}

/* Many bytes at once: two changes may do what one bit flip cannot. Always the same ones; -m thorough does more. */
static void test_scribbled(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *history = NULL;
    g_autofree char *right = small_journal(f, &history);
    g_autofree char *bytes = NULL;
    g_autoptr(GRand) random = g_rand_new_with_seed(20240229);
    gsize length = 0;
    guint rounds = g_test_thorough() ? 1000000 : 1500;

    g_assert_true(g_file_get_contents(f->path, &bytes, &length, NULL));
    int fd = open(f->path, O_RDWR);
    for (guint round = 0; round < rounds; round++) {
        gsize at[32];
        guint n = (guint)g_rand_int_range(random, 2, G_N_ELEMENTS(at) + 1);
        /* The reserve is most of the file, and its zeros are irrelevant: mostly change what comes before it. */
        gint32 within = g_rand_boolean(random) ? (gint32)MIN(length, 64 * 1024) : (gint32)length;
        for (guint i = 0; i < n; i++) {
            char other = (char)g_rand_int(random);
            at[i] = (gsize)g_rand_int_range(random, 0, within);
            g_assert_cmpint(pwrite(fd, &other, 1, (off_t)at[i]), ==, 1);
        }
        if (!is_previous(f->path, right, history))
            g_error("round %u: another state", round);
        for (guint i = 0; i < n; i++)
            g_assert_cmpint(pwrite(fd, bytes + at[i], 1, (off_t)at[i]), ==, 1);
    }
    close(fd);
    g_assert_true(is_previous(f->path, right, history));
}

/* An index without the unfinished job: in a small journal the complete check finds it; in a large one the index is
 * compared separately. */
static void test_index_lost(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    static const char sql[] = "PRAGMA writable_schema = ON;"
                              "UPDATE sqlite_schema SET sql = replace(sql, 'finished = 0', 'finished = 5')"
                              " WHERE name = 'job_open'; PRAGMA writable_schema = RESET; REINDEX job_open;"
                              "PRAGMA writable_schema = ON;"
                              "UPDATE sqlite_schema SET sql = replace(sql, 'finished = 5', 'finished = 0')"
                              " WHERE name = 'job_open';";
    g_autoptr(VmigJob) job = NULL;
    sqlite3 *db = NULL;

    vmig_journal_close(with_job(f, &job));
    for (guint i = 0; i < 2; i++) {
        if (i == 1)
            add_ended_jobs(f->path, VMIG_JOURNAL_FULL_CHECK / 1000);
        g_assert_cmpint(sqlite3_open(f->path, &db), ==, SQLITE_OK);
        g_assert_true(vmig_db_add_functions(db));
        g_assert_cmpint(sqlite3_exec(db, i == 1 ? "REINDEX" : "", NULL, NULL, NULL), ==, SQLITE_OK);
        sqlite3_close(db);
        if (i == 1)
            vmig_journal_close(open_ok(f->path));
        g_assert_cmpint(sqlite3_open(f->path, &db), ==, SQLITE_OK);
        g_assert_true(vmig_db_add_functions(db));
        g_assert_cmpint(sqlite3_exec(db, sql, NULL, NULL, NULL), ==, SQLITE_OK);
        sqlite3_close(db);
        refuse_damaged(f, i == 0 ? "damaged" : "index of unfinished jobs");
    }
}

/* A small separate file system, if the test may mount one. */
static gboolean mount_small(const char *dir, const char *options)
{
    if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("tmpfs", dir, "tmpfs", 0, options) == 0)
        return TRUE;
    g_test_skip("needs to mount a tmpfs");
    return FALSE;
}

static void fill(const char *dir)
{
    g_autofree char *path = g_build_filename(dir, "ballast", NULL);
    g_autofree char *block = g_malloc0(4096);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);

    while (write(fd, block, 4096) == 4096)
        ;
    g_assert_cmpint(errno, ==, ENOSPC);
    close(fd);
}

/* The disk fills up during a job: its token and last records are written nevertheless, then the error is reported. */
static void test_full_disk(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(VmigJob) job = NULL;
    g_autoptr(GError) error = NULL;
    gboolean noted = FALSE;
    guint saved = 0;

    if (!mount_small(f->dir, "size=16m,mode=0700"))
        return;
    {
        g_autoptr(VmigJournal) journal = with_job(f, &job);
        assert_ok(vmig_journal_commit_transition(journal, job, VMIG_MIGRATE(LOCK), NULL, &error_));
        fill(f->dir);
        assert_ok(vmig_journal_set_token(journal, ID, VMIG_DEST, &error_));
        job->owner = VMIG_DEST;
        job->live_xml = g_strnfill(60000, 'x');
        assert_ok(vmig_journal_save(journal, job, &error_));
        while (!vmig_state_is_final(vmig_job_state(job))) {
            VmigState next = vmig_state_next(vmig_job_state(job));
            assert_ok(vmig_journal_begin_transition(journal, job, next, "the disk is full", &error_));
            put_facts(job, next);
            assert_ok(vmig_journal_commit_transition(journal, job, next, NULL, &error_));
        }
        g_autoptr(GPtrArray) history = vmig_journal_history(journal, ID, NULL);
        for (guint i = 0; i < history->len; i++)
            noted |= strstr(((VmigJournalEntry *)history->pdata[i])->detail ?: "", "reserved space") != NULL;
        g_assert_true(noted);
        while (vmig_journal_note(journal, ID, "and on and on and on until nothing is left", &error))
            saved++;
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_NO_SPACE);
        g_assert_cmpuint(saved, >, 100);
        g_test_message("%u notes: %s", saved, error->message);
    }
    /* Opens, reads, and continues once there is space, with the reserve restored. */
    gboolean released = FALSE;
    g_autoptr(VmigJournal) journal = open_ok(f->path);
    g_autoptr(VmigJob) stored = vmig_journal_load(journal, ID, NULL);
    g_assert_cmpstr(stored->state, ==, "DONE");
    assert_fails(VMIG_ERROR_NO_SPACE,
                 vmig_journal_note(journal, ID, "x", &error_) && vmig_journal_note(journal, ID, "y", &error_));
    vmig_journal_close(g_steal_pointer(&journal));
    g_autofree char *ballast = g_build_filename(f->dir, "ballast", NULL);
    g_unlink(ballast);
    journal = open_ok(f->path);
    assert_ok(vmig_journal_note(journal, ID, "x", &error_));
    assert_ok(vmig_journal_release_reserve(journal, &released, &error_));
    g_assert_true(released);
    assert_ok(vmig_journal_release_reserve(journal, &released, &error_));
    g_assert_false(released);
    vmig_journal_close(g_steal_pointer(&journal));
    umount(f->dir);
}

static void test_full_at_creation(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    if (!mount_small(f->dir, "size=1m,mode=0700"))
        return;
    fill(f->dir);
    assert_fails(VMIG_ERROR_NO_SPACE, vmig_journal_open(f->path, MACHINE, &error_) != NULL);
    g_assert_false(exists(f->path));
    umount(f->dir);
}

static void test_read_only(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(VmigJob) job = NULL;

    if (!mount_small(f->dir, "size=16m,mode=0700"))
        return;
    vmig_journal_close(with_job(f, &job));
    g_assert_cmpint(mount(NULL, f->dir, NULL, MS_REMOUNT | MS_RDONLY, "size=16m"), ==, 0);
    assert_fails(VMIG_ERROR_JOURNAL, vmig_journal_open(f->path, MACHINE, &error_) != NULL);
    VmigJournal *journal = vmig_journal_open_read_only(f->path, MACHINE, NULL);
    g_assert_nonnull(journal);
    g_autoptr(VmigJob) stored = vmig_journal_load(journal, ID, NULL);
    g_assert_nonnull(stored);
    assert_fails(VMIG_ERROR_JOURNAL, vmig_journal_note(journal, ID, "x", &error_));
    vmig_journal_close(journal);
    g_assert_cmpint(mount(NULL, f->dir, NULL, MS_REMOUNT, "size=16m"), ==, 0);
    journal = vmig_journal_open_read_only(f->path, MACHINE, NULL);
    gboolean released;
    assert_fails(VMIG_ERROR_JOURNAL, vmig_journal_save(journal, job, &error_));
    assert_fails(VMIG_ERROR_JOURNAL, vmig_journal_release_reserve(journal, &released, &error_));
    vmig_journal_close(journal);
    umount(f->dir);
}

static void test_busy(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(VmigJob) job = NULL;
    g_autoptr(VmigJournal) journal = with_job(f, &job);
    sqlite3 *db = NULL;

    g_assert_cmpint(sqlite3_open(f->path, &db), ==, SQLITE_OK);
    g_assert_cmpint(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), ==, SQLITE_OK);
    gint64 start = g_get_monotonic_time();
    assert_fails(VMIG_ERROR_TIMEOUT, vmig_journal_note(journal, ID, "x", &error_));
    g_assert_cmpint(g_get_monotonic_time() - start, >, 4 * G_USEC_PER_SEC);
    g_assert_cmpint(g_get_monotonic_time() - start, <, 60 * G_USEC_PER_SEC);
    sqlite3_close(db);
    assert_ok(vmig_journal_note(journal, ID, "x", &error_));
}

/* Makes fsync fail once with a replaced function, because no disk here fails on demand. */
static int fail_fsync;

int fdatasync(int fd)
{
    if (fail_fsync > 0 && fail_fsync-- == 1) {
        errno = EIO;
        return -1;
    }
    return fsync(fd);
}

static void test_fsync_fails(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    guint failed = 0;
    int last = 0;
    int nth_failed = 0;

    for (int nth = 1; nth <= 6; nth++) {
        g_autoptr(VmigJob) job = NULL;
        VmigJournal *journal = with_job(f, &job);
        job->bytes_copied = 1;
        fail_fsync = nth;
        if (!vmig_journal_save(journal, job, NULL)) {
            /* Nothing is written after it. The last sync only ends the commit, which is there or not. */
            fail_fsync = 0;
            assert_fails(VMIG_ERROR_JOURNAL, vmig_journal_save(journal, job, &error_));
            vmig_journal_close(journal);
            journal = open_ok(f->path);
            g_autoptr(VmigJob) stored = vmig_journal_load(journal, ID, NULL);
            last = stored->bytes_copied == 1 ? nth : last;
            g_assert_cmpuint(stored->bytes_copied, <=, 1);
            failed++;
            nth_failed = nth;
        } else {
            /* The second one is the folder's, which SQLite ignores: the journal synced it at the start. */
            fail_fsync = 0;
        }
        vmig_journal_close(journal);
        g_unlink(f->path);
        g_autofree char *rollback = g_strconcat(f->path, "-journal", NULL);
        g_unlink(rollback);
    }
    g_assert_cmpuint(failed, >=, 3);
    g_assert_cmpint(last, ==, nth_failed);
}

static void test_files(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(VmigJob) job = NULL;
    g_autoptr(VmigJournal) journal = with_job(f, &job);
    g_autoptr(VmigJournalFile) a = vmig_journal_file_new(ID, "/a", "part", "made");
    g_autoptr(VmigJournalFile) b = vmig_journal_file_new(ID, "/b", "copy", "intended");
    g_autoptr(VmigJournalFile) bad = vmig_journal_file_new(ID, "/c", "copy", "lost");
    g_autoptr(VmigJournalFile) alien = vmig_journal_file_new("ffffffffffffffff", "/c", "copy", "made");
    g_autoptr(VmigJournalFile) got = NULL;

    a->ino = G_MAXUINT64;
    a->dev = 7;
    a->born_ns = -5;
    a->boot = g_strdup("boot");
    assert_ok(vmig_journal_file_put(journal, a, b, &error_));
    assert_ok(vmig_journal_file_get(journal, ID, "/a", &got, &error_));
    g_assert_cmpuint(got->ino, ==, G_MAXUINT64);
    g_assert_cmpuint(got->dev, ==, 7);
    g_assert_cmpint(got->born_ns, ==, -5);
    g_assert_cmpstr(got->boot, ==, "boot");
    g_assert_null(got->reason);
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_file_put(journal, b, bad, &error_));
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_journal_file_put(journal, alien, NULL, &error_));
    g_autoptr(GPtrArray) files = vmig_journal_file_list(journal, ID, NULL, NULL);
    g_assert_cmpuint(files->len, ==, 2);
}

#define ADD(name, function) g_test_add("/journal/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("create", test_create);
    ADD("refused-files", test_refused_files);
    ADD("refused-contents", test_refused_contents);
    ADD("changed-rows", test_changed_rows);
    ADD("record-disagrees", test_record_disagrees);
    ADD("jobs", test_jobs);
    ADD("transitions", test_transitions);
    ADD("token", test_token);
    ADD("put", test_put);
    ADD("catch-up", test_catch_up);
    ADD("files", test_files);
    ADD("processes", test_processes);
    ADD("killed", test_killed);
    ADD("set-aside", test_set_aside);
    ADD("truncated", test_truncated);
    ADD("flipped", test_flipped);
    ADD("scribbled", test_scribbled);
    ADD("index-lost", test_index_lost);
    ADD("busy", test_busy);
    ADD("fsync-fails", test_fsync_fails);
    ADD("full-disk", test_full_disk);
    ADD("full-at-creation", test_full_at_creation);
    ADD("read-only", test_read_only);
    return g_test_run();
}
