/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmig-snap: selects the command and sets up what all commands rely on. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/outcome.h"
#include "cli/output.h"
#include "cli/fail.h"
#include "vmig-snap/vmig-snap.h"

static const VmigCommand commands[] = {
    {"plan", "DOMAIN DEST", "Show what migrate would do, and every reason to refuse it", vmig_cmd_plan},
    {"migrate", "DOMAIN DEST", "Migrate a running guest with all its internal snapshots", vmig_cmd_migrate},
    {"status", "[JOB|DOMAIN]", "Show one job, or all unfinished jobs", vmig_cmd_status},
    {"list", "", "List the jobs, the newest first", vmig_cmd_list},
    {"resume", "[JOB|DOMAIN]", "Continue a job after a crash, a reboot or a park", vmig_cmd_resume},
    {"cancel", "JOB|DOMAIN", "Roll a job back while the guest is on the source", vmig_cmd_cancel},
    {"set", "JOB SETTING", "Change the limit of a running job's storage traffic", vmig_cmd_set},
    {"verify", "DOMAIN|--job JOB", "Compare every snapshot of a finished job on both hosts", vmig_cmd_verify},
    {"doctor", "[DOMAIN]", "Report what is wrong on this host; --fix repairs it", vmig_cmd_doctor},
    {"purge", "DOMAIN", "Remove the source images that a finished job kept", vmig_cmd_purge},
    {"agent", "", "Serve the other host; users do not call it", vmig_cmd_agent},
};

/* A file opened later must not become standard output. */
static void open_missing_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", O_RDWR); /* gets the lowest free number, which is fd */
}

static int show_help(void)
{
    g_autoptr(GString) out = g_string_new("Usage: vmig-snap COMMAND [OPTION...] [ARGUMENT...]\n\n"
                                          "Migrates running KVM guests on local storage, with all their internal "
                                          "snapshots.\n\nCommands:\n");

    for (guint i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_autofree char *call = g_strdup_printf("%s %s", commands[i].name, commands[i].arguments);
        g_string_append_printf(out, "  %-24s %s\n", call, commands[i].help);
    }
    g_string_append(out, "\nOptions:\n  --help                 Show this help; after a command, the help of that "
                         "command\n  --version              Show the version\n  --list-faults          List the fault "
                         "points of a test build\n\nSee vmig-snap(1) for the manual.\n");
    vmig_out(out->str);
    return vmig_end(VMIG_EXIT_DONE);
}

static int show_version(void)
{
    g_autofree char *line = g_strdup_printf("vmig-snap %s\n", vmig_version());

    vmig_out(line);
    return vmig_end(VMIG_EXIT_DONE);
}

static int list_faults(GError **error)
{
    const char *const *points = vmig_get_fault_points();

    if (points == NULL) {
        vmig_cli_fail(error, VMIG_ERROR_UNSUPPORTED, "Build with -Dfaults=true.", "this build has no fault points");
        return -1;
    }
    for (; *points != NULL; points++) {
        g_autofree char *line = g_strconcat(*points, "\n", NULL);
        vmig_out(line);
    }
    return vmig_end(VMIG_EXIT_DONE);
}

/* Returns -1 with the error set. */
static int run(int argc, char **argv, GError **error)
{
    const char *word = argc > 1 ? argv[1] : "";

    for (guint i = 0; i < G_N_ELEMENTS(commands); i++)
        if (strcmp(word, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (argc == 2 && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0))
        return show_help();
    if (argc == 2 && strcmp(word, "--version") == 0)
        return show_version();
    if (argc == 2 && strcmp(word, "--list-faults") == 0)
        return list_faults(error);
    g_autofree char *shown = vmig_text_escape(word, -1);
    if (argc <= 1)
        vmig_cli_fail(error, VMIG_ERROR_USAGE, NULL, "no command was given");
    else if (*word == '-')
        vmig_cli_fail(error, VMIG_ERROR_USAGE, NULL, "'%s'%s", shown,
                      argc > 2 ? ": options must follow the command" : " is not an option of vmig-snap");
    else if (strcmp(word, "clean") == 0)
        vmig_cli_fail(error, VMIG_ERROR_USAGE, NULL, "the command clean is now called vmig-snap purge");
    else
        vmig_cli_fail(error, VMIG_ERROR_USAGE, NULL, "'%s' is not a command of vmig-snap", shown);
    return -1;
}

int main(int argc, char **argv)
{
    VmigMode mode = {FALSE, FALSE};
    g_autoptr(GError) error = NULL;

    open_missing_streams();
    signal(SIGPIPE, SIG_IGN); /* a reader that disconnects must not end a migration */
    signal(SIGXFSZ, SIG_IGN); /* nor must a file size limit: the write fails instead */
    g_set_prgname("vmig-snap");
    if (getuid() != geteuid() || getgid() != getegid()) {
        vmig_cli_fail(&error, VMIG_ERROR_USAGE, "Remove the setuid bit.", "vmig-snap must not be setuid");
        return vmig_end_with_error(&mode, error);
    }
    int code = run(argc, argv, &error);
    if (code >= 0)
        return code;
    if (vmig_error_get_hint(error) == NULL)
        vmig_error_set_hint(error, "vmig-snap --help lists the commands.");
    return vmig_end_with_error(&mode, error);
}
