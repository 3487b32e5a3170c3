/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Renders the results of doctor and purge as text. */
#include "cli/render/render.h"

#include <string.h>

#include "cli/render/look.h"

static void append_finding(GString *out, JsonObject *finding)
{
    const char *severity = vmig_look_text(finding, "severity");
    gboolean fixed = vmig_look_flag(finding, "fixed");
    gboolean problem = g_strcmp0(severity, "problem") == 0;
    const char *word = fixed ? "repaired" : problem ? "PROBLEM" : g_strcmp0(severity, "note") == 0 ? "note" : "ok";
    g_autofree char *message = vmig_look_shown(finding, "message");
    g_autofree char *code = vmig_look_shown(finding, "code");

    g_string_append_printf(out, "%-9s %s [%s]\n", word, message, code);
    if (vmig_look_text(finding, "repair") == NULL)
        return;
    g_autofree char *repair = vmig_look_shown(finding, "repair");
    /* After a repair print only what the user still needs to know, not the command that did it. */
    if (!fixed)
        g_string_append_printf(out, "%-9s To do: %s\n", "", repair);
    else if (!g_str_has_prefix(repair, "vmig-snap doctor --fix"))
        g_string_append_printf(out, "%-9s %s\n", "", repair);
}

char *vmig_render_doctor(JsonObject *document)
{
    GString *out = g_string_new(NULL);
    guint n = vmig_look_count(document, "findings"), fixable = 0, fixed = 0;
    gint64 problems = vmig_look_number(document, "problems");
    g_autofree char *host = vmig_look_shown(document, "host");

    for (guint i = 0; i < n; i++) {
        JsonObject *finding = vmig_look_element(document, "findings", i);
        append_finding(out, finding);
        fixed += vmig_look_flag(finding, "fixed") ? 1 : 0;
        fixable += vmig_look_flag(finding, "fixable") && !vmig_look_flag(finding, "fixed") ? 1 : 0;
    }
    g_string_append_c(out, '\n');
    if (fixed > 0)
        g_string_append_printf(out, "%u repaired. ", fixed);
    if (problems == 0)
        g_string_append_printf(out, "No problem%s on %s.\n", fixed > 0 ? " is left" : "", host);
    else
        g_string_append_printf(out, "%" G_GINT64_FORMAT " problem%s%s on %s.\n", problems, problems == 1 ? "" : "s",
                               fixed > 0 ? (problems == 1 ? " is left" : " are left") : "", host);
    if (fixable > 0 && fixed == 0)
        g_string_append_printf(out, "vmig-snap doctor --fix can repair %u of them.\n", fixable);
    return g_string_free(out, FALSE);
}

char *vmig_render_purged(JsonObject *document)
{
    GString *out = g_string_new(NULL);
    guint n = vmig_look_count(document, "removed");
    g_autofree char *domain = vmig_look_shown(document, "domain");
    g_autofree char *dest = vmig_look_shown(document, "destination");
    g_autofree char *freed = vmig_look_amount(document, "freed");

    for (guint i = 0; i < n; i++) {
        JsonObject *image = vmig_look_element(document, "removed", i);
        g_autofree char *path = vmig_look_shown(image, "path");
        g_autofree char *bytes = vmig_look_amount(image, "bytes");
        g_string_append_printf(out, "Removed %s (%s)\n", path, bytes);
    }
    if (n == 0)
        g_string_append_printf(out, "There are no images of %s to remove.\n", domain);
    else
        g_string_append_printf(out, "%s freed; %s is on %s.\n", freed, domain, dest);
    return g_string_free(out, FALSE);
}
