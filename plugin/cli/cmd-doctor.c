/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmig-snap doctor. */
#include "vmig-snap/vmig-snap.h"
#include "cli/args.h"
#include "cli/render/look.h"
#include "cli/outcome.h"
#include "cli/render/render.h"

static JsonNode *ask(const char *domain, gboolean fix, GError **error)
{
    if (domain != NULL && !vmig_args_check_name("domain", domain, error))
        return NULL;
    g_autoptr(VmigSession) session = vmig_session_new(NULL);
    return vmig_session_doctor(session, domain, fix ? VMIG_DOCTOR_FIX : VMIG_DOCTOR_NONE, NULL, error);
}

int vmig_cmd_doctor(int argc, char **argv)
{
    static const char *const names[] = {"DOMAIN", NULL};
    VmigMode mode = {FALSE, FALSE};
    gboolean fix = FALSE;
    const GOptionEntry entries[] = {
        {"fix", 0, 0, G_OPTION_ARG_NONE, &fix, "Repair what can be repaired without losing data", NULL},
        {"json", 0, 0, G_OPTION_ARG_NONE, &mode.json, "Print one JSON document", NULL},
        G_OPTION_ENTRY_NULL,
    };
    const VmigUsage usage = {
        .command = "doctor",
        .arguments = "[DOMAIN]",
        .summary = "Reports what is wrong on this host and how to repair it: the setup, what jobs left behind,\nand "
                   "disagreements between disks, definitions and journal. Without --fix it changes nothing.",
        .most = 1,
        .names = names,
    };
    g_auto(GStrv) rest = NULL;
    g_autoptr(GError) error = NULL;
    int code;

    if (vmig_args_parse(&usage, entries, argc, argv, &mode, &rest, &code) == VMIG_ARGS_END)
        return code;
    g_autoptr(JsonNode) node = ask(rest[0], fix, &error);
    gboolean healthy = node != NULL && vmig_look_number(vmig_look(node), "problems") == 0;
    return vmig_end_with_document(&mode, node, error, vmig_render_doctor, healthy ? VMIG_EXIT_DONE : VMIG_EXIT_FAILED);
}
