/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api/watcher.h"

#include <unistd.h>

#include <glib.h>

#include "os/command.h"
#include "os/fault.h"
#include "os/watched.h"

/* Not by os/tool.h: what is started here lives longer than this process, and needs the network. */
void vmig_watcher_start(const char *job)
{
    g_autofree char *command = vmig_command_path();
    g_autofree char *folder = g_path_get_dirname(command);
    g_autofree char *program = g_build_filename(folder, "vmig-snap-hook", NULL);
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
