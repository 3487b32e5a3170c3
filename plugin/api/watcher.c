/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api/watcher.h"

#include <unistd.h>

#include <glib.h>

#include "os/fault.h"
#include "os/watched.h"

#define PROGRAM "vmig-snap-hook"

/* The one that is installed beside this command. This process may be another program that uses the library.
 * (transfer full) */
static char *find_program(void)
{
    g_autofree char *exe = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *folder = exe != NULL ? g_path_get_dirname(exe) : g_strdup(VMIG_BINDIR);
    char *beside = g_build_filename(folder, PROGRAM, NULL);

    if (access(beside, X_OK) == 0)
        return beside;
    g_free(beside);
    return g_strdup(VMIG_BINDIR "/" PROGRAM);
}

/* Not by os/tool.h: what is started here lives longer than this process, and needs the network. */
void vmig_watcher_start(const char *job)
{
    g_autofree char *program = find_program();
    char *argv[] = {program, (char *)"--watch", (char *)job, NULL};
    g_auto(GStrv) env = g_environ_unsetenv(g_get_environ(), VMIG_FAULT_VARIABLE);
    g_autoptr(GError) error = NULL;

    /* A start of the unit from inside would undo a stop of it. */
    if (access(program, X_OK) != 0 || g_getenv(VMIG_WATCHED_VARIABLE) != NULL)
        return;
    if (!g_spawn_sync("/", argv, env, G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, NULL,
                      NULL, &error))
        g_debug("%s --watch %s: %s", program, job, error->message);
}
