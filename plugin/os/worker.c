/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asks another vmig-snap process to roll back. */
#include "os/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "store/oplock.h"
#include "store/process.h"

#define END_MS 3000 /* a killed process is gone after this time */

/* COMMAND of `vmig-snap COMMAND`; NULL: another program. (transfer full) */
static char *command_of(int pid)
{
    g_autofree char *exe_path = g_strdup_printf("/proc/%d/exe", pid);
    g_autofree char *argv_path = g_strdup_printf("/proc/%d/cmdline", pid);
    g_autofree char *exe = g_file_read_link(exe_path, NULL);
    g_autofree char *argv = NULL;
    gsize length = 0;

    if (exe == NULL || !g_file_get_contents(argv_path, &argv, &length, NULL))
        return NULL;
    if (g_str_has_suffix(exe, " (deleted)")) /* a newer version was installed meanwhile */
        exe[strlen(exe) - strlen(" (deleted)")] = '\0';
    g_autofree char *name = g_path_get_basename(exe);
    const char *command = argv + MIN(strlen(argv) + 1, length); /* g_file_get_contents() adds a NUL */
    return g_str_equal(name, "vmig-snap") ? g_strdup(command) : NULL;
}

/* All commands except the agent treat SIGTERM as a request to roll back. */
static gboolean goes_back_on_signal(int pid)
{
    g_autofree char *command = command_of(pid);

    return command != NULL && !g_str_equal(command, "agent");
}

gboolean vmig_worker_end_agent(const char *run_dir, const char *uuid, const char *job, const char *tool)
{
    g_autofree char *dir = g_build_filename(run_dir, "lock", NULL);
    g_autofree char *holder = NULL;
    int pidfd, pid;

    if (!vmig_oplock_holder_process(dir, uuid, &pidfd, &pid, &holder, NULL) || pidfd < 0)
        return FALSE;
    /* Read after the pidfd was opened, so that all of it is about that process. */
    g_autofree char *command = command_of(pid);
    gboolean ended = g_strcmp0(command, "agent") == 0 && vmig_oplock_pid_for(dir, uuid, job, tool) == pid &&
                     vmig_process_signal(pidfd, SIGKILL) == 0 && vmig_worker_ended(pidfd, END_MS);
    close(pidfd);
    return ended;
}

gboolean vmig_worker_ask_back(const char *run_dir, const char *uuid, int *pidfd, int *pid, GError **error)
{
    g_autofree char *dir = g_build_filename(run_dir, "lock", NULL);
    g_autofree char *holder = NULL;
    int found;

    *pidfd = -1;
    if (!vmig_oplock_holder_process(dir, uuid, &found, pid, &holder, error))
        return FALSE;
    if (found < 0)
        return TRUE;
    if (!goes_back_on_signal(*pid)) {
        close(found);
        return vmig_fail(error, VMIG_ERROR_LOCKED,
                         "Cancel it on the host where it was started, or in the program that started it.",
                         "domain %s is held by %s, which is not a vmig-snap command", uuid, holder);
    }
    if (vmig_process_signal(found, SIGTERM) != 0 && errno != ESRCH) {
        vmig_fail_errno(error, errno, "cannot ask process %d to roll back", *pid);
        close(found);
        return FALSE;
    }
    *pidfd = found;
    return TRUE;
}

gboolean vmig_worker_ended(int pidfd, guint milliseconds)
{
    struct pollfd fd = {.fd = pidfd, .events = POLLIN};

    return poll(&fd, 1, (int)milliseconds) > 0;
}
