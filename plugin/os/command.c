/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "os/command.h"

#include <glib.h>

char *vmig_command_path(void)
{
    g_autofree char *exe = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *name = exe != NULL ? g_path_get_basename(exe) : NULL;

    if (name != NULL && g_str_equal(name, "vmig-snap"))
        return g_steal_pointer(&exe);
    char *found = g_find_program_in_path("vmig-snap");
    return found != NULL ? found : g_strdup(VMIG_BINDIR "/vmig-snap");
}
