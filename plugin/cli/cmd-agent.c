/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmig-snap agent: started by the other host over ssh; also the guard, which this host's vmig-snap starts. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/outcome.h"
#include "core/errors.h"
#include "core/path-map.h"
#include "node/agent.h"
#include "os/config.h"
#include "guard/guard.h"
#include "node/node-local.h"

/* Moves the protocol's streams away from descriptors 0 and 1: a library that prints must not write to the peer, and a
 * child process must not read the peer's requests. */
static gboolean take_streams(int *in_fd, int *out_fd, GError **error)
{
    *in_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    *out_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (*in_fd < 0 || *out_fd < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return vmig_fail_errno(error, errno, "the agent's streams");
    close(null);
    return TRUE;
}

/* Never freed: a request that could not be cancelled may still use it. */
static VmigNode *open_node(GError **error)
{
    g_autoptr(VmigConfig) config = vmig_config_load(NULL, error);

    if (config == NULL)
        return NULL;
    const VmigNodeConfig node = {
        .state_dir = config->state_dir,
        .run_dir = config->run_dir,
        .roots = (const char *const *)config->image_roots,
        .role = VMIG_ROLE_DESTINATION,
        .serves_peer = TRUE,
        .tls_dir = config->tls_dir,
        .first_port = config->first_port,
        .last_port = config->last_port,
    };
    return vmig_node_local_new(g_get_host_name(), &node, error);
}

static gboolean serve(GError **error)
{
    g_autoptr(GError) why = NULL;
    int in_fd, out_fd;

    if (!take_streams(&in_fd, &out_fd, error))
        return FALSE;
    VmigNode *local = open_node(&why);
    if (local != NULL)
        return vmig_agent_serve(in_fd, out_fd, local, error);
    vmig_agent_refuse(out_fd, why);
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

static int run_guard(const VmigMode *mode, const char *socket)
{
    g_autoptr(GError) error = NULL;

    if (!vmig_path_check(socket, &error)) {
        g_prefix_error(&error, "--guard: ");
        return vmig_end_with_error(mode, error);
    }
    return vmig_guard_main(socket);
}

int vmig_cmd_agent(int argc, char **argv)
{
    static const char *const names[] = {NULL};
    VmigMode mode = {FALSE, FALSE};
    g_autofree char *guard = NULL;
    const GOptionEntry entries[] = {
        {"guard", 0, 0, G_OPTION_ARG_FILENAME, &guard, "Hold a job's image locks; requests come over this socket",
         "SOCKET"},
        G_OPTION_ENTRY_NULL,
    };
    const VmigUsage usage = {
        .command = "agent",
        .arguments = "",
        .summary = "Serves the node of this host to vmig-snap on the other host, over standard input and\noutput. "
                   "Users do not call it.",
        .names = names,
    };
    g_auto(GStrv) rest = NULL;
    g_autoptr(GError) error = NULL;
    int code;

    if (vmig_args_parse(&usage, entries, argc, argv, &mode, &rest, &code) == VMIG_ARGS_END)
        return code;
    if (guard != NULL)
        return run_guard(&mode, guard);
    code = serve(&error) ? VMIG_EXIT_DONE : vmig_end_with_error(&mode, error);
    /* Skips the handlers of exit(), because threads that still run may need what these free. */
    _exit(code);
}
