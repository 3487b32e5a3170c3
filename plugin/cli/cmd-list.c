/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmig-snap list. */
#include "api/vmig-snap.h"
#include "cli/args.h"
#include "cli/look.h"
#include "cli/outcome.h"
#include "cli/output.h"
#include "cli/render.h"

int vmig_cmd_list(int argc, char **argv)
{
    static const char *const names[] = {NULL};
    VmigMode mode = {FALSE, FALSE};
    gboolean all = FALSE;
    const GOptionEntry entries[] = {
        {"all", 0, 0, G_OPTION_ARG_NONE, &all, "Finished ones too", NULL},
        {"json", 0, 0, G_OPTION_ARG_NONE, &mode.json, "Print one JSON document", NULL},
        G_OPTION_ENTRY_NULL,
    };
    const VmigUsage usage = {
        .command = "list",
        .arguments = "",
        .summary = "Lists the jobs that are not finished, the newest first.",
        .names = names,
    };
    g_auto(GStrv) rest = NULL;
    g_autoptr(GError) error = NULL;
    int code;

    if (vmig_args_parse(&usage, entries, argc, argv, &mode, &rest, &code) == VMIG_ARGS_END)
        return code;
    g_autoptr(VmigSession) session = vmig_session_new(NULL, &error);
    g_autoptr(JsonNode) node = session != NULL ? vmig_session_list(session, all, &error) : NULL;
    if (node == NULL)
        return vmig_end_with_error(&mode, error);
    g_autofree char *page = vmig_render_list(vmig_look(node));
    if (!mode.json && !all && vmig_look_count(vmig_look(node), "jobs") == 0)
        vmig_out("No job is unfinished; --all lists the finished ones too.\n");
    else if (mode.json)
        vmig_out_json(node);
    else
        vmig_out(page);
    return vmig_end(VMIG_EXIT_DONE);
}
