/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The gate: after every refusal the file is still there, and every step can be repeated. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "store/gate.h"
#include "tests/unit/expect.h"
#include "tests/unit/legal.h"
#include "flows/migrate/states.h"
#include "tests/roles.h"

#define ID "0123456789abcdef"
#define OTHER "fedcba9876543210"

typedef struct {
    char *dir;
    char *images;
    VmigJournal *journal;
} Fixture;

/* Faults: makes system calls fail that no disk here fails on demand. */
static int fail_fsync; /* the nth from now fails */
static int fail_pread;
static int fail_statx;
static int fail_openat;
static int fail_rename;
static gboolean no_births; /* a file system without birth times */

int statx(int fd, const char *restrict path, int flags, unsigned mask, struct statx *restrict ret)
{
    if (fail_statx > 0 && --fail_statx == 0) {
        errno = EIO;
        return -1;
    }
    int result = (int)syscall(SYS_statx, fd, path, flags, mask, ret);
    if (no_births)
        ret->stx_mask &= ~STATX_BTIME;
    return result;
}

int openat(int fd, const char *path, int flags, ...)
{
    if (fail_openat > 0 && --fail_openat == 0) {
        errno = EACCES;
        return -1;
    }
    return (int)syscall(SYS_openat, fd, path, flags, 0);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    if (fail_rename > 0 && --fail_rename == 0) {
        errno = EEXIST;
        return -1;
    }
    return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

int fsync(int fd)
{
    if (fail_fsync > 0 && --fail_fsync == 0) {
        errno = EIO;
        return -1;
    }
    return fdatasync(fd);
}

ssize_t pread(int fd, void *buffer, size_t length, off_t offset)
{
    /* The header of an image is 64 bytes; SQLite reads pages. */
    if (length == 64 && fail_pread > 0 && --fail_pread == 0) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, buffer, length, offset);
}

static void add_job(VmigJournal *journal, const char *id, const char *uuid)
{
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_migrate);
    g_autoptr(GError) error = NULL;

    job->id = g_strdup(id);
    job->uuid = g_strdup(uuid);
    vmig_journal_create_job(journal, job, VMIG_SOURCE, &error);
    g_assert_no_error(error);
}

static void set_up(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *path = NULL;

    f->dir = g_dir_make_tmp("vmig-gate-XXXXXX", NULL);
    f->images = g_build_filename(f->dir, "images", NULL);
    g_assert_cmpint(mkdir(f->images, 0755), ==, 0);
    path = g_build_filename(f->dir, "journal.db", NULL);
    f->journal = vmig_journal_open(path, NULL, NULL);
    g_assert_nonnull(f->journal);
    add_job(f->journal, ID, "6f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21");
    add_job(f->journal, OTHER, "7f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21");
}

static void tear_down(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *command = g_strdup_printf("rm -rf '%s'", f->dir);

    vmig_journal_close(f->journal);
    g_assert_cmpint(system(command), ==, 0);
    g_free(f->dir);
    g_free(f->images);
}

#define assert_gate(text_, expression) assert_fails_saying(VMIG_ERROR_GATE, text_, expression)

static char *image(Fixture *f, const char *name)
{
    return g_build_filename(f->images, name, NULL);
}

static void make(const char *path, const char *content)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, content, strlen(content)), ==, (gssize)strlen(content));
    close(fd);
}

static void make_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    close(fd);
}

static gboolean exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* A file that the job intended and made. */
static char *made(Fixture *f, const char *name, const char *kind)
{
    char *path = image(f, name);

    assert_ok(vmig_gate_intend(f->journal, ID, path, kind, &error_));
    make(path, "x");
    assert_ok(vmig_gate_made(f->journal, ID, path, &error_));
    return path;
}

static void change_row(Fixture *f, const char *path, void (*change)(VmigJournalFile *))
{
    g_autoptr(VmigJournalFile) row = NULL;

    assert_ok(vmig_journal_file_get(f->journal, ID, path, &row, &error_));
    change(row);
    assert_ok(vmig_journal_file_put(f->journal, row, NULL, &error_));
}

static void other_boot(VmigJournalFile *row)
{
    g_free(row->boot);
    row->boot = g_strdup("another");
    row->dev++;
}

static void other_dev(VmigJournalFile *row)
{
    row->dev++;
}

static void other_birth(VmigJournalFile *row)
{
    row->born_ns--;
}

static void no_birth(VmigJournalFile *row)
{
    row->born_ns = 0;
}

static void other_ino(VmigJournalFile *row)
{
    row->ino++;
}

/* From the intent to the end, with each step done twice. */
static void test_life(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *path = image(f, "vda." ID ".overlay");
    g_autofree char *owner = NULL;
    g_autofree char *nobody = NULL;

    for (int round = 0; round < 2; round++) {
        assert_ok(vmig_gate_intend(f->journal, ID, path, "overlay", &error_));
        assert_ok(vmig_gate_intend(f->journal, ID, path, "overlay", &error_));
        assert_gate("as another file", vmig_gate_intend(f->journal, ID, path, "copy", &error_));
        assert_gate("does not exist", vmig_gate_made(f->journal, ID, path, &error_));
        make(path, "x");
        assert_gate("not recorded as created", vmig_gate_verified(f->journal, ID, path, &error_));
        assert_ok(vmig_gate_made(f->journal, ID, path, &error_));
        assert_ok(vmig_gate_made(f->journal, ID, path, &error_));
        assert_gate("as another file", vmig_gate_intend(f->journal, ID, path, "overlay", &error_));
        assert_gate("not declared redundant", vmig_gate_remove(f->journal, ID, path, &error_));
        assert_ok(vmig_gate_verified(f->journal, ID, path, &error_));
        assert_ok(vmig_gate_verified(f->journal, ID, path, &error_));
        assert_ok(vmig_gate_made(f->journal, ID, path, &error_));
        assert_gate("not declared redundant", vmig_gate_remove(f->journal, ID, path, &error_));
        assert_gate("reason", vmig_gate_redundant(f->journal, ID, path, "", &error_));
        assert_gate("reason", vmig_gate_redundant(f->journal, ID, path, NULL, &error_));
        assert_ok(vmig_gate_redundant(f->journal, ID, path, "committed", &error_));
        assert_ok(vmig_gate_redundant(f->journal, ID, path, "committed again", &error_));
        g_autoptr(GPtrArray) left = vmig_gate_list(f->journal, ID, NULL);
        g_assert_cmpuint(left->len, ==, 1);
        g_assert_cmpstr(((VmigJournalFile *)left->pdata[0])->reason, ==, "committed");
        assert_gate("does not say that it was to be created", vmig_gate_made(f->journal, ID, path, &error_));
        g_assert_true(exists(path));
        assert_ok(vmig_gate_remove(f->journal, ID, path, &error_));
        g_assert_false(exists(path));
        assert_ok(vmig_gate_remove(f->journal, ID, path, &error_));
        assert_ok(vmig_gate_redundant(f->journal, ID, path, "again", &error_));
        g_autoptr(GPtrArray) none = vmig_gate_list(f->journal, ID, NULL);
        g_assert_cmpuint(none->len, ==, 0);
    }
    make(path, "somebody else's");
    assert_gate("removed before", vmig_gate_remove(f->journal, ID, path, &error_));
    g_assert_true(exists(path));
    assert_ok(vmig_gate_owner(f->journal, path, &nobody, &error_));
    g_assert_null(nobody);
    g_autofree char *other = made(f, "vdb", "copy");
    assert_ok(vmig_gate_owner(f->journal, other, &owner, &error_));
    g_assert_cmpstr(owner, ==, ID);
}

static void test_not_ours(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *path = made(f, "vda", "part");
    g_autofree char *stranger = image(f, "stranger");

    make(stranger, "x");
    assert_gate("does not list it", vmig_gate_remove(f->journal, OTHER, path, &error_));
    assert_gate("does not list it", vmig_gate_remove(f->journal, ID, stranger, &error_));
    assert_gate("does not list it", vmig_gate_made(f->journal, ID, stranger, &error_));
    assert_gate("does not list it", vmig_gate_verified(f->journal, ID, stranger, &error_));
    assert_gate("does not list it", vmig_gate_redundant(f->journal, ID, stranger, "x", &error_));
    assert_gate("does not list it", vmig_gate_rename(f->journal, ID, stranger, path, &error_));
    assert_fails_saying(VMIG_ERROR_DESTINATION_EXISTS, "did not create it",
                        vmig_gate_intend(f->journal, ID, stranger, "part", &error_));
    assert_gate("of that kind", vmig_gate_intend(f->journal, ID, stranger, "base", &error_));
    assert_gate("of that kind", vmig_gate_intend(f->journal, ID, stranger, "", &error_));
    g_assert_true(exists(path) && exists(stranger));
    /* An intent for a job that does not exist. */
    g_unlink(stranger);
    assert_fails_saying(VMIG_ERROR_CONTRADICTION, "", vmig_gate_intend(f->journal, "00", stranger, "part", &error_));
}

static void test_paths(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    const char *bad[] = {"", "a", "/", "//tmp/a", "/tmp/../a", "/tmp/./a", "/tmp//a", "/tmp/a/", "/..", "./a"};

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(VmigJournalFile) row = vmig_journal_file_new(ID, bad[i], "part", "made");
        assert_fails_saying(VMIG_ERROR_BAD_PATH, "plain absolute",
                            vmig_gate_intend(f->journal, ID, bad[i], "part", &error_));
        assert_fails_saying(VMIG_ERROR_BAD_PATH, "", vmig_gate_adopt(f->journal, ID, bad[i], 1, 1, "base", &error_));
        assert_ok(vmig_journal_file_put(f->journal, row, NULL, &error_));
        assert_fails_saying(VMIG_ERROR_BAD_PATH, "", vmig_gate_remove(f->journal, ID, bad[i], &error_));
        assert_fails_saying(VMIG_ERROR_BAD_PATH, "", vmig_gate_made(f->journal, ID, bad[i], &error_));
        assert_fails_saying(VMIG_ERROR_BAD_PATH, "", vmig_gate_verified(f->journal, ID, bad[i], &error_));
        assert_fails_saying(VMIG_ERROR_BAD_PATH, "", vmig_gate_rename(f->journal, ID, bad[i], "/tmp/x", &error_));
    }
    g_autofree char *path = made(f, "vda", "part");
    assert_fails_saying(VMIG_ERROR_BAD_PATH, "", vmig_gate_rename(f->journal, ID, path, "/tmp/../x", &error_));
    /* A folder that is a file. */
    g_autofree char *below = g_build_filename(path, "b", NULL);
    assert_fails_saying(VMIG_ERROR_IO, "cannot open", vmig_gate_intend(f->journal, ID, below, "part", &error_));
    /* A name that is too long. */
    g_autofree char *long_name = g_strnfill(300, 'n');
    g_autofree char *long_path = image(f, long_name);
    assert_fails_saying(VMIG_ERROR_IO, "cannot stat", vmig_gate_intend(f->journal, ID, long_path, "part", &error_));
}

static void test_another_file(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *path = made(f, "a." ID, "part");
    g_autofree char *other = image(f, "other");
    struct stat st;

    make(other, "not ours");
    g_assert_cmpint(rename(other, path), ==, 0);
    assert_gate("another file", vmig_gate_remove(f->journal, ID, path, &error_));
    assert_gate("another file", vmig_gate_made(f->journal, ID, path, &error_));
    assert_gate("another file", vmig_gate_verified(f->journal, ID, path, &error_));
    g_assert_true(exists(path));
    g_unlink(path);
    assert_gate("another file", vmig_gate_verified(f->journal, ID, path, &error_));
    g_assert_cmpint(symlink("/etc/passwd", path), ==, 0);
    assert_gate("another type", vmig_gate_remove(f->journal, ID, path, &error_));
    assert_gate("another type", vmig_gate_made(f->journal, ID, path, &error_));
    g_assert_cmpint(lstat(path, &st), ==, 0);
    g_unlink(path);
    g_assert_cmpint(mkdir(path, 0755), ==, 0);
    assert_gate("another type", vmig_gate_remove(f->journal, ID, path, &error_));
    g_assert_cmpint(rmdir(path), ==, 0);
    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    assert_gate("another type", vmig_gate_remove(f->journal, ID, path, &error_));
}

static void test_identity(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *path = made(f, "a", "part");
    g_autofree char *second = made(f, "b", "part");
    g_autofree char *third = made(f, "c", "part");
    g_autofree char *fourth = made(f, "d", "part");

    change_row(f, path, other_dev);
    assert_gate("another file", vmig_gate_remove(f->journal, ID, path, &error_));
    change_row(f, path, other_boot);
    change_row(f, path, other_birth);
    assert_gate("another file", vmig_gate_remove(f->journal, ID, path, &error_));
    change_row(f, second, other_boot);
    assert_ok(vmig_gate_remove(f->journal, ID, second, &error_));
    change_row(f, third, no_birth);
    change_row(f, third, other_boot);
    assert_gate("another file", vmig_gate_remove(f->journal, ID, third, &error_));
    change_row(f, fourth, no_birth);
    change_row(f, fourth, other_ino);
    assert_gate("another file", vmig_gate_remove(f->journal, ID, fourth, &error_));
    g_assert_true(exists(path) && exists(third) && exists(fourth) && !exists(second));
}

/* The process died after it made the file and before it recorded that. */
static void test_died_before_made(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    const char *kinds[] = {"part", "hold", "overlay", "copy"};

    for (guint i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autofree char *name = g_strdup_printf("%s." ID, kinds[i]);
        g_autofree char *path = image(f, name);
        g_autofree char *plain = image(f, kinds[i]);
        assert_ok(vmig_gate_intend(f->journal, ID, path, kinds[i], &error_));
        assert_ok(vmig_gate_intend(f->journal, ID, plain, kinds[i], &error_));
        make(path, "x");
        make(plain, "x");
        if (i >= 2) {
            assert_gate("not declared redundant", vmig_gate_remove(f->journal, ID, path, &error_));
            assert_ok(vmig_gate_redundant(f->journal, ID, path, "rolled back", &error_));
            assert_ok(vmig_gate_redundant(f->journal, ID, plain, "rolled back", &error_));
        }
        assert_gate("never recorded", vmig_gate_remove(f->journal, ID, plain, &error_));
        if (strcmp(kinds[i], "copy") == 0)
            assert_gate("never recorded", vmig_gate_remove(f->journal, ID, path, &error_));
        else
            assert_ok(vmig_gate_remove(f->journal, ID, path, &error_));
        g_assert_cmpint(exists(path), ==, strcmp(kinds[i], "copy") == 0);
        g_assert_true(exists(plain));
    }
}

static void test_sockets(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *run = image(f, ID);
    g_autofree char *in_run = g_build_filename(run, "nbd", NULL);
    g_autofree char *path = image(f, "nbd");
    g_autofree char *file = image(f, "file");

    g_assert_cmpint(mkdir(run, 0700), ==, 0);
    assert_ok(vmig_gate_intend(f->journal, ID, in_run, "socket", &error_));
    make_socket(in_run);
    assert_ok(vmig_gate_remove(f->journal, ID, in_run, &error_));
    g_assert_false(exists(in_run));
    assert_ok(vmig_gate_intend(f->journal, ID, path, "socket", &error_));
    make_socket(path);
    assert_gate("never recorded", vmig_gate_remove(f->journal, ID, path, &error_));
    assert_ok(vmig_gate_made(f->journal, ID, path, &error_));
    assert_gate("no other name", vmig_gate_rename(f->journal, ID, path, file, &error_));
    assert_ok(vmig_gate_remove(f->journal, ID, path, &error_));
    assert_ok(vmig_gate_intend(f->journal, ID, file, "socket", &error_));
    make(file, "x");
    assert_gate("another type", vmig_gate_made(f->journal, ID, file, &error_));
    assert_gate("another type", vmig_gate_remove(f->journal, ID, file, &error_));
    /* The folder vanished at a reboot. */
    g_assert_cmpint(rmdir(run), ==, 0);
    assert_ok(vmig_gate_intend(f->journal, ID, in_run, "socket", &error_));
    assert_ok(vmig_gate_remove(f->journal, ID, in_run, &error_));
}

static void test_overlay_with_snapshots(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *path = made(f, "a." ID, "overlay");
    guint8 head[64] = {'Q', 'F', 'I', 0xfb};
    int fd = open(path, O_RDWR);

    assert_ok(vmig_gate_redundant(f->journal, ID, path, "committed", &error_));
    head[63] = 2;
    g_assert_cmpint(pwrite(fd, head, sizeof head, 0), ==, 64);
    assert_gate("internal snapshots", vmig_gate_remove(f->journal, ID, path, &error_));
    head[63] = 0;
    head[60] = 1;
    g_assert_cmpint(pwrite(fd, head, sizeof head, 0), ==, 64);
    assert_gate("internal snapshots", vmig_gate_remove(f->journal, ID, path, &error_));
    head[60] = 0;
    g_assert_cmpint(pwrite(fd, head, sizeof head, 0), ==, 64);
    close(fd);
    assert_ok(vmig_gate_remove(f->journal, ID, path, &error_));
    g_assert_false(exists(path));
}

static void test_adopt(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *path = image(f, "base");
    g_autofree char *other = image(f, "other");
    g_autofree char *part = made(f, "part", "part");
    struct stat st;

    make(path, "x");
    make(other, "x");
    g_assert_cmpint(stat(path, &st), ==, 0);
    assert_gate("only a base", vmig_gate_adopt(f->journal, ID, path, st.st_dev, st.st_ino, "copy", &error_));
    assert_gate("not the file", vmig_gate_adopt(f->journal, ID, path, st.st_dev, st.st_ino + 1, "base", &error_));
    assert_gate("not the file", vmig_gate_adopt(f->journal, ID, path, st.st_dev + 1, st.st_ino, "base", &error_));
    assert_gate("not the file", vmig_gate_adopt(f->journal, ID, "/nonexistent", 1, 1, "base", &error_));
    assert_gate("not the file", vmig_gate_adopt(f->journal, ID, f->images, 1, 1, "base", &error_));
    assert_gate("as another file", vmig_gate_adopt(f->journal, ID, part, st.st_dev, st.st_ino, "base", &error_));
    assert_ok(vmig_gate_adopt(f->journal, ID, path, st.st_dev, st.st_ino, "base", &error_));
    assert_ok(vmig_gate_adopt(f->journal, ID, path, st.st_dev, st.st_ino, "base", &error_));
    assert_gate("not declared redundant", vmig_gate_remove(f->journal, ID, path, &error_));
    assert_gate("no other name", vmig_gate_rename(f->journal, ID, path, "/tmp/x", &error_));
    assert_ok(vmig_gate_redundant(f->journal, ID, path, "moved and verified", &error_));
    assert_ok(vmig_gate_adopt(f->journal, ID, path, st.st_dev, st.st_ino, "base", &error_));
    g_assert_cmpint(rename(other, path), ==, 0);
    assert_gate("another file", vmig_gate_remove(f->journal, ID, path, &error_));
    g_assert_cmpint(stat(path, &st), ==, 0);
    assert_gate("that was adopted", vmig_gate_adopt(f->journal, ID, path, st.st_dev, st.st_ino, "base", &error_));
    g_unlink(path);
    assert_ok(vmig_gate_remove(f->journal, ID, path, &error_));
    make(path, "x");
    g_assert_cmpint(stat(path, &st), ==, 0);
    assert_ok(vmig_gate_adopt(f->journal, ID, path, st.st_dev, st.st_ino, "base", &error_));
    assert_ok(vmig_gate_redundant(f->journal, ID, path, "moved and verified", &error_));
    assert_ok(vmig_gate_remove(f->journal, ID, path, &error_));
    g_assert_false(exists(path));
}

static void test_rename(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *part = made(f, "vda.part", "part");
    g_autofree char *base_copy = image(f, "vda");
    g_autofree char *overlay = made(f, "over", "overlay");
    g_autofree char *over2 = image(f, "over2");
    g_autoptr(VmigJournalFile) row = NULL;
    g_autoptr(VmigJournalFile) row2 = NULL;

    make(base_copy, "not ours");
    assert_fails_saying(VMIG_ERROR_DESTINATION_EXISTS, "vda exists",
                        vmig_gate_rename(f->journal, ID, part, base_copy, &error_));
    g_unlink(base_copy);
    assert_ok(vmig_gate_verified(f->journal, ID, part, &error_));
    assert_ok(vmig_gate_rename(f->journal, ID, part, base_copy, &error_));
    assert_ok(vmig_gate_rename(f->journal, ID, part, base_copy, &error_));
    g_assert_true(exists(base_copy) && !exists(part));
    assert_ok(vmig_journal_file_get(f->journal, ID, base_copy, &row, &error_));
    g_assert_cmpstr(row->kind, ==, "copy");
    g_assert_cmpstr(row->state, ==, "verified");
    assert_ok(vmig_gate_remove(f->journal, ID, part, &error_));
    assert_gate("not declared redundant", vmig_gate_remove(f->journal, ID, base_copy, &error_));
    assert_ok(vmig_gate_rename(f->journal, ID, overlay, over2, &error_));
    assert_ok(vmig_journal_file_get(f->journal, ID, over2, &row2, &error_));
    g_assert_cmpstr(row2->kind, ==, "overlay");
    g_assert_cmpstr(row2->state, ==, "made");
    assert_gate("as another file", vmig_gate_rename(f->journal, ID, over2, base_copy, &error_));
    g_unlink(base_copy);
    assert_gate("not recorded as created", vmig_gate_rename(f->journal, ID, part, base_copy, &error_));
    assert_ok(vmig_gate_rename(f->journal, ID, over2, overlay, &error_));
    g_unlink(overlay);
    assert_gate("disappeared", vmig_gate_rename(f->journal, ID, overlay, over2, &error_));
}

/* A base copy becomes a part again, and its proof is discarded; then it becomes a base copy a second time. Also if the
 * process died before the rename, or before recording it. */
static void test_part_again(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *part = made(f, "vda.part", "part");
    g_autofree char *base_copy = image(f, "vda");
    g_autofree char *moved = NULL;
    struct stat before, after;

    assert_ok(vmig_gate_verified(f->journal, ID, part, &error_));
    assert_ok(vmig_gate_rename(f->journal, ID, part, base_copy, &error_));
    g_assert_cmpint(stat(base_copy, &before), ==, 0);
    for (int i = 0; i < 2; i++) {
        g_autoptr(VmigJournalFile) row = NULL;
        assert_ok(vmig_gate_rename(f->journal, ID, base_copy, part, &error_));
        assert_ok(vmig_gate_rename(f->journal, ID, base_copy, part, &error_));
        g_assert_true(exists(part) && !exists(base_copy));
        assert_ok(vmig_journal_file_get(f->journal, ID, part, &row, &error_));
        g_assert_cmpstr(row->kind, ==, "part");
        g_assert_cmpstr(row->state, ==, "made");
        assert_ok(vmig_gate_verified(f->journal, ID, part, &error_));
        assert_ok(vmig_gate_rename(f->journal, ID, part, base_copy, &error_));
    }
    g_assert_cmpint(stat(base_copy, &after), ==, 0);
    g_assert_cmpuint(after.st_ino, ==, before.st_ino);
    /* Does not replace another file. */
    make(part, "not ours");
    assert_fails(VMIG_ERROR_DESTINATION_EXISTS, vmig_gate_rename(f->journal, ID, base_copy, part, &error_));
    g_unlink(part);
    /* The rename was done but not recorded; as a part it is removed without complaint. */
    moved = image(f, "moved");
    g_assert_cmpint(rename(base_copy, moved), ==, 0);
    make(base_copy, "not ours either");
    assert_gate("another file", vmig_gate_rename(f->journal, ID, base_copy, part, &error_));
    g_unlink(base_copy);
    g_assert_cmpint(rename(moved, base_copy), ==, 0);
    assert_ok(vmig_gate_rename(f->journal, ID, base_copy, part, &error_));
    assert_ok(vmig_gate_remove(f->journal, ID, part, &error_));
    g_assert_false(exists(part));
}

/* The journal has rows that do not match: nothing is mistaken for a rename that was done. */
static void test_rename_disagrees(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *gone = made(f, "gone", "part");
    g_autofree char *fresh = image(f, "fresh");
    g_autofree char *other = made(f, "other", "copy");
    g_autofree char *intended = image(f, "intended");
    g_autofree char *part = made(f, "part", "part");
    g_autofree char *away = image(f, "away");

    assert_ok(vmig_gate_remove(f->journal, ID, gone, &error_));
    assert_gate("not recorded as created", vmig_gate_rename(f->journal, ID, gone, fresh, &error_));
    assert_gate("not recorded as created", vmig_gate_rename(f->journal, ID, gone, other, &error_));
    change_row(f, other, other_ino);
    assert_gate("not recorded as created", vmig_gate_rename(f->journal, ID, gone, other, &error_));
    g_unlink(other);
    assert_gate("not recorded as created", vmig_gate_rename(f->journal, ID, gone, other, &error_));
    assert_ok(vmig_gate_redundant(f->journal, ID, other, "x", &error_));
    assert_gate("not recorded as created", vmig_gate_rename(f->journal, ID, gone, other, &error_));
    assert_ok(vmig_gate_intend(f->journal, ID, intended, "copy", &error_));
    assert_gate("as another file", vmig_gate_rename(f->journal, ID, part, intended, &error_));
    /* The intent is recorded, but the file is in neither place, or another file is there. */
    g_autoptr(VmigJournalFile) row = NULL;
    assert_ok(vmig_journal_file_get(f->journal, ID, part, &row, &error_));
    g_autoptr(VmigJournalFile) to = vmig_journal_file_new(ID, away, "copy", "intended");
    to->dev = row->dev;
    to->ino = row->ino;
    to->born_ns = row->born_ns;
    assert_ok(vmig_journal_file_put(f->journal, to, NULL, &error_));
    g_unlink(part);
    assert_gate("disappeared", vmig_gate_rename(f->journal, ID, part, away, &error_));
    make(away, "x");
    assert_gate("disappeared", vmig_gate_rename(f->journal, ID, part, away, &error_));
    g_assert_true(exists(away));
}

/* If the folder of a file is gone, so is the file. */
static void test_no_folder(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *folder = image(f, "sub");

    g_assert_cmpint(mkdir(folder, 0700), ==, 0);
    g_autofree char *path = made(f, "sub/a", "part");
    g_unlink(path);
    g_assert_cmpint(rmdir(folder), ==, 0);
    assert_ok(vmig_gate_remove(f->journal, ID, path, &error_));
}

/* The process died between intent and rename, or between rename and record. */
static void test_rename_died(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    for (int renamed = 0; renamed < 2; renamed++) {
        g_autofree char *part = made(f, renamed ? "a.part" : "b.part", "part");
        g_autofree char *base_copy = image(f, renamed ? "a" : "b");
        g_autoptr(VmigJournalFile) row = NULL;
        assert_ok(vmig_journal_file_get(f->journal, ID, part, &row, &error_));
        g_autoptr(VmigJournalFile) to = vmig_journal_file_new(ID, base_copy, "copy", "intended");
        to->dev = row->dev;
        to->ino = row->ino;
        to->born_ns = row->born_ns;
        to->boot = g_strdup(row->boot);
        assert_ok(vmig_journal_file_put(f->journal, to, NULL, &error_));
        assert_gate("does not exist", vmig_gate_made(f->journal, ID, base_copy, &error_));
        assert_gate("as another file", vmig_gate_intend(f->journal, ID, base_copy, "copy", &error_));
        if (renamed) {
            g_assert_cmpint(rename(part, base_copy), ==, 0);
            assert_gate("does not say that it", vmig_gate_made(f->journal, ID, base_copy, &error_));
        }
        assert_ok(vmig_gate_rename(f->journal, ID, part, base_copy, &error_));
        g_assert_true(exists(base_copy) && !exists(part));
        /* Rolled back. */
        assert_ok(vmig_gate_redundant(f->journal, ID, base_copy, "rolled back", &error_));
        assert_ok(vmig_gate_remove(f->journal, ID, base_copy, &error_));
        g_assert_false(exists(base_copy));
    }
    g_autofree char *part = made(f, "c.part", "part");
    g_autofree char *base_copy = image(f, "c");
    g_unlink(part);
    assert_gate("disappeared", vmig_gate_rename(f->journal, ID, part, base_copy, &error_));
    make(part, "another");
    g_autofree char *decoy = image(f, "decoy");
    g_assert_cmpint(rename(part, decoy), ==, 0);
    make(part, "yet another");
    assert_gate("another file", vmig_gate_rename(f->journal, ID, part, base_copy, &error_));
}

static void test_sync_fails(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *path = made(f, "a.part", "part");
    g_autofree char *part = made(f, "b.part", "part");
    g_autofree char *base_copy = image(f, "b");
    g_autoptr(VmigJournalFile) row = NULL;

    fail_fsync = 1;
    assert_fails_saying(VMIG_ERROR_IO, "cannot sync the directory", vmig_gate_remove(f->journal, ID, path, &error_));
    g_assert_false(exists(path));
    assert_ok(vmig_journal_file_get(f->journal, ID, path, &row, &error_));
    g_assert_cmpstr(row->state, ==, "made");
    assert_ok(vmig_gate_remove(f->journal, ID, path, &error_));
    fail_fsync = 1;
    assert_fails_saying(VMIG_ERROR_IO, "cannot sync", vmig_gate_rename(f->journal, ID, part, base_copy, &error_));
    g_assert_true(exists(part));
    fail_fsync = 2;
    assert_fails_saying(VMIG_ERROR_IO, "cannot sync the directory",
                        vmig_gate_rename(f->journal, ID, part, base_copy, &error_));
    g_assert_true(exists(base_copy));
    fail_fsync = 2;
    assert_fails_saying(VMIG_ERROR_IO, "cannot sync the directory",
                        vmig_gate_rename(f->journal, ID, part, base_copy, &error_));
    assert_ok(vmig_gate_rename(f->journal, ID, part, base_copy, &error_));
    fail_fsync = 0;
}

static void test_header_unreadable(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *path = made(f, "a." ID, "overlay");

    assert_ok(vmig_gate_redundant(f->journal, ID, path, "committed", &error_));
    fail_openat = 1;
    assert_fails_saying(VMIG_ERROR_IO, "cannot read the header", vmig_gate_remove(f->journal, ID, path, &error_));
    fail_pread = 1;
    assert_fails_saying(VMIG_ERROR_IO, "cannot read the header", vmig_gate_remove(f->journal, ID, path, &error_));
    g_assert_true(exists(path));
    assert_ok(vmig_gate_remove(f->journal, ID, path, &error_));
    g_assert_false(exists(path));
}

/* Changes between the check and the action, or failures of the check itself. */
static void test_looks_fail(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *part = made(f, "a.part", "part");
    g_autofree char *base_copy = image(f, "a");

    fail_statx = 1;
    assert_fails_saying(VMIG_ERROR_IO, "cannot stat the directory", vmig_gate_remove(f->journal, ID, part, &error_));
    fail_statx = 2;
    assert_fails_saying(VMIG_ERROR_IO, "cannot stat", vmig_gate_remove(f->journal, ID, part, &error_));
    fail_openat = 1;
    assert_fails_saying(VMIG_ERROR_IO, "cannot sync", vmig_gate_rename(f->journal, ID, part, base_copy, &error_));
    fail_rename = 1;
    assert_fails_saying(VMIG_ERROR_DESTINATION_EXISTS, "a exists",
                        vmig_gate_rename(f->journal, ID, part, base_copy, &error_));
    g_assert_true(exists(part));
}

static void test_no_births(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *known = made(f, "known", "part");
    g_autofree char *other = image(f, "other");

    no_births = TRUE;
    g_autofree char *path = made(f, "a.part", "part");
    /* Within one boot the inode number alone must suffice. */
    make(other, "not ours");
    assert_ok(vmig_gate_remove(f->journal, ID, known, &error_));
    change_row(f, path, other_boot);
    assert_gate("another file", vmig_gate_remove(f->journal, ID, path, &error_));
    no_births = FALSE;
    g_assert_true(exists(path) && !exists(known));
}

static gboolean mount_small(const char *dir)
{
    if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("tmpfs", dir, "tmpfs", 0, "size=1m") == 0)
        return TRUE;
    g_test_skip("needs to mount a tmpfs");
    return FALSE;
}

/* A file system that refuses, and one that is not mounted. */
static void test_mounts(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    if (!mount_small(f->images))
        return;
    g_autofree char *path = made(f, "a.part", "part");
    g_autofree char *base_copy = image(f, "a");
    g_autofree char *elsewhere = g_build_filename(f->dir, "elsewhere", NULL);
    assert_fails_saying(VMIG_ERROR_IO, "cannot rename", vmig_gate_rename(f->journal, ID, path, elsewhere, &error_));
    g_assert_cmpint(mount(NULL, f->images, NULL, MS_REMOUNT | MS_RDONLY, NULL), ==, 0);
    assert_fails_saying(VMIG_ERROR_IO, "cannot remove", vmig_gate_remove(f->journal, ID, path, &error_));
    assert_fails_saying(VMIG_ERROR_IO, "cannot rename", vmig_gate_rename(f->journal, ID, path, base_copy, &error_));
    g_assert_cmpint(umount2(f->images, MNT_DETACH), ==, 0);
    assert_gate("another file system", vmig_gate_remove(f->journal, ID, path, &error_));
    g_autoptr(GPtrArray) left = vmig_gate_list(f->journal, ID, NULL);
    g_assert_cmpuint(left->len, >, 0);
    /* After a reboot the numbers differ, and it cannot be determined. */
    change_row(f, path, other_boot);
    assert_ok(vmig_gate_remove(f->journal, ID, path, &error_));
}

/* Whatever the journal cannot read or write, no file is removed without it. */
static void test_journal_fails(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *path = made(f, "a.part", "part");
    g_autofree char *base_copy = image(f, "a");
    g_autofree char *fresh = image(f, "fresh");
    g_autofree char *journal_path = g_strdup(vmig_journal_path(f->journal));
    g_autofree char *owner = NULL;
    struct stat st;

    vmig_journal_close(f->journal);
    f->journal = vmig_journal_open_read_only(journal_path, NULL, NULL);
    g_assert_cmpint(stat(path, &st), ==, 0);
    assert_fails_saying(VMIG_ERROR_JOURNAL, "", vmig_gate_rename(f->journal, ID, path, base_copy, &error_));
    g_assert_true(exists(path) && !exists(base_copy));
    assert_fails_saying(VMIG_ERROR_JOURNAL, "", vmig_gate_intend(f->journal, ID, fresh, "part", &error_));
    /* Removed, but not recorded: the next attempt finds it missing. */
    assert_fails_saying(VMIG_ERROR_JOURNAL, "", vmig_gate_remove(f->journal, ID, path, &error_));
    vmig_journal_close(f->journal);
    f->journal = vmig_journal_open(journal_path, NULL, NULL);
    assert_ok(vmig_gate_remove(f->journal, ID, path, &error_));
    /* A damaged journal: without a row nothing is deleted. */
    g_autofree char *path2 = made(f, "b.part", "part");
    int fd = open(journal_path, O_RDWR);
    g_autofree char *noise = g_strnfill(4096, 'x');
    for (off_t page = 0; page < 70; page++)
        g_assert_cmpint(pwrite(fd, noise, 4096, page * 4096), ==, 4096);
    close(fd);
    assert_fails_saying(VMIG_ERROR_JOURNAL_DAMAGED, "", vmig_gate_remove(f->journal, ID, path2, &error_));
    assert_fails_saying(VMIG_ERROR_JOURNAL_DAMAGED, "", vmig_gate_made(f->journal, ID, path2, &error_));
    assert_fails_saying(VMIG_ERROR_JOURNAL_DAMAGED, "", vmig_gate_verified(f->journal, ID, path2, &error_));
    assert_fails_saying(VMIG_ERROR_JOURNAL_DAMAGED, "", vmig_gate_intend(f->journal, ID, fresh, "part", &error_));
    assert_fails_saying(VMIG_ERROR_JOURNAL_DAMAGED, "", vmig_gate_redundant(f->journal, ID, path2, "x", &error_));
    assert_fails_saying(VMIG_ERROR_JOURNAL_DAMAGED, "", vmig_gate_adopt(f->journal, ID, path2, 1, 1, "base", &error_));
    assert_fails_saying(VMIG_ERROR_JOURNAL_DAMAGED, "", vmig_gate_rename(f->journal, ID, path2, base_copy, &error_));
    assert_fails_saying(VMIG_ERROR_JOURNAL_DAMAGED, "", vmig_gate_list(f->journal, ID, &error_) != NULL);
    assert_fails_saying(VMIG_ERROR_JOURNAL_DAMAGED, "", vmig_gate_owner(f->journal, path2, &owner, &error_));
    g_assert_true(exists(path2));
}

/* The journal is from before the switchover: its rows of temporary files may be of an earlier attempt, or missing. */
static void test_catch_up(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *overlay = made(f, "vda." ID ".overlay", "overlay");
    g_autofree char *hold = image(f, "vda." ID ".hold");
    g_autofree char *nameless = made(f, "vdb.overlay", "overlay");
    g_autofree char *gone = made(f, "vdc." ID ".overlay", "overlay");
    const char *overlays[] = {overlay, nameless, gone};
    g_autoptr(VmigJob) record = vmig_journal_load(f->journal, ID, NULL);

    for (guint i = 0; i < G_N_ELEMENTS(overlays); i++) {
        VmigDisk *disk = vmig_disk_new();
        disk->at[VMIG_SOURCE].overlay = g_strdup(overlays[i]);
        disk->at[VMIG_DEST].overlay = g_strdup(nameless);
        disk->at[VMIG_SOURCE].hold = i == 0 ? g_strdup(hold) : NULL;
        vmig_job_add(record, disk);
    }
    assert_ok(vmig_journal_save(f->journal, record, &error_));
    change_row(f, overlay, other_ino);
    change_row(f, nameless, other_ino);
    make(hold, "x");
    g_assert_cmpint(unlink(gone), ==, 0);
    put_state(record, VMIG_MIGRATE(COMMIT));
    record->owner = VMIG_DEST;
    assert_fails(VMIG_ERROR_CONTRADICTION, vmig_gate_catch_up(f->journal, record, VMIG_DEST, &error_));
    fail_statx = 2;
    assert_fails(VMIG_ERROR_IO, vmig_gate_catch_up(f->journal, record, VMIG_SOURCE, &error_));
    const char *before = token_in(f->journal, ID, NULL);
    g_assert_cmpstr(before, ==, "source");
    assert_ok(vmig_gate_redundant(f->journal, ID, overlay, "committed", &error_));
    assert_gate("another file", vmig_gate_remove(f->journal, ID, overlay, &error_));

    for (int round = 0; round < 2; round++)
        assert_ok(vmig_gate_catch_up(f->journal, record, VMIG_SOURCE, &error_));
    const char *after = token_in(f->journal, ID, NULL);
    g_assert_cmpstr(after, ==, "destination");
    g_autoptr(VmigJob) stored = vmig_journal_load(f->journal, ID, NULL);
    g_assert_cmpstr(stored->state, ==, "COMMIT");
    assert_gate("not declared redundant", vmig_gate_remove(f->journal, ID, overlay, &error_));
    for (guint i = 0; i < G_N_ELEMENTS(overlays); i++)
        assert_ok(vmig_gate_redundant(f->journal, ID, overlays[i], "committed", &error_));
    assert_ok(vmig_gate_remove(f->journal, ID, overlay, &error_));
    assert_ok(vmig_gate_remove(f->journal, ID, hold, &error_));
    assert_ok(vmig_gate_remove(f->journal, ID, gone, &error_));
    assert_gate("another file", vmig_gate_remove(f->journal, ID, nameless, &error_));
    g_assert_true(!exists(overlay) && !exists(hold) && exists(nameless));
}

/* A base copy with an overlay's name stays a base copy, because an overlay may be committed. */
static void test_catch_up_another_kind(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *base_copy = made(f, "vda." ID ".overlay", "copy");
    g_autoptr(VmigJob) record = vmig_journal_load(f->journal, ID, NULL);
    g_autoptr(VmigJournalFile) row = NULL;
    VmigDisk *disk = vmig_disk_new();

    disk->at[VMIG_SOURCE].overlay = g_strdup(base_copy);
    vmig_job_add(record, disk);
    assert_ok(vmig_journal_save(f->journal, record, &error_));
    assert_gate("another file of this job", vmig_gate_catch_up(f->journal, record, VMIG_SOURCE, &error_));
    assert_ok(vmig_journal_file_get(f->journal, ID, base_copy, &row, &error_));
    g_assert_cmpstr(row->kind, ==, "copy");
}

#define ADD(name, function) g_test_add("/gate/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("life", test_life);
    ADD("not-ours", test_not_ours);
    ADD("paths", test_paths);
    ADD("another-file", test_another_file);
    ADD("identity", test_identity);
    ADD("died-before-made", test_died_before_made);
    ADD("sockets", test_sockets);
    ADD("overlay-with-snapshots", test_overlay_with_snapshots);
    ADD("adopt", test_adopt);
    ADD("catch-up", test_catch_up);
    ADD("catch-up-another-kind", test_catch_up_another_kind);
    ADD("rename", test_rename);
    ADD("part-again", test_part_again);
    ADD("rename-disagrees", test_rename_disagrees);
    ADD("no-folder", test_no_folder);
    ADD("rename-died", test_rename_died);
    ADD("sync-fails", test_sync_fails);
    ADD("header-unreadable", test_header_unreadable);
    ADD("looks-fail", test_looks_fail);
    ADD("no-births", test_no_births);
    ADD("mounts", test_mounts);
    ADD("journal-fails", test_journal_fails);
    return g_test_run();
}
