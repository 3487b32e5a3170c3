/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmig-snap set. */
#include <string.h>

#include "cli/fail.h"
#include "vmig-snap/vmig-snap.h"
#include "cli/args.h"
#include "cli/render/look.h"
#include "cli/outcome.h"

#define BANDWIDTH "bandwidth="

static gboolean read_setting(const char *text, guint64 *bandwidth, GError **error)
{
    g_autofree char *shown = vmig_text_escape(text, -1);

    if (!g_str_has_prefix(text, BANDWIDTH))
        return vmig_cli_fail(error, VMIG_ERROR_USAGE,
                             "The only setting is bandwidth=BYTES, with K, M or G; 0 means no limit.",
                             "'%s' is not a setting", shown);
    if (!vmig_amount_parse(text + strlen(BANDWIDTH), TRUE, bandwidth, error)) {
        g_prefix_error(error, "bandwidth: ");
        return FALSE;
    }
    return *bandwidth <= G_MAXINT64 ||
           vmig_cli_fail(error, VMIG_ERROR_USAGE, NULL, "bandwidth: '%s' is 2^63 or more", shown);
}

static JsonNode *act(const char *job, const char *setting, GError **error)
{
    guint64 bandwidth = 0;

    if (!vmig_args_check_name("job or domain", job, error) || !read_setting(setting, &bandwidth, error))
        return NULL;
    g_autoptr(VmigSession) session = vmig_session_new(NULL);
    return vmig_session_set_bandwidth(session, job, bandwidth, NULL, error);
}

static char *text_of(JsonObject *object)
{
    guint64 bandwidth = (guint64)vmig_look_number(object, "bandwidth");
    g_autofree char *amount = vmig_amount_format(bandwidth);
    g_autofree char *limit = bandwidth > 0 ? g_strdup_printf("%s per second", amount) : g_strdup("no limit");
    g_autofree char *job = vmig_look_shown(object, "job");
    g_autofree char *domain = vmig_look_shown(object, "domain");

    return g_strdup_printf("Job %s of '%s': %s %s.\n", job, domain, limit,
                           vmig_look_flag(object, "running") ? "from now on" : "when it is resumed");
}

int vmig_cmd_set(int argc, char **argv)
{
    static const char *const names[] = {"JOB", "SETTING", NULL};
    VmigMode mode = {FALSE, FALSE};
    const GOptionEntry entries[] = {
        {"json", 0, 0, G_OPTION_ARG_NONE, &mode.json, "Print one JSON document", NULL},
        G_OPTION_ENTRY_NULL,
    };
    const VmigUsage usage = {
        .command = "set",
        .arguments = "JOB SETTING",
        .summary = "Changes a job while it runs. bandwidth=BYTES limits its storage traffic per second, with\nK, M or "
                   "G; 0 means no limit. If no process works on the job, the limit applies when it is\nresumed.",
        .least = 2,
        .most = 2,
        .names = names,
    };
    g_auto(GStrv) rest = NULL;
    g_autoptr(GError) error = NULL;
    int code;

    if (vmig_args_parse(&usage, entries, argc, argv, &mode, &rest, &code) == VMIG_ARGS_END)
        return code;
    g_autoptr(JsonNode) node = act(rest[0], rest[1], &error);
    return vmig_end_with_document(&mode, node, error, text_of, VMIG_EXIT_DONE);
}
