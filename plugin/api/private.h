/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Functions for the command only: the agent, the guard, and what only a command line shows. This header is not
 * installed. The shared library exports these functions, and those of core/ that the command calls, with a symbol
 * version that contains the version of the project: the dynamic linker refuses a command of another version. libvirt
 * does the same for virsh and its daemons. If the command were linked with a static copy of them, the process would
 * have two error domains, and the agent would be a second copy of the library.
 *
 * Folder plugin/api: implements the calls of the library, the documents that they return, and the environment of a real
 * run. The only folder that puts all others together.
 */
#pragma once

#include <glib.h>

/* Serves the agent's protocol until the peer closes the connection. Threads may still be running afterwards: the caller
 * must end the process with _exit(). An error was also sent to the peer. */
gboolean vmig_private_serve_agent(int in_fd, int out_fd, GError **error);
/* Runs the guard and returns its exit code. */
int vmig_private_run_guard(const char *socket);
/* The directory for the logs of background jobs; NULL if the configuration is invalid. (transfer full) */
char *vmig_private_log_folder(void);
/* Whether the URI is that of this host's system libvirt: qemu:///system or qemu+unix:///system, with ?socket=/PATH.
 * Error: BAD_URI. */
gboolean vmig_private_check_connect(const char *uri, GError **error);
/* NULL if the build has no fault points. */
const char *const *vmig_private_fault_points(void);
