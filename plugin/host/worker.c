/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking another process of ours to go back. */
#include "host/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "store/oplock.h"
#include "store/process.h"

/* Is it `vmig-snap COMMAND`, and not the agent? Only that one takes SIGTERM for a wish to go back. */
static gboolean goes_back_on_signal(int pid)
{
    g_autofree char *exe_path = g_strdup_printf("/proc/%d/exe", pid);
    g_autofree char *argv_path = g_strdup_printf("/proc/%d/cmdline", pid);
    g_autofree char *exe = g_file_read_link(exe_path, NULL);
    g_autofree char *argv = NULL;
    gsize length = 0;

    if (exe == NULL || !g_file_get_contents(argv_path, &argv, &length, NULL))
        return FALSE;
    if (g_str_has_suffix(exe, " (deleted)")) /* a newer one was installed meanwhile */
        exe[strlen(exe) - strlen(" (deleted)")] = '\0';
    g_autofree char *name = g_path_get_basename(exe);
    const char *command = argv + MIN(strlen(argv) + 1, length); /* g_file_get_contents() adds a NUL */
    return g_str_equal(name, "vmig-snap") && !g_str_equal(command, "agent");
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
        vmig_fail_errno(error, errno, "asking process %d to go back", *pid);
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
