/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hook must end at once and hold nothing open, because libvirtd waits for the end of file on its pipes. So a
 * grandchild without any of the hook's descriptors does the rest. It does not disturb a running operation: while
 * another process holds the operation lock the grandchild only waits, and it continues the job if that process dies. */
#include "hooks/hook-wake.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/watched.h"
#include "store/journal.h"
#include "store/oplock.h"

#define LOOK (G_USEC_PER_SEC / 2)
/* An operation that ends normally releases the lock first and writes its last state after that. */
#define GRACE (3 * G_USEC_PER_SEC / 2)
#define FIRST_PAUSE (5 * G_USEC_PER_SEC)
#define LONGEST_PAUSE (300 * G_USEC_PER_SEC)
/* A host that is away for longer needs its administrator. A boot, or the next event on this host, starts a new try. */
#define GIVE_UP (G_GINT64_CONSTANT(24) * 3600 * G_USEC_PER_SEC)

/* The exit codes of vmig-snap (docs/man). */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_ROLLED_BACK = 4, EXIT_UNFINISHED = 5, EXIT_LOCKED = 6 };

/* --- in the hook --- */

static void point_at(int fd, const char *path, int flags)
{
    int opened = open(path, flags | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (opened >= 0)
        (void)dup2(opened, fd);
    else if (fd != STDIN_FILENO)
        (void)dup2(STDIN_FILENO, fd);
    if (opened > STDERR_FILENO)
        close(opened);
}

static void let_go(const char *log)
{
    setsid();
    (void)!chdir("/");
    point_at(STDIN_FILENO, "/dev/null", O_RDWR);
    point_at(STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND);
    point_at(STDERR_FILENO, log, O_WRONLY | O_CREAT | O_APPEND);
    close_range(STDERR_FILENO + 1, ~0u, 0);
    signal(SIGALRM, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
}

/* 0 if systemd accepted the request. */
static int ask_systemd(const char *unit)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        execl("/usr/bin/systemctl", "systemctl", "start", "--no-block", "--quiet", unit, NULL);
        _exit(127);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

void vmig_hook_wake(const VmigHookPaths *paths, const char *systemd_dir, const char *job)
{
    g_autofree char *unit = g_strdup_printf("vmig-snap@%s.service", job);
    g_autofree char *log = g_strdup_printf("%s/log/%s.log", paths->state_dir, job);
    g_autofree char *log_dir = g_path_get_dirname(log);
    gboolean systemd = access(systemd_dir, F_OK) == 0;

    (void)mkdir(log_dir, 0700);
    pid_t child = fork();
    if (child > 0)
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
    if (child != 0)
        return;
    /* The second fork leaves no zombie to libvirtd. It also prevents a session leader, to which a terminal could
     * attach. */
    if (fork() != 0)
        _exit(0);
    let_go(log);
    if (!systemd || ask_systemd(unit) != 0)
        execl("/proc/self/exe", "vmig-snap-hook", "--resume", job, NULL);
    _exit(0);
}

void vmig_hook_wake_all(const VmigHookPaths *paths, const char *systemd_dir)
{
    g_autoptr(VmigJournal) journal = vmig_journal_open_to_look(paths->journal, paths->machine_id, NULL);
    g_autoptr(GPtrArray) jobs = journal != NULL ? vmig_journal_list(journal, FALSE, NULL) : NULL;

    for (guint i = 0; jobs != NULL && i < jobs->len; i++)
        vmig_hook_wake(paths, systemd_dir, ((const VmigJob *)jobs->pdata[i])->id);
}

/* --- in the grandchild --- */

/* Held until this process ends and the kernel releases it. Not inherited, because a guard that resume starts lives
 * longer. */
static gboolean only_one(const VmigHookPaths *paths, const char *job)
{
    g_autofree char *path = g_strdup_printf("%s/%s.watch.lock", paths->lock_dir, job);

    (void)mkdir(paths->run_dir, 0700);
    (void)mkdir(paths->lock_dir, 0700);
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* NULL: the job is finished, or there is nothing to continue. */
static VmigJob *unfinished(const VmigHookPaths *paths, const char *id)
{
    g_autoptr(VmigJournal) journal = vmig_journal_open_to_look(paths->journal, paths->machine_id, NULL);
    g_autoptr(VmigJob) job = journal != NULL ? vmig_journal_load(journal, id, NULL) : NULL;

    return job != NULL && !vmig_state_is_final(vmig_job_state(job)) ? g_steal_pointer(&job) : NULL;
}

static gboolean is_busy(const VmigHookPaths *paths, const char *uuid)
{
    g_autofree char *holder = NULL;

    return vmig_oplock_holder(paths->lock_dir, uuid, &holder, NULL) && holder != NULL;
}

/* Waits until no process works on the job; returns whether one did. The only way to wait for the lock itself is to take
 * it, which would block other processes. A job that has ended needs no further patience. */
static gboolean wait_for_nobody(const VmigHookPaths *paths, const VmigJob *job)
{
    gboolean was_busy = FALSE;

    for (gint64 quiet = 0; quiet < GRACE; quiet += LOOK) {
        if (is_busy(paths, job->uuid)) {
            was_busy = TRUE;
            quiet = -LOOK;
        } else if (was_busy) {
            g_autoptr(VmigJob) still = unfinished(paths, job->id);
            if (still == NULL)
                return TRUE;
        }
        g_usleep(LOOK);
    }
    return was_busy;
}

/* A process that parked the job has tried everything. One that died has not, and before an event of the guest or a boot
 * the reason for a park may have been another one. */
static gboolean is_left_parked(const VmigJob *job, gboolean was_busy)
{
    return was_busy && vmig_job_waits(job);
}

/* Waits until the child has ended. Forwards a signal that asks this process to end: systemd sends it only to the main
 * process (KillMode=process), and the child knows how to stop safely for the guest. */
static int wait_for(pid_t pid, const sigset_t *signals, gboolean *stopped)
{
    int status = 0;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        int signum = sigwaitinfo(signals, NULL);
        if (signum != SIGTERM && signum != SIGINT)
            continue;
        *stopped = TRUE;
        kill(pid, SIGTERM);
    }
    /* The signal may have come before the child could handle it. */
    if (*stopped && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM)
        return EXIT_UNFINISHED;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
}

/* *stopped: a signal asked this process to end, so there must be no other try. */
static int run(const char *program, const char *job, gboolean *stopped)
{
    sigset_t signals, before;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGCHLD);
    /* A blocked signal waits for sigwaitinfo(), whenever it arrives. */
    sigprocmask(SIG_BLOCK, &signals, &before);
    pid_t pid = fork();
    if (pid == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        setenv(VMIG_WATCHED_VARIABLE, "1", TRUE);
        execl(program, "vmig-snap", "resume", job, "--quiet", "--unless-busy", NULL);
        _exit(EXIT_FAILED);
    }
    int code = pid > 0 ? wait_for(pid, &signals, stopped) : EXIT_FAILED;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return code;
}

/* Whether to try again. A job that parked because a host does not answer continues when the host does. Any other reason
 * needs an operator. */
static gboolean again(const VmigJob *job, int code)
{
    if (code == EXIT_LOCKED)
        return TRUE;
    if (code != EXIT_FAILED && code != EXIT_UNFINISHED)
        return FALSE;
    VmigErrorCode why = job->error_code != NULL ? vmig_error_from_name(job->error_code) : VMIG_ERROR_LAST;
    return why == VMIG_ERROR_LAST || vmig_error_class(why) == VMIG_CLASS_TRANSIENT || why == VMIG_ERROR_PARKED;
}

/* The exit code of this process. It is no failure that it was asked to end, or that another process has the job. */
static int told(int code, gboolean stopped)
{
    return code == EXIT_LOCKED || (stopped && code != EXIT_FAILED) ? EXIT_DONE : code;
}

/* Once: the log of a job that waits for another process must not grow. */
static void say_waits(const char *id, gboolean *said)
{
    if (!*said)
        g_printerr("Another process works on job %s, on this host or on the other: waiting for its end.\n", id);
    *said = TRUE;
}

int vmig_hook_watch(const VmigHookPaths *paths, const char *program, const char *id)
{
    gint64 pause = FIRST_PAUSE;
    gint64 first_try = 0;
    gboolean stopped = FALSE;
    gboolean said = FALSE;
    g_autoptr(VmigJob) job = unfinished(paths, id);

    if (job == NULL || !only_one(paths, id))
        return EXIT_DONE;
    for (;;) {
        gboolean was_busy = wait_for_nobody(paths, job);
        first_try = first_try != 0 ? first_try : g_get_monotonic_time();
        g_clear_pointer(&job, vmig_job_free);
        job = unfinished(paths, id);
        int code = job == NULL                     ? EXIT_DONE
                   : is_left_parked(job, was_busy) ? EXIT_UNFINISHED
                                                   : run(program, id, &stopped);
        g_clear_pointer(&job, vmig_job_free);
        job = unfinished(paths, id);
        if (job == NULL)
            return EXIT_DONE;
        if (stopped || !again(job, code) || g_get_monotonic_time() - first_try > GIVE_UP)
            return told(code, stopped);
        if (code == EXIT_LOCKED)
            say_waits(id, &said);
        g_usleep((gulong)pause);
        pause = MIN(pause * 2, LONGEST_PAUSE);
    }
}
