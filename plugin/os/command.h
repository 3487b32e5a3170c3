/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the command vmig-snap is. This process may be another program, which uses the library. */
#pragma once

/* This program if it is vmig-snap, otherwise the one in PATH, otherwise the one that the build installs. It need not
 * exist. (transfer full) */
char *vmig_command_path(void);
