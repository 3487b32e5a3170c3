/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The copier and the receiver together, with the real qemu-nbd between them. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <libnbd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "copy/known-blocks.h"
#include "copy/copier.h"
#include "copy/receiver.h"
#include "os/tls-identity.h"

#define MIB (1024 * 1024)
#define BLOCK (4 * MIB)

/* Any number of files, each with its receiver. */
typedef struct {
    char *dir;
    VmigCopier *copier;
    GPtrArray *files;     /* VmigFile */
    GPtrArray *sockets;   /* char *, NULL-terminated while sending */
    GPtrArray *receivers; /* VmigReceiver */
    GPtrArray *tasks;     /* VmigCopyTask of the last send */
    void (*on_known)(gpointer user, guint index, guint64 first, GBytes **page);
    guint64 sent; /* of the first file */
    void (*on_progress)(gpointer user, guint index, const VmigCopyProgress *now);
    guint calls; /* atomic */
    VmigHashKey key;
} Fixture;

typedef struct {
    VmigCopyTask task;
    const char *sockets[3];
} Task;

static void task_free(Task *task)
{
    g_free(task->task.hash);
    g_free(task->task.rewritten);
    g_free(task);
}

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *folder = g_getenv("VMIG_TEST_DIR");

    f->dir = g_build_filename(folder != NULL ? folder : "/var/tmp", "vmig-copier-XXXXXX", NULL);
    g_assert_nonnull(g_mkdtemp(f->dir));
    g_assert_true(vmig_hash_key_draw(&f->key, NULL));
    f->copier = vmig_copier_new(0);
    f->files = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_file_free);
    f->sockets = g_ptr_array_new_with_free_func(g_free);
    f->receivers = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_receiver_free);
    f->tasks = g_ptr_array_new_with_free_func((GDestroyNotify)task_free);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *name;

    g_ptr_array_unref(f->receivers);
    g_ptr_array_unref(f->tasks);
    vmig_copier_free(f->copier);
    g_ptr_array_unref(f->files);
    g_ptr_array_unref(f->sockets);
    g_autoptr(GDir) dir = g_dir_open(f->dir, 0, NULL);
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(f->dir, name, NULL);
        g_assert_false(g_str_has_suffix(name, ".sock")); /* every receiver removes its socket */
        g_unlink(path);
    }
    g_assert_cmpint(g_rmdir(f->dir), ==, 0);
    g_free(f->dir);
}

static VmigFile *file_at(Fixture *f, guint index)
{
    return f->files->pdata[index];
}

/* A sparse source of this size; put_noise() adds data. */
static VmigFile *add_source(Fixture *f, const char *name, guint64 size)
{
    VmigFile *file = vmig_file_new();

    file->path[VMIG_SOURCE] = g_build_filename(f->dir, name, NULL);
    file->part = g_strconcat(file->path[VMIG_SOURCE], ".part", NULL);
    file->size = size;
    int fd = open(file->path[VMIG_SOURCE], O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, (off_t)size), ==, 0);
    close(fd);
    g_ptr_array_add(f->files, file);
    return file;
}

static void put_noise_at(const char *path, guint64 offset, guint64 length)
{
    g_autofree guint32 *noise = g_malloc(MIB);
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    for (guint i = 0; i < MIB / 4; i++)
        noise[i] = (guint32)g_test_rand_int();
    for (guint64 done = 0, part; done < length; done += part) {
        part = MIN(MIB, length - done);
        g_assert_cmpint(pwrite(fd, noise, part, (off_t)(offset + done)), ==, (gssize)part);
    }
    close(fd);
}

static VmigFile *add_noise(Fixture *f, const char *name, guint64 size)
{
    VmigFile *file = add_source(f, name, size);

    put_noise_at(file->path[VMIG_SOURCE], 0, size);
    return file;
}

static void start_receiver(Fixture *f, guint index)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *name = g_strdup_printf("%u.sock", index);
    char *socket = g_build_filename(f->dir, name, NULL);

    VmigReceiver *receiver =
        vmig_receiver_start(file_at(f, index)->part, file_at(f, index)->size, socket, &f->key, &error);
    g_assert_no_error(error);
    g_assert_nonnull(receiver);
    g_ptr_array_add(f->receivers, receiver);
    g_ptr_array_add(f->sockets, socket);
}

static void start_receivers(Fixture *f)
{
    for (guint i = 0; i < f->files->len; i++)
        start_receiver(f, i);
}

static void progress(gpointer user, guint index, const VmigCopyProgress *now)
{
    Fixture *f = user;

    g_assert_cmpuint(now->done, <=, now->total);
    g_assert_cmpuint(now->total, ==, file_at(f, index)->size);
    g_assert_cmpuint(now->sent, <=, now->done + 4096); /* the last sector may be longer than its data */
    g_atomic_int_inc((gint *)&f->calls);
    if (index == 0)
        f->sent = now->sent;
    if (f->on_progress != NULL)
        f->on_progress(user, index, now);
}

static gboolean known(gpointer user, guint index, guint64 first, GBytes **page, GError **error)
{
    Fixture *f = user;

    if (!vmig_receiver_known(f->receivers->pdata[index], first, page, error))
        return FALSE;
    if (f->on_known != NULL)
        f->on_known(user, index, first, page);
    return TRUE;
}

static VmigCopyTask *task_at(Fixture *f, guint index)
{
    return f->tasks->pdata[index];
}

static gboolean send_all(Fixture *f, GError **error)
{
    VmigCopyEvents events = {known, progress, f};

    g_ptr_array_set_size(f->tasks, 0);
    for (guint i = 0; i < f->files->len; i++) {
        Task *task = g_new0(Task, 1);
        gboolean there = i < f->receivers->len;
        task->sockets[0] = f->sockets->pdata[i];
        task->task = (VmigCopyTask){.file = file_at(f, i),
                                    .sockets = task->sockets,
                                    .key = f->key,
                                    .fresh = !there || vmig_receiver_is_fresh(f->receivers->pdata[i])};
        g_ptr_array_add(f->tasks, task);
    }
    return f->copier->ops->send(f->copier, f->tasks, &events, error);
}

static gboolean finish(Fixture *f, guint index, char **hash, GError **error)
{
    return vmig_receiver_finish(f->receivers->pdata[index], task_at(f, index)->rewritten, hash, error);
}

static void assert_same_content(const VmigFile *file)
{
    g_autofree guint8 *one = g_malloc(MIB), *two = g_malloc(MIB);
    int a = open(file->path[VMIG_SOURCE], O_RDONLY | O_CLOEXEC), b = open(file->part, O_RDONLY | O_CLOEXEC);
    struct stat st;

    g_assert_cmpint(fstat(b, &st), ==, 0);
    g_assert_cmpuint((guint64)st.st_size, ==, file->size);
    for (guint64 at = 0; at < file->size; at += MIB) {
        ssize_t got = pread(a, one, MIB, (off_t)at);
        g_assert_cmpint(got, ==, pread(b, two, MIB, (off_t)at));
        g_assert_cmpmem(one, got, two, got);
    }
    close(a);
    close(b);
}

static void copy_and_compare(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    start_receivers(f);
    send_all(f, &error);
    g_assert_no_error(error);
    for (guint i = 0; i < f->files->len; i++) {
        g_autofree char *there = NULL;
        finish(f, i, &there, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(there, ==, task_at(f, i)->hash);
        if (file_at(f, i)->size < (guint64)1 << 31)
            assert_same_content(file_at(f, i));
    }
}

static void fail_with(Fixture *f, VmigErrorCode code, guint index)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(send_all(f, &error));
    g_assert_error(error, VMIG_ERROR, (int)code);
    for (guint i = 0; i < f->tasks->len; i++)
        g_assert_null(task_at(f, i)->hash); /* a failure cannot be mistaken for a result */
    if (code != VMIG_ERROR_CANCELLED)
        g_assert_nonnull(strstr(error->message, file_at(f, index)->path[VMIG_SOURCE]));
    g_test_message("%s", error->message);
}

static void test_sizes(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const guint64 sizes[] = {0,    1,       511,     512,       513,   4095,      4096,
                                    4097, MIB - 1, MIB + 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + MIB + 12345};

    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *name = g_strdup_printf("size-%" G_GUINT64_FORMAT, sizes[i]);
        add_noise(f, name, sizes[i]);
    }
    copy_and_compare(f);
}

static guint64 blocks_of(const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    return (guint64)st.st_blocks * 512;
}

static void make_islands(const VmigFile *file)
{
    put_noise_at(file->path[VMIG_SOURCE], 5000, 3);
    put_noise_at(file->path[VMIG_SOURCE], 10 * BLOCK - 4096, 8192);
    put_noise_at(file->path[VMIG_SOURCE], 20 * BLOCK + 65536, 3 * BLOCK);
    put_noise_at(file->path[VMIG_SOURCE], file->size - 1, 1);
}

static void test_holes_stay_holes(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    VmigFile *file = add_source(f, "sparse", 300 * MIB + 777);

    make_islands(file);
    copy_and_compare(f);
    g_assert_cmpuint(blocks_of(file->part), <=, blocks_of(file->path[VMIG_SOURCE]) + 65536);
}

/* A part that the caller vouches for may have any content. */
static void test_holes_replace_old_content(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    VmigFile *file = add_source(f, "sparse", 100 * MIB + 777);

    make_islands(file);
    close(open(file->part, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    put_noise_at(file->part, 0, file->size + 5000);
    copy_and_compare(f);
    g_assert_cmpuint(blocks_of(file->part), <=, blocks_of(file->path[VMIG_SOURCE]) + 65536);
}

/* Allocated zeros stay allocated. */
static void test_zeros_stay_allocated(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    VmigFile *file = add_noise(f, "zeros", 16 * MIB);
    g_autofree guint8 *zeros = g_malloc0(8 * MIB);
    int fd = open(file->path[VMIG_SOURCE], O_WRONLY | O_CLOEXEC);

    g_assert_cmpint(pwrite(fd, zeros, 8 * MIB, 4 * MIB), ==, 8 * MIB);
    close(fd);
    copy_and_compare(f);
    g_assert_cmpuint(blocks_of(file->part), >=, 16 * MIB);
}

static void test_several(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    add_noise(f, "plain", 20 * MIB + 1);
    add_noise(f, "a,b=c,,file.filename='\"x\" \\ %s.qcow2", 9 * MIB);
    add_noise(f, "umläut \n line", 5 * MIB + 511);
    make_islands(add_source(f, "sparse", 100 * MIB));
    copy_and_compare(f);
    g_assert_cmpuint(f->calls, >=, 4); /* each reports at least its end */
}

static void test_more_files_than_connections(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    for (guint i = 0; i < 24; i++) {
        g_autofree char *name = g_strdup_printf("disk %u", i);
        add_noise(f, name, 5 * MIB + i);
    }
    copy_and_compare(f);
    g_assert_cmpuint(vmig_copier_peak_buffers(f->copier), <=, 64 * MIB);
}

static void test_uri(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *there = NULL;

    add_noise(f, "file", 5 * MIB);
    start_receivers(f);
    char *uri = g_strdup_printf("nbd+unix:///?socket=%s", (char *)f->sockets->pdata[0]);
    g_free(f->sockets->pdata[0]);
    f->sockets->pdata[0] = uri;
    g_assert_true(send_all(f, &error));
    g_assert_no_error(error);
    g_assert_true(finish(f, 0, &there, &error));
    g_assert_cmpstr(there, ==, task_at(f, 0)->hash);
}

static double timed_send(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    gint64 start = g_get_monotonic_time();

    g_assert_true(send_all(f, &error));
    g_assert_no_error(error);
    return (double)(g_get_monotonic_time() - start) / G_USEC_PER_SEC;
}

/* For all copies together. test-bandwidth proves without a clock that it is not too slow. */
static void test_bandwidth(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    add_noise(f, "one", 24 * MIB);
    add_noise(f, "two", 24 * MIB);
    start_receivers(f);
    f->copier->ops->set_bandwidth(f->copier, 16 * MIB);
    double seconds = timed_send(f);
    g_assert_cmpfloat(seconds, >, 3.0 * 0.85);
    g_assert_cmpuint(f->calls, >=, 10);
    g_assert_cmpuint(f->calls, <=, 2 * (guint)(seconds * 4 + 3)); /* at most 4 a second per file */
}

static void go_faster(gpointer user, guint index G_GNUC_UNUSED, const VmigCopyProgress *now G_GNUC_UNUSED)
{
    Fixture *f = user;

    f->copier->ops->set_bandwidth(f->copier, 0);
}

static void test_bandwidth_changes(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    add_noise(f, "one", 32 * MIB);
    start_receivers(f);
    f->copier->ops->set_bandwidth(f->copier, 65536); /* 512 s */
    f->on_progress = go_faster;
    g_assert_cmpfloat(timed_send(f), <, 100);
}

static gint64 cancelled_at;

static void cancel(gpointer user, guint index G_GNUC_UNUSED, const VmigCopyProgress *now G_GNUC_UNUSED)
{
    Fixture *f = user;

    if (cancelled_at == 0)
        cancelled_at = g_get_monotonic_time();
    f->copier->ops->cancel(f->copier);
}

static void test_cancel(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    add_noise(f, "one", 32 * MIB);
    start_receivers(f);
    f->copier->ops->set_bandwidth(f->copier, 65536);
    f->on_progress = cancel;
    cancelled_at = 0;
    fail_with(f, VMIG_ERROR_CANCELLED, 0);
    /* Without the cancel it would take 512 s. */
    g_assert_cmpint(g_get_monotonic_time() - cancelled_at, <, 100 * G_USEC_PER_SEC);
    fail_with(f, VMIG_ERROR_CANCELLED, 0); /* permanently */
}

static void kill_receiver(gpointer user, guint index G_GNUC_UNUSED, const VmigCopyProgress *now G_GNUC_UNUSED)
{
    Fixture *f = user;
    GPid pid = vmig_receiver_get_pid(f->receivers->pdata[0]);

    if (pid > 0)
        kill(pid, SIGKILL);
}

static void kill_receiver_at_half(gpointer user, guint index, const VmigCopyProgress *now)
{
    if (now->done >= now->total / 2)
        kill_receiver(user, index, now);
}

static void test_receiver_dies(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *hash = NULL;

    add_noise(f, "one", 32 * MIB);
    start_receivers(f);
    f->copier->ops->set_bandwidth(f->copier, 16 * MIB);
    f->on_progress = kill_receiver;
    fail_with(f, VMIG_ERROR_CONNECTION, 0);
    g_assert_false(finish(f, 0, &hash, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IMAGE_TOOL);
    g_assert_null(hash);
}

static void freeze_receiver(gpointer user, guint index G_GNUC_UNUSED, const VmigCopyProgress *now G_GNUC_UNUSED)
{
    Fixture *f = user;

    kill(vmig_receiver_get_pid(f->receivers->pdata[0]), SIGSTOP);
}

static void test_receiver_hangs(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    add_noise(f, "one", 32 * MIB);
    start_receivers(f);
    vmig_copier_set_stall_limit(f->copier, G_USEC_PER_SEC);
    f->copier->ops->set_bandwidth(f->copier, 16 * MIB);
    f->on_progress = freeze_receiver;
    gint64 before = g_get_monotonic_time();
    fail_with(f, VMIG_ERROR_STALLED, 0);
    /* By the limit of one second, not by the default. */
    g_assert_cmpint(g_get_monotonic_time() - before, <, 40 * G_USEC_PER_SEC);
}

/* The server sends no greeting at all. */
static void test_receiver_is_frozen_from_the_start(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    add_noise(f, "one", MIB);
    start_receivers(f);
    vmig_copier_set_stall_limit(f->copier, G_USEC_PER_SEC / 2);
    freeze_receiver(f, 0, NULL);
    fail_with(f, VMIG_ERROR_STALLED, 0);
}

/* A limit far below the amount in flight is slow, not stalled. */
static void test_slow_is_not_stalled(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    add_noise(f, "one", 3 * 4096);
    start_receivers(f);
    vmig_copier_set_stall_limit(f->copier, G_USEC_PER_SEC / 2);
    f->copier->ops->set_bandwidth(f->copier, 4096);
    g_assert_cmpfloat(timed_send(f), >, 1.5);
}

static void test_nobody_there(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    add_noise(f, "one", MIB);
    g_ptr_array_add(f->sockets, g_build_filename(f->dir, "none", NULL));
    fail_with(f, VMIG_ERROR_CONNECTION, 0);
}

static void test_source_missing(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    add_noise(f, "one", MIB);
    start_receivers(f);
    g_unlink(file_at(f, 0)->path[VMIG_SOURCE]);
    fail_with(f, VMIG_ERROR_IO, 0);
}

static void grow_source(gpointer user, guint index G_GNUC_UNUSED, const VmigCopyProgress *now)
{
    put_noise_at(file_at(user, 0)->path[VMIG_SOURCE], now->total, 1);
}

static void shrink_source(gpointer user, guint index G_GNUC_UNUSED, const VmigCopyProgress *now)
{
    g_assert_cmpint(truncate(file_at(user, 0)->path[VMIG_SOURCE], (off_t)now->total / 2), ==, 0);
}

static void touch_source(gpointer user, guint index G_GNUC_UNUSED, const VmigCopyProgress *now G_GNUC_UNUSED)
{
    put_noise_at(file_at(user, 0)->path[VMIG_SOURCE], 0, 1);
}

static void replace_source(gpointer user, guint index G_GNUC_UNUSED, const VmigCopyProgress *now G_GNUC_UNUSED)
{
    const char *source = file_at(user, 0)->path[VMIG_SOURCE];
    g_autofree char *other = g_strconcat(source, ".other", NULL);

    g_assert_true(g_file_set_contents(other, "x", 1, NULL));
    g_assert_cmpint(rename(other, source), ==, 0);
}

static void test_source_changes(Fixture *f, gconstpointer data)
{
    static void (*const changes[])(gpointer, guint, const VmigCopyProgress *) = {grow_source, shrink_source,
                                                                                 touch_source, replace_source};

    add_noise(f, "one", 16 * MIB);
    start_receivers(f);
    f->copier->ops->set_bandwidth(f->copier, 16 * MIB);
    f->on_progress = changes[GPOINTER_TO_UINT(data)];
    fail_with(f, VMIG_ERROR_BASE_CHANGED, 0);
}

static void test_source_of_another_size(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    add_noise(f, "one", MIB);
    start_receivers(f);
    put_noise_at(file_at(f, 0)->path[VMIG_SOURCE], MIB, 1);
    fail_with(f, VMIG_ERROR_BASE_CHANGED, 0);
}

/* The destination has 16 MiB; one of the two files does not fit. */
static void test_no_space(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *small = g_build_filename(f->dir, "small", NULL);
    g_autoptr(GError) error = NULL;

    add_noise(f, "one", 32 * MIB);
    g_assert_cmpint(g_mkdir(small, 0700), ==, 0);
    if (mount("tmpfs", small, "tmpfs", 0, "size=16m") == 0) {
        g_free(file_at(f, 0)->part);
        file_at(f, 0)->part = g_build_filename(small, "part", NULL);
        start_receivers(f);
        fail_with(f, VMIG_ERROR_NO_SPACE, 0);
        vmig_receiver_abort(f->receivers->pdata[0]);
        g_assert_cmpint(umount(small), ==, 0);
    } else {
        g_test_skip("cannot mount a small tmpfs: not root");
    }
    g_assert_cmpint(g_rmdir(small), ==, 0);
}

/* A file system without direct I/O (before Linux 6.6), or with a different kind of it. */
static void test_tmpfs(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    if (access("/dev/shm", W_OK) < 0) {
        g_test_skip("no /dev/shm");
        return;
    }
    make_islands(add_source(f, "one", 100 * MIB + 1));
    g_free(file_at(f, 0)->part);
    file_at(f, 0)->part = g_strdup_printf("/dev/shm/vmig-copier-%d.part", (int)getpid());
    copy_and_compare(f);
    g_unlink(file_at(f, 0)->part);
}

/* Larger than the destination, but with little data. */
static void test_terabyte(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    VmigFile *file = add_source(f, "huge", ((guint64)1 << 40) + 513);
    gint64 before = g_get_monotonic_time();

    put_noise_at(file->path[VMIG_SOURCE], 12345, MIB);
    put_noise_at(file->path[VMIG_SOURCE], (guint64)1 << 39, MIB);
    put_noise_at(file->path[VMIG_SOURCE], (guint64)1 << 40, 1);
    copy_and_compare(f);
    /* No disk reads a terabyte in this time. */
    g_assert_cmpint(g_get_monotonic_time() - before, <, 100 * G_USEC_PER_SEC);
    g_assert_cmpuint(vmig_copier_peak_buffers(f->copier), <=, 64 * MIB);
    g_assert_cmpuint(blocks_of(file->part), <=, blocks_of(file->path[VMIG_SOURCE]) + 65536);
}

static void test_again_on_the_same_part(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    add_noise(f, "one", 32 * MIB + 5);
    start_receivers(f);
    f->copier->ops->set_bandwidth(f->copier, 32 * MIB);
    f->on_progress = kill_receiver;
    fail_with(f, VMIG_ERROR_CONNECTION, 0);
    f->on_progress = NULL;
    vmig_receiver_abort(f->receivers->pdata[0]);
    g_ptr_array_set_size(f->receivers, 0);
    g_ptr_array_set_size(f->sockets, 0);
    copy_and_compare(f);
}

/* Data from the first attempt is not sent again. */
static void test_resumed(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    VmigFile *file = add_noise(f, "one", 64 * MIB + 5);

    start_receivers(f);
    f->copier->ops->set_bandwidth(f->copier, 64 * MIB);
    f->on_progress = kill_receiver_at_half;
    fail_with(f, VMIG_ERROR_CONNECTION, 0);
    f->on_progress = NULL;
    f->copier->ops->set_bandwidth(f->copier, 0);
    vmig_receiver_abort(f->receivers->pdata[0]);
    g_ptr_array_set_size(f->receivers, 0);
    g_ptr_array_set_size(f->sockets, 0);
    copy_and_compare(f);
    g_assert_cmpuint(f->sent, <=, file->size * 6 / 10);
    g_assert_cmpuint(f->sent, >=, file->size * 2 / 10);
}

/* The source's file as the destination had it before: equal except for some bytes here and there. */
static void make_stale(const VmigFile *file)
{
    g_autoptr(GError) error = NULL;
    const char *argv[] = {"cp", "--sparse=always", file->path[VMIG_SOURCE], file->part, NULL};
    int status = 0;

    g_assert_true(
        g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status, &error));
    g_assert_cmpint(status, ==, 0);
}

static void test_converges(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    VmigFile *file = add_noise(f, "one", 60 * MIB + 777);

    make_stale(file);
    for (guint i = 0; i < 100; i++) /* leaves all over it */
        put_noise_at(file->part, i * 600000, 1 + i * 11);
    g_assert_cmpint(truncate(file->part, 57 * MIB + 100), ==, 0); /* the image has grown since */
    copy_and_compare(f);
    g_assert_cmpuint(f->sent, <=, 3 * MIB + 4096 + 200 * 4096);
    g_assert_cmpuint(f->sent, >=, 3 * MIB);
}

static void test_converges_with_holes(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    VmigFile *file = add_source(f, "one", 400 * MIB + 9);

    make_islands(file);
    make_stale(file);
    put_noise_at(file->part, 200 * MIB, 5 * MIB); /* now holes: whole blocks and parts of them */
    put_noise_at(file->part, 10 * BLOCK + 100000, 8192);
    put_noise_at(file->path[VMIG_SOURCE], 300 * MIB, MIB); /* was a hole */
    copy_and_compare(f);
    g_assert_cmpuint(f->sent, <=, MIB + 8192);
    g_assert_cmpuint(blocks_of(file->part), <=, blocks_of(file->path[VMIG_SOURCE]) + 65536);
}

static void test_equal_sends_nothing(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    VmigFile *file = add_noise(f, "one", 40 * MIB + 1);

    make_stale(file);
    copy_and_compare(f);
    g_assert_cmpuint(f->sent, ==, 0);
}

/* XXH3 multiplies the two halves of each 8 bytes after mixing its public secret into them. If the lower half equals the
 * secret, the product is 0 for any upper half, and the upper halves are only added up: two of them may trade 1. The
 * guest that owns the image can write one page over the other. */
static void put_colliding_page(guint8 page[4096], guint32 first, guint32 second)
{
    static const guint8 secret[] = {0xb8, 0xfe, 0x6c, 0x39, 0x7c, 0x01, 0x81, 0x2c}; /* its bytes 0 to 3 and 8 to 11 */

    memset(page, 0x5a, 4096);
    memcpy(page, secret, 4);
    memcpy(page + 4, &first, sizeof first);
    memcpy(page + 64, secret + 4, 4);
    memcpy(page + 68, &second, sizeof second);
}

static void write_page(const char *path, const guint8 page[4096], guint64 offset)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    g_assert_cmpint(pwrite(fd, page, 4096, (off_t)offset), ==, 4096);
    close(fd);
}

/* The kept image of an earlier migration has page A; since then the guest has overwritten it with page B. */
static void test_planned_collision(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const guint64 at = BLOCK + 64 * 4096;
    guint8 a[4096], b[4096];

    put_colliding_page(a, 0x41414141, 0x42424242);
    put_colliding_page(b, 0x41414142, 0x42424241);
    g_assert_true(memcmp(a, b, sizeof a) != 0 && XXH3_64bits(a, sizeof a) == XXH3_64bits(b, sizeof b));
    VmigFile *file = add_noise(f, "one", 3 * BLOCK);
    write_page(file->path[VMIG_SOURCE], a, at);
    make_stale(file);
    write_page(file->path[VMIG_SOURCE], b, at);
    copy_and_compare(f);
    g_assert_cmpuint(f->sent, >=, 4096);
    g_assert_cmpuint(f->sent, <=, BLOCK);
}

/* The part is written to after its content was reported. */
static void touch_part(gpointer user, guint index, guint64 first, GBytes **page G_GNUC_UNUSED)
{
    if (first == 0)
        put_noise_at(file_at(user, index)->part, 100, 1);
}

static void test_touched_is_not_proven(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *there = NULL;

    make_stale(add_noise(f, "one", 12 * MIB));
    put_noise_at(file_at(f, 0)->path[VMIG_SOURCE], 200000, 1);
    start_receivers(f);
    f->on_known = touch_part;
    send_all(f, &error);
    g_assert_no_error(error);
    finish(f, 0, &there, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(there, !=, task_at(f, 0)->hash);
}

/* A lying destination: for a block that differs it reports what the source has, or anything else. */
static void lie_equal(gpointer user, guint index, guint64 first, GBytes **page)
{
    const VmigFile *file = file_at(user, index);
    g_autoptr(VmigTreeHash) hash = vmig_tree_hash_new(file->size, &((Fixture *)user)->key);
    int fd = open(file->path[VMIG_SOURCE], O_RDONLY | O_CLOEXEC);
    guint64 next;

    g_clear_pointer(page, g_bytes_unref);
    g_assert_true(vmig_page_make(hash, fd, file->size, first, page, &next, NULL));
    close(fd);
}

static void test_lie_is_not_proven(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *there = NULL;

    make_stale(add_noise(f, "one", 12 * MIB));
    put_noise_at(file_at(f, 0)->part, 5 * MIB, 10);
    start_receivers(f);
    f->on_known = lie_equal;
    send_all(f, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(f->sent, ==, 0);
    finish(f, 0, &there, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(there, !=, task_at(f, 0)->hash);
}

static void lie_nonsense(gpointer user G_GNUC_UNUSED, guint index G_GNUC_UNUSED, guint64 first G_GNUC_UNUSED,
                         GBytes **page)
{
    gsize length;
    const void *data = g_bytes_get_data(*page, &length);
    GBytes *cut = g_bytes_new(data, length - 3);

    g_bytes_unref(*page);
    *page = cut;
}

static void test_nonsense_is_told(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    make_stale(add_noise(f, "one", 12 * MIB));
    start_receivers(f);
    f->on_known = lie_nonsense;
    fail_with(f, VMIG_ERROR_PROTOCOL, 0);
}

/* A sender that omits a block that it wrote is detected. */
static void test_forgotten_rewrite(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *there = NULL;

    make_stale(add_noise(f, "one", 12 * MIB));
    put_noise_at(file_at(f, 0)->path[VMIG_SOURCE], 5 * MIB, 10);
    start_receivers(f);
    send_all(f, &error);
    g_assert_no_error(error);
    g_free(task_at(f, 0)->rewritten);
    task_at(f, 0)->rewritten = vmig_block_set_write((const guint8[]){0}, 3);
    finish(f, 0, &there, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(there, !=, task_at(f, 0)->hash);
}

static void test_wrong_set(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *there = NULL;

    make_stale(add_noise(f, "one", 12 * MIB));
    start_receivers(f);
    send_all(f, &error);
    g_free(task_at(f, 0)->rewritten);
    task_at(f, 0)->rewritten = g_strdup("AAAA");
    g_assert_false(finish(f, 0, &there, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
}

/* Two sockets of one receiver, as two ssh connections create them. */
static void test_several_sockets(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *there = NULL;
    VmigCopyEvents events = {known, progress, f};
    Task *task = g_new0(Task, 1);

    add_noise(f, "one", 40 * MIB);
    start_receivers(f);
    g_autofree char *other = g_strconcat(f->dir, "/other.sock", NULL);
    g_assert_cmpint(link(f->sockets->pdata[0], other), ==, 0);
    task->sockets[0] = f->sockets->pdata[0];
    task->sockets[1] = other;
    task->task = (VmigCopyTask){.file = file_at(f, 0), .sockets = task->sockets, .fresh = TRUE, .key = f->key};
    g_ptr_array_add(f->tasks, task);
    g_assert_true(f->copier->ops->send(f->copier, f->tasks, &events, &error));
    g_assert_true(finish(f, 0, &there, &error));
    g_assert_cmpstr(there, ==, task->task.hash);
    g_unlink(other);
}

/* --- ports and certificates ---------------------------------------------------------------------- */

static void run_line(const char *format, ...) G_GNUC_PRINTF(1, 2);
static void run_line(const char *format, ...)
{
    va_list args;
    int status = 0;
    g_autofree char *said = NULL;
    g_autofree char *complained = NULL;

    va_start(args, format);
    g_autofree char *line = g_strdup_vprintf(format, args);
    va_end(args);
    g_assert_true(g_spawn_command_line_sync(line, &said, &complained, &status, NULL));
    if (status != 0)
        g_error("%s: %s", line, complained);
}

/* A folder as QEMU needs it: a CA, a certificate for this server name and a client's, both valid for `days`. */
static char *make_pki_for(Fixture *f, const char *name, const char *host, int days)
{
    char *dir = g_build_filename(f->dir, name, NULL);
    g_autofree char *ext = g_build_filename(dir, "ext", NULL);
    g_autofree char *text = g_strdup_printf("subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth,clientAuth\n", host);

    g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);
    g_assert_true(g_file_set_contents(ext, text, -1, NULL));
    run_line("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=%s -keyout %s/ca-key.pem -out %s/ca-cert.pem",
             name, dir, dir);
    for (guint i = 0; i < 2; i++) {
        const char *end = i == 0 ? "server" : "client";
        run_line("openssl req -newkey rsa:2048 -nodes -subj '/O=Some, Org/CN=%s' -keyout %s/%s-key.pem -out %s/r", host,
                 dir, end, dir);
        run_line(
            "openssl x509 -req -in %s/r -CA %s/ca-cert.pem -CAkey %s/ca-key.pem -CAcreateserial -days %d -extfile %s "
            "-out %s/%s-cert.pem",
            dir, dir, dir, days, ext, dir, end);
    }
    return dir;
}

static char *make_pki(Fixture *f, const char *name, const char *host)
{
    return make_pki_for(f, name, host, 2);
}

static void remove_pki(const char *dir)
{
    g_autoptr(GDir) folder = g_dir_open(dir, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(folder)) != NULL) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        g_unlink(path);
    }
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

#define PORT 49431
#define PORTS 8

static void start_on_port(Fixture *f, const char *tls_dir, const char *uri_format)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *identity = tls_dir != NULL ? vmig_tls_identity(tls_dir, &error) : NULL;
    VmigListen to = {.first_port = PORT, .last_port = PORT + PORTS - 1, .tls_dir = tls_dir, .identity = identity};
    VmigReceiver *receiver = vmig_receiver_start_on(file_at(f, 0)->part, file_at(f, 0)->size, &to, &f->key, &error);

    g_assert_no_error(error);
    g_assert_cmpuint(vmig_receiver_get_port(receiver), >=, PORT);
    g_ptr_array_add(f->receivers, receiver);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    g_ptr_array_add(f->sockets,
                    g_strdup_printf(uri_format, vmig_receiver_get_port(receiver), vmig_receiver_get_export(receiver)));
#pragma GCC diagnostic pop
}

static void copy_on_port(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *there = NULL;

    send_all(f, &error);
    g_assert_no_error(error);
    finish(f, 0, &there, &error);
    g_assert_cmpstr(there, ==, task_at(f, 0)->hash);
}

static void test_tcp(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    add_noise(f, "one", 20 * MIB + 7);
    start_on_port(f, NULL, "nbd://localhost:%u/%s");
    copy_on_port(f);
}

static void test_no_port(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    VmigListen to = {.first_port = PORT, .last_port = PORT};
    guint port;
    int fd = -1;

    /* The port is in use, whoever has it. */
    fd = vmig_listen_open(&to, &port, NULL);
    add_noise(f, "one", MIB);
    g_assert_null(vmig_receiver_start_on(file_at(f, 0)->part, MIB, &to, &f->key, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, "49431"));
    if (fd >= 0)
        close(fd);
}

static gboolean have_openssl(void)
{
    g_autofree char *program = g_find_program_in_path("openssl");

    if (program == NULL)
        g_test_skip("openssl is not installed");
    return program != NULL;
}

static void test_tls(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    if (!have_openssl())
        return;
    g_autofree char *pki = make_pki(f, "pki,with", "localhost");
    g_autofree char *uri = g_strdup_printf("nbds://localhost:%%u/%%s?tls-certificates=%s", pki);
    add_noise(f, "one", 20 * MIB + 7);
    start_on_port(f, pki, uri);
    copy_on_port(f);
    remove_pki(pki);
}

static void become_nobody(gpointer user G_GNUC_UNUSED)
{
    if (setgid(65534) != 0 || setuid(65534) != 0)
        _exit(126);
}

/* Any process of QEMU's user can create a socket in the job's folder. */
static void test_socket_of_another_user(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    int status = 0;

    if (geteuid() != 0) {
        g_test_skip("only root can be somebody else");
        return;
    }
    VmigFile *file = add_noise(f, "one", MIB);
    char *socket = g_build_filename(f->dir, "theirs", NULL);
    g_ptr_array_add(f->sockets, socket);
    g_assert_cmpint(chmod(f->dir, 0777), ==, 0);
    g_assert_true(g_file_set_contents(file->part, "", 0, NULL));
    g_assert_cmpint(truncate(file->part, MIB), ==, 0);
    g_assert_cmpint(chmod(file->part, 0666), ==, 0);
    /* It ends with its only client. */
    const char *argv[] = {"qemu-nbd", "--fork", "--shared=4", "-f", "raw", "-k", socket, file->part, NULL};
    g_assert_true(
        g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, become_nobody, NULL, NULL, NULL, &status, &error));
    g_assert_cmpint(status, ==, 0);
    g_assert_false(send_all(f, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
    g_assert_nonnull(strstr(error->message, "a process of user 65534 listens on it"));
    g_test_message("%s", error->message);
}

/* Another client, which writes 4 KiB into the export. */
static gboolean scribble(const char *uri)
{
    g_autofree guint8 *bytes = g_malloc0(4096);
    struct nbd_handle *nbd = nbd_create();

    nbd_set_uri_allow_local_file(nbd, true);
    gboolean ok = nbd_connect_uri(nbd, uri) == 0 && nbd_pwrite(nbd, bytes, 4096, 0, 0) == 0;
    if (ok)
        nbd_shutdown(nbd, 0);
    else
        g_test_message("%s", nbd_get_error());
    nbd_close(nbd);
    return ok;
}

/* Without TLS other clients can connect, but the hash covers their writes. The first blocks were written long ago. */
static void test_second_client(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *there = NULL;

    add_noise(f, "one", 64 * MIB);
    start_on_port(f, NULL, "nbd://localhost:%u/%s");
    send_all(f, &error);
    g_assert_no_error(error);
    g_assert_true(scribble(f->sockets->pdata[0]));
    finish(f, 0, &there, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(there, !=, task_at(f, 0)->hash);
}

/* Likewise in an existing part: nothing that was reported of it counts. */
static void test_second_client_in_old_part(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *there = NULL;

    make_stale(add_noise(f, "one", 12 * MIB));
    start_on_port(f, NULL, "nbd://localhost:%u/%s");
    send_all(f, &error);
    g_assert_no_error(error);
    g_assert_true(scribble(f->sockets->pdata[0]));
    finish(f, 0, &there, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(there, !=, task_at(f, 0)->hash);
}

/* A sender with another receiver's export name. */
static void test_other_export(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    add_noise(f, "one", MIB);
    start_on_port(f, NULL, "nbd://localhost:%u/0%s");
    fail_with(f, VMIG_ERROR_PROTOCOL, 0);
    g_assert_cmpuint(strlen(vmig_receiver_get_export(f->receivers->pdata[0])), ==, 32);
    g_ptr_array_set_size(f->receivers, 0);
    g_ptr_array_set_size(f->sockets, 0);
    start_on_port(f, NULL, "nbd://localhost:%u/");
    fail_with(f, VMIG_ERROR_PROTOCOL, 0);
}

/* A certificate of the same CA, which every host of a cluster has, is not the source's. */
static void test_tls_other_certificate(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    if (!have_openssl())
        return;
    g_autofree char *pki = make_pki(f, "pki", "localhost");
    g_autofree char *other = g_build_filename(f->dir, "third", NULL);
    g_autofree char *uri = g_strdup_printf("nbds://localhost:%%u/%%s?tls-certificates=%s", pki);

    add_noise(f, "one", 20 * MIB + 7);
    g_assert_cmpint(g_mkdir(other, 0700), ==, 0);
    run_line("cp %s/ca-cert.pem %s", pki, other);
    run_line("openssl req -newkey rsa:2048 -nodes -subj /O=vmig/CN=third -keyout %s/client-key.pem -out %s/r", other,
             other);
    run_line("openssl x509 -req -in %s/r -CA %s/ca-cert.pem -CAkey %s/ca-key.pem -CAcreateserial -days 2 -out "
             "%s/client-cert.pem",
             other, pki, pki, other);
    start_on_port(f, pki, uri);
    VmigReceiver *receiver = f->receivers->pdata[0];
    g_autofree char *theirs =
        g_strdup_printf("nbds://localhost:%u/%s?tls-certificates=%s", vmig_receiver_get_port(receiver),
                        vmig_receiver_get_export(receiver), other);
    g_assert_false(scribble(theirs));
    copy_on_port(f);
    assert_same_content(file_at(f, 0));
    remove_pki(pki);
    remove_pki(other);
}

/* Another CA, another name, TLS missing on either side: each ends the copy, and none is retried. */
static void test_tls_refuses(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    if (!have_openssl())
        return;
    g_autofree char *good = make_pki(f, "good", "localhost");
    g_autofree char *other_ca = make_pki(f, "other", "localhost");
    g_autofree char *other_name = make_pki(f, "name", "elsewhere.example");
    g_autofree char *theirs = g_strdup_printf("nbds://localhost:%%u/%%s?tls-certificates=%s", other_ca);
    g_autofree char *named = g_strdup_printf("nbds://localhost:%%u/%%s?tls-certificates=%s", other_name);

    add_noise(f, "one", MIB);
    start_on_port(f, good, theirs);
    fail_with(f, VMIG_ERROR_UNREACHABLE, 0);
    g_ptr_array_set_size(f->receivers, 0);
    g_ptr_array_set_size(f->sockets, 0);
    start_on_port(f, other_name, named);
    fail_with(f, VMIG_ERROR_UNREACHABLE, 0);
    g_ptr_array_set_size(f->receivers, 0);
    g_ptr_array_set_size(f->sockets, 0);
    start_on_port(f, good, "nbd://localhost:%u/%s");
    fail_with(f, VMIG_ERROR_PROTOCOL, 0);
    g_ptr_array_set_size(f->receivers, 0);
    g_ptr_array_set_size(f->sockets, 0);
    start_on_port(f, NULL, named);
    fail_with(f, VMIG_ERROR_PROTOCOL, 0);
    g_ptr_array_set_size(f->receivers, 0);
    remove_pki(good);
    remove_pki(other_ca);
    remove_pki(other_name);
}

/* The server does not even start with it, and says why. */
static void test_tls_expired(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    if (!have_openssl())
        return;
    /* Valid until the end of this second: openssl 3.5 makes none that ends in the past. */
    g_autofree char *pki = make_pki_for(f, "old", "localhost", 0);
    gint64 made = g_get_real_time() / G_USEC_PER_SEC;
    while (g_get_real_time() / G_USEC_PER_SEC <= made)
        g_usleep(G_USEC_PER_SEC / 20);
    VmigListen to = {.first_port = PORT, .last_port = PORT + PORTS - 1, .tls_dir = pki};
    add_noise(f, "one", MIB);
    g_assert_null(vmig_receiver_start_on(file_at(f, 0)->part, MIB, &to, &f->key, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IMAGE_TOOL);
    g_assert_nonnull(strstr(error->message, "expired"));
    remove_pki(pki);
}

static void test_tls_without_certificates(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    VmigListen to = {.first_port = PORT, .last_port = PORT + PORTS - 1, .tls_dir = "/nonexistent/pki"};

    add_noise(f, "one", MIB);
    g_assert_null(vmig_receiver_start_on(file_at(f, 0)->part, MIB, &to, &f->key, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IMAGE_TOOL);
    g_assert_nonnull(strstr(error->message, "/nonexistent/pki"));
}

static void test_bad_pages(Fixture *f G_GNUC_UNUSED, gconstpointer data G_GNUC_UNUSED)
{
    static const char *const bad[] = {"", "H", "H\0\0\0", "X", "D", "H\4\0\0", "H\0\0\0\0"};

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        static const gsize lengths[] = {0, 1, 4, 1, 1, 4, 5};
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) page = g_bytes_new(bad[i], lengths[i]);
        guint64 next = 77;
        g_assert_false(vmig_page_read(page, 3 * BLOCK, 0, &(VmigPageReader){0}, &next, &error));
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
        g_assert_cmpuint(next, ==, 77);
    }
}

static void test_receiver_refuses(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *socket = g_build_filename(f->dir, "s.sock", NULL);
    g_autofree char *long_socket = g_strnfill(200, 'x');
    g_autofree char *part = g_build_filename(f->dir, "part", NULL);
    g_autofree char *link = g_build_filename(f->dir, "link", NULL);
    g_autoptr(GError) error = NULL;

    g_assert_null(vmig_receiver_start("/nonexistent/part", MIB, socket, &f->key, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IO);
    g_clear_error(&error);
    g_assert_null(vmig_receiver_start(part, MIB, long_socket, &f->key, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_PATH);
    g_clear_error(&error);
    g_assert_null(vmig_receiver_start(part, MIB, "/nonexistent/s.sock", &f->key, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IO);
    g_clear_error(&error);
    g_assert_cmpint(symlink(part, link), ==, 0);
    g_assert_null(vmig_receiver_start(link, MIB, socket, &f->key, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IO);
    g_clear_error(&error);
    /* With a second hard link it may be another user's file. */
    g_autofree char *second = g_build_filename(f->dir, "second", NULL);
    g_autofree char *first = g_build_filename(f->dir, "first", NULL);
    g_assert_true(g_file_set_contents(first, "his", -1, NULL));
    g_assert_cmpint(linkat(AT_FDCWD, first, AT_FDCWD, second, 0), ==, 0);
    g_assert_null(vmig_receiver_start(second, MIB, socket, &f->key, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_OUTSIDE_ROOTS);
    g_clear_error(&error);
    g_unlink(second);
    g_unlink(first);
    /* qemu-nbd's message is passed on: here that the file is locked. */
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 110};
    int fd = open(part, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(fcntl(fd, F_OFD_SETLK, &lock), ==, 0);
    g_assert_null(vmig_receiver_start(part, MIB, socket, &f->key, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IMAGE_TOOL);
    g_assert_nonnull(strstr(error->message, "lock"));
    g_assert_cmpint(access(socket, F_OK), ==, -1);
    close(fd);
}

/* The server has only the descriptors that it needs, and a clean environment. */
static void test_receiver_is_clean(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *environment = NULL;
    int leak = fcntl(STDIN_FILENO, F_DUPFD, 50); /* without FD_CLOEXEC on purpose; above the server's descriptors */
    gsize length;

    g_setenv("VMIG_TEST_SECRET", "secret", TRUE);
    add_noise(f, "one", MIB);
    start_receivers(f);
    g_autofree char *path = g_strdup_printf("/proc/%d/environ", vmig_receiver_get_pid(f->receivers->pdata[0]));
    g_assert_true(g_file_get_contents(path, &environment, &length, &error));
    g_assert_null(g_strstr_len(environment, (gssize)length, "SECRET"));
    g_autofree char *fd = g_strdup_printf("/proc/%d/fd/%d", vmig_receiver_get_pid(f->receivers->pdata[0]), leak);
    g_autofree char *theirs = g_file_read_link(fd, NULL);
    g_autofree char *own = g_strdup_printf("/proc/self/fd/%d", leak);
    g_autofree char *ours = g_file_read_link(own, NULL);
    g_assert_cmpstr(theirs, !=, ours);
    struct stat st;
    g_assert_cmpint(stat(f->sockets->pdata[0], &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
    g_assert_cmpint(stat(file_at(f, 0)->part, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
    close(leak);
    g_unsetenv("VMIG_TEST_SECRET");
}

static gpointer start_in_thread(gpointer data)
{
    start_receivers(data);
    return NULL;
}

/* PR_SET_PDEATHSIG refers to the thread that forked. */
static void test_receiver_outlives_the_thread(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    add_noise(f, "one", MIB);
    g_thread_join(g_thread_new("starter", start_in_thread, f));
    g_assert_true(send_all(f, &error));
    g_assert_no_error(error);
}

static void add(const char *path, gconstpointer data, void (*test)(Fixture *, gconstpointer))
{
    g_test_add(path, Fixture, data, set_up, test, tear_down);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add("/copier/sizes", NULL, test_sizes);
    add("/copier/holes-stay-holes", NULL, test_holes_stay_holes);
    add("/copier/holes-replace-old-content", NULL, test_holes_replace_old_content);
    add("/copier/zeros-stay-allocated", NULL, test_zeros_stay_allocated);
    add("/copier/several", NULL, test_several);
    add("/copier/more-files-than-connections", NULL, test_more_files_than_connections);
    add("/copier/uri", NULL, test_uri);
    add("/copier/bandwidth", NULL, test_bandwidth);
    add("/copier/bandwidth-changes", NULL, test_bandwidth_changes);
    add("/copier/cancel", NULL, test_cancel);
    add("/copier/receiver-dies", NULL, test_receiver_dies);
    add("/copier/receiver-hangs", NULL, test_receiver_hangs);
    add("/copier/receiver-is-frozen-from-the-start", NULL, test_receiver_is_frozen_from_the_start);
    add("/copier/slow-is-not-stalled", NULL, test_slow_is_not_stalled);
    add("/copier/nobody-there", NULL, test_nobody_there);
    add("/copier/source-missing", NULL, test_source_missing);
    add("/copier/source-grows", GUINT_TO_POINTER(0), test_source_changes);
    add("/copier/source-shrinks", GUINT_TO_POINTER(1), test_source_changes);
    add("/copier/source-is-written-to", GUINT_TO_POINTER(2), test_source_changes);
    add("/copier/source-is-replaced", GUINT_TO_POINTER(3), test_source_changes);
    add("/copier/source-of-another-size", NULL, test_source_of_another_size);
    add("/copier/no-space", NULL, test_no_space);
    add("/copier/tmpfs", NULL, test_tmpfs);
    add("/copier/terabyte", NULL, test_terabyte);
    add("/copier/again-on-the-same-part", NULL, test_again_on_the_same_part);
    add("/copier/resumed", NULL, test_resumed);
    add("/copier/converges", NULL, test_converges);
    add("/copier/converges-with-holes", NULL, test_converges_with_holes);
    add("/copier/equal-sends-nothing", NULL, test_equal_sends_nothing);
    add("/copier/planned-collision", NULL, test_planned_collision);
    add("/copier/touched-is-not-proven", NULL, test_touched_is_not_proven);
    add("/copier/lie-is-not-proven", NULL, test_lie_is_not_proven);
    add("/copier/nonsense-is-told", NULL, test_nonsense_is_told);
    add("/copier/forgotten-rewrite", NULL, test_forgotten_rewrite);
    add("/copier/wrong-set", NULL, test_wrong_set);
    add("/copier/several-sockets", NULL, test_several_sockets);
    add("/copier/tcp", NULL, test_tcp);
    add("/copier/second-client", NULL, test_second_client);
    add("/copier/second-client-in-old-part", NULL, test_second_client_in_old_part);
    add("/copier/other-export", NULL, test_other_export);
    add("/copier/tls-other-certificate", NULL, test_tls_other_certificate);
    add("/copier/socket-of-another-user", NULL, test_socket_of_another_user);
    add("/copier/no-port", NULL, test_no_port);
    add("/copier/tls", NULL, test_tls);
    add("/copier/tls-refuses", NULL, test_tls_refuses);
    add("/copier/tls-expired", NULL, test_tls_expired);
    add("/copier/tls-without-certificates", NULL, test_tls_without_certificates);
    add("/copier/bad-pages", NULL, test_bad_pages);
    add("/receiver/refuses", NULL, test_receiver_refuses);
    add("/receiver/is-clean", NULL, test_receiver_is_clean);
    add("/receiver/outlives-the-thread", NULL, test_receiver_outlives_the_thread);
    return g_test_run();
}
