/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tool: the machine with its journal and the storage of this host, in a process of its own. */
#include "block.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "core/errors.h"
#include "flows/migrate/migrate-flow.h"
#include "node/node-local.h"

#define UUID "c7a5fdbd-cdaf-4455-926a-02d65c16db18"

typedef struct {
    VmigClock parent;
    gint64 ahead;
} FastClock;

static gint64 fast_now(VmigClock *self)
{
    return g_get_monotonic_time() + ((FastClock *)self)->ahead;
}

static gint64 fast_wall(VmigClock *self)
{
    return g_get_real_time() + ((FastClock *)self)->ahead;
}

/* Hours between two tries are over in a moment; what QEMU does in between takes the time that it takes. */
static void fast_wait(VmigClock *self, gint64 until)
{
    gint64 left = until - fast_now(self);

    if (left <= 0)
        return;
    g_usleep((gulong)MIN(left, 5000));
    ((FastClock *)self)->ahead += MAX(until - fast_now(self), 0);
}

static void fast_free(VmigClock *self)
{
    g_free(self);
}

static const VmigClockOps clock_ops = {fast_now, fast_wall, fast_wait, fast_free};

static void random_bytes(VmigRandom *self G_GNUC_UNUSED, guint8 *buffer, gsize length)
{
    memset(buffer, 0, length);
}

static double random_unit(VmigRandom *self G_GNUC_UNUSED)
{
    return 0.5;
}

static void random_free(VmigRandom *self)
{
    g_free(self);
}

static const VmigRandomOps random_ops = {random_bytes, random_unit, random_free};

char *block_job_id(const Block *block)
{
    return g_strdup_printf("%016" G_GINT64_MODIFIER "x", block->seed);
}

static VmigNode *open_node(const Block *block, GError **error)
{
    g_autofree char *state = g_build_filename(block->folder, "state", NULL);
    g_autofree char *run = g_build_filename(block->folder, "run", NULL);
    g_autofree char *images = g_build_filename(block->folder, "images", NULL);
    g_autofree char *libvirt = g_build_filename(block->folder, "libvirt", NULL);
    const char *roots[] = {images, NULL};
    VmigNodeConfig config = {.state_dir = state,
                             .run_dir = run,
                             .roots = roots,
                             .exe = "/bin/false",
                             .machine_id = "0123456789abcdef0123456789abcdef",
                             .role = VMIG_DEST,
                             .libvirt_qemu_dir = libvirt};

    return vmig_node_local_new("dest", &config, error);
}

static VmigJob *make_job(const Block *block)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);

    job->version = VMIG_JOB_VERSION;
    job->id = block_job_id(block);
    job->domain = g_strdup("guest");
    job->uuid = g_strdup(UUID);
    job->host[VMIG_SOURCE] = g_strdup("source");
    job->host[VMIG_DEST] = g_strdup("dest");
    job->options.merge = g_strdup("commit");
    job->options.policy = g_strdup("default");
    job->owner = VMIG_SOURCE;
    for (guint i = 0; i < block->n_disks; i++) {
        VmigDisk *disk = vmig_disk_new();
        VmigFile *file = vmig_file_new();
        file->path[VMIG_SOURCE] = g_strdup_printf("/source/disk-%u.qcow2", i);
        file->path[VMIG_DEST] = block_path(block, "base", i);
        file->format = g_strdup("qcow2");
        file->virtual_size = disk->virtual_size = BLOCK_SIZE;
        file->copy = VMIG_BASE_COPY_PLACED;
        disk->target = block_target(i);
        disk->at[VMIG_DEST].overlay = block_path(block, "overlay", i);
        g_ptr_array_add(disk->files, file);
        vmig_job_add(job, disk);
    }
    job->overlays = VMIG_OVERLAYS_IN_USE;
    job->migration_begun = TRUE;
    vmig_job_set_state(job, VMIG_MIGRATE(MIGRATE));
    return job;
}

/* As a migration leaves the destination: overlays by the gate, the token, a guest that is paused. */
static gboolean prepare_job(const Block *block, GError **error)
{
    g_autoptr(VmigJob) job = make_job(block);
    g_autoptr(VmigNode) node = open_node(block, error);

    if (node == NULL || !vmig_node_record_put(node, job, error))
        return FALSE;
    for (guint i = 0; i < block->n_disks; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        if (!vmig_node_create_overlay(node, job, disk->at[VMIG_DEST].overlay, BLOCK_SIZE,
                                      vmig_disk_base(disk)->path[VMIG_DEST], "qcow2", error))
            return FALSE;
    }
    if (!vmig_node_token_put(node, job, VMIG_DEST, error))
        return FALSE;
    job->owner = VMIG_DEST;
    vmig_job_set_state(job, VMIG_MIGRATE(ACTIVATE));
    return vmig_node_record_put(node, job, error);
}

/* In a process of its own: a library's threads do not get through the forks that follow. */
gboolean block_prepare(const Block *block, GError **error)
{
    g_autoptr(GError) why = NULL;
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        if (!prepare_job(block, &why))
            fprintf(stderr, "%s\n", why->message);
        _exit(why != NULL);
    }
    waitpid(pid, &status, 0);
    return status == 0 || vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "the job cannot be prepared");
}

static gboolean is_finished(const VmigJob *job)
{
    return vmig_job_state(job) == VMIG_MIGRATE(PARKED) && g_strcmp0(job->parked_state, "REDEFINE") == 0;
}

static void on_note(gpointer user, const VmigJob *job, const char *text)
{
    fprintf(user, "%s: %s\n", job->state, text);
}

static void on_retry(gpointer user, const VmigJob *job, const GError *why, gint64 delay G_GNUC_UNUSED)
{
    fprintf(user, "%s: again: %s\n", job->state, why->message);
}

static gboolean run_machine(Block *block, FILE *log, GError **error)
{
    g_autofree char *id = block_job_id(block);
    g_autoptr(VmigPolicy) policy = vmig_policy_default();
    VmigReporter reporter = {.retry = on_retry, .note = on_note, .user = log};
    g_autoptr(VmigEnv) env = g_new0(VmigEnv, 1);

    env->dest.node = open_node(block, error);
    if (env->dest.node == NULL)
        return FALSE;
    env->dest.hypervisor = block_libvirt(block);
    env->clock = (VmigClock *)g_new0(FastClock, 1);
    env->clock->ops = &clock_ops;
    env->random = g_new0(VmigRandom, 1);
    env->random->ops = &random_ops;
    VmigJournal *journal = vmig_node_local_journal(env->dest.node, error);
    VmigJob *job = journal != NULL ? vmig_journal_load(journal, id, error) : NULL;
    if (job == NULL)
        return FALSE;
    g_autoptr(VmigMachine) machine = vmig_machine_new(&vmig_flow_migrate, env, journal, TRUE, policy, &reporter, job);
    return vmig_machine_run(machine, error) &&
           (is_finished(machine->job) || vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL, "it parks in %s: %s",
                                                   machine->job->parked_state, machine->job->error_message));
}

/* In a process of its own, as `vmig-snap resume` is. */
pid_t block_start_tool(Block *block)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    g_autofree char *path = g_build_filename(block->folder, "tool.log", NULL);
    g_autoptr(GError) error = NULL;
    FILE *log = fopen(path, "a");
    setvbuf(log, NULL, _IOLBF, 0);
    fprintf(log, "-- process %d\n", getpid());
    if (run_machine(block, log, &error))
        _exit(0);
    fprintf(log, "%s\n", error->message);
    _exit(1);
}
