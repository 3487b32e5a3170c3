/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sim-disk --folder DIR [--seed N] [--fault KIND@CALL]... [--marks] [--break] [--trace]
 *
 * One run of the simulation whose two journals are real files in DIR (opened, written and recovered by the shipped
 * code), and whose environment outlives the process: after a kill at any system call, the same command line continues
 * it. Prints "done", "rolled-back" or "refused" (exit code 0) once it is over and every invariant of the simulation
 * held. 1: an invariant failed. 3: a journal could not be opened or read; run it again.
 *
 * --marks: writes a line "commit HOST" to descriptor 9 whenever a transaction of that host's journal was reported as
 * durable. --break: the journals keep their rollback data in memory, so that a kill during a commit leaves half of it.
 * This must be detected.
 */
#include "sim-keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/journal-private.h"

#define AGAIN 3
#define MARKS_FD 9

typedef int (*Fcntl)(int fd, int command, ...);

static const char *const roles[] = {"source", "dest"};

typedef struct {
    const char *folder;
    guint64 seed;
    gboolean marks, trace, broken;
    SimFault faults[SIM_FAULTS];
    guint n_faults;
} Arguments;

/* For callbacks without a user pointer. */
static const Arguments *arguments;
static struct {
    SimKeep *keep;
    Sim *sim;
    Fcntl fcntl;
} kept;

/* Every transaction begins with a lock, and the environment does not change during one. So at each system call at which
 * a process can be killed, its file contains the current environment. */
static int keep_and_fcntl(int fd, int command, ...)
{
    va_list args;

    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    sim_keep_save(kept.keep, kept.sim);
    return kept.fcntl(fd, command, argument);
}

static void keep_at_locks(SimKeep *keep, Sim *sim)
{
    sqlite3_initialize();
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

    kept.keep = keep;
    kept.sim = sim;
    kept.fcntl = (Fcntl)vfs->xGetSystemCall(vfs, "fcntl");
    if (kept.fcntl == NULL || vfs->xSetSystemCall(vfs, "fcntl", (sqlite3_syscall_ptr)keep_and_fcntl) != SQLITE_OK)
        g_error("this SQLite lets nobody see its system calls");
}

/* The gate's files are simulated, but its calls can really fail, and the process can be killed at each: the same system
 * call is made on a nonexistent file. */
static int gate_call(SimHost *host, SimGateCall call)
{
    g_autofree char *folder = g_build_filename(arguments->folder, host->name, NULL);
    g_autofree char *nothing = g_build_filename(folder, "nothing", NULL);
    g_autofree char *other = g_build_filename(folder, "other", NULL);
    int result = 0;

    sim_keep_save(kept.keep, kept.sim);
    errno = 0;
    if (call == SIM_GATE_UNLINK)
        result = unlinkat(AT_FDCWD, nothing, 0);
    else if (call == SIM_GATE_RENAME)
        result = renameat2(AT_FDCWD, nothing, AT_FDCWD, other, RENAME_NOREPLACE);
    else {
        int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        result = fd < 0 ? -1 : call == SIM_GATE_SYNC ? fsync(fd) : 0;
        int errnum = errno;
        if (fd >= 0)
            close(fd);
        errno = errnum;
    }
    return result == 0 || errno == ENOENT ? 0 : -1;
}

static int on_statement(unsigned what G_GNUC_UNUSED, void *data, void *stmt, void *nanoseconds G_GNUC_UNUSED)
{
    const SimHost *host = data;

    if (g_strcmp0(sqlite3_sql(stmt), "COMMIT") == 0 && sqlite3_get_autocommit(host->journal->db))
        dprintf(MARKS_FD, "commit %s\n", host->name);
    return 0;
}

static gboolean open_journals(Sim *sim, const Arguments *args)
{
    for (guint h = 0; h < 2; h++) {
        g_autofree char *path = g_build_filename(args->folder, roles[h], "journal.db", NULL);
        g_autoptr(GError) error = NULL;
        sim->hosts[h].journal = vmig_journal_open(path, roles[h], &error);
        if (sim->hosts[h].journal == NULL) {
            printf("again: %s\n", error->message);
            return FALSE;
        }
        if (args->broken)
            sqlite3_exec(sim->hosts[h].journal->db, "PRAGMA journal_mode = MEMORY", NULL, NULL, NULL);
        if (args->marks)
            sqlite3_trace_v2(sim->hosts[h].journal->db, SQLITE_TRACE_PROFILE, on_statement, &sim->hosts[h]);
    }
    return TRUE;
}

static void close_journals(Sim *sim)
{
    for (guint h = 0; h < 2; h++)
        g_clear_pointer(&sim->hosts[h].journal, vmig_journal_close);
}

static gboolean reopen(Sim *sim)
{
    close_journals(sim);
    return open_journals(sim, arguments);
}

static void on_log(const char *domain, GLogLevelFlags level G_GNUC_UNUSED, const char *message, gpointer user)
{
    sim_violate(user, "%s: %s", domain != NULL ? domain : "log", message);
}

/* Removes what belonged to the process that made the last entries of the environment's file. */
static void bury(Sim *sim)
{
    sim->migration.watched = sim->migration.refused = FALSE;
    if (sim->migration.phase == SIM_MIG_RETURNED)
        sim_migration_clear(&sim->migration);
    sim_advance(sim, sim_random_scale(&sim->env, 10 * SIM_MS, 1000 * SIM_S));
}

static int run(Sim *sim, SimKeep *keep, const Arguments *args)
{
    static const char *const outcomes[] = {"done", "rolled-back", "set-aside", "parked", "refused"};

    sim_scenario(sim);
    sim->journal_fault = SIM_FAULT_KINDS;
    sim->n_faults = args->n_faults;
    memcpy(sim->faults, args->faults, sizeof sim->faults);
    if (sim_keep_load(keep, sim))
        bury(sim);
    sim->reopen = reopen;
    sim->gate_call = gate_call;
    if (!open_journals(sim, args))
        return AGAIN;
    keep_at_locks(keep, sim);
    SimOutcome outcome = sim_run(sim);
    sim_keep_save(keep, sim);
    if (sim->violation != NULL) {
        printf("VIOLATION: %s\n", sim->violation);
        return 1;
    }
    if (sim->stuck)
        return AGAIN;
    printf("%s\n", outcomes[outcome]);
    return outcome == SIM_PARKED ? 1 : 0;
}

static gboolean parse_fault(Arguments *args, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, "@", 2);

    for (guint kind = 0; kind < SIM_FAULT_KINDS && args->n_faults < SIM_FAULTS && g_strv_length(words) == 2; kind++)
        if (g_strcmp0(sim_fault_names[kind], words[0]) == 0) {
            args->faults[args->n_faults++] = (SimFault){kind, (guint)g_ascii_strtoull(words[1], NULL, 10)};
            return TRUE;
        }
    return FALSE;
}

static gboolean parse(Arguments *args, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--trace") == 0)
            args->trace = TRUE;
        else if (strcmp(argv[i], "--marks") == 0)
            args->marks = TRUE;
        else if (strcmp(argv[i], "--break") == 0)
            args->broken = TRUE;
        else if (strcmp(argv[i], "--folder") == 0)
            args->folder = argv[++i];
        else if (strcmp(argv[i], "--seed") == 0)
            args->seed = g_ascii_strtoull(next, NULL, 10), i++;
        else if (strcmp(argv[i], "--fault") == 0 && parse_fault(args, next))
            i++;
        else
            return FALSE;
    }
    return args->folder != NULL;
}

int main(int argc, char **argv)
{
    Arguments args = {.seed = 1};
    Sim sim = {0};

    if (!parse(&args, argc, argv)) {
        fprintf(stderr, "usage: sim-disk --folder DIR [--seed N] [--fault KIND@CALL]... [--marks] [--break] "
                        "[--trace]\n");
        return 2;
    }
    arguments = &args;
    sim.seed = args.seed;
    sim.trace = args.trace;
    g_autofree char *folder = g_canonicalize_filename(args.folder, NULL);
    args.folder = folder;
    g_autofree char *path = g_build_filename(folder, "world", NULL);
    SimKeep *keep = sim_keep_open(path);
    if (keep == NULL) {
        perror(path);
        return AGAIN;
    }
    g_log_set_default_handler(on_log, &sim);
    int code = run(&sim, keep, &args);
    close_journals(&sim);
    return code;
}
