/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The owner of a folder in an image root swaps that folder with a symbolic link to another place as fast as possible
 * (renameat2(RENAME_EXCHANGE) in a loop, with occasional pauses), while the node works in the folder. Whatever the node
 * does or refuses, nothing outside the roots may appear, change, vanish, or be locked. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "core/path-map.h"
#include "guard/guard.h"
#include "image/image-locks.h"
#include "node/node-local.h"
#include "tests/unit/legal.h"
#include "flows/migrate/states.h"

#define ID "0123456789abcdef"
#define UUID "11111111-2222-3333-4444-555555555555"
#define MIB (1024 * 1024)
#define MOST_ROUNDS 5
#define PATIENCE (4 * G_USEC_PER_SEC) /* how long an operation is repeated: some thousand times */

static const VmigHashKey key = {{0}};
static char *program; /* this program, which also serves as the guard */

typedef struct {
    char *dir, *user, *trap, *outside;
    VmigNode *node;
    VmigJob *job;
    char *before; /* the state of the files outside */
    GThread *thread;
    gint stop;     /* atomic */
    gint pause_us; /* the longest occasional pause, so that some operations succeed at least halfway */
    guint done, refused, rounds;
} Fixture;

static void run_command(const char *format, ...) G_GNUC_PRINTF(1, 2);
static void run_command(const char *format, ...)
{
    va_list args;
    int status = 0;
    g_autoptr(GError) error = NULL;

    va_start(args, format);
    g_autofree char *line = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *said = NULL;
    g_spawn_command_line_sync(line, &said, NULL, &status, &error);
    g_assert_no_error(error);
    g_assert_cmpint(status, ==, 0);
}

static VmigDisk *disk_of(Fixture *f)
{
    return f->job->disks->pdata[0];
}

static VmigFile *file_of(Fixture *f)
{
    return disk_of(f)->files->pdata[0];
}

static VmigJob *new_job(const char *folder)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);
    VmigDisk *disk = vmig_disk_new();
    VmigFile *file = vmig_file_new();

    job->version = VMIG_JOB_VERSION;
    job->id = g_strdup(ID);
    job->uuid = g_strdup(UUID);
    job->domain = g_strdup("guest");
    put_state(job, VMIG_MIGRATE(COPY));
    file->path[VMIG_SOURCE] = g_build_filename(folder, "base.qcow2", NULL);
    file->path[VMIG_DEST] = g_build_filename(folder, "dest.qcow2", NULL);
    file->part = vmig_part_path(file->path[VMIG_DEST], ID);
    file->format = g_strdup("raw");
    file->size = MIB;
    g_ptr_array_add(disk->files, file);
    disk->target = g_strdup("vda");
    disk->at[VMIG_SOURCE].overlay = vmig_overlay_path(file->path[VMIG_SOURCE], ID);
    disk->at[VMIG_DEST].overlay = vmig_overlay_path(file->path[VMIG_DEST], ID);
    disk->at[VMIG_SOURCE].hold = vmig_hold_path(file->path[VMIG_SOURCE], ID);
    disk->at[VMIG_DEST].hold = vmig_hold_path(file->path[VMIG_DEST], ID);
    vmig_job_add(job, disk);
    return job;
}

static VmigNode *open_node(Fixture *f, GError **error)
{
    g_autofree char *root = g_build_filename(f->dir, "images", NULL);
    g_autofree char *state = g_build_filename(f->dir, "state", NULL);
    g_autofree char *run = g_build_filename(f->dir, "run", NULL);
    const char *const roots[] = {root, NULL};
    VmigNodeConfig config = {.state_dir = state,
                             .run_dir = run,
                             .roots = roots,
                             .exe = program,
                             .machine_id = "m",
                             .role = VMIG_DEST,
                             .tls_dir = "/nonexistent/pki",
                             .qemu_conf = "/nonexistent/qemu.conf",
                             .libvirt_qemu_dir = "/nonexistent/qemu"};

    return vmig_node_local_new("here", &config, error);
}

static gint compare(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Name, identity, size, times and content of everything there. Inode and ctime reveal a file that was replaced with an
 * equal one. */
static char *describe(const char *folder)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    GString *all = g_string_new(NULL);
    const char *name;

    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_autofree char *bytes = NULL;
        gsize length = 0;
        struct stat st;
        g_assert_true(g_file_get_contents(path, &bytes, &length, NULL));
        g_assert_cmpint(lstat(path, &st), ==, 0);
        g_autofree char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (guchar *)bytes, length);
        g_ptr_array_add(lines, g_strdup_printf("%s %lu %ld.%09ld %s\n", name, st.st_ino, st.st_ctim.tv_sec,
                                               st.st_ctim.tv_nsec, sum));
    }
    g_ptr_array_sort(lines, compare);
    for (guint i = 0; i < lines->len; i++)
        g_string_append(all, lines->pdata[i]);
    return g_string_free(all, FALSE);
}

static void make_base(Fixture *f, const char *folder, int pattern)
{
    g_autofree char *name = g_path_get_basename(file_of(f)->path[VMIG_DEST]);
    g_autofree char *base = g_build_filename(folder, name, NULL);

    run_command("qemu-img create -q -f raw '%s' 1M", base);
    run_command("qemu-io -f raw -c 'write -P %d 0 1M' '%s'", pattern, base);
}

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    f->dir = g_dir_make_tmp("vmig-swap-XXXXXX", NULL);
    f->user = g_build_filename(f->dir, "images", "user", NULL);
    f->trap = g_build_filename(f->dir, "images", "trap", NULL);
    f->outside = g_build_filename(f->dir, "outside", NULL);
    g_assert_cmpint(g_mkdir_with_parents(f->user, 0755), ==, 0);
    g_assert_cmpint(g_mkdir(f->outside, 0755), ==, 0);
    g_assert_cmpint(symlink(f->outside, f->trap), ==, 0);
    f->node = open_node(f, &error);
    g_assert_no_error(error);
    f->job = new_job(f->user);
    vmig_node_record_put(f->node, f->job, &error);
    g_assert_no_error(error);
    vmig_node_rundir(f->node, f->job, &error);
    g_assert_no_error(error);
}

static gpointer swap(gpointer data)
{
    Fixture *f = data;

    while (!g_atomic_int_get(&f->stop)) {
        g_assert_cmpint(renameat2(AT_FDCWD, f->user, AT_FDCWD, f->trap, RENAME_EXCHANGE), ==, 0);
        if (g_random_int_range(0, 16) == 0)
            g_usleep((gulong)g_random_int_range(0, g_atomic_int_get(&f->pause_us)));
    }
    return NULL;
}

static void begin(Fixture *f, gint pause_us)
{
    f->pause_us = pause_us;
    f->before = describe(f->outside);
    f->thread = g_thread_new("swap", swap, f);
}

/* On a busy machine an operation needs longer pauses to succeed at all. */
static gboolean goes_on(Fixture *f, gint64 *until)
{
    if (g_get_monotonic_time() < *until)
        return TRUE;
    if ((f->done > 0 && f->refused > 0) || ++f->rounds > MOST_ROUNDS)
        return FALSE;
    g_atomic_int_set(&f->pause_us, 2 * g_atomic_int_get(&f->pause_us));
    *until = g_get_monotonic_time() + PATIENCE;
    return TRUE;
}

/* Neither side may have everything: then nothing was tested. */
static void end(Fixture *f)
{
    g_atomic_int_set(&f->stop, 1);
    g_thread_join(f->thread);
    if (g_file_test(f->user, G_FILE_TEST_IS_SYMLINK))
        g_assert_cmpint(renameat2(AT_FDCWD, f->user, AT_FDCWD, f->trap, RENAME_EXCHANGE), ==, 0);
    g_autofree char *after = describe(f->outside);
    g_assert_cmpstr(after, ==, f->before);
    g_test_message("%u done, %u refused", f->done, f->refused);
    g_assert_cmpuint(f->done, >, 0);
    g_assert_cmpuint(f->refused, >, 0);
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        remove_tree(child);
    }
    g_remove(path);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    vmig_node_guard_stop(f->node, f->job, NULL);
    vmig_node_free(f->node);
    vmig_job_free(f->job);
    remove_tree(f->dir);
    g_free(f->dir);
    g_free(f->user);
    g_free(f->trap);
    g_free(f->outside);
    g_free(f->before);
}

static gboolean count(Fixture *f, gboolean ok)
{
    f->done += ok;
    f->refused += !ok;
    return ok;
}

static void plant(const char *folder, const char *path, const char *content)
{
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *full = g_build_filename(folder, name, NULL);

    g_assert_true(g_file_set_contents(full, content, -1, NULL));
}

/* A recorded name that is never created: a file with that name outside looks like one whose creator died. */
static void test_remove(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    gint64 until = g_get_monotonic_time() + PATIENCE;

    plant(f->outside, disk_of(f)->at[VMIG_DEST].hold, "somebody's");
    begin(f, 400);
    while (goes_on(f, &until)) {
        (void)vmig_node_intend(f->node, f->job, disk_of(f)->at[VMIG_DEST].hold, "hold", NULL);
        count(f, vmig_node_remove(f->node, f->job, disk_of(f)->at[VMIG_DEST].hold, "never made", NULL));
    }
    end(f);
}

/* Creates overlays, both with and without an existing file of that name. */
static void make_overlays(Fixture *f)
{
    gint64 until = g_get_monotonic_time() + PATIENCE;

    begin(f, 60000);
    while (goes_on(f, &until))
        count(f, vmig_node_create_overlay(f->node, f->job, disk_of(f)->at[VMIG_DEST].overlay, MIB,
                                          file_of(f)->path[VMIG_DEST], "raw", NULL));
    end(f);
}

static void test_create(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    plant(f->user, file_of(f)->path[VMIG_DEST], "the base");
    plant(f->outside, file_of(f)->path[VMIG_DEST], "another base");
    make_overlays(f);
}

static void test_create_over(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    test_create(f, NULL);
    f->done = f->refused = 0;
    f->stop = 0;
    g_clear_pointer(&f->before, g_free);
    plant(f->outside, disk_of(f)->at[VMIG_DEST].overlay, "somebody's");
    make_overlays(f);
}

/* Receiving creates the part, placing renames it, and unplacing renames it back. */
static void receive(Fixture *f)
{
    g_autofree char *socket = g_build_filename(f->dir, "run", ID, "copy-0.sock", NULL);
    g_autofree char *hash = NULL;
    gboolean fresh = FALSE;

    if (count(f, vmig_node_receive(f->node, f->job, file_of(f), socket, &key, &fresh, NULL)))
        count(f, vmig_node_received(f->node, f->job, file_of(f), NULL, &hash, NULL));
    for (guint i = 0; i < 20; i++) {
        count(f, vmig_node_place(f->node, f->job, file_of(f), NULL));
        count(f, vmig_node_unplace(f->node, f->job, file_of(f), NULL));
    }
}

static void receive_often(Fixture *f)
{
    gint64 until = g_get_monotonic_time() + PATIENCE;

    begin(f, 20000);
    while (goes_on(f, &until))
        receive(f);
    end(f);
}

static void test_receive(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    receive_often(f);
}

static void test_receive_over(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    plant(f->outside, file_of(f)->part, "somebody's");
    receive_often(f);
}

/* qemu-img writes to an overlay's backing file, and such a pair exists inside and outside. */
static void test_commit(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    gint64 until = g_get_monotonic_time() + PATIENCE;

    g_autofree char *name = g_path_get_basename(disk_of(f)->at[VMIG_DEST].overlay);
    g_autofree char *outside = g_build_filename(f->outside, name, NULL);
    g_autoptr(GError) error = NULL;

    make_base(f, f->user, 7);
    make_base(f, f->outside, 70);
    vmig_node_create_overlay(f->node, f->job, disk_of(f)->at[VMIG_DEST].overlay, MIB, file_of(f)->path[VMIG_DEST],
                             "raw", &error);
    g_assert_no_error(error);
    run_command("qemu-io -f qcow2 -c 'write -P 8 0 64k' '%s'", disk_of(f)->at[VMIG_DEST].overlay);
    run_command("cp '%s' '%s'", disk_of(f)->at[VMIG_DEST].overlay, outside);
    begin(f, 200000);
    while (goes_on(f, &until))
        count(f, vmig_node_commit_offline(f->node, f->job, disk_of(f)->at[VMIG_DEST].overlay, NULL));
    end(f);
}

static void look_for_locks(const char *path)
{
    VmigImageLocks locks = {0};
    g_autoptr(GError) error = NULL;

    vmig_image_locks_probe(path, &locks, &error);
    g_assert_no_error(error);
    g_assert_false(locks.frozen);
    g_assert_false(locks.writer);
}

/* Locks do not change a file, but they block its users. */
static void test_guard(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    gint64 until = g_get_monotonic_time() + PATIENCE;
    g_autofree char *outside = g_build_filename(f->outside, "base.qcow2", NULL);
    const char *paths[] = {file_of(f)->path[VMIG_SOURCE], NULL};

    plant(f->user, file_of(f)->path[VMIG_SOURCE], "a base");
    plant(f->outside, file_of(f)->path[VMIG_SOURCE], "somebody's");
    begin(f, 2000);
    while (goes_on(f, &until)) {
        count(f, vmig_node_freeze(f->node, f->job, paths, NULL));
        look_for_locks(outside);
        count(f, vmig_node_thaw(f->node, f->job, NULL));
    }
    end(f);
}

int main(int argc, char **argv)
{
    /* The guard's own command line, as in the command line tool. */
    if (argc == 4 && g_str_equal(argv[1], "agent") && g_str_equal(argv[2], "--guard"))
        return vmig_guard_main(argv[3]);
    g_test_init(&argc, &argv, NULL);
    program = g_file_read_link("/proc/self/exe", NULL);
    g_test_add("/swap/remove", Fixture, NULL, set_up, test_remove, tear_down);
    g_test_add("/swap/create", Fixture, NULL, set_up, test_create, tear_down);
    g_test_add("/swap/create-over", Fixture, NULL, set_up, test_create_over, tear_down);
    g_test_add("/swap/receive", Fixture, NULL, set_up, test_receive, tear_down);
    g_test_add("/swap/receive-over", Fixture, NULL, set_up, test_receive_over, tear_down);
    g_test_add("/swap/commit", Fixture, NULL, set_up, test_commit, tear_down);
    g_test_add("/swap/guard", Fixture, NULL, set_up, test_guard, tear_down);
    int result = g_test_run();
    g_free(program);
    return result;
}
