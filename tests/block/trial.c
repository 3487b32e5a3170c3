/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* block-trial --template DIR --make [--seed N]
 * block-trial --template DIR --folder DIR [--seed N] [--no-suspend]
 * block-trial --template DIR --folder DIR [--seed N] --power N [--lying-disk]
 *
 * One guest, its overlays over bases with internal snapshots, and the machine from ACTIVATE on, on the real block layer
 * of QEMU. QEMU, or the tool, or both are killed at a moment of the seed's; then the tool is started again until its
 * machine says that the disks are done. Exit code 0 if then, and before it by the rule of the journal, every flushed
 * write was there; 1: not; 2: the trial itself failed. The last line says what happened.
 *
 * With --power nobody is killed: the run is recorded, and the power is lost N times in it (block-power.c).
 * --no-suspend and --lying-disk, which forgets what it was told to flush, are to be seen.
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
#include "engine/machine.h"
#include "node/node-local.h"

#define MOST_TOOLS 6
#define PATIENCE (60 * G_USEC_PER_SEC)
/* A commit need not catch up with its writer: the kill comes all the same. */
#define NEVER_READY (3 * G_USEC_PER_SEC / 2)

const char *const block_phases[BLOCK_PHASES] = {"begin",      "commit",    "ready",   "suspended", "pivot",
                                                "completing", "concluded", "defined", "resumed",   "restore"};

typedef enum { KILL_NOBODY, KILL_QEMU, KILL_BOTH, KILL_TOOL_FIRST, KILLS } Kill;
static const char *const kills[KILLS] = {"nobody", "qemu", "both", "tool-first"};

/* --- killing --- */

pid_t block_start_guest(Block *block)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    block_guest(block);
    _exit(0);
}

void block_kill_daemon(Block *block)
{
    kill(block->daemon, SIGKILL);
    waitpid(block->daemon, NULL, 0);
    g_atomic_int_set(&block->shared->dead, 1);
}

/* Killed, unless it has ended: its exit code then, else minus the number of the signal. */
int block_end_tool(pid_t pid, gboolean by_force)
{
    int status = 0;

    if (by_force)
        kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
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

/* --- the trial --- */

gboolean block_wait_filled(const Block *block, pid_t guest, GError **error)
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
gboolean block_take_template(Block *block, GError **error)
{
    for (guint i = 0; i < block->n_disks; i++) {
        g_autofree char *raw = g_strdup_printf("%s/base-%u.raw", block->template, i);
        g_autofree char *path = block_path(block, "base", i);
        g_autofree char *bytes = NULL;
        if (!block_run_tool(error, "cp --sparse=always %s/base-%u.qcow2 %s", block->template, i, path) ||
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

gboolean block_make_folders(const Block *block, GError **error)
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
gboolean block_carry_on(Block *block, GRand *random, guint *tools, GError **error)
{
    for (; *tools < MOST_TOOLS; (*tools)++) {
        pid_t tool = block_start_tool(block);
        gboolean again = *tools < 3 && g_rand_int_range(random, 0, 3) == 0;
        if (again)
            nap(random, 150000);
        int code = block_end_tool(tool, again);
        if (code == 0)
            return TRUE;
        if (code < 0 && !again)
            return vmig_fail(error, VMIG_ERROR_CRASHED, NULL, "the tool died of signal %d", -code);
    }
    return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL, "the machine does not get through: see tool.log");
}

/* One kill, or none, and everything after it. */
static gboolean kill_and_recover(Block *block, GRand *random, Kill whom, BlockPhase at, GError **error)
{
    guint tools = 1;
    pid_t tool = block_start_tool(block);

    await_phase(block, at, tool);
    nap(random, at == BLOCK_COMMIT || at == BLOCK_RESTORE ? 60000 : 2000);
    if (whom == KILL_NOBODY) {
        gboolean done = block_end_tool(tool, FALSE) == 0 || block_carry_on(block, random, &tools, error);
        block_kill_daemon(block);
        return done && block_judge_by_rule(block, error);
    }
    if (whom == KILL_BOTH || whom == KILL_TOOL_FIRST)
        kill(tool, SIGKILL);
    if (whom == KILL_TOOL_FIRST) {
        block_end_tool(tool, TRUE);
        tool = block_start_tool(block);
        tools++;
        nap(random, 100000);
        kill(tool, SIGKILL);
    }
    block_kill_daemon(block);
    int code = block_end_tool(tool, FALSE);
    if (code < 0 && whom == KILL_QEMU)
        return vmig_fail(error, VMIG_ERROR_CRASHED, NULL, "the tool died of signal %d", -code);
    /* A tool that lived on has recovered by itself already. */
    if (code < 0 && !block_judge_by_rule(block, error))
        return FALSE;
    return code == 0 || block_carry_on(block, random, &tools, error);
}

static gboolean trial(Block *block, GRand *random, Kill whom, BlockPhase at, GError **error)
{
    if (!block_make_folders(block, error) || !block_take_template(block, error) || !block_define_first(block, error) ||
        !block_prepare(block, error))
        return FALSE;
    block->daemon = block_daemon(block, TRUE);
    g_atomic_int_set(&block->shared->may_run, 1);
    pid_t guest = block_start_guest(block);
    gboolean good = block_wait_filled(block, guest, error);
    /* It arrived paused: the machine lets it run. */
    g_atomic_int_set(&block->shared->may_run, 0);
    good = good && kill_and_recover(block, random, whom, at, error);
    if (!g_atomic_int_get(&block->shared->dead))
        block_kill_daemon(block);
    waitpid(guest, NULL, 0);
    return good && block_judge_end(block, error);
}

/* --- the template --- */

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
    return block_run_tool(error, "qemu-io -f qcow2%s %s", all, image);
}

static gboolean make_template(Block *block, GRand *random, GError **error)
{
    static const char *const names[] = {"one", "two"};
    const char *t = block->template;

    for (guint disk = 0; disk < BLOCK_DISKS; disk++) {
        /* Small clusters on one of them: more metadata for the same writes. */
        if (!block_run_tool(error, "qemu-img create -q -f qcow2 -o cluster_size=%u %s/base-%u.qcow2 %" G_GUINT64_FORMAT,
                            disk == 0 ? 65536 : 4096, t, disk, BLOCK_SIZE))
            return FALSE;
        for (guint i = 0; i < G_N_ELEMENTS(names); i++)
            if (!write_template(block, disk, 150, random, error) ||
                !block_run_tool(error, "qemu-img convert -f qcow2 -O raw %s/base-%u.qcow2 %s/%s-%u.raw", t, disk, t,
                                names[i], disk) ||
                !block_run_tool(error, "qemu-img snapshot -c %s %s/base-%u.qcow2", names[i], t, disk))
                return FALSE;
        if (!write_template(block, disk, 150, random, error) ||
            !block_run_tool(error, "qemu-img convert -f qcow2 -O raw %s/base-%u.qcow2 %s/base-%u.raw", t, disk, t,
                            disk))
            return FALSE;
    }
    return block_run_tool(error, "sh -c 'rm %s/chunk-*'", t);
}

static gboolean parse(Block *block, gboolean *make, guint *power, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--make") == 0)
            *make = TRUE;
        else if (strcmp(argv[i], "--no-suspend") == 0)
            block->no_suspend = TRUE;
        else if (strcmp(argv[i], "--lying-disk") == 0)
            block->lying_disk = TRUE;
        else if (strcmp(argv[i], "--power") == 0)
            *power = (guint)g_ascii_strtoull(next, NULL, 10), i++;
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
    guint power = 0;

    if (!parse(&block, &make, &power, argc, argv)) {
        fprintf(stderr,
                "usage: block-trial --template DIR (--make | --folder DIR [--no-suspend] [--power N [--lying-disk]]) "
                "[--seed N]\n");
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
    if (power > 0) {
        gboolean held = block_power(&block, random, power, &error);
        printf("%s: seed %" G_GUINT64_FORMAT ", %u disks, writes %" G_GUINT64_FORMAT "%s%s\n", held ? "good" : "BAD",
               block.seed, block.n_disks, block.shared->writes, held ? "" : ": ", held ? "" : error->message);
        return held ? 0 : 1;
    }
    gboolean good = trial(&block, random, whom, at, &error);
    printf("%s: seed %" G_GUINT64_FORMAT ", %u disks, %s killed at %s, writes %" G_GUINT64_FORMAT
           " flushes %" G_GUINT64_FORMAT "%s%s\n",
           good ? "good" : "BAD", block.seed, block.n_disks, kills[whom], block_phases[at], block.shared->writes,
           block.shared->flushes, good ? "" : ": ", good ? "" : error->message);
    return good ? 0 : 1;
}
