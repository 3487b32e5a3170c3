/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* block-trial --template DIR --make [--seed N]
 * block-trial --template DIR --folder DIR [--seed N] [--no-suspend]
 *
 * One guest, its overlays over bases with internal snapshots, and the machine from SWITCHED on, on the real block layer
 * of QEMU. QEMU, or the tool, or both are killed at a moment of the seed's; then the tool is started again until its
 * machine says that the disks are done. Exit code 0 if then, and before it by the rule of the journal, every flushed
 * write was there; 1: not; 2: the trial itself failed. The last line says what happened.
 *
 * Real are: the machine with its journal, the storage of this host with qemu-img, QEMU's block layer. Not real are
 * libvirt (block-libvirt.c makes its calls) and the guest. The rule of recovery is never stated here as something to be
 * done, only as what has to be true: what is done is what plugin/flow does. */
#include "block.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/errors.h"
#include "flow/machine.h"
#include "host/storage-local.h"

#define MOST_TOOLS 6
#define PATIENCE (60 * G_USEC_PER_SEC)
/* A commit need not catch up with its writer: the kill comes all the same. */
#define NEVER_READY (3 * G_USEC_PER_SEC / 2)
#define UUID "c7a5fdbd-cdaf-4455-926a-02d65c16db18"

static const char *const phases[BLOCK_PHASES] = {"begin",      "commit",    "ready",   "suspended", "pivot",
                                                 "completing", "concluded", "defined", "resumed",   "restore"};

typedef enum { KILL_NOBODY, KILL_QEMU, KILL_BOTH, KILL_TOOL_FIRST, KILLS } Kill;
static const char *const kills[KILLS] = {"nobody", "qemu", "both", "tool-first"};

static gboolean run_tool(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static gboolean run_tool(GError **error, const char *format, ...)
{
    g_autofree char *err = NULL;
    va_list args;
    int status = 0;

    va_start(args, format);
    g_autofree char *command = g_strdup_vprintf(format, args);
    va_end(args);
    if (!g_spawn_command_line_sync(command, NULL, &err, &status, error))
        return FALSE;
    return status == 0 || vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, NULL, "%s: %d: %s", command, status, err);
}

/* --- the tool ---------------------------------------------------------------------------------------------------- */

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

static char *job_id(const Block *block)
{
    return g_strdup_printf("%016" G_GINT64_MODIFIER "x", block->seed);
}

static VmigStorage *open_storage(const Block *block, GError **error)
{
    g_autofree char *state = g_build_filename(block->folder, "state", NULL);
    g_autofree char *run = g_build_filename(block->folder, "run", NULL);
    g_autofree char *images = g_build_filename(block->folder, "images", NULL);
    g_autofree char *libvirt = g_build_filename(block->folder, "libvirt", NULL);
    const char *roots[] = {images, NULL};
    VmigStorageConfig config = {.state_dir = state,
                                .run_dir = run,
                                .roots = roots,
                                .exe = "/bin/false",
                                .machine_id = "0123456789abcdef0123456789abcdef",
                                .role = VMIG_ROLE_DESTINATION,
                                .libvirt_qemu_dir = libvirt};

    return vmig_storage_local_new("dest", &config, error);
}

static VmigJob *make_job(const Block *block)
{
    VmigJob *job = vmig_job_new();

    job->version = VMIG_JOB_VERSION;
    job->id = job_id(block);
    job->domain = g_strdup("guest");
    job->uuid = g_strdup(UUID);
    job->source_host = g_strdup("source");
    job->dest_host = g_strdup("dest");
    job->options.fold = g_strdup("commit");
    job->options.policy = g_strdup("default");
    g_free(job->token);
    job->token = g_strdup(VMIG_OWNER_SOURCE);
    for (guint i = 0; i < block->n_disks; i++) {
        VmigDisk *disk = vmig_disk_new();
        VmigFile *file = vmig_file_new();
        file->source = g_strdup_printf("/source/disk-%u.qcow2", i);
        file->dest = block_path(block, "base", i);
        file->format = g_strdup("qcow2");
        file->virtual_size = disk->virtual_size = BLOCK_SIZE;
        file->placed = TRUE;
        disk->target = block_target(i);
        disk->dest_overlay = block_path(block, "overlay", i);
        g_ptr_array_add(disk->files, file);
        g_ptr_array_add(job->disks, disk);
    }
    vmig_job_set_state(job, VMIG_STATE_MIGRATE);
    return job;
}

/* As a migration leaves the destination: overlays by the gate, the token, a guest that is paused. */
static gboolean prepare_job(const Block *block, GError **error)
{
    g_autoptr(VmigJob) job = make_job(block);
    g_autoptr(VmigStorage) storage = open_storage(block, error);

    if (storage == NULL || !vmig_storage_record_put(storage, job, error))
        return FALSE;
    for (guint i = 0; i < block->n_disks; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        if (!vmig_storage_create_overlay(storage, job, disk->dest_overlay, BLOCK_SIZE, vmig_disk_base(disk)->dest,
                                         "qcow2", error))
            return FALSE;
    }
    if (!vmig_storage_token_put(storage, job, VMIG_OWNER_DESTINATION, error))
        return FALSE;
    g_free(job->token);
    job->token = g_strdup(VMIG_OWNER_DESTINATION);
    vmig_job_set_state(job, VMIG_STATE_SWITCHED);
    return vmig_storage_record_put(storage, job, error);
}

/* In a process of its own: a library's threads do not get through the forks that follow. */
static gboolean prepare_apart(const Block *block, GError **error)
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
    return vmig_job_state(job) == VMIG_STATE_PARKED && g_strcmp0(job->parked_state, "RESTORE") == 0;
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
    g_autofree char *id = job_id(block);
    g_autoptr(VmigPolicy) policy = vmig_policy_default();
    VmigReporter reporter = {.retry = on_retry, .note = on_note, .user = log};
    g_autoptr(VmigWorld) world = g_new0(VmigWorld, 1);

    world->dest.storage = open_storage(block, error);
    if (world->dest.storage == NULL)
        return FALSE;
    world->dest.hypervisor = block_libvirt(block);
    world->clock = (VmigClock *)g_new0(FastClock, 1);
    world->clock->ops = &clock_ops;
    world->random = g_new0(VmigRandom, 1);
    world->random->ops = &random_ops;
    VmigJournal *journal = vmig_storage_local_journal(world->dest.storage, error);
    VmigJob *job = journal != NULL ? vmig_journal_load(journal, id, error) : NULL;
    if (job == NULL)
        return FALSE;
    g_autoptr(VmigMachine) machine = vmig_machine_new(world, journal, TRUE, policy, &reporter, job);
    return vmig_machine_run(machine, error) &&
           (is_finished(machine->job) || vmig_fail(error, VMIG_ERROR_STATE, NULL, "it parks in %s: %s",
                                                   machine->job->parked_state, machine->job->error_message));
}

/* In a process of its own, as `vmig-snap resume` is. */
static pid_t start_tool(Block *block)
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

static pid_t start_guest(Block *block)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    block_guest(block);
    _exit(0);
}

/* --- killing ----------------------------------------------------------------------------------------------------- */

static void kill_daemon(Block *block)
{
    kill(block->daemon, SIGKILL);
    waitpid(block->daemon, NULL, 0);
    g_atomic_int_set(&block->shared->dead, 1);
}

/* Killed, unless it has ended: its exit code then, else -1. */
static int end_tool(pid_t pid, gboolean by_force)
{
    int status = 0;

    if (by_force)
        kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void nap(GRand *random, guint most_us)
{
    g_usleep((gulong)g_rand_int_range(random, 0, (gint32)most_us + 1));
}

/* Until that phase began, or the tool has ended. */
static void await_phase(const Block *block, BlockPhase phase, pid_t tool)
{
    gint64 until = g_get_monotonic_time() + NEVER_READY;
    siginfo_t info;

    while (g_atomic_int_get(&block->shared->phase) < (gint)phase && g_get_monotonic_time() < until) {
        info.si_pid = 0;
        if (waitid(P_PID, (id_t)tool, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == tool)
            return;
        g_usleep(20);
    }
}

/* --- judging ----------------------------------------------------------------------------------------------------- */

static VmigJob *load_record(const Block *block, GError **error)
{
    g_autofree char *path = g_build_filename(block->folder, "state", "journal.db", NULL);
    g_autofree char *id = job_id(block);
    g_autoptr(VmigJournal) journal = vmig_journal_open_read_only(path, NULL, error);

    return journal != NULL ? vmig_journal_load(journal, id, error) : NULL;
}

static gboolean judge_view(const Block *block, guint disk, const char *kind, GError **error)
{
    g_autofree char *raw = g_strdup_printf("%s/view-%u.raw", block->folder, disk);
    g_autofree char *path = block_path(block, kind, disk);

    if (!run_tool(error, "qemu-img convert -f qcow2 -O raw %s %s", path, raw) ||
        !block_judge(block, disk, raw, error)) {
        g_prefix_error(error, "%s: ", kind);
        return FALSE;
    }
    unlink(raw);
    return TRUE;
}

/* What whoever comes now has: before the journal says that a disk is on its base, the overlay and what is below it. */
static gboolean judge_by_rule(const Block *block, GError **error)
{
    g_autoptr(VmigJob) record = load_record(block, error);

    for (guint i = 0; record != NULL && i < block->n_disks; i++) {
        const VmigDisk *disk = record->disks->pdata[i];
        if (!judge_view(block, i, record->pivoted || disk->pivoted ? "base" : "overlay", error)) {
            g_prefix_error(error, "before recovery, in %s: ", record->state);
            return FALSE;
        }
    }
    return record != NULL;
}

static gboolean same_snapshot(const Block *block, guint disk, const char *name, GError **error)
{
    g_autofree char *path = block_path(block, "base", disk);
    g_autofree char *raw = g_strdup_printf("%s/snapshot.raw", block->folder);

    if (!run_tool(error, "qemu-img convert -f qcow2 -l snapshot.name=%s -O raw %s %s", name, path, raw) ||
        !run_tool(error, "cmp %s %s/%s-%u.raw", raw, block->template, name, disk)) {
        g_prefix_error(error, "snapshot %s of disk %u: ", name, disk);
        return FALSE;
    }
    unlink(raw);
    return TRUE;
}

/* qemu-img(1): 3 is leaked clusters and nothing else, which a kill may leave. */
static gboolean sound(const Block *block, guint disk, GError **error)
{
    g_autofree char *path = block_path(block, "base", disk);
    g_autofree char *command = g_strdup_printf("qemu-img check -q -f qcow2 %s", path);
    g_autofree char *out = NULL, *err = NULL;
    int status = 0;

    if (!g_spawn_command_line_sync(command, &out, &err, &status, error))
        return FALSE;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return code == 0 || code == 3 || vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL, "%s: %d", command, code);
}

static gboolean judge_end(const Block *block, GError **error)
{
    for (guint i = 0; i < block->n_disks; i++)
        if (!judge_view(block, i, "base", error) || !same_snapshot(block, i, "one", error) ||
            !same_snapshot(block, i, "two", error) || !sound(block, i, error))
            return FALSE;
    return TRUE;
}

/* --- the trial --------------------------------------------------------------------------------------------------- */

static gboolean wait_filled(const Block *block, pid_t guest, GError **error)
{
    gint64 until = g_get_monotonic_time() + PATIENCE;

    while (!g_atomic_int_get(&block->shared->filled)) {
        if (waitpid(guest, NULL, WNOHANG) == guest || g_get_monotonic_time() > until)
            return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "the writer does not get to write");
        g_usleep(200);
    }
    return TRUE;
}

/* What the template has counts as flushed. */
static gboolean take_template(Block *block, GError **error)
{
    for (guint i = 0; i < block->n_disks; i++) {
        g_autofree char *raw = g_strdup_printf("%s/base-%u.raw", block->template, i);
        g_autofree char *path = block_path(block, "base", i);
        g_autofree char *bytes = NULL;
        if (!run_tool(error, "cp --sparse=always %s/base-%u.qcow2 %s", block->template, i, path) ||
            !g_file_get_contents(raw, &bytes, NULL, error))
            return FALSE;
        for (guint lba = 0; lba < BLOCK_SECTORS; lba++) {
            guint64 number;
            g_assert(block_read((guint8 *)bytes + (gsize)lba * BLOCK_SECTOR, i, lba, &number));
            block->shared->flushed[i][lba] = number;
            block->shared->next = MAX(block->shared->next, number + 1);
        }
    }
    return TRUE;
}

static gboolean make_folders(const Block *block, GError **error)
{
    static const char *const names[] = {"state", "run", "images", "libvirt"};

    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(block->folder, names[i], NULL);
        if (g_mkdir_with_parents(path, 0700) != 0)
            return vmig_fail(error, VMIG_ERROR_IO, NULL, "making %s failed", path);
    }
    return TRUE;
}

/* Started again until the machine is through, killed on the way now and then. */
static gboolean carry_on(Block *block, GRand *random, guint *tools, GError **error)
{
    for (; *tools < MOST_TOOLS; (*tools)++) {
        pid_t tool = start_tool(block);
        gboolean again = *tools < 3 && g_rand_int_range(random, 0, 3) == 0;
        if (again)
            nap(random, 150000);
        if (end_tool(tool, again) == 0)
            return TRUE;
    }
    return vmig_fail(error, VMIG_ERROR_STATE, NULL, "the machine does not get through: see tool.log");
}

/* One kill, or none, and everything after it. */
static gboolean kill_and_recover(Block *block, GRand *random, Kill whom, BlockPhase at, GError **error)
{
    guint tools = 1;
    pid_t tool = start_tool(block);

    await_phase(block, at, tool);
    nap(random, at == BLOCK_COMMIT || at == BLOCK_RESTORE ? 60000 : 2000);
    if (whom == KILL_NOBODY) {
        gboolean done = end_tool(tool, FALSE) == 0 || carry_on(block, random, &tools, error);
        kill_daemon(block);
        return done && judge_by_rule(block, error);
    }
    if (whom == KILL_BOTH || whom == KILL_TOOL_FIRST)
        kill(tool, SIGKILL);
    if (whom == KILL_TOOL_FIRST) {
        end_tool(tool, TRUE);
        tool = start_tool(block);
        tools++;
        nap(random, 100000);
        kill(tool, SIGKILL);
    }
    kill_daemon(block);
    int code = end_tool(tool, FALSE);
    /* A tool that lived on has recovered by itself already. */
    if (code < 0 && !judge_by_rule(block, error))
        return FALSE;
    return code == 0 || carry_on(block, random, &tools, error);
}

static gboolean trial(Block *block, GRand *random, Kill whom, BlockPhase at, GError **error)
{
    if (!make_folders(block, error) || !take_template(block, error) || !block_define_first(block, error) ||
        !prepare_apart(block, error))
        return FALSE;
    block->daemon = block_daemon(block, TRUE);
    g_atomic_int_set(&block->shared->may_run, 1);
    pid_t guest = start_guest(block);
    gboolean good = wait_filled(block, guest, error);
    /* It arrived paused: the machine lets it run. */
    g_atomic_int_set(&block->shared->may_run, 0);
    good = good && kill_and_recover(block, random, whom, at, error);
    if (!g_atomic_int_get(&block->shared->dead))
        kill_daemon(block);
    waitpid(guest, NULL, 0);
    return good && judge_end(block, error);
}

/* --- the template ------------------------------------------------------------------------------------------------ */

static gboolean write_template(Block *block, guint disk, guint share, GRand *random, GError **error)
{
    g_autofree char *image = g_strdup_printf("%s/base-%u.qcow2", block->template, disk);
    guint8 bytes[8 * BLOCK_SECTOR];

    g_autofree char *chunk = g_build_filename(block->template, "chunk", NULL);
    GString *commands = g_string_new(NULL);
    for (guint i = 0; i < share; i++) {
        guint lba = (guint)g_rand_int_range(random, 0, BLOCK_SECTORS / 8) * 8;
        guint64 number = ++block->shared->next;
        g_autofree char *name = g_strdup_printf("%s-%u", chunk, i);
        for (guint k = 0; k < 8; k++)
            block_fill(bytes + k * BLOCK_SECTOR, disk, lba + k, number);
        if (!g_file_set_contents(name, (char *)bytes, sizeof bytes, error))
            return FALSE;
        g_string_append_printf(commands, " -c 'write -q -s %s %u %u'", name, lba * BLOCK_SECTOR, 8 * BLOCK_SECTOR);
    }
    g_autofree char *all = g_string_free(commands, FALSE);
    return run_tool(error, "qemu-io -f qcow2%s %s", all, image);
}

static gboolean make_template(Block *block, GRand *random, GError **error)
{
    static const char *const names[] = {"one", "two"};
    const char *t = block->template;

    for (guint disk = 0; disk < BLOCK_DISKS; disk++) {
        /* Small clusters on one of them: more metadata for the same writes. */
        if (!run_tool(error, "qemu-img create -q -f qcow2 -o cluster_size=%u %s/base-%u.qcow2 %" G_GUINT64_FORMAT,
                      disk == 0 ? 65536 : 4096, t, disk, BLOCK_SIZE))
            return FALSE;
        for (guint i = 0; i < G_N_ELEMENTS(names); i++)
            if (!write_template(block, disk, 150, random, error) ||
                !run_tool(error, "qemu-img convert -f qcow2 -O raw %s/base-%u.qcow2 %s/%s-%u.raw", t, disk, t, names[i],
                          disk) ||
                !run_tool(error, "qemu-img snapshot -c %s %s/base-%u.qcow2", names[i], t, disk))
                return FALSE;
        if (!write_template(block, disk, 150, random, error) ||
            !run_tool(error, "qemu-img convert -f qcow2 -O raw %s/base-%u.qcow2 %s/base-%u.raw", t, disk, t, disk))
            return FALSE;
    }
    return run_tool(error, "sh -c 'rm %s/chunk-*'", t);
}

static gboolean parse(Block *block, gboolean *make, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--make") == 0)
            *make = TRUE;
        else if (strcmp(argv[i], "--no-suspend") == 0)
            block->no_suspend = TRUE;
        else if (strcmp(argv[i], "--template") == 0)
            block->template = g_canonicalize_filename(next, NULL), i++;
        else if (strcmp(argv[i], "--folder") == 0)
            block->folder = g_canonicalize_filename(next, NULL), i++;
        else if (strcmp(argv[i], "--seed") == 0)
            block->seed = g_ascii_strtoull(next, NULL, 10), i++;
        else
            return FALSE;
    }
    return block->template != NULL && (*make || block->folder != NULL);
}

int main(int argc, char **argv)
{
    Block block = {.seed = 1};
    g_autoptr(GError) error = NULL;
    gboolean make = FALSE;

    if (!parse(&block, &make, argc, argv)) {
        fprintf(stderr, "usage: block-trial --template DIR (--make | --folder DIR [--no-suspend]) [--seed N]\n");
        return 2;
    }
    block.shared = mmap(NULL, sizeof *block.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_autoptr(GRand) random = g_rand_new_with_seed((guint32)block.seed);
    if (make) {
        gboolean made = make_template(&block, random, &error);
        if (!made)
            fprintf(stderr, "%s\n", error->message);
        return made ? 0 : 2;
    }
    block.n_disks = (guint)g_rand_int_range(random, 1, BLOCK_DISKS + 1);
    block.flush_on_suspend = g_rand_boolean(random);
    block.pause_us = (guint)g_rand_int_range(random, 20, 800);
    block.speed = g_rand_int_range(random, 0, 4) == 0 ? 8u << 20 : 0;
    Kill whom = g_rand_int_range(random, 0, 20) == 0 ? KILL_NOBODY : (Kill)g_rand_int_range(random, 1, KILLS);
    BlockPhase at = (BlockPhase)g_rand_int_range(random, 0, BLOCK_PHASES);
    if (block.no_suspend) {
        /* Where it must be seen. */
        whom = KILL_BOTH;
        at = (BlockPhase)g_rand_int_range(random, BLOCK_COMPLETING, BLOCK_DEFINED + 1);
        block.n_disks = BLOCK_DISKS;
    }
    gboolean good = trial(&block, random, whom, at, &error);
    printf("%s: seed %" G_GUINT64_FORMAT ", %u disks, %s killed at %s, writes %" G_GUINT64_FORMAT
           " flushes %" G_GUINT64_FORMAT "%s%s\n",
           good ? "good" : "BAD", block.seed, block.n_disks, kills[whom], phases[at], block.shared->writes,
           block.shared->flushes, good ? "" : ": ", good ? "" : error->message);
    return good ? 0 : 1;
}
