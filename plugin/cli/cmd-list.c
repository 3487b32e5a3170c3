/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmig-snap list. */
#include "vmig-snap/vmig-snap.h"
#include "cli/args.h"
#include "cli/render/look.h"
#include "cli/outcome.h"
#include "cli/render/render.h"

static char *unfinished_page(JsonObject *list)
{
    return vmig_look_count(list, "jobs") > 0
               ? vmig_render_list(list)
               : g_strdup("There are no unfinished jobs; --all also lists finished jobs.\n");
}

int vmig_cmd_list(int argc, char **argv)
{
    static const char *const names[] = {NULL};
    VmigMode mode = {FALSE, FALSE};
    gboolean all = FALSE;
    const GOptionEntry entries[] = {
        {"all", 0, 0, G_OPTION_ARG_NONE, &all, "Also list finished jobs", NULL},
        {"json", 0, 0, G_OPTION_ARG_NONE, &mode.json, "Print one JSON document", NULL},
        G_OPTION_ENTRY_NULL,
    };
    const VmigUsage usage = {
        .command = "list",
        .arguments = "",
        .summary = "Lists the unfinished jobs, the newest first.",
        .names = names,
    };
    g_auto(GStrv) rest = NULL;
    g_autoptr(GError) error = NULL;
    int code;

    if (vmig_args_parse(&usage, entries, argc, argv, &mode, &rest, &code) == VMIG_ARGS_END)
        return code;
    g_autoptr(VmigSession) session = vmig_session_new(NULL);
    g_autoptr(JsonNode) node = vmig_session_list(session, all ? VMIG_LIST_ALL : VMIG_LIST_NONE, NULL, &error);
    return vmig_end_with_document(&mode, node, error, all ? vmig_render_list : unfinished_page, VMIG_EXIT_DONE);
}
