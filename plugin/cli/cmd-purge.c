/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmig-snap purge. */
#include "vmig-snap/vmig-snap.h"
#include "cli/args.h"
#include "cli/outcome.h"
#include "cli/render/render.h"

static JsonNode *act(const char *domain, gboolean alone, GError **error)
{
    g_autoptr(VmigSession) session = vmig_session_new(NULL);

    if (!vmig_args_check_name("domain", domain, error))
        return NULL;
    return vmig_session_purge(session, domain, alone ? VMIG_PURGE_WITHOUT_DESTINATION : VMIG_PURGE_NONE, NULL, error);
}

int vmig_cmd_purge(int argc, char **argv)
{
    static const char *const names[] = {"DOMAIN", NULL};
    VmigMode mode = {FALSE, FALSE};
    gboolean alone = FALSE;
    const GOptionEntry entries[] = {
        {"without-destination", 0, 0, G_OPTION_ARG_NONE, &alone, "Do not check the guest on the other host", NULL},
        {"json", 0, 0, G_OPTION_ARG_NONE, &mode.json, "Print one JSON document", NULL},
        G_OPTION_ENTRY_NULL,
    };
    const VmigUsage usage = {
        .command = "purge",
        .arguments = "DOMAIN",
        .summary = "Removes the images that the finished migration of a guest kept on this host, if nothing\nuses them "
                   "and the guest is complete on the other host. It asks no questions.",
        .least = 1,
        .most = 1,
        .names = names,
    };
    g_auto(GStrv) rest = NULL;
    g_autoptr(GError) error = NULL;
    int code;

    if (vmig_args_parse(&usage, entries, argc, argv, &mode, &rest, &code) == VMIG_ARGS_END)
        return code;
    g_autoptr(JsonNode) node = act(rest[0], alone, &error);
    return vmig_end_with_document(&mode, node, error, vmig_render_purged, VMIG_EXIT_DONE);
}
