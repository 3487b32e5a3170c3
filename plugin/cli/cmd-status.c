/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmig-snap status. */
#include "vmig-snap/vmig-snap.h"
#include "cli/args.h"
#include "cli/outcome.h"
#include "cli/render/render.h"

static JsonNode *ask(const char *job, GError **error)
{
    if (job != NULL && !vmig_args_check_name("job or domain", job, error))
        return NULL;
    g_autoptr(VmigSession) session = vmig_session_new(NULL);
    return vmig_session_status(session, job, NULL, error);
}

int vmig_cmd_status(int argc, char **argv)
{
    static const char *const names[] = {"JOB", NULL};
    VmigMode mode = {FALSE, FALSE};
    const GOptionEntry entries[] = {
        {"json", 0, 0, G_OPTION_ARG_NONE, &mode.json, "Print one JSON document", NULL},
        G_OPTION_ENTRY_NULL,
    };
    const VmigUsage usage = {
        .command = "status",
        .arguments = "[JOB|DOMAIN]",
        .summary = "Shows one job, or all unfinished jobs.",
        .most = 1,
        .names = names,
    };
    g_auto(GStrv) rest = NULL;
    g_autoptr(GError) error = NULL;
    int code;

    if (vmig_args_parse(&usage, entries, argc, argv, &mode, &rest, &code) == VMIG_ARGS_END)
        return code;
    g_autoptr(JsonNode) node = ask(rest[0], &error);
    return vmig_end_with_document(&mode, node, error, vmig_render_status, VMIG_EXIT_DONE);
}
