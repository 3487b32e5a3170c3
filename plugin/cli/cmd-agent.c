/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmig-snap agent: started by the other host over ssh; also the guard, which this host's vmig-snap starts. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/outcome.h"
#include "cli/fail.h"
#include "vmig-snap/vmig-snap.h"

/* Moves the protocol's streams away from descriptors 0 and 1: a library that prints must not write to the peer, and a
 * child process must not read the peer's requests. */
static gboolean take_streams(int *in_fd, int *out_fd, GError **error)
{
    *in_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    *out_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (*in_fd < 0 || *out_fd < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return vmig_cli_fail_errno(error, errno, "the agent's streams");
    close(null);
    return TRUE;
}

/* sudo(8) gives root to a user without a shell in between: its standard input and output are the agent's. It returns
 * only if there is no sudo; the agent then says that it needs root. */
static void become_root(void)
{
    if (vmig_may_serve_agent())
        return;
    g_autofree char *exe = g_file_read_link("/proc/self/exe", NULL);
    char *argv[] = {"sudo", "-n", "--", exe, "agent", NULL};
    if (exe != NULL)
        (void)execvp(argv[0], argv);
}

static gboolean serve(GError **error)
{
    int in_fd, out_fd;

    return take_streams(&in_fd, &out_fd, error) && vmig_serve_agent(in_fd, out_fd, error);
}

static int run_guard(const VmigMode *mode, const char *socket)
{
    g_autoptr(GError) error = NULL;
    int code;

    if (vmig_serve_guard(socket, &code, &error))
        return code;
    g_prefix_error(&error, "--guard: ");
    return vmig_end_with_error(mode, error);
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
    become_root();
    code = serve(&error) ? VMIG_EXIT_DONE : vmig_end_with_error(&mode, error);
    /* Skips the handlers of exit(), because threads that still run may need what these free. */
    _exit(code);
}
