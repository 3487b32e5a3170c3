/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds a process by the files that it has open. */
#include "store/process.h"
#include "core/file-id.h"

#include <glib.h>
#include <sys/syscall.h>
#include <unistd.h>

static gboolean has_open(int pid, const struct stat *file)
{
    g_autofree char *folder = g_strdup_printf("/proc/%d/fd", pid);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;
    struct stat st;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        if (stat(path, &st) == 0 && vmig_file_id_equal(VMIG_FILE_ID(st), VMIG_FILE_ID(*file)))
            return TRUE;
    }
    return FALSE;
}

int vmig_process_signal(int pidfd, int signum)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signum, NULL, 0);
}

int vmig_process_that_has(int pid, const struct stat *file)
{
    int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

    /* The process is still alive after /proc was read, so the data was not that of a later process with the same
     * number. */
    if (pidfd < 0 || (has_open(pid, file) && vmig_process_signal(pidfd, 0) == 0))
        return pidfd;
    close(pidfd);
    return -1;
}
