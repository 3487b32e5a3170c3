/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Creates, checks, opens and sets aside the journal's file. */
#include "store/journal-private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SCHEMA_TEXT                                                                                                    \
    "SELECT group_concat(type || ' ' || name || ' ' || tbl_name || ' ' || coalesce(sql, ''), char(10)) FROM"           \
    " (SELECT * FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name)"
#define DAMAGED_HINT "`vmig-snap doctor` compares the hosts with the journal; `doctor --fix` sets the journal aside."
/* Free space that is required before space is reserved (again): the guest needs it more. */
#define PLENTY (8 * 1024 * 1024)

static gboolean refuse(GError **error, const char *path, const char *hint, const char *why)
{
    return vmig_fail(error, VMIG_ERROR_JOURNAL, hint, "the journal %s: %s", path, why);
}

/* `doctor --fix` sets the journal aside because of this code. The hint is for people. */
static gboolean refuse_damaged(GError **error, const char *path, const char *why)
{
    return vmig_fail(error, VMIG_ERROR_JOURNAL_DAMAGED, DAMAGED_HINT, "the journal %s: %s", path, why);
}

static gboolean check_folder(int fd, const char *folder, GError **error)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return vmig_fail_errno(error, errno, "cannot stat %s", folder);
    if (st.st_uid != geteuid())
        return refuse(error, folder, NULL, "the directory belongs to another user");
    if ((st.st_mode & 022) != 0)
        return refuse(error, folder, "Change its mode to 0700, and check its content.",
                      "other users can write to the directory");
    return TRUE;
}

/* *exists is FALSE if there is no file. Uses only fstatat(): opening and closing the database would drop the POSIX
 * locks that SQLite holds on it in this process (sqlite.org/howtocorrupt.html, 2.2). */
static gboolean check_file(int dir_fd, const char *name, const char *path, gboolean *exists, GError **error)
{
    struct stat st;

    *exists = FALSE;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT || vmig_fail_errno(error, errno, "cannot stat %s", path);
    *exists = TRUE;
    if (!S_ISREG(st.st_mode))
        return refuse(error, path, NULL, S_ISLNK(st.st_mode) ? "it is a symbolic link" : "it is not a regular file");
    if (st.st_uid != geteuid())
        return refuse(error, path, NULL, "it belongs to another user");
    if ((st.st_mode & 077) != 0)
        return refuse(error, path, "Change its mode to 0600, and check whether another user changed it.",
                      "other users can read or write it");
    if (st.st_nlink != 1)
        return refuse(error, path, "Remove the other name.", "it has a second hard link");
    return TRUE;
}

static int open_folder(const char *path, gboolean create, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *parent = g_path_get_dirname(folder);

    if (!g_path_is_absolute(path)) {
        vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "the journal's path %s is not absolute", path);
        return -1;
    }
    if (create && mkdir(folder, 0700) == 0) {
        int parent_fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (parent_fd >= 0) {
            fsync(parent_fd);
            close(parent_fd);
        }
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        int errnum = errno;
        vmig_fail(error, errnum == ENOENT && !create ? VMIG_ERROR_NO_JOB : VMIG_ERROR_JOURNAL, NULL,
                  "the journal's directory %s: %s", folder, g_strerror(errnum));
        return -1;
    }
    if (!check_folder(fd, folder, error)) {
        close(fd);
        return -1;
    }
    return fd;
}

static gboolean set_meta(sqlite3 *db, const char *key, const char *value)
{
    g_autoptr(sqlite3_stmt) stmt = NULL;

    return sqlite3_prepare_v2(db, "INSERT INTO meta VALUES (?1, ?2, vmig_sum('meta', ?1, ?2))", -1, &stmt, NULL) ==
               SQLITE_OK &&
           sqlite3_bind_text(stmt, 1, key, -1, SQLITE_TRANSIENT) == SQLITE_OK &&
           sqlite3_bind_text(stmt, 2, value, -1, SQLITE_TRANSIENT) == SQLITE_OK && sqlite3_step(stmt) == SQLITE_DONE;
}

/* An empty journal in memory: the contents of a new file, and the reference for the comparison of schemas. */
static sqlite3 *new_database(const char *machine_id)
{
    g_autoptr(sqlite3) db = NULL;
    g_autofree char *sql =
        g_strdup_printf("PRAGMA page_size = 4096; PRAGMA application_id = %d; PRAGMA user_version = %d; %s"
                        "INSERT INTO reserve VALUES (zeroblob(%d));",
                        VMIG_JOURNAL_APPLICATION, VMIG_JOURNAL_SCHEMA, vmig_journal_ddl, VMIG_JOURNAL_RESERVE);

    if (sqlite3_open_v2(":memory:", &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK || !vmig_db_add_functions(db) ||
        sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return NULL;
    if (machine_id != NULL && !set_meta(db, "machine-id", machine_id))
        return NULL;
    return g_steal_pointer(&db);
}

static gboolean write_all(int fd, const guint8 *data, gsize length)
{
    while (length > 0) {
        gssize n = write(fd, data, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return FALSE;
        data += n;
        length -= (gsize)n;
    }
    return TRUE;
}

/* The file gets its name only when it is complete and on the disk, and only if no other process was first. An empty or
 * incomplete journal is therefore always damage, and never one that another process is creating. */
static gboolean create(int dir_fd, const char *name, const char *path, const char *machine_id, GError **error)
{
    g_autoptr(sqlite3) db = new_database(machine_id);
    sqlite3_int64 length = 0;

    if (db == NULL)
        return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "the journal's schema does not work with this SQLite");
    guint8 *image = sqlite3_serialize(db, "main", &length, 0);
    int fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    gboolean ok = fd >= 0 && fchmod(fd, 0600) == 0 && write_all(fd, image, (gsize)length) && fsync(fd) == 0;
    if (ok) {
        g_autofree char *self = g_strdup_printf("/proc/self/fd/%d", fd);
        ok = linkat(AT_FDCWD, self, dir_fd, name, AT_SYMLINK_FOLLOW) == 0 || errno == EEXIST;
    }
    ok = ok && fsync(dir_fd) == 0;
    int errnum = errno;
    sqlite3_free(image);
    if (fd >= 0)
        close(fd);
    if (ok)
        return TRUE;
    vmig_fail_errno(error, errnum, "cannot create the journal %s", path);
    if (error != NULL && g_error_matches(*error, VMIG_ERROR, VMIG_ERROR_IO))
        (*error)->code = VMIG_ERROR_JOURNAL;
    if (error != NULL)
        vmig_error_set_hint(*error, "That file system must have %u MiB free and be writable.",
                            (VMIG_JOURNAL_RESERVE + VMIG_JOURNAL_ROLLBACK_ROOM) >> 20);
    return FALSE;
}

/* If the rollback file exists without the database, the database was removed: a new one would be "rolled back" with the
 * old one's pages. The rollback file is checked first, because it is created after the database. */
static gboolean find_or_create(VmigJournal *journal, const char *machine_id, GError **error)
{
    g_autofree char *name = g_path_get_basename(journal->path);
    g_autofree char *rollback = g_strconcat(name, "-journal", NULL);
    g_autofree char *rollback_path = g_strconcat(journal->path, "-journal", NULL);
    gboolean has_rollback = FALSE;
    gboolean exists = FALSE;

    if (!check_file(journal->dir_fd, rollback, rollback_path, &has_rollback, error) ||
        !check_file(journal->dir_fd, name, journal->path, &exists, error))
        return FALSE;
    if (exists)
        return TRUE;
    if (has_rollback)
        return refuse_damaged(error, journal->path, "it is missing, and only its rollback file is left");
    if (journal->read_only)
        return vmig_fail(error, VMIG_ERROR_NO_JOB, NULL, "there is no journal %s: this host never had a job",
                         journal->path);
    return create(journal->dir_fd, name, journal->path, machine_id, error);
}

/* The rollback file is kept (PERSIST) rather than removed after each commit (DELETE) or replaced by a log (WAL):
 * - Its blocks stay allocated, so that a commit on a full disk has room for its rollback data. A log would need new
 *   blocks for every commit, whatever free space the database has inside.
 * - A commit ends with the file's header zeroed and synced. DELETE ends with an unlink that synchronous=FULL does not
 *   sync, so that a power loss could take back a commit that was reported (pragma.html, synchronous=EXTRA).
 * - The database is one file at rest, and can be read on a read-only file system. */
static gboolean configure(VmigJournal *journal, GError **error)
{
    gboolean row = FALSE;

    sqlite3_extended_result_codes(journal->db, 1);
    sqlite3_busy_timeout(journal->db, 5000);
    sqlite3_db_config(journal->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(journal->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(journal->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    sqlite3_db_config(journal->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    if (!vmig_db_add_functions(journal->db) ||
        /* Debian builds SQLite with secure_delete: releasing the reserve would then write all of it. */
        !vmig_db_run(error, journal, "PRAGMA secure_delete = OFF", "") ||
        !vmig_db_run(error, journal, "PRAGMA synchronous = FULL", "") ||
        !vmig_db_run(error, journal, "PRAGMA foreign_keys = ON", "") ||
        !vmig_db_run(error, journal, "PRAGMA cell_size_check = ON", "") ||
        !vmig_db_run(error, journal, "PRAGMA temp_store = MEMORY", ""))
        return FALSE;
    if (journal->read_only)
        return vmig_db_run(error, journal, "PRAGMA query_only = ON", "");
    g_autoptr(sqlite3_stmt) stmt = vmig_db_prepare(error, journal, "PRAGMA journal_mode = PERSIST", "");
    if (stmt == NULL || !vmig_db_step(journal, stmt, &row, error))
        return FALSE;
    if (!row || g_strcmp0(vmig_db_text(stmt, 0), "persist") != 0)
        return refuse(error, journal->path, "Check whether another program has it open.",
                      "its journal mode cannot be set");
    return TRUE;
}

static gboolean check_version(VmigJournal *journal, GError **error)
{
    gint64 application = 0;
    gint64 version = 0;

    if (!vmig_db_number(journal, "PRAGMA application_id", &application, error) ||
        !vmig_db_number(journal, "PRAGMA user_version", &version, error))
        return FALSE;
    if (application != VMIG_JOURNAL_APPLICATION)
        return refuse_damaged(error, journal->path, "it is not a journal of vmig-snap");
    if (version > VMIG_JOURNAL_SCHEMA)
        return vmig_fail(error, VMIG_ERROR_JOURNAL_NEWER, "Upgrade vmig-snap on this host.",
                         "the journal %s has version %" G_GINT64_FORMAT
                         ", but this vmig-snap supports versions up to %d",
                         journal->path, version, VMIG_JOURNAL_SCHEMA);
    journal->version = version;
    if (version < VMIG_JOURNAL_SCHEMA && vmig_journal_older_schema(version) == NULL)
        return refuse_damaged(error, journal->path, "its version number is invalid");
    return TRUE;
}

/* A trigger or an index with another text might not enforce the rules that the code relies on. */
static gboolean check_schema(VmigJournal *journal, GError **error)
{
    gboolean row = FALSE;
    g_autoptr(sqlite3) pattern = new_database(NULL);
    g_autoptr(sqlite3_stmt) stmt = vmig_db_prepare(error, journal, SCHEMA_TEXT, "");
    g_autoptr(sqlite3_stmt) right = NULL;

    if (stmt == NULL || !vmig_db_step(journal, stmt, &row, error))
        return FALSE;
    if (pattern == NULL ||
        (journal->version != VMIG_JOURNAL_SCHEMA &&
         sqlite3_exec(pattern, vmig_journal_older_schema(journal->version), NULL, NULL, NULL) != SQLITE_OK) ||
        sqlite3_prepare_v2(pattern, SCHEMA_TEXT, -1, &right, NULL) != SQLITE_OK || sqlite3_step(right) != SQLITE_ROW)
        return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "the journal's schema does not work with this SQLite");
    if (g_strcmp0(vmig_db_text(stmt, 0), vmig_db_text(right, 0)) != 0)
        return refuse_damaged(error, journal->path, "its tables are not those of vmig-snap");
    return TRUE;
}

gboolean vmig_journal_check(VmigJournal *journal, GError **error)
{
    gboolean row = FALSE;
    /* integrity_check, not quick_check: it also compares the indexes with the tables. A job could be in the table but
     * not in the index of unfinished jobs. It would not be found, and its domain would be migrated a second time. */
    g_autoptr(sqlite3_stmt) stmt = vmig_db_prepare(error, journal, "PRAGMA integrity_check(1)", "");

    if (stmt == NULL || !vmig_db_step(journal, stmt, &row, error))
        return FALSE;
    const char *verdict = row ? vmig_db_text(stmt, 0) : "nothing";
    if (g_strcmp0(verdict, "ok") == 0)
        return TRUE;
    g_autofree char *why = g_strdup_printf("it is damaged (%s)", verdict);
    return refuse_damaged(error, journal->path, why);
}

/* The check for unfinished jobs uses their index. A job that is only in the table would be overlooked. */
static gboolean check_unfinished(VmigJournal *journal, GError **error)
{
    gint64 missing = 0;

    return vmig_db_number(journal,
                          "SELECT (SELECT count(*) FROM job NOT INDEXED WHERE finished = 0)"
                          " <> (SELECT count(*) FROM job INDEXED BY job_open WHERE finished = 0)",
                          &missing, error) &&
           (missing == 0 || refuse_damaged(error, journal->path, "it is damaged (its index of unfinished jobs)"));
}

/* A full check takes longer for a larger file. For a large one, only the index of unfinished jobs is compared, and the
 * sums of the rows that are read are verified. */
static gboolean check_content(VmigJournal *journal, GError **error)
{
    gint64 pages = 0;
    gint64 page_size = 0;

    if (!vmig_db_number(journal, "PRAGMA page_count", &pages, error) ||
        !vmig_db_number(journal, "PRAGMA page_size", &page_size, error))
        return FALSE;
    return pages * page_size > VMIG_JOURNAL_FULL_CHECK ? check_unfinished(journal, error)
                                                       : vmig_journal_check(journal, error);
}

/* A row with a wrong sum proves nothing about the host of the journal. */
static gboolean check_machine(VmigJournal *journal, const char *machine_id, GError **error)
{
    gboolean row = FALSE;
    g_autoptr(sqlite3_stmt) stmt = vmig_db_prepare(
        error, journal, "SELECT value, sum = vmig_sum('meta', key, value) FROM meta WHERE key = 'machine-id'", "");

    if (stmt == NULL || !vmig_db_step(journal, stmt, &row, error))
        return FALSE;
    if (row && sqlite3_column_int(stmt, 1) != 1)
        return refuse_damaged(error, journal->path, "it is damaged (its machine-id)");
    if (machine_id == NULL || !row || g_strcmp0(vmig_db_text(stmt, 0), machine_id) == 0)
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_JOURNAL_DAMAGED,
                     "If this host is a clone or a restored backup, its jobs are those of the other host: `doctor "
                     "--fix` sets the journal aside.",
                     "the journal %s: it was written on a host with another machine-id", journal->path);
}

static gboolean reserve_row(VmigJournal *journal, G_GNUC_UNUSED gpointer data, GError **error)
{
    return vmig_db_run(error, journal, "INSERT INTO reserve VALUES (zeroblob(?1))", "i", (gint64)VMIG_JOURNAL_RESERVE);
}

/* Best effort: without the reserve a full disk stops the journal, which is reported when it happens. KEEP_SIZE, because
 * SQLite need not see the blocks. Closing this file drops no lock, because SQLite locks only the database. */
static void reserve(VmigJournal *journal)
{
    g_autofree char *rollback = g_strconcat(journal->path, "-journal", NULL);
    struct statvfs fs;
    struct stat st;
    gint64 rows = 1;

    if (fstatvfs(journal->dir_fd, &fs) < 0 || (guint64)fs.f_bavail * fs.f_frsize < PLENTY)
        return;
    int fd = open(rollback, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0) {
        if (fstat(fd, &st) == 0 && (gint64)st.st_blocks * 512 < VMIG_JOURNAL_ROLLBACK_ROOM &&
            fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, VMIG_JOURNAL_ROLLBACK_ROOM) == 0) {
            fsync(fd);
            /* Its name must be durable before a commit needs it: SQLite syncs the directory, but ignores the result. */
            fsync(journal->dir_fd);
        }
        close(fd);
    }
    if (vmig_db_number(journal, "SELECT count(*) FROM reserve", &rows, NULL) && rows == 0)
        vmig_db_transaction(journal, NULL, reserve_row, NULL, NULL);
}

static char *read_boot_id(void)
{
    char *text = NULL;

    if (!g_file_get_contents("/proc/sys/kernel/random/boot_id", &text, NULL, NULL))
        return g_strdup("");
    return g_strstrip(text);
}

static gboolean open_database(VmigJournal *journal, GError **error)
{
    struct stat st;
    g_autofree char *name = g_path_get_basename(journal->path);

    /* SQLite takes an empty file for a new database. */
    if (fstatat(journal->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size == 0)
        return refuse_damaged(error, journal->path, "it is empty");
    /* Read-write even for reading: the first reader after a crash must roll back. SQLite falls back to read-only. */
    if (sqlite3_open_v2(journal->path, &journal->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, NULL) != SQLITE_OK)
        return vmig_db_fail(journal, error, "open");
    return TRUE;
}

typedef enum {
    OPEN_TO_WRITE,
    OPEN_TO_READ,
    OPEN_TO_LOOK,
} OpenMode;

static gboolean check_all(VmigJournal *journal, GError **error)
{
    return check_schema(journal, error) && check_content(journal, error);
}

static VmigJournal *open_journal(const char *path, const char *machine_id, OpenMode mode, GError **error)
{
    g_autoptr(VmigJournal) journal = g_new0(VmigJournal, 1);

    journal->path = g_strdup(path);
    journal->boot_id = read_boot_id();
    journal->read_only = mode != OPEN_TO_WRITE;
    journal->dir_fd = open_folder(path, mode == OPEN_TO_WRITE, error);
    if (journal->dir_fd < 0)
        return NULL;
    if (flock(journal->dir_fd, LOCK_SH | LOCK_NB) < 0) {
        vmig_fail(error, VMIG_ERROR_LOCKED, NULL, "the journal %s is being set aside at the moment", path);
        return NULL;
    }
    if (!find_or_create(journal, machine_id, error) || !open_database(journal, error) || !configure(journal, error) ||
        !check_version(journal, error) || (mode != OPEN_TO_LOOK && !check_all(journal, error)) ||
        !check_machine(journal, machine_id, error) || !vmig_journal_upgrade(journal, error))
        return NULL;
    if (mode == OPEN_TO_WRITE && sqlite3_db_readonly(journal->db, "main") != 0) {
        refuse(error, path, "Is the file system mounted read-only?", "it cannot be written");
        return NULL;
    }
    if (mode == OPEN_TO_WRITE)
        reserve(journal);
    return g_steal_pointer(&journal);
}

VmigJournal *vmig_journal_open(const char *path, const char *machine_id, GError **error)
{
    return open_journal(path, machine_id, OPEN_TO_WRITE, error);
}

VmigJournal *vmig_journal_open_read_only(const char *path, const char *machine_id, GError **error)
{
    return open_journal(path, machine_id, OPEN_TO_READ, error);
}

VmigJournal *vmig_journal_open_to_look(const char *path, const char *machine_id, GError **error)
{
    return open_journal(path, machine_id, OPEN_TO_LOOK, error);
}

void vmig_journal_close(VmigJournal *journal)
{
    sqlite3_close(journal->db);
    if (journal->dir_fd >= 0)
        close(journal->dir_fd);
    g_free(journal->path);
    g_free(journal->boot_id);
    g_clear_pointer(&journal->roots, g_ptr_array_unref);
    g_free(journal);
}

const char *vmig_journal_path(const VmigJournal *journal)
{
    return journal->path;
}

const char *vmig_journal_boot_id(const VmigJournal *journal)
{
    return journal->boot_id;
}

/* The database first: opening refuses a rollback file without a database, and another call sets that file aside too. */
static gboolean rename_pair(int dir_fd, const char *name, const char *new_name, gboolean *any, GError **error)
{
    const char *suffixes[] = {"", "-journal"};

    *any = FALSE;
    for (guint i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *from = g_strconcat(name, suffixes[i], NULL);
        g_autofree char *to = g_strconcat(new_name, suffixes[i], NULL);
        if (renameat2(dir_fd, from, dir_fd, to, RENAME_NOREPLACE) == 0)
            *any = TRUE;
        else if (errno != ENOENT)
            return vmig_fail_errno(error, errno, "cannot rename %s to %s", from, to);
    }
    return fsync(dir_fd) == 0 || vmig_fail_errno(error, errno, "cannot sync the directory of %s", name);
}

gboolean vmig_journal_set_aside(const char *path, char **new_name, GError **error)
{
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *folder = g_path_get_dirname(path);
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *stamp = g_date_time_format(now, "%Y%m%dT%H%M%S");
    g_autofree char *aside = g_strdup_printf("%s.bad-%s-%06d", name, stamp, g_date_time_get_microsecond(now));
    gboolean any = FALSE;
    int fd = open_folder(path, FALSE, error);

    if (fd < 0)
        return FALSE;
    gboolean ok = flock(fd, LOCK_EX | LOCK_NB) == 0 ||
                  vmig_fail(error, VMIG_ERROR_LOCKED, "Wait until the vmig-snap processes of this host have ended.",
                            "a process has the journal %s open", path);
    ok = ok && rename_pair(fd, name, aside, &any, error);
    ok = ok && (any || vmig_fail(error, VMIG_ERROR_NO_JOB, NULL, "there is no journal %s", path));
    close(fd);
    if (ok)
        *new_name = g_build_filename(folder, aside, NULL);
    return ok;
}
