/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The agent with a compromised peer, which may start "vmig-snap agent" here and nothing else. Whatever it claims about
 * jobs, it cannot delete, change, rename or lock an image of another guest, end such a guest, or change this host's
 * records of its own jobs. The victim's image is compared after each test. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "definition/domain-xml.h"
#include "core/path-map.h"
#include "os/flag-file.h"
#include "guard/guard.h"
#include "node/node-local-private.h"
#include "node/node-local.h"
#include "tests/unit/legal.h"
#include "flows/migrate/states.h"

#define ID "0123456789abcdef"
#define OTHER_ID "fedcba9876543210"
#define UUID "11111111-2222-3333-4444-555555555555"
#define VICTIM_UUID "99999999-2222-3333-4444-555555555555"

static const VmigHashKey key = {{0}};
static char *program; /* this program, which also serves as the guard */

typedef struct {
    char *dir, *root, *config, *running;
    char *victim;   /* another guest's image */
    char *before;   /* its original state */
    VmigNode *own;  /* of a tool on this host */
    VmigNode *peer; /* of the agent */
    VmigJob *job;
} Fixture;

#define refused(code_, expression)                                                                                     \
    do {                                                                                                               \
        g_autoptr(GError) error_ = NULL;                                                                               \
        GError **error = &error_;                                                                                      \
        gboolean ok_ = (expression) != 0;                                                                              \
        g_assert_error(error_, VMIG_ERROR, code_);                                                                     \
        g_assert_false(ok_);                                                                                           \
        g_test_message("%s", error_->message);                                                                         \
    } while (0)

#define works(expression)                                                                                              \
    do {                                                                                                               \
        g_autoptr(GError) error_ = NULL;                                                                               \
        GError **error = &error_;                                                                                      \
        gboolean ok_ = (expression) != 0;                                                                              \
        g_assert_no_error(error_);                                                                                     \
        g_assert_true(ok_);                                                                                            \
    } while (0)

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

static VmigFile *file_of(VmigJob *job)
{
    return vmig_disk_base(job->disks->pdata[0]);
}

static VmigDisk *disk_of(VmigJob *job)
{
    return job->disks->pdata[0];
}

static VmigNode *open_node(Fixture *f, VmigRole role, gboolean serves_peer)
{
    g_autofree char *state = g_build_filename(f->dir, "state", NULL);
    g_autofree char *run = g_build_filename(f->dir, "run", NULL);
    const char *const roots[] = {f->root, NULL};
    VmigNodeConfig config = {.state_dir = state,
                             .run_dir = run,
                             .roots = roots,
                             .exe = program,
                             .machine_id = "m",
                             .role = role,
                             .serves_peer = serves_peer,
                             .tls_dir = "/nonexistent/pki",
                             .qemu_conf = "/nonexistent/qemu.conf",
                             .libvirt_qemu_dir = f->config,
                             .libvirt_run_dir = f->running,
                             .libvirt_uri = "test:///default"};
    g_autoptr(GError) error = NULL;
    VmigNode *node = vmig_node_local_new("here", &config, &error);

    g_assert_no_error(error);
    return node;
}

static void describe(VmigFile *file, const char *path)
{
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    file->size = (guint64)st.st_size;
    file->dev = st.st_dev;
    file->ino = st.st_ino;
    file->mtime_ns = (guint64)st.st_mtim.tv_sec * 1000000000 + (guint64)st.st_mtim.tv_nsec;
}

static char *identity_of(const char *path)
{
    g_autofree char *bytes = NULL;
    gsize length = 0;
    struct stat st;

    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_true(g_file_get_contents(path, &bytes, &length, NULL));
    g_autofree char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (guchar *)bytes, length);
    return g_strdup_printf("%lu %ld.%ld %s", st.st_ino, st.st_ctim.tv_sec, st.st_ctim.tv_nsec, sum);
}

/* A job of the guest g, whose disk is base: on the source it is that file, here it becomes dest.qcow2. */
static VmigJob *new_job(Fixture *f, const char *id, const char *uuid, const char *base)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);
    VmigDisk *disk = vmig_disk_new();
    VmigFile *file = vmig_file_new();

    job->version = VMIG_JOB_VERSION;
    job->id = g_strdup(id);
    job->uuid = g_strdup(uuid);
    job->domain = g_strdup("g");
    job->host[VMIG_SOURCE] = g_strdup("a");
    job->host[VMIG_DEST] = g_strdup("b");
    job->dest_uri = g_strdup("qemu+ssh://b/system");
    job->persistent_xml = g_strdup("<domain/>");
    put_state(job, VMIG_MIGRATE(LOCK));
    file->path[VMIG_SOURCE] = g_build_filename(f->root, base, NULL);
    file->path[VMIG_DEST] = g_build_filename(f->root, "dest.qcow2", NULL);
    file->part = vmig_part_path(file->path[VMIG_DEST], id);
    file->format = g_strdup("qcow2");
    file->size = 1 << 20;
    g_ptr_array_add(disk->files, file);
    disk->target = g_strdup("vda");
    disk->at[VMIG_SOURCE].overlay = vmig_overlay_path(file->path[VMIG_SOURCE], id);
    disk->at[VMIG_DEST].overlay = vmig_overlay_path(file->path[VMIG_DEST], id);
    disk->at[VMIG_SOURCE].hold = vmig_hold_path(file->path[VMIG_SOURCE], id);
    vmig_job_add(job, disk);
    return job;
}

static void define(const char *folder, const char *name, const char *uuid, const char *disk, const char *mark)
{
    g_autofree char *path = g_strdup_printf("%s/%s.xml", folder, name);
    g_autofree char *metadata =
        mark != NULL ? g_strdup_printf(
                           "<metadata><vmig:operation xmlns:vmig='" VMIG_METADATA_URI "' job='%s'/></metadata>", mark)
                     : g_strdup("");
    g_autofree char *text =
        g_strdup_printf("<domain type='kvm'><name>%s</name><uuid>%s</uuid>%s<memory unit='KiB'>1024</memory>"
                        "<vcpu>1</vcpu><os><type arch='x86_64'>hvm</type></os><devices>"
                        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/>"
                        "<target dev='vda' bus='virtio'/></disk></devices></domain>",
                        name, uuid, metadata, disk);

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->dir = g_dir_make_tmp("vmig-hostile-XXXXXX", NULL);
    f->root = g_build_filename(f->dir, "images", NULL);
    f->config = g_build_filename(f->dir, "qemu", NULL);
    f->running = g_build_filename(f->dir, "running", NULL);
    g_assert_cmpint(g_mkdir(f->root, 0755), ==, 0);
    g_assert_cmpint(g_mkdir(f->config, 0755), ==, 0);
    g_assert_cmpint(g_mkdir(f->running, 0755), ==, 0);
    f->victim = g_build_filename(f->root, "victim.qcow2", NULL);
    run_command("qemu-img create -q -f qcow2 '%s' 8M", f->victim);
    run_command("qemu-io -f qcow2 -c 'write -P 7 0 1M' '%s'", f->victim);
    f->before = identity_of(f->victim);
    define(f->config, "victim", VICTIM_UUID, f->victim, NULL);
    f->own = open_node(f, VMIG_SOURCE, FALSE);
    f->peer = open_node(f, VMIG_DEST, TRUE);
    f->job = new_job(f, ID, UUID, "base.qcow2");
}

/* The victim is unchanged after any attack. */
static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *after = identity_of(f->victim);

    g_assert_cmpstr(after, ==, f->before);
    vmig_node_guard_stop(f->own, f->job, NULL);
    vmig_node_free(f->own);
    vmig_node_free(f->peer);
    vmig_job_free(f->job);
    run_command("rm -rf '%s'", f->dir);
    g_free(f->dir);
    g_free(f->root);
    g_free(f->config);
    g_free(f->running);
    g_free(f->victim);
    g_free(f->before);
}

static void give(VmigJob *job, VmigState state)
{
    job->owner = VMIG_DEST;
    put_state(job, state);
}

/* A job that this host's own tool began, with this host as the source. The tool is gone. */
static void begin_here(Fixture *f)
{
    g_autofree char *base = g_build_filename(f->root, "base.qcow2", NULL);

    run_command("qemu-img create -q -f qcow2 '%s' 1M", base);
    describe(file_of(f->job), base);
    works(vmig_node_record_put(f->own, f->job, error));
    works(vmig_node_lock(f->peer, f->job, NULL, error));
}

/* A job that a peer begins correctly, with this host as the destination. */
static void begin_there(Fixture *f)
{
    works(vmig_node_lock(f->peer, f->job, NULL, error));
    works(vmig_node_rundir(f->peer, f->job, error));
    works(vmig_node_record_put(f->peer, f->job, error));
}

/* --- the attacks --- */

/* The methods that need no lock are listed here by hand: a new method must not be open to any host by oversight. */
static void test_methods(void)
{
    static const VmigMethod open[] = {
        VMIG_METHOD_HELLO,         VMIG_METHOD_PATH,       VMIG_METHOD_SURVEY,          VMIG_METHOD_REAL_PATH,
        VMIG_METHOD_STAT,          VMIG_METHOD_ALLOCATED,  VMIG_METHOD_LOCKS,           VMIG_METHOD_COUNT_SNAPSHOTS,
        VMIG_METHOD_CHECK,         VMIG_METHOD_CONTENTS,   VMIG_METHOD_CONTENT_PAGE,    VMIG_METHOD_IDENTITY,
        VMIG_METHOD_DIGEST,        VMIG_METHOD_RECORD_GET, VMIG_METHOD_TEXTS_MISSING,   VMIG_METHOD_TEXTS_GET,
        VMIG_METHOD_WAS_GIVEN,     VMIG_METHOD_USERS,      VMIG_METHOD_LEFTOVERS,       VMIG_METHOD_SYNC_CONFIG,
        VMIG_METHOD_LIBVIRT_RELAY, VMIG_METHOD_UNLOCK,     VMIG_METHOD_REHEARSAL_BEGIN, VMIG_METHOD_REHEARSAL_UNLINK,
        VMIG_METHOD_REHEARSAL_END,
    };

    for (VmigMethod method = 0; method < VMIG_METHOD_LAST; method++) {
        gboolean listed = FALSE;
        for (guint i = 0; i < G_N_ELEMENTS(open); i++)
            listed = listed || open[i] == method;
        if (listed != (vmig_method_peer(method) == VMIG_PEER_LOOKS))
            g_error("'%s': may another host ask for it without the lock of a job?", vmig_method_name(method));
    }
}

/* Nothing changes for a peer that does not hold the guest's lock, so that nothing changes while another process works
 * on the job. */
static void test_lock(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *paths[] = {f->victim, NULL};
    gboolean fresh = FALSE, held = FALSE;
    VmigFile *file = file_of(f->job);

    refused(VMIG_ERROR_GATE, vmig_node_record_put(f->peer, f->job, error));
    refused(VMIG_ERROR_GATE, vmig_node_catch_up(f->peer, f->job, VMIG_SOURCE, error));
    refused(VMIG_ERROR_GATE, vmig_node_rundir(f->peer, f->job, error));
    begin_here(f);
    works(vmig_node_unlock(f->peer, f->job, error));
    works(vmig_node_lock(f->own, f->job, NULL, error)); /* a tool works on it */
    refused(VMIG_ERROR_LOCKED, vmig_node_lock(f->peer, f->job, NULL, error));
    refused(VMIG_ERROR_GATE, vmig_node_record_put(f->peer, f->job, error));
    refused(VMIG_ERROR_GATE, vmig_node_token_put(f->peer, f->job, VMIG_DEST, error));
    refused(VMIG_ERROR_GATE,
            vmig_node_intend(f->peer, f->job, disk_of(f->job)->at[VMIG_SOURCE].overlay, "overlay", error));
    refused(VMIG_ERROR_GATE, vmig_node_made(f->peer, f->job, disk_of(f->job)->at[VMIG_SOURCE].overlay, error));
    refused(VMIG_ERROR_GATE, vmig_node_remove(f->peer, f->job, disk_of(f->job)->at[VMIG_SOURCE].overlay, "x", error));
    refused(VMIG_ERROR_GATE, vmig_node_remove_base(f->peer, f->job, file, &(char *){NULL}, error));
    refused(VMIG_ERROR_GATE,
            vmig_node_commit_offline(f->peer, f->job, disk_of(f->job)->at[VMIG_SOURCE].overlay, error));
    refused(VMIG_ERROR_GATE, vmig_node_freeze(f->peer, f->job, paths, error));
    refused(VMIG_ERROR_GATE, vmig_node_fence_arm(f->peer, f->job, paths, &(char *){NULL}, error));
    refused(VMIG_ERROR_GATE, vmig_node_fence_take(f->peer, f->job, 0, &held, error));
    refused(VMIG_ERROR_GATE, vmig_node_fence_drop(f->peer, f->job, error));
    refused(VMIG_ERROR_GATE, vmig_node_guard_stop(f->peer, f->job, error));
    refused(VMIG_ERROR_GATE, vmig_node_rundir_remove(f->peer, f->job, error));
    refused(VMIG_ERROR_GATE, vmig_node_receive(f->peer, f->job, file, "/x", &key, &fresh, error));
    refused(VMIG_ERROR_GATE, vmig_node_place(f->peer, f->job, file, error));
}

/* A nonexistent job with this host as its source and the victim as its base. */
static void test_invented_source(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(VmigJob) job = new_job(f, ID, UUID, "victim.qcow2");
    g_autoptr(VmigJob) his = new_job(f, OTHER_ID, VICTIM_UUID, "victim.qcow2");

    describe(file_of(job), f->victim);
    describe(file_of(his), f->victim);
    give(job, VMIG_MIGRATE(CLEANUP));
    give(his, VMIG_MIGRATE(CLEANUP));
    works(vmig_node_lock(f->peer, job, NULL, error));
    works(vmig_node_lock(f->peer, his, NULL, error));
    refused(VMIG_ERROR_FORGOTTEN, vmig_node_catch_up(f->peer, job, VMIG_SOURCE, error));
    refused(VMIG_ERROR_GATE, vmig_node_catch_up(f->peer, his, VMIG_SOURCE, error)); /* without the mark */
    refused(VMIG_ERROR_CONTRADICTION, vmig_node_record_put(f->peer, job, error));
    works(vmig_node_catch_up(f->peer, job, VMIG_DEST, error));
    refused(VMIG_ERROR_CONTRADICTION, vmig_node_catch_up(f->peer, job, VMIG_SOURCE, error));
    refused(VMIG_ERROR_GATE, vmig_node_remove_base(f->peer, job, file_of(job), &(char *){NULL}, error));
    refused(VMIG_ERROR_GATE, vmig_node_remove(f->peer, job, f->victim, "x", error));
}

/* A nonexistent job that has ended and pretends to have left the victim here for a migration back. */
static void test_invented_end(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(VmigJob) ended = new_job(f, OTHER_ID, UUID, "victim.qcow2");
    g_autofree char *socket = g_build_filename(f->dir, "run", ID, "copy-0.sock", NULL);
    VmigFile *file = file_of(f->job);
    gboolean fresh = FALSE;

    describe(file_of(ended), f->victim);
    ended->options.keep_source = TRUE;
    give(ended, VMIG_MIGRATE(DONE));
    works(vmig_node_lock(f->peer, ended, NULL, error));
    refused(VMIG_ERROR_CONTRADICTION, vmig_node_record_put(f->peer, ended, error));
    refused(VMIG_ERROR_FORGOTTEN, vmig_node_catch_up(f->peer, ended, VMIG_SOURCE, error));
    refused(VMIG_ERROR_CONTRADICTION, vmig_node_catch_up(f->peer, ended, VMIG_DEST, error));
    works(vmig_node_unlock(f->peer, ended, error));
    g_free(file->path[VMIG_DEST]);
    g_free(file->part);
    file->path[VMIG_DEST] = g_strdup(f->victim);
    file->part = vmig_part_path(file->path[VMIG_DEST], ID);
    file->kept = g_strdup(OTHER_ID);
    g_free(file->format);
    file->format = g_strdup("raw");
    begin_there(f);
    refused(VMIG_ERROR_GATE, vmig_node_receive(f->peer, f->job, file, socket, &key, &fresh, error));
    g_clear_pointer(&file->kept, g_free);
    works(vmig_node_receive(f->peer, f->job, file, socket, &key, &fresh, error));
    refused(VMIG_ERROR_DESTINATION_EXISTS, vmig_node_place(f->peer, f->job, file, error));
}

/* An image that a job of this host left can be a base copy only for the same guest. */
static void test_kept_of_another(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(VmigJob) left = new_job(f, OTHER_ID, VICTIM_UUID, "victim.qcow2");
    g_autofree char *socket = g_build_filename(f->dir, "run", ID, "copy-0.sock", NULL);
    VmigFile *file = file_of(f->job);
    gboolean fresh = FALSE;

    describe(file_of(left), f->victim);
    left->options.keep_source = TRUE;
    works(vmig_node_record_put(f->own, left, error));
    works(vmig_node_token_put(f->own, left, VMIG_DEST, error));
    give(left, VMIG_MIGRATE(DONE));
    works(vmig_node_record_put(f->own, left, error));
    g_free(file->path[VMIG_DEST]);
    g_free(file->part);
    file->path[VMIG_DEST] = g_strdup(f->victim);
    file->part = vmig_part_path(file->path[VMIG_DEST], ID);
    file->kept = g_strdup(OTHER_ID);
    begin_there(f);
    refused(VMIG_ERROR_GATE, vmig_node_receive(f->peer, f->job, file, socket, &key, &fresh, error));
}

/* This host's record of its own job. */
static void test_changed_record(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    VmigFile *file = file_of(f->job);
    const char *paths[] = {f->victim, NULL};
    const char *bases[] = {NULL, NULL};

    f->job->options.keep_source = TRUE;
    begin_here(f);
    g_autofree char *source = g_strdup(file->path[VMIG_SOURCE]);
    bases[0] = source;
    g_free(file->path[VMIG_SOURCE]);
    file->path[VMIG_SOURCE] = g_strdup(f->victim);
    describe(file, f->victim);
    refused(VMIG_ERROR_CONTRADICTION, vmig_node_record_put(f->peer, f->job, error));
    give(f->job, VMIG_MIGRATE(CLEANUP));
    refused(VMIG_ERROR_CONTRADICTION, vmig_node_catch_up(f->peer, f->job, VMIG_SOURCE, error));
    refused(VMIG_ERROR_CONTRADICTION, vmig_node_catch_up(f->peer, f->job, VMIG_DEST, error));
    g_free(file->path[VMIG_SOURCE]);
    file->path[VMIG_SOURCE] = g_strdup(source);
    describe(file, source);
    f->job->options.keep_source = FALSE;
    refused(VMIG_ERROR_CONTRADICTION, vmig_node_catch_up(f->peer, f->job, VMIG_SOURCE, error));
    f->job->options.keep_source = TRUE;
    g_free(f->job->persistent_xml);
    f->job->persistent_xml = g_strdup("<domain type='kvm'/>");
    refused(VMIG_ERROR_CONTRADICTION, vmig_node_catch_up(f->peer, f->job, VMIG_SOURCE, error));
    g_free(f->job->persistent_xml);
    f->job->persistent_xml = g_strdup("<domain/>");
    g_free(f->job->uuid);
    f->job->uuid = g_strdup(VICTIM_UUID);
    refused(VMIG_ERROR_GATE, vmig_node_lock(f->peer, f->job, NULL, error));
    refused(VMIG_ERROR_GATE, vmig_node_record_put(f->peer, f->job, error));
    refused(VMIG_ERROR_GATE, vmig_node_end_source_qemu(f->peer, f->job, &(char *){NULL}, error));
    g_free(f->job->uuid);
    f->job->uuid = g_strdup(UUID);
    /* Only the job's own base can be frozen; and an image that must be kept is kept. */
    refused(VMIG_ERROR_GATE, vmig_node_freeze(f->peer, f->job, paths, error));
    refused(VMIG_ERROR_GATE, vmig_node_fence_arm(f->peer, f->job, paths, &(char *){NULL}, error));
    works(vmig_node_freeze(f->peer, f->job, bases, error));
    works(vmig_node_guard_stop(f->peer, f->job, error));
    works(vmig_node_catch_up(f->peer, f->job, VMIG_SOURCE, error));
    refused(VMIG_ERROR_GATE, vmig_node_remove_base(f->peer, f->job, file, &(char *){NULL}, error));
    /* From the switchover on it must be the same file. */
    run_command("touch '%s'", source);
    describe(file, source);
    refused(VMIG_ERROR_CONTRADICTION, vmig_node_record_put(f->peer, f->job, error));
}

/* A guest that runs here has not left, whatever the record says. */
static void test_early_end(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *base = g_build_filename(f->root, "base.qcow2", NULL);

    begin_here(f);
    define(f->running, "g", UUID, base, ID);
    put_state(f->job, VMIG_MIGRATE(DONE)); /* and the source owns the guest */
    refused(VMIG_ERROR_JOURNAL, vmig_node_record_put(f->peer, f->job, error));
    works(vmig_node_token_put(f->peer, f->job, VMIG_DEST, error));
    give(f->job, VMIG_MIGRATE(DONE));
    refused(VMIG_ERROR_GATE, vmig_node_record_put(f->peer, f->job, error));
}

/* This host is the destination: what only a source needs is refused. */
static void test_wrong_role(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *paths[] = {f->victim, NULL};

    begin_there(f);
    refused(VMIG_ERROR_GATE, vmig_node_freeze(f->peer, f->job, paths, error));
    refused(VMIG_ERROR_GATE, vmig_node_fence_arm(f->peer, f->job, paths, &(char *){NULL}, error));
    refused(VMIG_ERROR_GATE, vmig_node_remove_base(f->peer, f->job, file_of(f->job), &(char *){NULL}, error));
    works(vmig_node_token_put(f->peer, f->job, VMIG_DEST, error));
    refused(VMIG_ERROR_GATE, vmig_node_end_source_qemu(f->peer, f->job, &(char *){NULL}, error));
}

/* A peer cannot begin to migrate a guest here that is already here. */
static void test_guest_of_ours(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(VmigJob) job = new_job(f, ID, VICTIM_UUID, "victim.qcow2");

    works(vmig_node_lock(f->peer, job, NULL, error));
    refused(VMIG_ERROR_GATE, vmig_node_record_put(f->peer, job, error));
    give(job, VMIG_MIGRATE(COMMIT));
    refused(VMIG_ERROR_FORGOTTEN, vmig_node_catch_up(f->peer, job, VMIG_DEST, error));
}

static void send_crafted(Fixture *f, const char *socket)
{
    g_autofree char *crafted = g_build_filename(f->dir, "crafted.qcow2", NULL);
    struct stat st;

    run_command("qemu-img create -q -f qcow2 -b '%s' -F qcow2 '%s' 8M", f->victim, crafted);
    run_command("qemu-io -f qcow2 -c 'write -P 66 0 64k' '%s'", crafted);
    g_assert_cmpint(stat(crafted, &st), ==, 0);
    run_command("truncate -s 1M '%s'", crafted);
    run_command("qemu-io -f raw -c \"write -s %s 0 1M\" 'nbd+unix:///?socket=%s'", crafted, socket);
}

/* A base copy with the victim as backing file, which is to be committed like an overlay. */
static void test_crafted_copy(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *socket = g_build_filename(f->dir, "run", ID, "copy-0.sock", NULL);
    g_autofree char *hash = NULL;
    VmigFile *file = file_of(f->job);
    VmigDisk *disk = disk_of(f->job);
    gboolean fresh = FALSE;

    begin_there(f);
    refused(VMIG_ERROR_GATE,
            vmig_node_create_overlay(f->peer, f->job, disk->at[VMIG_DEST].overlay, 8 << 20, f->victim, "qcow2", error));
    works(vmig_node_receive(f->peer, f->job, file, socket, &key, &fresh, error));
    send_crafted(f, socket);
    works(vmig_node_received(f->peer, f->job, file, NULL, &hash, error));
    works(vmig_node_place(f->peer, f->job, file, error));
    refused(VMIG_ERROR_GATE, vmig_node_commit_offline(f->peer, f->job, file->path[VMIG_DEST], error));
    refused(VMIG_ERROR_GATE, vmig_node_commit_offline(f->peer, f->job, disk->at[VMIG_DEST].overlay, error));
    /* The overlay is committed into its backing file, and no deeper. */
    works(vmig_node_create_overlay(f->peer, f->job, disk->at[VMIG_DEST].overlay, 8 << 20, file->path[VMIG_DEST],
                                   "qcow2", error));
    works(vmig_node_commit_offline(f->peer, f->job, disk->at[VMIG_DEST].overlay, error));
}

/* The same with a base copy that gets the overlay's name. */
static void test_crafted_name(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *socket = g_build_filename(f->dir, "run", ID, "copy-0.sock", NULL);
    VmigFile *file = file_of(f->job);
    VmigDisk *disk = disk_of(f->job);
    gboolean fresh = FALSE;

    g_free(file->path[VMIG_DEST]);
    g_free(file->part);
    file->path[VMIG_DEST] = g_strdup(disk->at[VMIG_DEST].overlay);
    file->part = vmig_part_path(file->path[VMIG_DEST], ID);
    begin_there(f);
    refused(VMIG_ERROR_GATE, vmig_node_receive(f->peer, f->job, file, socket, &key, &fresh, error));
    /* Likewise for another path than the record has. */
    g_free(file->path[VMIG_DEST]);
    file->path[VMIG_DEST] = g_build_filename(f->root, "elsewhere.qcow2", NULL);
    refused(VMIG_ERROR_GATE, vmig_node_receive(f->peer, f->job, file, socket, &key, &fresh, error));
    refused(VMIG_ERROR_GATE, vmig_node_place(f->peer, f->job, file, error));
    refused(VMIG_ERROR_GATE, vmig_node_unplace(f->peer, f->job, file, error));
    refused(VMIG_ERROR_CONTRADICTION, vmig_node_record_put(f->peer, f->job, error));
}

/* The guest's current disk, once it is here. */
static void test_guests_overlay(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *socket = g_build_filename(f->dir, "run", ID, "copy-0.sock", NULL);
    g_autofree char *hash = NULL;
    VmigFile *file = file_of(f->job);
    VmigDisk *disk = disk_of(f->job);
    gboolean fresh = FALSE;

    begin_there(f);
    works(vmig_node_receive(f->peer, f->job, file, socket, &key, &fresh, error));
    send_crafted(f, socket);
    works(vmig_node_received(f->peer, f->job, file, NULL, &hash, error));
    works(vmig_node_place(f->peer, f->job, file, error));
    works(vmig_node_create_overlay(f->peer, f->job, disk->at[VMIG_DEST].overlay, 8 << 20, file->path[VMIG_DEST],
                                   "qcow2", error));
    define(f->config, "g", UUID, disk->at[VMIG_DEST].overlay, ID);
    works(vmig_node_token_put(f->peer, f->job, VMIG_DEST, error));
    give(f->job, VMIG_MIGRATE(CLEANUP));
    works(vmig_node_record_put(f->peer, f->job, error));
    refused(VMIG_ERROR_GATE, vmig_node_remove(f->peer, f->job, disk->at[VMIG_DEST].overlay, "committed", error));
    refused(VMIG_ERROR_GATE, vmig_node_remove(f->peer, f->job, file->path[VMIG_DEST], "rolled back", error));
    define(f->config, "g", UUID, file->path[VMIG_DEST], NULL);
    works(vmig_node_remove(f->peer, f->job, disk->at[VMIG_DEST].overlay, "committed", error));
}

/* --- requests that must work --- */

/* The journal here was replaced with one from before the job; libvirt still has the guest, with the job's mark. */
static void test_lost_source(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *base = g_build_filename(f->root, "base.qcow2", NULL);

    run_command("qemu-img create -q -f qcow2 '%s' 1M", base);
    describe(file_of(f->job), base);
    give(f->job, VMIG_MIGRATE(CLEANUP));
    works(vmig_node_lock(f->peer, f->job, NULL, error));
    define(f->config, "g", UUID, f->victim, ID); /* another disk */
    refused(VMIG_ERROR_GATE, vmig_node_catch_up(f->peer, f->job, VMIG_SOURCE, error));
    define(f->config, "g", UUID, disk_of(f->job)->at[VMIG_SOURCE].overlay, OTHER_ID); /* another job */
    refused(VMIG_ERROR_GATE, vmig_node_catch_up(f->peer, f->job, VMIG_SOURCE, error));
    define(f->config, "g", UUID, disk_of(f->job)->at[VMIG_SOURCE].overlay, ID);
    works(vmig_node_catch_up(f->peer, f->job, VMIG_SOURCE, error));
    works(vmig_node_remove_base(f->peer, f->job, file_of(f->job), &(char *){NULL}, error));
    g_assert_cmpint(access(base, F_OK), ==, -1);
}

/* libvirt has no definition of the guest either, but a flag in the run folder says that this host gave it away. */
static void test_lost_source_given(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    give(f->job, VMIG_MIGRATE(CLEANUP));
    works(vmig_node_lock(f->peer, f->job, NULL, error));
    refused(VMIG_ERROR_FORGOTTEN, vmig_node_catch_up(f->peer, f->job, VMIG_SOURCE, error));
    run_command("mkdir -p '%s/run/%s'", f->dir, ID);
    g_autofree char *folder = g_build_filename(f->dir, "run", ID, NULL);
    g_autofree char *given = g_build_filename(folder, VMIG_FLAG_GIVEN, NULL);
    g_assert_cmpint(mknod(given, S_IFSOCK | 0600, 0), ==, 0); /* QEMU's user could create that there */
    refused(VMIG_ERROR_FORGOTTEN, vmig_node_catch_up(f->peer, f->job, VMIG_SOURCE, error));
    g_assert_cmpint(unlink(given), ==, 0);
    works(vmig_flag_set(folder, VMIG_FLAG_GIVEN, error));
    works(vmig_node_catch_up(f->peer, f->job, VMIG_SOURCE, error));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*test)(Fixture *, gconstpointer);
    } tests[] = {
        {"lock", test_lock},
        {"invented-source", test_invented_source},
        {"invented-end", test_invented_end},
        {"kept-of-another", test_kept_of_another},
        {"changed-record", test_changed_record},
        {"early-end", test_early_end},
        {"wrong-role", test_wrong_role},
        {"guest-of-ours", test_guest_of_ours},
        {"crafted-copy", test_crafted_copy},
        {"crafted-name", test_crafted_name},
        {"guests-overlay", test_guests_overlay},
        {"lost-source", test_lost_source},
        {"lost-source-given", test_lost_source_given},
    };

    /* The guard's own command line, as in the command line tool. */
    if (argc == 4 && g_str_equal(argv[1], "agent") && g_str_equal(argv[2], "--guard"))
        return vmig_guard_main(argv[3]);
    g_test_init(&argc, &argv, NULL);
    program = g_file_read_link("/proc/self/exe", NULL);
    g_test_add_func("/hostile/methods", test_methods);
    for (guint i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strconcat("/hostile/", tests[i].name, NULL);
        g_test_add(path, Fixture, NULL, set_up, tests[i].test, tear_down);
    }
    int result = g_test_run();
    g_free(program);
    return result;
}
