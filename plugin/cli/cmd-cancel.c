/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmig-snap cancel. */
#include "vmig-snap/vmig-snap.h"
#include "cli/args.h"
#include "cli/outcome.h"
#include "cli/watch.h"

static int run(const VmigMode *mode, const char *job)
{
    g_autoptr(GError) error = NULL;
    gboolean good = vmig_args_check_name("job or domain", job, &error);

    if (!good)
        return vmig_end_with_error(mode, error);
    g_autoptr(VmigSession) session = vmig_session_new(NULL);
    g_autoptr(VmigWatch) watch = vmig_watch_new(session, mode, NULL);
    g_autoptr(JsonNode) result = vmig_session_cancel(session, job, vmig_watch_cancellable(watch), &error);
    return vmig_watch_end(watch, VMIG_WISH_BACK, result, error);
}

int vmig_cmd_cancel(int argc, char **argv)
{
    static const char *const names[] = {"JOB", NULL};
    VmigMode mode = {FALSE, FALSE};
    const GOptionEntry entries[] = {
        {"json", 0, 0, G_OPTION_ARG_NONE, &mode.json, "Print JSON", NULL},
        {"quiet", 0, 0, G_OPTION_ARG_NONE, &mode.quiet, "Print only errors", NULL},
        G_OPTION_ENTRY_NULL,
    };
    const VmigUsage usage = {
        .command = "cancel",
        .arguments = "JOB|DOMAIN",
        .summary = "Rolls a job back: the guest stays on the source. If a vmig-snap process of this host\nworks on the "
                   "job, the command asks it to roll back and waits. After the switchover the\ncommand is refused.",
        .least = 1,
        .most = 1,
        .names = names,
    };
    g_auto(GStrv) rest = NULL;
    int code;

    if (vmig_args_parse(&usage, entries, argc, argv, &mode, &rest, &code) == VMIG_ARGS_END)
        return code;
    return run(&mode, rest[0]);
}
