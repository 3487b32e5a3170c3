/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every method of this host's node, with its own folders and the real qemu-img and qemu-nbd: what it does, that it can
 * be repeated, and above all what it refuses. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "core/path-map.h"
#include "guard/guard.h"
#include "drivers/libvirt/qemu-user.h"
#include "node/node-local.h"
#include "tests/unit/legal.h"
#include "flows/migrate/states.h"
#include "tests/roles.h"

#define ID "0123456789abcdef"
#define OTHER_ID "fedcba9876543210"
#define UUID "11111111-2222-3333-4444-555555555555"

static char *program; /* this program, which also serves as the guard */

typedef struct {
    char *dir, *root, *state, *run, *config;
    VmigNode *node;
    VmigJob *job;
} Fixture;

static VmigNode *open_node(Fixture *f, VmigRole role, GError **error)
{
    const char *const roots[] = {f->root, NULL};
    g_autofree char *conf = g_build_filename(f->config, "qemu.conf", NULL);
    VmigNodeConfig config = {.state_dir = f->state,
                             .run_dir = f->run,
                             .roots = roots,
                             .exe = program,
                             .machine_id = "m",
                             .role = role,
                             .first_port = 49440,
                             .last_port = 49447,
                             .tls_dir = "/nonexistent/pki",
                             .qemu_conf = conf,
                             .libvirt_qemu_dir = f->config,
                             .libvirt_uri = "test:///default"};

    return vmig_node_local_new("here", &config, error);
}

static void add_file(VmigDisk *disk, const char *root, const char *name)
{
    VmigFile *file = vmig_file_new();

    file->path[VMIG_SOURCE] = g_build_filename(root, name, NULL);
    file->path[VMIG_DEST] = g_strconcat(root, "/dest-", name, NULL);
    file->part = vmig_part_path(file->path[VMIG_DEST], ID);
    file->format = g_strdup("qcow2");
    g_ptr_array_add(disk->files, file);
}

/* Any will do. */
static const VmigHashKey key = {{1, 2, 3}};

static VmigJob *new_job(const char *root)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);
    VmigDisk *disk = vmig_disk_new();

    job->version = VMIG_JOB_VERSION;
    job->id = g_strdup(ID);
    job->uuid = g_strdup(UUID);
    job->domain = g_strdup("guest");
    put_state(job, VMIG_MIGRATE(COPY));
    add_file(disk, root, "a.qcow2");
    disk->target = g_strdup("vda");
    disk->at[VMIG_SOURCE].overlay = vmig_overlay_path(vmig_disk_base(disk)->path[VMIG_SOURCE], ID);
    disk->at[VMIG_DEST].overlay = vmig_overlay_path(vmig_disk_base(disk)->path[VMIG_DEST], ID);
    disk->at[VMIG_SOURCE].hold = vmig_hold_path(vmig_disk_base(disk)->path[VMIG_SOURCE], ID);
    vmig_job_add(job, disk);
    return job;
}

static VmigDisk *disk_of(Fixture *f)
{
    return f->job->disks->pdata[0];
}

static VmigFile *file_of(Fixture *f)
{
    return disk_of(f)->files->pdata[0];
}

static void set_up(Fixture *f, gconstpointer role)
{
    g_autoptr(GError) error = NULL;

    f->dir = g_dir_make_tmp("vmig-local-XXXXXX", NULL);
    f->root = g_build_filename(f->dir, "images", NULL);
    f->state = g_build_filename(f->dir, "state", NULL);
    f->run = g_build_filename(f->dir, "run", NULL);
    f->config = g_build_filename(f->dir, "qemu", NULL);
    g_assert_cmpint(g_mkdir(f->root, 0755), ==, 0);
    g_assert_cmpint(g_mkdir(f->config, 0755), ==, 0);
    f->node = open_node(f, (VmigRole)GPOINTER_TO_UINT(role), &error);
    g_assert_no_error(error);
    f->job = new_job(f->root);
}

static void remove_tree(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        remove_tree(child);
    }
    g_remove(path);
}

static void tear_down(Fixture *f, gconstpointer role G_GNUC_UNUSED)
{
    vmig_node_guard_stop(f->node, f->job, NULL);
    vmig_node_free(f->node);
    vmig_job_free(f->job);
    remove_tree(f->dir);
    g_free(f->dir);
    g_free(f->root);
    g_free(f->state);
    g_free(f->run);
    g_free(f->config);
}

static void put_record(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    vmig_node_record_put(f->node, f->job, &error);
    g_assert_no_error(error);
}

static void run_command(const char *format, ...) G_GNUC_PRINTF(1, 2);
static void run_command(const char *format, ...)
{
    va_list args;
    int status = 0;
    g_autoptr(GError) error = NULL;

    va_start(args, format);
    g_autofree char *line = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *said = NULL; /* keeps it out of the test's own report */
    g_spawn_command_line_sync(line, &said, NULL, &status, &error);
    g_assert_no_error(error);
    g_assert_cmpint(status, ==, 0);
}

static void make_image(const char *path)
{
    run_command("qemu-img create -q -f qcow2 '%s' 8M", path);
    run_command("qemu-io -f qcow2 -c 'write -P 7 1M 1M' '%s'", path);
    run_command("qemu-img snapshot -c one '%s'", path);
    run_command("qemu-io -f qcow2 -c 'write -P 9 3M 1M' '%s'", path);
}

static gboolean exists(const char *path)
{
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* --- examining --- */

static void test_hello(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigNodeFacts) facts = vmig_node_hello(f->node, &error);

    g_assert_no_error(error);
    g_assert_cmpuint(facts->protocol, ==, VMIG_PROTOCOL);
    g_assert_cmpstr(facts->machine_id, ==, "m");
    g_assert_true(g_ascii_isdigit(*facts->qemu_img_version));
    g_assert_cmpstr(facts->roots[0], ==, f->root);
    g_assert_null(facts->roots[1]);
}

static void test_path(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigPathFacts) none = vmig_node_path(f->node, file_of(f)->path[VMIG_SOURCE], &error);

    g_assert_no_error(error);
    g_assert_true(!none->exists && none->folder_ok && none->in_roots && !none->shared && none->owner_job == NULL);
    g_assert_cmpuint(none->free_bytes, >, 0);
    g_file_set_contents(file_of(f)->path[VMIG_SOURCE], "12345", 5, NULL);
    g_autoptr(VmigPathFacts) some = vmig_node_path(f->node, file_of(f)->path[VMIG_SOURCE], &error);
    g_assert_true(some->exists && some->is_regular);
    g_assert_cmpuint(some->size, ==, 5);
    g_assert_cmpuint(some->ino, !=, 0);
    g_assert_cmpuint(some->filesystem, ==, none->filesystem);
    g_autofree char *deep = g_build_filename(f->root, "no", "x", NULL);
    g_autoptr(VmigPathFacts) no_folder = vmig_node_path(f->node, deep, &error);
    g_assert_true(!no_folder->exists && !no_folder->folder_ok && no_folder->in_roots);
    g_autoptr(VmigPathFacts) outside = vmig_node_path(f->node, "/etc/passwd", &error);
    g_assert_no_error(error);
    g_assert_true(outside->exists); /* only this is reported */
    g_assert_false(outside->in_roots);
    g_assert_false(outside->folder_ok);
    g_assert_cmpuint(outside->size, ==, 0);
    put_record(f);
    vmig_node_intend(f->node, f->job, disk_of(f)->at[VMIG_SOURCE].overlay, "overlay", &error);
    g_assert_no_error(error);
    g_autoptr(VmigPathFacts) ours = vmig_node_path(f->node, disk_of(f)->at[VMIG_SOURCE].overlay, &error);
    g_assert_cmpstr(ours->owner_job, ==, ID);
}

static void test_image(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *path = file_of(f)->path[VMIG_SOURCE];
    g_autoptr(GError) error = NULL;
    VmigImageLocks locks;
    guint64 size, bytes;
    guint32 count;
    gint64 leaks;
    struct stat st;

    make_image(path);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_autoptr(GPtrArray) images = vmig_node_survey(f->node, path, "qcow2", &error);
    g_assert_no_error(error);
    const VmigImageFacts *image = images->pdata[0];
    const VmigImageSnapshot *snapshot = image->snapshots->pdata[0];
    g_assert_cmpuint(images->len, ==, 1);
    g_assert_cmpuint(image->virtual_size, ==, 8 << 20);
    g_assert_cmpuint(image->size, ==, (guint64)st.st_size);
    g_assert_cmpuint(image->snapshots->len, ==, 1);
    g_assert_cmpstr(snapshot->name, ==, "one");
    g_assert_true(vmig_node_stat(f->node, path, &size, NULL, NULL, NULL, &error));
    g_assert_cmpuint(size, ==, (guint64)st.st_size);
    g_assert_true(vmig_node_allocated(f->node, path, &bytes, &error));
    g_assert_cmpuint(bytes, ==, (guint64)st.st_blocks * 512);
    g_assert_true(vmig_node_count_snapshots(f->node, path, &count, &error));
    g_assert_cmpuint(count, ==, 1);
    g_assert_true(vmig_node_locks(f->node, path, &locks, &error));
    g_assert_true(!locks.writer && !locks.frozen);
    g_assert_true(vmig_node_check(f->node, path, "qcow2", &leaks, &error));
    g_assert_cmpint(leaks, ==, 0);
    g_assert_null(vmig_node_survey(f->node, path, "vmdk", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
}

/* --- outside the roots --- */

static void test_outside(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *link = g_build_filename(f->root, "link", NULL);
    g_autofree char *through = g_build_filename(link,
                                                "a."
                                                "vmig-" ID ".qcow2",
                                                NULL);
    g_autofree char *outside = g_build_filename(f->dir, "out", NULL);
    g_autofree char *file_link = g_build_filename(f->root, "b.vmig-" ID ".qcow2", NULL);
    g_autofree char *hard_link = g_build_filename(f->root, "c.vmig-" ID ".qcow2", NULL);
    g_autofree char *target = g_build_filename(outside, "a.vmig-" ID ".qcow2", NULL);
    g_autofree char *other = g_build_filename(outside, "c.qcow2", NULL);
    g_autofree char *new_through = g_build_filename(link, "new.vmig-" ID ".qcow2", NULL);
    g_autofree char *dots = g_strconcat(f->root, "/../out/a.vmig-" ID ".qcow2", NULL);
    const char *const paths[] = {"/etc/passwd", "etc/passwd", "",        dots,      target,
                                 through,       new_through,  file_link, hard_link, f->root};

    put_record(f);
    g_assert_cmpint(g_mkdir(outside, 0755), ==, 0);
    g_assert_cmpint(symlink(outside, link), ==, 0);
    make_image(target);
    make_image(other);
    g_assert_cmpint(symlink(target, file_link), ==, 0);
    g_assert_cmpint(linkat(AT_FDCWD, other, AT_FDCWD, hard_link, 0), ==, 0);
    for (guint i = 0; i < G_N_ELEMENTS(paths); i++) {
        const char *const list[] = {paths[i], NULL};
        const gboolean ok[] = {
            vmig_node_survey(f->node, paths[i], "qcow2", NULL) != NULL,
            vmig_node_stat(f->node, paths[i], NULL, NULL, NULL, NULL, NULL),
            vmig_node_check(f->node, paths[i], "qcow2", NULL, NULL),
            vmig_node_intend(f->node, f->job, paths[i], "overlay", NULL),
            vmig_node_made(f->node, f->job, paths[i], NULL),
            vmig_node_remove(f->node, f->job, paths[i], "x", NULL),
            vmig_node_create_overlay(f->node, f->job, paths[i], 1 << 20, target, "qcow2", NULL),
            vmig_node_create_overlay(f->node, f->job, disk_of(f)->at[VMIG_SOURCE].overlay, 1 << 20, paths[i], "qcow2",
                                     NULL),
            vmig_node_commit_offline(f->node, f->job, paths[i], NULL),
            vmig_node_freeze(f->node, f->job, list, NULL),
        };
        for (guint k = 0; k < G_N_ELEMENTS(ok); k++)
            if (ok[k])
                g_error("'%s' was taken by %u", paths[i], k);
    }
    g_assert_true(exists(target) && exists(file_link) && exists(hard_link));
    g_assert_false(exists(disk_of(f)->at[VMIG_SOURCE].overlay));
}

/* --- locks and records --- */

static void test_lock(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigNode) other = open_node(f, VMIG_DEST, &error);
    g_autoptr(VmigJob) job = vmig_job_copy(f->job);

    g_free(job->id);
    job->id = g_strdup(OTHER_ID);
    g_assert_true(vmig_node_lock(f->node, f->job, NULL, &error));
    g_assert_true(vmig_node_lock(f->node, f->job, NULL, &error)); /* repeated */
    g_assert_false(vmig_node_lock(f->node, job, NULL, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_LOCKED);
    g_clear_error(&error);
    g_assert_false(vmig_node_unlock(f->node, job, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_LOCKED);
    g_clear_error(&error);
    g_assert_false(vmig_node_lock(other, job, NULL, &error)); /* another holder */
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_LOCKED);
    g_assert_true(g_str_has_prefix(error->message, "here: "));
    g_assert_nonnull(strstr(error->message, ID));
    g_clear_error(&error);
    g_assert_true(vmig_node_unlock(f->node, f->job, &error));
    g_assert_true(vmig_node_unlock(f->node, f->job, &error));
    g_assert_true(vmig_node_lock(other, job, NULL, &error));
    vmig_node_local_release(other);
    g_assert_true(vmig_node_lock(f->node, f->job, NULL, &error));
    vmig_node_local_cancel(f->node);
    g_assert_false(vmig_node_unlock(f->node, f->job, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CANCELLED);
}

static void test_record(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigJob) none = NULL;
    g_autoptr(VmigJob) back = NULL;

    g_assert_true(vmig_node_record_get(f->node, ID, &none, &error));
    g_assert_null(none);
    put_record(f);
    put_record(f);
    g_assert_true(vmig_node_record_get(f->node, ID, &back, &error));
    g_autofree char *before = vmig_job_to_string(f->job);
    g_autofree char *after = vmig_job_to_string(back);
    g_assert_cmpstr(before, ==, after);
    VmigJournal *journal = vmig_node_local_journal(f->node, &error);
    g_assert_nonnull(journal);
    const char *role = role_in(journal, ID, &error);
    g_assert_cmpstr(role, ==, "destination");
    g_assert_true(vmig_node_token_put(f->node, f->job, VMIG_DEST, &error));
    g_assert_true(vmig_node_token_put(f->node, f->job, VMIG_DEST, &error));
    g_assert_false(vmig_node_token_put(f->node, f->job, VMIG_SOURCE, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONTRADICTION);
    g_clear_error(&error);
    g_free(f->job->id);
    f->job->id = g_strdup("../../etc");
    g_assert_false(vmig_node_record_put(f->node, f->job, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
    g_clear_error(&error);
    g_assert_false(vmig_node_rundir(f->node, f->job, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
    g_free(f->job->id);
    f->job->id = g_strdup(ID);
}

static void reopen_node(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    f->node = open_node(f, VMIG_SOURCE, &error);
    g_assert_no_error(error);
}

/* A journal from a backup before the token: that it was given away is still known, and the other host's whole record is
 * accepted. */
static void test_older_journal(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *overlay = disk_of(f)->at[VMIG_SOURCE].overlay;
    g_autoptr(VmigJob) older = NULL;
    g_autoptr(VmigJob) now = NULL;
    g_autoptr(GError) error = NULL;

    put_record(f);
    vmig_node_rundir(f->node, f->job, &error);
    g_assert_no_error(error);
    g_assert_true(vmig_node_intend(f->node, f->job, overlay, "overlay", &error));
    run_command("qemu-img create -q -f qcow2 '%s' 8M", overlay);
    g_assert_true(vmig_node_made(f->node, f->job, overlay, &error));
    g_assert_cmpint(g_unlink(overlay), ==, 0);
    run_command("qemu-img create -q -f qcow2 '%s' 8M", overlay);
    vmig_node_free(f->node);
    run_command("cp -a %s %s/kept", f->state, f->dir);
    reopen_node(f);
    g_assert_false(vmig_node_was_given(f->node, f->job));
    g_assert_true(vmig_node_token_put(f->node, f->job, VMIG_SOURCE, &error));
    g_assert_false(vmig_node_was_given(f->node, f->job));
    g_assert_true(vmig_node_token_put(f->node, f->job, VMIG_DEST, &error));
    g_assert_true(vmig_node_was_given(f->node, f->job));

    vmig_node_free(f->node);
    run_command("rm -r %s", f->state);
    run_command("mv %s/kept %s", f->dir, f->state);
    reopen_node(f);
    g_assert_true(vmig_node_record_get(f->node, ID, &older, &error));
    g_assert_false(older->owner == VMIG_DEST);
    g_assert_true(vmig_node_was_given(f->node, f->job));
    put_state(f->job, VMIG_MIGRATE(COMMIT));
    g_assert_false(vmig_node_remove(f->node, f->job, overlay, "stale", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_GATE);
    g_clear_error(&error);
    f->job->owner = VMIG_DEST;
    g_assert_true(vmig_node_catch_up(f->node, f->job, VMIG_SOURCE, &error));
    g_assert_true(vmig_node_catch_up(f->node, f->job, VMIG_SOURCE, &error));
    g_assert_true(vmig_node_record_get(f->node, ID, &now, &error));
    g_assert_true(now->owner == VMIG_DEST);
    g_assert_cmpstr(now->state, ==, "COMMIT");
    vmig_node_remove(f->node, f->job, overlay, "stale", &error);
    g_assert_no_error(error);
    g_assert_true(vmig_node_rundir_remove(f->node, f->job, &error));
    g_assert_false(vmig_node_was_given(f->node, f->job));
}

static pid_t find_guard(const char *socket)
{
    g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(proc)) != NULL) {
        g_autofree char *path = g_build_filename("/proc", name, "cmdline", NULL);
        g_autofree char *line = NULL;
        gsize length = 0;
        if (g_ascii_isdigit(*name) && g_file_get_contents(path, &line, &length, NULL) &&
            memmem(line, length, "--guard", 7) != NULL && memmem(line, length, socket, strlen(socket)) != NULL)
            return (pid_t)atoi(name);
    }
    return 0;
}

/* The guard is killed: the fence is still held, until it is dropped. */
static void test_second_holder(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *const overlays[] = {disk_of(f)->at[VMIG_SOURCE].overlay, NULL};
    g_autofree char *socket = g_build_filename(f->run, "guard", ID ".sock", NULL);
    g_autoptr(GError) error = NULL;
    VmigImageLocks locks;
    gboolean held = FALSE;

    make_image(overlays[0]);
    for (guint drop = 0; drop < 2; drop++) {
        g_assert_true(vmig_node_fence_arm(f->node, f->job, overlays, NULL, &error));
        g_assert_true(vmig_node_fence_take(f->node, f->job, 60 * G_USEC_PER_SEC, &held, &error));
        g_assert_true(held);
        pid_t guard = find_guard(socket);
        g_assert_cmpint(guard, >, 0);
        g_assert_cmpint(kill(guard, SIGKILL), ==, 0);
        while (find_guard(socket) == guard)
            g_usleep(1000);
        g_assert_true(vmig_node_locks(f->node, overlays[0], &locks, &error));
        g_assert_true(locks.frozen);
        g_assert_true((drop ? vmig_node_fence_drop : vmig_node_guard_stop)(f->node, f->job, &error));
        g_assert_true(vmig_node_locks(f->node, overlays[0], &locks, &error));
        g_assert_false(locks.frozen);
    }
}

static void test_dead_guard(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *dir = g_build_filename(f->run, "guard", NULL);
    g_autofree char *path = g_build_filename(dir, ID ".sock", NULL);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    close(fd);
    g_assert_true(vmig_node_guard_stop(f->node, f->job, &error));
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    g_assert_true(vmig_node_guard_stop(f->node, f->job, &error));
}

static void test_arguments(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const VmigMethod methods[] = {
        VMIG_METHOD_PATH,        VMIG_METHOD_SURVEY,          VMIG_METHOD_STAT,    VMIG_METHOD_LOCK,
        VMIG_METHOD_RECORD_PUT,  VMIG_METHOD_TOKEN_PUT,       VMIG_METHOD_INTEND,  VMIG_METHOD_REMOVE,
        VMIG_METHOD_REMOVE_BASE, VMIG_METHOD_CREATE_OVERLAY,  VMIG_METHOD_RECEIVE, VMIG_METHOD_KNOWN,
        VMIG_METHOD_RECEIVED,    VMIG_METHOD_PLACE,           VMIG_METHOD_FREEZE,  VMIG_METHOD_FENCE_TAKE,
        VMIG_METHOD_RUNDIR,      VMIG_METHOD_END_SOURCE_QEMU, VMIG_METHOD_UNPLACE, VMIG_METHOD_USERS,
    };

    for (guint i = 0; i < G_N_ELEMENTS(methods); i++) {
        const VmigMessage *asked = vmig_method_args(methods[i]), *answered = vmig_method_reply(methods[i]);
        g_autofree gpointer args = vmig_message_new(asked), reply = vmig_message_new(answered);
        g_autoptr(GError) error = NULL;
        g_assert_false(vmig_node_call(f->node, methods[i], args, reply, &error));
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
    }
}

/* No function of this program makes a job's ID a path that leaves the run folder. */
static void test_job_id(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(vmig_call_rundir(f->node, &(VmigJobArgs){.job = "../x"}, &(VmigNothing){}, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
    g_assert_nonnull(strstr(error->message, "member 'job' is missing or not the id of a job"));
}

/* --- the gate --- */

static void test_overlay(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    VmigDisk *disk = disk_of(f);
    g_autoptr(GError) error = NULL;
    struct stat first, second;

    put_record(f);
    make_image(file_of(f)->path[VMIG_DEST]);
    for (guint i = 0; i < 2; i++) { /* each attempt gets another file */
        vmig_node_create_overlay(f->node, f->job, disk->at[VMIG_DEST].overlay, 8 << 20, file_of(f)->path[VMIG_DEST],
                                 "qcow2", &error);
        g_assert_no_error(error);
        g_assert_cmpint(stat(disk->at[VMIG_DEST].overlay, i == 0 ? &first : &second), ==, 0);
    }
    g_assert_true(first.st_ino != second.st_ino || first.st_ctim.tv_nsec != second.st_ctim.tv_nsec);
    g_auto(GStrv) left = vmig_node_leftovers(f->node, f->job, &error);
    g_assert_cmpuint(g_strv_length(left), ==, 1);
    g_assert_cmpstr(left[0], ==, disk->at[VMIG_DEST].overlay);
    g_autofree char *foreign = g_build_filename(f->root, "x.qcow2", NULL);
    g_assert_false(
        vmig_node_create_overlay(f->node, f->job, foreign, 8 << 20, file_of(f)->path[VMIG_DEST], "qcow2", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_GATE);
    g_clear_error(&error);
    /* Once the guest is here, this is its disk. */
    g_assert_true(vmig_node_token_put(f->node, f->job, VMIG_DEST, &error));
    g_assert_false(vmig_node_create_overlay(f->node, f->job, disk->at[VMIG_DEST].overlay, 8 << 20,
                                            file_of(f)->path[VMIG_DEST], "qcow2", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_GATE);
    g_clear_error(&error);
    g_assert_false(vmig_node_remove(f->node, f->job, disk->at[VMIG_DEST].overlay, "because", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_GATE);
    g_clear_error(&error);
    g_assert_true(exists(disk->at[VMIG_DEST].overlay));
}

static void test_commit_offline(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    VmigDisk *disk = disk_of(f);
    const char *base = file_of(f)->path[VMIG_DEST];
    g_autoptr(GError) error = NULL;

    put_record(f);
    make_image(base);
    g_assert_true(
        vmig_node_create_overlay(f->node, f->job, disk->at[VMIG_DEST].overlay, 8 << 20, base, "qcow2", &error));
    run_command("qemu-io -f qcow2 -c 'write -P 5 2M 64k' '%s'", disk->at[VMIG_DEST].overlay);
    for (guint i = 0; i < 2; i++) {
        vmig_node_commit_offline(f->node, f->job, disk->at[VMIG_DEST].overlay, &error);
        g_assert_no_error(error);
    }
    run_command("qemu-io -r -f qcow2 -c 'read -P 5 2M 64k' '%s'", base);
    g_assert_false(vmig_node_commit_offline(f->node, f->job, base, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_GATE);
}

static void test_remove(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    VmigDisk *disk = disk_of(f);
    g_autoptr(GError) error = NULL;

    put_record(f);
    make_image(file_of(f)->path[VMIG_SOURCE]);
    g_assert_true(vmig_node_intend(f->node, f->job, disk->at[VMIG_SOURCE].hold, "hold", &error));
    g_assert_true(vmig_node_intend(f->node, f->job, disk->at[VMIG_SOURCE].hold, "hold", &error));
    g_file_set_contents(disk->at[VMIG_SOURCE].hold, "x", 1, NULL);
    g_assert_true(vmig_node_made(f->node, f->job, disk->at[VMIG_SOURCE].hold, &error));
    g_assert_true(vmig_node_made(f->node, f->job, disk->at[VMIG_SOURCE].hold, &error));
    g_assert_true(vmig_node_remove(f->node, f->job, disk->at[VMIG_SOURCE].hold, "over", &error));
    g_assert_false(exists(disk->at[VMIG_SOURCE].hold));
    g_assert_true(vmig_node_remove(f->node, f->job, disk->at[VMIG_SOURCE].hold, "over", &error));
    g_assert_true(vmig_node_remove(f->node, f->job, disk->at[VMIG_SOURCE].overlay, "never made", &error));
    /* Made by libvirt, but the process died before it recorded that. */
    g_assert_true(vmig_node_intend(f->node, f->job, disk->at[VMIG_SOURCE].overlay, "overlay", &error));
    run_command("qemu-img create -q -f qcow2 -b '%s' -F qcow2 '%s'", file_of(f)->path[VMIG_SOURCE],
                disk->at[VMIG_SOURCE].overlay);
    g_assert_true(vmig_node_remove(f->node, f->job, disk->at[VMIG_SOURCE].overlay, "rolled back", &error));
    g_assert_false(exists(disk->at[VMIG_SOURCE].overlay));
    g_assert_false(vmig_node_remove(f->node, f->job, file_of(f)->path[VMIG_SOURCE], "because", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_GATE);
    g_clear_error(&error);
    g_assert_false(vmig_node_intend(f->node, f->job, file_of(f)->path[VMIG_SOURCE], "overlay", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_GATE);
    g_clear_error(&error);
    g_assert_false(vmig_node_remove(f->node, f->job, disk->at[VMIG_SOURCE].overlay, "", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
    g_assert_true(exists(file_of(f)->path[VMIG_SOURCE]));
}

/* A QEMU that has the image open for writing. */
static GPid hold_image(Fixture *f, const char *path)
{
    g_autofree char *socket = g_build_filename(f->dir, "q.sock", NULL);
    const char *argv[] = {"qemu-nbd", "-f", "qcow2", "-t", "-k", socket, path, NULL};
    g_autoptr(GError) error = NULL;
    VmigImageLocks locks = {0};
    GPid pid;

    g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid, &error);
    g_assert_no_error(error);
    for (guint i = 0; i < 500 && !locks.writer; i++) {
        g_usleep(10000);
        g_assert_true(vmig_node_locks(f->node, path, &locks, &error));
    }
    g_assert_true(locks.writer);
    return pid;
}

static void let_go_of_image(GPid pid)
{
    kill(pid, SIGKILL); /* qemu-nbd forgets a SIGTERM that comes before its main loop (state = RUNNING in main()) */
    waitpid(pid, NULL, 0);
}

/* Keeps an overlay that QEMU has open, and one that contains a snapshot. */
static void test_remove_in_use(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    VmigDisk *disk = disk_of(f);
    g_autoptr(GError) error = NULL;

    put_record(f);
    make_image(file_of(f)->path[VMIG_SOURCE]);
    g_assert_true(vmig_node_intend(f->node, f->job, disk->at[VMIG_SOURCE].overlay, "overlay", &error));
    run_command("qemu-img create -q -f qcow2 -b '%s' -F qcow2 '%s'", file_of(f)->path[VMIG_SOURCE],
                disk->at[VMIG_SOURCE].overlay);
    g_assert_true(vmig_node_made(f->node, f->job, disk->at[VMIG_SOURCE].overlay, &error));
    GPid pid = hold_image(f, disk->at[VMIG_SOURCE].overlay);
    g_assert_false(vmig_node_remove(f->node, f->job, disk->at[VMIG_SOURCE].overlay, "because", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_INTERFERENCE);
    g_clear_error(&error);
    let_go_of_image(pid);
    run_command("qemu-img snapshot -c mine '%s'", disk->at[VMIG_SOURCE].overlay);
    g_assert_false(vmig_node_remove(f->node, f->job, disk->at[VMIG_SOURCE].overlay, "because", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_GATE);
    g_assert_true(exists(disk->at[VMIG_SOURCE].overlay));
}

static void describe_source(VmigFile *file)
{
    struct stat st;

    g_assert_cmpint(stat(file->path[VMIG_SOURCE], &st), ==, 0);
    file->size = (guint64)st.st_size;
    file->dev = (guint64)st.st_dev;
    file->ino = (guint64)st.st_ino;
    file->mtime_ns = (guint64)st.st_mtim.tv_sec * 1000000000 + (guint64)st.st_mtim.tv_nsec;
}

static void refuse_base(Fixture *f)
{
    g_autofree char *kept = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_false(vmig_node_remove_base(f->node, f->job, file_of(f), &kept, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_GATE);
    g_assert_true(exists(file_of(f)->path[VMIG_SOURCE]));
}

static void set_mtime(const char *path, guint64 mtime_ns)
{
    struct timespec times[] = {{.tv_nsec = UTIME_OMIT},
                               {.tv_sec = (time_t)(mtime_ns / 1000000000), .tv_nsec = (long)(mtime_ns % 1000000000)}};

    g_assert_cmpint(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), ==, 0);
}

static void keep_base(Fixture *f, const char *word)
{
    g_autofree char *kept = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_true(vmig_node_remove_base(f->node, f->job, file_of(f), &kept, &error));
    g_assert_no_error(error);
    g_assert_nonnull(kept);
    g_assert_nonnull(strstr(kept, word));
    g_assert_true(exists(file_of(f)->path[VMIG_SOURCE]));
}

static void expect_user(Fixture *f, const char *word)
{
    const char *const paths[] = {file_of(f)->path[VMIG_SOURCE], NULL};
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) users = vmig_node_users(f->node, paths, NULL, &error);

    g_assert_no_error(error);
    g_assert_cmpuint(users->len, ==, 1);
    g_assert_true(word == NULL ? users->pdata[0] == NULL : strstr(users->pdata[0], word) != NULL);
}

static void test_remove_base(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *clone = g_build_filename(f->root, "clone.qcow2", NULL);
    g_autofree char *kept = NULL;

    make_image(file_of(f)->path[VMIG_SOURCE]);
    describe_source(file_of(f));
    put_record(f);
    refuse_base(f); /* the source owns the guest */
    g_assert_true(vmig_node_token_put(f->node, f->job, VMIG_DEST, &error));
    refuse_base(f); /* not pivoted */
    f->job->owner = VMIG_DEST;
    put_state(f->job, VMIG_MIGRATE(CLEANUP));
    put_record(f);
    guint64 copied = file_of(f)->mtime_ns;
    run_command("touch '%s'", file_of(f)->path[VMIG_SOURCE]);
    keep_base(f, "it was changed after");
    describe_source(file_of(f));
    keep_base(f, "it was changed after");                          /* the record counts, not the request, */
    g_assert_false(vmig_node_record_put(f->node, f->job, &error)); /* and the record cannot be changed now */
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONTRADICTION);
    g_clear_error(&error);
    set_mtime(file_of(f)->path[VMIG_SOURCE], copied);
    expect_user(f, NULL);
    run_command("qemu-img create -q -f qcow2 -b '%s' -F qcow2 '%s'", file_of(f)->path[VMIG_SOURCE], clone);
    expect_user(f, "clone.qcow2 uses it");
    keep_base(f, "clone.qcow2 uses it");
    g_unlink(clone);
    int fd = open(file_of(f)->path[VMIG_SOURCE], O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1};
    g_assert_cmpint(fcntl(fd, F_OFD_SETLK, &lock), ==, 0);
    keep_base(f, "in use");
    close(fd);
    g_assert_true(vmig_node_remove_base(f->node, f->job, file_of(f), &kept, &error));
    g_assert_no_error(error);
    g_assert_null(kept);
    g_assert_false(exists(file_of(f)->path[VMIG_SOURCE]));
    expect_user(f, NULL);
    g_assert_true(vmig_node_remove_base(f->node, f->job, file_of(f), &kept, &error));
    g_assert_null(kept);
}

static void test_remove_base_elsewhere(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    make_image(file_of(f)->path[VMIG_SOURCE]);
    describe_source(file_of(f));
    put_record(f);
    g_assert_true(vmig_node_token_put(f->node, f->job, VMIG_DEST, NULL));
    f->job->owner = VMIG_DEST;
    put_state(f->job, VMIG_MIGRATE(CLEANUP));
    put_record(f);
    refuse_base(f); /* this host is the destination: the same path is the guest's disk here */
}

/* --- base copies --- */

static char *base_copy_socket(Fixture *f)
{
    return g_build_filename(f->run, ID, "copy-0.sock", NULL);
}

static void send_bytes(const char *path, guint64 size, const char *socket)
{
    run_command("qemu-io -f raw -c \"write -s %s 0 %" G_GUINT64_FORMAT "\" 'nbd+unix:///?socket=%s'", path, size,
                socket);
}

static void start_base_copy(Fixture *f)
{
    gboolean fresh = FALSE;
    g_autoptr(GError) error = NULL;
    g_autofree char *socket = base_copy_socket(f);

    put_record(f);
    make_image(file_of(f)->path[VMIG_SOURCE]);
    describe_source(file_of(f));
    vmig_node_rundir(f->node, f->job, &error);
    g_assert_no_error(error);
    vmig_node_receive(f->node, f->job, file_of(f), socket, &key, &fresh, &error);
    g_assert_no_error(error);
}

static void test_base_copy(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    gboolean fresh = FALSE;
    g_autoptr(GError) error = NULL;
    g_autofree char *socket = base_copy_socket(f);
    g_autofree char *hash = NULL;
    g_autofree char *again = NULL;
    VmigFile *file = file_of(f);

    start_base_copy(f);
    vmig_node_receive(f->node, f->job, file, socket, &key, &fresh, &error); /* repeated: the first receiver ends */
    g_assert_no_error(error);
    g_assert_true(fresh); /* nothing was written to it yet */
    send_bytes(file->path[VMIG_SOURCE], file->size, socket);
    vmig_node_received(f->node, f->job, file, NULL, &hash, &error);
    g_assert_no_error(error);
    g_assert_true(vmig_node_received(f->node, f->job, file, NULL, &again, &error));
    g_assert_cmpstr(hash, ==, again);
    run_command("cmp '%s' '%s'", file->path[VMIG_SOURCE], file->part);
    file->hash = g_strdup("gmact:00");
    g_assert_false(vmig_node_place(f->node, f->job, file, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_HASH_MISMATCH);
    g_clear_error(&error);
    g_free(file->hash);
    file->hash = g_strdup(hash);
    for (guint i = 0; i < 2; i++) {
        vmig_node_place(f->node, f->job, file, &error);
        g_assert_no_error(error);
    }
    g_assert_false(exists(file->part));
    run_command("cmp '%s' '%s'", file->path[VMIG_SOURCE], file->path[VMIG_DEST]);
    /* After a rollback it is removed; with the guest on it, it stays. */
    g_auto(GStrv) left = vmig_node_leftovers(f->node, f->job, &error);
    g_assert_cmpuint(g_strv_length(left), ==, 1);
    g_assert_true(vmig_node_token_put(f->node, f->job, VMIG_DEST, &error));
    g_auto(GStrv) none = vmig_node_leftovers(f->node, f->job, &error);
    g_assert_cmpuint(g_strv_length(none), ==, 0);
    g_assert_false(vmig_node_remove(f->node, f->job, file->path[VMIG_DEST], "because", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_GATE);
    g_assert_true(exists(file->path[VMIG_DEST]));
}

static void test_base_copy_rolled_back(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    gboolean fresh = FALSE;
    g_autoptr(GError) error = NULL;
    g_autofree char *socket = base_copy_socket(f);
    g_autofree char *hash = NULL;
    VmigFile *file = file_of(f);

    start_base_copy(f);
    send_bytes(file->path[VMIG_SOURCE], file->size, socket);
    g_assert_true(vmig_node_received(f->node, f->job, file, NULL, &hash, &error));
    g_assert_true(vmig_node_place(f->node, f->job, file, &error));
    g_assert_true(vmig_node_remove(f->node, f->job, file->path[VMIG_DEST], "rolled back", &error));
    g_assert_no_error(error);
    g_assert_false(exists(file->path[VMIG_DEST]));
    /* And once more from the start. */
    g_assert_true(vmig_node_receive(f->node, f->job, file, socket, &key, &fresh, &error));
    g_assert_no_error(error);
    g_assert_true(vmig_node_remove(f->node, f->job, file->part, "rolled back", &error));
    g_assert_false(exists(file->part));
    g_assert_false(exists(socket));
}

static gpointer let_go_later(gpointer data)
{
    g_usleep(300000);
    let_go_of_image(GPOINTER_TO_INT(data));
    return NULL;
}

/* The receiver of an ended agent has the part a moment longer; another process has it permanently. */
static void test_base_copy_held(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *socket = base_copy_socket(f);
    g_autofree char *hash = NULL;
    gboolean fresh = TRUE;
    VmigFile *file = file_of(f);

    start_base_copy(f);
    send_bytes(file->path[VMIG_SOURCE], file->size, socket);
    g_assert_true(vmig_node_received(f->node, f->job, file, NULL, &hash, &error));
    GPid pid = hold_image(f, file->part);
    GThread *thread = g_thread_new("later", let_go_later, GINT_TO_POINTER(pid));
    vmig_node_receive(f->node, f->job, file, socket, &key, &fresh, &error);
    g_assert_no_error(error);
    g_thread_join(thread);
    g_clear_pointer(&hash, g_free);
    g_assert_true(vmig_node_received(f->node, f->job, file, NULL, &hash, &error));
    pid = hold_image(f, file->part);
    g_assert_false(vmig_node_receive(f->node, f->job, file, socket, &key, &fresh, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_INTERFERENCE);
    let_go_of_image(pid);
}

/* Reports what an earlier attempt left in the part; its hash covers only what is on the disk. */
static void test_base_copy_again(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *socket = base_copy_socket(f);
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;
    g_autoptr(GBytes) page = NULL;
    gboolean fresh = TRUE;
    VmigFile *file = file_of(f);

    start_base_copy(f);
    send_bytes(file->path[VMIG_SOURCE], file->size, socket);
    g_assert_true(vmig_node_received(f->node, f->job, file, NULL, &first, &error));
    g_assert_true(vmig_node_receive(f->node, f->job, file, socket, &key, &fresh, &error));
    g_assert_no_error(error);
    g_assert_false(fresh);
    g_assert_true(vmig_node_known(f->node, f->job, file, 0, &page, &error));
    g_assert_cmpuint(g_bytes_get_size(page), >, 16);
    g_assert_false(vmig_node_known(f->node, f->job, file, 1 << 20, &page, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
    g_clear_error(&error);
    g_assert_false(vmig_node_received(f->node, f->job, file, "AAAAAAAAAAAAAAAA", &second, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
    g_clear_error(&error);
    g_assert_false(vmig_node_known(f->node, f->job, file, 0, &page, &error)); /* it has ended */
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONNECTION);
    g_clear_error(&error);
    g_assert_true(vmig_node_receive(f->node, f->job, file, socket, &key, &fresh, &error));
    g_assert_true(vmig_node_received(f->node, f->job, file, NULL, &second, &error));
    g_assert_cmpstr(first, ==, second);
}

/* A base copy that a migration wrote to becomes a part again: its content is reported, it is proven and gets its name
 * again. Not while a process writes to it, and not with the guest on it. */
static void test_base_copy_unplaced(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *socket = base_copy_socket(f);
    g_autofree char *hash = NULL;
    g_autofree char *second = NULL;
    gboolean fresh = TRUE;
    VmigFile *file = file_of(f);

    start_base_copy(f);
    send_bytes(file->path[VMIG_SOURCE], file->size, socket);
    g_assert_true(vmig_node_received(f->node, f->job, file, NULL, &hash, &error));
    g_assert_true(vmig_node_place(f->node, f->job, file, &error));
    GPid pid = hold_image(f, file->path[VMIG_DEST]);
    g_assert_false(vmig_node_unplace(f->node, f->job, file, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_TIMEOUT); /* it may be gone at the next attempt */
    g_clear_error(&error);
    g_assert_true(exists(file->path[VMIG_DEST]));
    let_go_of_image(pid);
    run_command("qemu-io -f qcow2 -c 'write -P 7 0 64k' '%s'", file->path[VMIG_DEST]);
    for (guint i = 0; i < 2; i++) {
        g_assert_true(vmig_node_unplace(f->node, f->job, file, &error));
        g_assert_no_error(error);
        g_assert_true(exists(file->part) && !exists(file->path[VMIG_DEST]));
    }
    g_assert_true(vmig_node_receive(f->node, f->job, file, socket, &key, &fresh, &error));
    g_assert_false(fresh);
    g_assert_true(vmig_node_received(f->node, f->job, file, NULL, &second, &error));
    g_assert_cmpstr(hash, !=, second);
    g_clear_pointer(&second, g_free);
    g_assert_true(vmig_node_receive(f->node, f->job, file, socket, &key, &fresh, &error));
    send_bytes(file->path[VMIG_SOURCE], file->size, socket);
    g_assert_true(vmig_node_received(f->node, f->job, file, NULL, &second, &error));
    g_assert_cmpstr(hash, ==, second);
    g_assert_true(vmig_node_place(f->node, f->job, file, &error));
    run_command("cmp '%s' '%s'", file->path[VMIG_SOURCE], file->path[VMIG_DEST]);
    g_assert_true(vmig_node_token_put(f->node, f->job, VMIG_DEST, &error));
    g_assert_false(vmig_node_unplace(f->node, f->job, file, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_GATE);
    g_assert_true(exists(file->path[VMIG_DEST]));
}

/* A finished migration away from this host, which kept the image at the base copy's path. */
static void keep_image(Fixture *f, const char *path, gboolean keep)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigJob) old = new_job(f->root);
    VmigFile *file = ((VmigDisk *)old->disks->pdata[0])->files->pdata[0];
    g_autoptr(VmigNode) source = open_node(f, VMIG_SOURCE, &error);

    make_image(path);
    g_free(old->id);
    old->id = g_strdup(OTHER_ID);
    g_free(file->path[VMIG_SOURCE]);
    file->path[VMIG_SOURCE] = g_strdup(path);
    describe_source(file);
    old->options.keep_source = keep;
    vmig_node_record_put(source, old, &error);
    g_assert_no_error(error);
    vmig_node_token_put(source, old, VMIG_DEST, &error);
    g_assert_no_error(error);
    old->owner = VMIG_DEST;
    put_state(old, VMIG_MIGRATE(DONE));
    vmig_node_record_put(source, old, &error);
    g_assert_no_error(error);
}

static void expect_kept(Fixture *f, const char *why_not)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigPathFacts) facts = vmig_node_path(f->node, file_of(f)->path[VMIG_DEST], &error);

    g_assert_no_error(error);
    g_assert_cmpstr(facts->kept_job, ==, OTHER_ID);
    g_assert_cmpstr(facts->kept_domain, ==, UUID);
    if (why_not == NULL)
        g_assert_cmpstr(facts->kept_why_not, ==, NULL);
    else
        g_assert_nonnull(strstr(facts->kept_why_not, why_not));
}

static void set_mtime_of(const char *path, const struct stat *st)
{
    g_assert_cmpint(utimensat(AT_FDCWD, path, (const struct timespec[]){st->st_atim, st->st_mtim}, 0), ==, 0);
}

/* Each reason against a kept image in turn; at the end it becomes the base copy. */
static void test_base_copy_kept(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *socket = base_copy_socket(f);
    g_autofree char *clone = g_build_filename(f->root, "clone.qcow2", NULL);
    g_autofree char *hash = NULL;
    gboolean fresh = TRUE;
    VmigFile *file = file_of(f);
    struct stat before, after;

    keep_image(f, file->path[VMIG_DEST], TRUE);
    g_assert_cmpint(stat(file->path[VMIG_DEST], &before), ==, 0);
    expect_kept(f, NULL);
    run_command("qemu-img create -q -f qcow2 -b '%s' -F qcow2 '%s'", file->path[VMIG_DEST], clone);
    expect_kept(f, "clone.qcow2 uses it");
    g_unlink(clone);
    int fd = open(file->path[VMIG_DEST], O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1};
    g_assert_cmpint(fcntl(fd, F_OFD_SETLK, &lock), ==, 0);
    expect_kept(f, "in use");
    close(fd);
    g_assert_cmpint(utimensat(AT_FDCWD, file->path[VMIG_DEST], NULL, 0), ==, 0);
    expect_kept(f, "it was changed after");
    /* Also between the plan and the copy: then it is not changed. */
    put_record(f);
    make_image(file->path[VMIG_SOURCE]);
    describe_source(file);
    g_assert_true(vmig_node_rundir(f->node, f->job, &error));
    file->kept = g_strdup(OTHER_ID);
    g_assert_false(vmig_node_receive(f->node, f->job, file, socket, &key, &fresh, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_DESTINATION_EXISTS);
    g_clear_error(&error);
    g_assert_true(exists(file->path[VMIG_DEST]));
    g_assert_false(exists(file->part));
    set_mtime_of(file->path[VMIG_DEST], &before);
    g_free(file->kept);
    file->kept = g_strdup(ID); /* another job's ID */
    g_assert_false(vmig_node_receive(f->node, f->job, file, socket, &key, &fresh, &error));
    g_clear_error(&error);
    g_assert_true(exists(file->path[VMIG_DEST]));
    g_free(file->kept);
    file->kept = g_strdup(OTHER_ID);
    for (guint i = 0; i < 2; i++) { /* repeated, it continues with the image that it took */
        vmig_node_receive(f->node, f->job, file, socket, &key, &fresh, &error);
        g_assert_no_error(error);
        g_assert_false(fresh);
        g_assert_false(exists(file->path[VMIG_DEST]));
        g_assert_cmpint(stat(file->part, &after), ==, 0);
        g_assert_cmpuint(after.st_ino, ==, before.st_ino);
    }
    g_assert_true(after.st_mtim.tv_sec != before.st_mtim.tv_sec || after.st_mtim.tv_nsec != before.st_mtim.tv_nsec);
    send_bytes(file->path[VMIG_SOURCE], file->size, socket);
    g_assert_true(vmig_node_received(f->node, f->job, file, NULL, &hash, &error));
    vmig_node_place(f->node, f->job, file, &error);
    g_assert_no_error(error);
    run_command("cmp '%s' '%s'", file->path[VMIG_SOURCE], file->path[VMIG_DEST]);
    expect_kept(f, "it was changed after"); /* the guest's disk is no longer a kept image */
    g_assert_true(vmig_node_remove(f->node, f->job, file->path[VMIG_DEST], "rolled back", &error));
    g_assert_false(exists(file->path[VMIG_DEST]));
}

/* On a port instead of a socket. */
static void test_base_copy_on_port(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *hash = NULL;
    gboolean fresh = FALSE;
    VmigPort port = {NULL};
    VmigFile *file = file_of(f);

    put_record(f);
    make_image(file->path[VMIG_SOURCE]);
    describe_source(file);
    vmig_node_receive_on_port(f->node, f->job, file, "tcp", &key, &port, &fresh, &error);
    g_assert_no_error(error);
    g_assert_true(fresh && port.number >= 49440 && port.number <= 49447);
    run_command("qemu-io -f raw -c \"write -s %s 0 %" G_GUINT64_FORMAT "\" nbd://localhost:%u/%s",
                file->path[VMIG_SOURCE], file->size, port.number, port.export);
    g_assert_true(vmig_node_received(f->node, f->job, file, NULL, &hash, &error));
    run_command("cmp '%s' '%s'", file->path[VMIG_SOURCE], file->part);
    g_assert_false(vmig_node_receive_on_port(f->node, f->job, file, "tls", &key, &port, &fresh, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL); /* TLS for any client with a certificate is not offered */
    g_clear_error(&error);
    port.identity = "CN=a";
    g_assert_false(vmig_node_receive_on_port(f->node, f->job, file, "tls", &key, &port, &fresh, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IMAGE_TOOL); /* there are no certificates */
    g_clear_error(&error);
    g_assert_false(vmig_node_receive_on_port(f->node, f->job, file, "ssh", &key, &port, &fresh, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
}

static void test_base_copy_not_kept(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    keep_image(f, file_of(f)->path[VMIG_DEST], FALSE);
    expect_kept(f, "not to keep it");
}

static void test_base_copy_never_over(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *socket = base_copy_socket(f);
    g_autofree char *hash = NULL;
    g_autofree char *text = NULL;
    VmigFile *file = file_of(f);

    start_base_copy(f);
    send_bytes(file->path[VMIG_SOURCE], file->size, socket);
    g_assert_true(vmig_node_received(f->node, f->job, file, NULL, &hash, &error));
    g_file_set_contents(file->path[VMIG_DEST], "precious", -1, NULL);
    g_assert_false(vmig_node_place(f->node, f->job, file, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_DESTINATION_EXISTS);
    g_file_get_contents(file->path[VMIG_DEST], &text, NULL, NULL);
    g_assert_cmpstr(text, ==, "precious");
}

/* A process that did not receive cannot confirm that everything arrived, and ending a process ends its receivers. */
static void test_base_copy_lost(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    gboolean fresh = FALSE;
    g_autoptr(GError) error = NULL;
    g_autofree char *socket = base_copy_socket(f);
    g_autofree char *hash = NULL;

    start_base_copy(f);
    vmig_node_local_cancel(f->node);
    g_assert_false(exists(socket));
    g_autoptr(VmigNode) other = open_node(f, VMIG_DEST, &error);
    g_assert_false(vmig_node_received(other, f->job, file_of(f), NULL, &hash, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONNECTION);
    g_clear_error(&error);
    g_assert_true(vmig_node_receive(other, f->job, file_of(f), socket, &key, &fresh, &error));
    g_assert_no_error(error);
}

static void test_base_copy_refusals(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    gboolean fresh = FALSE;
    VmigFile *file = file_of(f);
    g_autofree char *socket = base_copy_socket(f);
    g_autofree char *elsewhere = g_build_filename(f->dir, "x.sock", NULL);
    g_autofree char *deeper = g_build_filename(f->run, ID, "..", "x.sock", NULL);
    g_autoptr(GError) error = NULL;

    put_record(f);
    file->size = 1 << 20;
    g_assert_true(vmig_node_rundir(f->node, f->job, &error));
    g_assert_false(vmig_node_receive(f->node, f->job, file, elsewhere, &key, &fresh, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_PATH);
    g_clear_error(&error);
    g_assert_false(vmig_node_receive(f->node, f->job, file, deeper, &key, &fresh, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_PATH);
    g_clear_error(&error);
    g_free(file->part);
    file->part = g_strdup(file->path[VMIG_SOURCE]); /* not named after the job */
    g_assert_false(vmig_node_receive(f->node, f->job, file, socket, &key, &fresh, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_GATE);
    g_clear_error(&error);
    g_free(file->part);
    g_free(file->path[VMIG_DEST]);
    file->part = vmig_part_path(file->path[VMIG_SOURCE], ID);
    file->path[VMIG_DEST] = g_strdup("/etc/passwd");
    g_assert_false(vmig_node_receive(f->node, f->job, file, socket, &key, &fresh, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_OUTSIDE_ROOTS);
    g_assert_false(exists(file->part));
}

/* What the header would make QEMU open is checked before the base copy gets its name. */
static void test_base_copy_hostile(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *socket = base_copy_socket(f);
    g_autofree char *hash = NULL;
    VmigFile *file = file_of(f);

    start_base_copy(f);
    run_command("qemu-img rebase -u -f qcow2 -b /etc/shadow -F raw '%s'", file->path[VMIG_SOURCE]);
    describe_source(file);
    send_bytes(file->path[VMIG_SOURCE], file->size, socket);
    g_assert_true(vmig_node_received(f->node, f->job, file, NULL, &hash, &error));
    g_assert_false(vmig_node_place(f->node, f->job, file, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_OUTSIDE_ROOTS);
    g_clear_error(&error);
    g_assert_false(exists(file->path[VMIG_DEST]));
    file->rebase = g_strdup("bottom.qcow2");
    file->backing_format = g_strdup("qcow2");
    g_assert_true(vmig_node_place(f->node, f->job, file, &error));
    g_assert_no_error(error);
    g_autofree char *bottom = g_build_filename(f->root, "bottom.qcow2", NULL);
    make_image(bottom);
    g_autoptr(GPtrArray) chain = vmig_node_survey(f->node, file->path[VMIG_DEST], "qcow2", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(chain->len, ==, 2);
}

typedef struct {
    Fixture *f;
    VmigFile *file;
    char *socket;
    char *hash;
} Copy;

static gpointer copy_one(gpointer data)
{
    gboolean fresh = FALSE;
    Copy *copy = data;
    g_autoptr(GError) error = NULL;

    vmig_node_receive(copy->f->node, copy->f->job, copy->file, copy->socket, &key, &fresh, &error);
    g_assert_no_error(error);
    send_bytes(copy->file->path[VMIG_SOURCE], copy->file->size, copy->socket);
    vmig_node_received(copy->f->node, copy->f->job, copy->file, NULL, &copy->hash, &error);
    g_assert_no_error(error);
    vmig_node_place(copy->f->node, copy->f->job, copy->file, &error);
    g_assert_no_error(error);
    return NULL;
}

static void test_copies_at_once(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    Copy copies[4];
    GThread *threads[G_N_ELEMENTS(copies)];

    for (guint i = 1; i < G_N_ELEMENTS(copies); i++) {
        g_autofree char *name = g_strdup_printf("m%u.qcow2", i);
        add_file(disk_of(f), f->root, name);
    }
    put_record(f);
    g_assert_true(vmig_node_rundir(f->node, f->job, NULL));
    for (guint i = 0; i < G_N_ELEMENTS(copies); i++) {
        VmigFile *file = disk_of(f)->files->pdata[i];
        make_image(file->path[VMIG_SOURCE]);
        describe_source(file);
        copies[i] = (Copy){f, file, g_strdup_printf("%s/%s/copy-%u.sock", f->run, ID, i), NULL};
        threads[i] = g_thread_new("copy", copy_one, &copies[i]);
    }
    for (guint i = 0; i < G_N_ELEMENTS(copies); i++) {
        g_thread_join(threads[i]);
        run_command("cmp '%s' '%s'", copies[i].file->path[VMIG_SOURCE], copies[i].file->path[VMIG_DEST]);
        g_free(copies[i].socket);
        g_free(copies[i].hash);
    }
}

/* --- guard and sockets --- */

static void test_guard(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *const bases[] = {file_of(f)->path[VMIG_SOURCE], NULL};
    const char *const overlays[] = {disk_of(f)->at[VMIG_SOURCE].overlay, NULL};
    g_autoptr(GError) error = NULL;
    VmigImageLocks locks;
    gboolean held = TRUE;

    make_image(bases[0]);
    make_image(overlays[0]);
    g_assert_true(vmig_node_thaw(f->node, f->job, &error)); /* succeeds without a guard */
    g_assert_true(vmig_node_fence_drop(f->node, f->job, &error));
    g_assert_true(vmig_node_guard_stop(f->node, f->job, &error));
    g_assert_true(vmig_node_fence_take(f->node, f->job, 0, &held, &error));
    g_assert_false(held);
    for (guint i = 0; i < 2; i++) {
        vmig_node_freeze(f->node, f->job, bases, &error);
        g_assert_no_error(error);
    }
    g_assert_true(vmig_node_locks(f->node, bases[0], &locks, &error));
    g_assert_true(locks.frozen && !locks.writer);
    g_assert_true(vmig_node_fence_arm(f->node, f->job, overlays, NULL, &error));
    g_assert_true(vmig_node_fence_take(f->node, f->job, 60 * G_USEC_PER_SEC, &held, &error));
    g_assert_true(held);
    /* It outlives the process that started it. */
    vmig_node_free(f->node);
    f->node = open_node(f, VMIG_SOURCE, &error);
    g_assert_no_error(error);
    g_assert_true(vmig_node_locks(f->node, overlays[0], &locks, &error));
    g_assert_true(locks.frozen);
    g_assert_true(vmig_node_fence_drop(f->node, f->job, &error));
    g_assert_true(vmig_node_thaw(f->node, f->job, &error));
    g_assert_true(vmig_node_locks(f->node, bases[0], &locks, &error));
    g_assert_false(locks.frozen);
    g_assert_true(vmig_node_guard_stop(f->node, f->job, &error));
    g_assert_true(vmig_node_guard_stop(f->node, f->job, &error));
}

static void make_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    close(fd);
}

static void test_rundir(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *dir = g_build_filename(f->run, ID, NULL);
    g_autofree char *socket = g_build_filename(dir, "ram.sock", NULL);
    g_autofree char *file = g_build_filename(dir, "file", NULL);
    g_autoptr(GError) error = NULL;
    struct stat st;

    g_assert_true(vmig_node_rundir_remove(f->node, f->job, &error));
    for (guint i = 0; i < 2; i++) {
        vmig_node_rundir(f->node, f->job, &error);
        g_assert_no_error(error);
    }
    g_assert_cmpint(stat(dir, &st), ==, 0);
    g_assert_true((st.st_mode & S_ISVTX) != 0 && (st.st_mode & 01) != 0);
    g_assert_cmpint(st.st_uid, ==, geteuid());
    make_socket(socket);
    g_file_set_contents(file, "x", 1, NULL);
    g_assert_false(vmig_node_rundir_remove(f->node, f->job, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_GATE);
    g_clear_error(&error);
    g_assert_true(exists(file));
    g_unlink(file);
    g_assert_true(vmig_node_rundir_remove(f->node, f->job, &error));
    g_assert_no_error(error);
    g_assert_false(exists(dir));
    g_assert_cmpint(symlink(f->root, dir), ==, 0);
    g_assert_false(vmig_node_rundir(f->node, f->job, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_IO);
    g_clear_error(&error);
    g_assert_true(vmig_node_sync_config(f->node, &error));
    g_assert_no_error(error);
}

/* QEMU's user can create a socket in the folder, but cannot remove another user's. */
static void check_as_user(const char *dir, uid_t uid)
{
    g_autofree char *own = g_build_filename(dir, "own.sock", NULL);
    g_autofree char *roots = g_build_filename(dir, "libvirt.sock", NULL);

    make_socket(roots);
    g_assert_cmpint(chmod(roots, 0600), ==, 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        g_strlcpy(address.sun_path, own, sizeof address.sun_path);
        if (setresgid(65534, 65534, 65534) != 0 || setresuid(uid, uid, uid) != 0)
            _exit(10);
        if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
            _exit(11);
        if (unlink(roots) == 0 || rename(own, roots) == 0)
            _exit(12);
        _exit(unlink(own) == 0 ? 0 : 13);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

/* The mode travels, but no execution and no writing by everybody; the owner is set only if libvirt does not do it. */
static void test_give(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const struct {
        const char *conf;
        guint mode, expected;
        uid_t uid;
        gid_t gid;
    } rows[] = {
        {"", 0644, 0644, 0, 0},
        {"user = \"+4711\"\n#dynamic_ownership = 0\ndynamic_ownership=1 # x\n", 0660, 0660, 0, 0},
        {"user = \"+4711\"\ngroup = \"+4712\"\ndynamic_ownership = 0\n", 0600, 0600, 4711, 4712},
        {"user = \"root\"\ngroup = \"root\"\ndynamic_ownership = 0\n", 06777, 0664, 0, 0},
        {"", 0, 0600, 0, 0},
    };
    g_autofree char *conf = g_build_filename(f->config, "qemu.conf", NULL);
    g_autofree char *path = g_build_filename(f->config, "image", NULL);
    g_autoptr(GError) error = NULL;
    struct stat st;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (geteuid() != 0) {
        g_test_skip("needs root, to give files away");
        close(fd);
        return;
    }
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_assert_true(g_file_set_contents(conf, rows[i].conf, -1, NULL));
        g_assert_cmpint(fchown(fd, 0, 0), ==, 0);
        g_assert_true(vmig_qemu_user_give(conf, fd, path, rows[i].mode, &error));
        g_assert_cmpint(fstat(fd, &st), ==, 0);
        g_assert_cmphex(st.st_mode & 07777, ==, rows[i].expected);
        g_assert_cmpuint(st.st_uid, ==, rows[i].uid);
        g_assert_cmpuint(st.st_gid, ==, rows[i].gid);
    }
    g_file_set_contents(conf, "user = \"+4711\"\ngroup = \"no-such-group\"\ndynamic_ownership = 0\n", -1, NULL);
    g_assert_false(vmig_qemu_user_give(conf, fd, path, 0600, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_UNSUPPORTED);
    close(fd);
}

static void test_qemu_user(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *conf = g_build_filename(f->config, "qemu.conf", NULL);
    g_autofree char *dir = g_build_filename(f->run, ID, NULL);
    g_autoptr(GError) error = NULL;
    uid_t uid = 7;
    gid_t gid;

    g_assert_true(vmig_qemu_user("/nonexistent", &uid, &gid, &error));
    g_file_set_contents(conf, "#user = \"x\"\n user = \"root\" # y\n", -1, NULL);
    g_assert_true(vmig_qemu_user(conf, &uid, &gid, &error));
    g_assert_cmpuint(uid, ==, 0);
    g_file_set_contents(conf, "user = \"no-such-user\"\n", -1, NULL);
    g_assert_false(vmig_qemu_user(conf, &uid, &gid, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_UNSUPPORTED);
    g_clear_error(&error);
    g_file_set_contents(conf, "user = \"+4711\"\n", -1, NULL);
    g_assert_true(vmig_qemu_user(conf, &uid, &gid, &error));
    g_assert_cmpuint(uid, ==, 4711);
    g_file_set_contents(conf, "user = \"root\"\ndynamic_ownership = 0\nmigrate_host = \"m.x\"\n", -1, NULL);
    g_autofree char *migrate_host = vmig_qemu_conf_value(conf, "migrate_host");
    g_assert_cmpstr(migrate_host, ==, "m.x");
    g_file_set_contents(conf, "user = \"+4711\"\n", -1, NULL);
    if (geteuid() != 0) {
        g_test_skip("needs root");
        return;
    }
    g_assert_true(vmig_node_rundir(f->node, f->job, &error));
    g_assert_no_error(error);
    /* Access to the folder is not under test. */
    g_assert_cmpint(chmod(f->dir, 0711), ==, 0);
    check_as_user(dir, 4711);
}

int main(int argc, char **argv)
{
    /* The guard's own command line, as in the command line tool. */
    if (argc == 4 && g_str_equal(argv[1], "agent") && g_str_equal(argv[2], "--guard"))
        return vmig_guard_main(argv[3]);
    static const struct {
        const char *name;
        void (*test)(Fixture *, gconstpointer);
        VmigRole role;
    } tests[] = {
        {"hello", test_hello, VMIG_SOURCE},
        {"path", test_path, VMIG_SOURCE},
        {"image", test_image, VMIG_SOURCE},
        {"outside", test_outside, VMIG_SOURCE},
        {"lock", test_lock, VMIG_SOURCE},
        {"record", test_record, VMIG_DEST},
        {"older-journal", test_older_journal, VMIG_SOURCE},
        {"arguments", test_arguments, VMIG_SOURCE},
        {"job-id", test_job_id, VMIG_SOURCE},
        {"overlay", test_overlay, VMIG_DEST},
        {"commit-offline", test_commit_offline, VMIG_DEST},
        {"remove", test_remove, VMIG_SOURCE},
        {"remove-in-use", test_remove_in_use, VMIG_SOURCE},
        {"remove-base", test_remove_base, VMIG_SOURCE},
        {"remove-base-elsewhere", test_remove_base_elsewhere, VMIG_DEST},
        {"copy", test_base_copy, VMIG_DEST},
        {"copy-rolled-back", test_base_copy_rolled_back, VMIG_DEST},
        {"copy-kept", test_base_copy_kept, VMIG_DEST},
        {"copy-on-port", test_base_copy_on_port, VMIG_DEST},
        {"copy-not-kept", test_base_copy_not_kept, VMIG_DEST},
        {"copy-never-over", test_base_copy_never_over, VMIG_DEST},
        {"copy-again", test_base_copy_again, VMIG_DEST},
        {"copy-held", test_base_copy_held, VMIG_DEST},
        {"copy-unplaced", test_base_copy_unplaced, VMIG_DEST},
        {"copy-lost", test_base_copy_lost, VMIG_DEST},
        {"copy-refusals", test_base_copy_refusals, VMIG_DEST},
        {"copy-hostile", test_base_copy_hostile, VMIG_DEST},
        {"copies-at-once", test_copies_at_once, VMIG_DEST},
        {"guard", test_guard, VMIG_SOURCE},
        {"guard-dead", test_dead_guard, VMIG_SOURCE},
        {"second-holder", test_second_holder, VMIG_SOURCE},
        {"rundir", test_rundir, VMIG_SOURCE},
        {"qemu-user", test_qemu_user, VMIG_SOURCE},
        {"give", test_give, VMIG_SOURCE},
    };

    g_test_init(&argc, &argv, NULL);
    program = g_file_read_link("/proc/self/exe", NULL);
    for (guint i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strconcat("/node-local/", tests[i].name, NULL);
        g_test_add(path, Fixture, GUINT_TO_POINTER(tests[i].role), set_up, tests[i].test, tear_down);
    }
    int result = g_test_run();
    g_free(program);
    return result;
}
