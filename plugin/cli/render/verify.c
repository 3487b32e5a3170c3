/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Renders the result of verify, as a page to save. */
#include "cli/render/render.h"

#include <string.h>

#include "cli/render/look.h"

static void append_snapshot(GString *out, JsonObject *snapshot)
{
    g_autofree char *id = vmig_look_shown(snapshot, "id");
    g_autofree char *name = vmig_look_shown(snapshot, "name");
    g_autofree char *date = vmig_render_time(vmig_look_number(snapshot, "date"));
    g_autofree char *content = vmig_look_shown(snapshot, "content");
    g_autofree char *memory = vmig_look_shown(snapshot, "memory");
    g_autofree char *hash = vmig_look_shown(snapshot, "destination_content_hash");

    g_string_append_printf(out, "  %-4s %-20s %s  disk %-9s memory %-9s", id, name, date, content, memory);
    if (vmig_look_text(snapshot, "destination_content_hash") != NULL)
        g_string_append_printf(out, " %s", hash);
    g_string_append_c(out, '\n');
}

static void append_file(GString *out, JsonObject *file, const char *source)
{
    g_autofree char *disk = vmig_look_shown(file, "disk");
    g_autofree char *path = vmig_look_shown(file, "destination_path");
    g_autofree char *from = vmig_look_shown(file, "source_path");
    const char *against = vmig_look_text(file, "against");

    g_string_append_printf(out, "\nDisk %s: %s\n", disk, path);
    if (g_strcmp0(against, "image") == 0)
        g_string_append_printf(out, "  compared with %s on %s\n", from, source);
    else if (g_strcmp0(against, "record") == 0)
        g_string_append(out, "  compared with the hashes in the job's record\n");
    else
        g_string_append(out, "  NOT COMPARED: neither an image nor a hash is left to compare it with\n");
    for (guint i = 0; i < vmig_look_count(file, "snapshots"); i++)
        append_snapshot(out, vmig_look_element(file, "snapshots", i));
    if (vmig_look_text(file, "check") == NULL)
        return;
    g_autofree char *check = vmig_look_shown(file, "check");
    g_autofree char *message = vmig_look_shown(file, "check_message");
    g_string_append_printf(out, "  qemu-img check: %s", check);
    g_string_append_printf(out, vmig_look_text(file, "check_message") != NULL ? " (%s)\n" : "\n", message);
}

static void append_list(GString *out, JsonObject *document, const char *name, const char *title)
{
    guint n = vmig_look_count(document, name);

    if (n > 0)
        g_string_append_printf(out, "\n%s\n", title);
    for (guint i = 0; i < n; i++) {
        g_autofree char *message = vmig_look_shown(vmig_look_element(document, name, i), "message");
        g_string_append_printf(out, "  %s\n", message);
    }
}

static void append_reverts(GString *out, JsonObject *document, const char *dest)
{
    guint n = vmig_look_count(document, "reverts"), memory = 0, good = 0;

    for (guint i = 0; i < n; i++) {
        JsonObject *revert = vmig_look_element(document, "reverts", i);
        if (!vmig_look_flag(revert, "memory"))
            continue;
        memory++;
        good += vmig_look_flag(revert, "would_start") ? 1 : 0;
    }
    g_string_append_printf(out, "Snapshots with memory: %u, of which %u would start on %s.\n", memory, good, dest);
    for (guint i = 0; i < n; i++) {
        JsonObject *revert = vmig_look_element(document, "reverts", i);
        g_autofree char *name = vmig_look_shown(revert, "snapshot");
        g_autofree char *reason = vmig_look_shown(revert, "reason");
        if (!vmig_look_flag(revert, "would_start"))
            g_string_append_printf(out, "  '%s' would not%s: %s\n", name,
                                   vmig_look_flag(revert, "accepted") ? " (--accept-unrevertable)" : "", reason);
    }
}

static gboolean tree_differs(JsonObject *document)
{
    for (guint i = 0; i < vmig_look_count(document, "differences"); i++)
        if (g_strcmp0(vmig_look_text(vmig_look_element(document, "differences", i), "kind"), "tree") == 0)
            return TRUE;
    return FALSE;
}

static void append_end(GString *out, JsonObject *document)
{
    static const struct {
        const char *outcome;
        const char *words;
    } rows[] = {
        {"equal", "EQUAL: every snapshot on the destination equals that on the source."},
        {"different", "DIFFERENT: keep the source's images."},
        {"unproven", "UNPROVEN: no difference was found, but not everything could be compared."},
        {"not-revertable", "EQUAL, but not every snapshot with memory could be started on the destination."},
    };
    const char *outcome = vmig_look_text(document, "outcome");

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
        if (g_strcmp0(outcome, rows[i].outcome) == 0)
            g_string_append_printf(out, "\n%s\n", rows[i].words);
}

char *vmig_render_verdict(JsonObject *document)
{
    GString *out = g_string_new(NULL);
    g_autofree char *domain = vmig_look_shown(document, "domain");
    g_autofree char *job = vmig_look_shown(document, "job");
    g_autofree char *source = vmig_look_shown(document, "source");
    g_autofree char *dest = vmig_look_shown(document, "destination");
    g_autofree char *guest = vmig_look_shown(document, "guest");
    g_autofree char *when = vmig_render_time(vmig_look_number(document, "time"));
    g_autofree char *bytes = vmig_look_amount(document, "bytes");

    g_string_append_printf(out, "Verification of %s, job %s, %s\n  from %s to %s; the guest there: %s\n", domain, job,
                           when, source, dest, guest);
    for (guint i = 0; i < vmig_look_count(document, "files"); i++)
        append_file(out, vmig_look_element(document, "files", i), source);
    gint64 n = vmig_look_number(document, "tree_snapshots");
    g_string_append_printf(out, "\nlibvirt's snapshot tree: %" G_GINT64_FORMAT " snapshot%s, %s\n", n,
                           n == 1 ? "" : "s", tree_differs(document) ? "different" : "equal");
    append_reverts(out, document, dest);
    append_list(out, document, "differences", "What differs:");
    append_list(out, document, "unproven", "Not proven:");
    for (guint i = 0; i < vmig_look_count(document, "notes"); i++)
        g_string_append_printf(out, "Note: %s\n", vmig_look_text_element(document, "notes", i));
    append_end(out, document);
    g_string_append_printf(out, "%s compared in %" G_GINT64_FORMAT " s.\n", bytes,
                           vmig_look_number(document, "duration_s"));
    return g_string_free(out, FALSE);
}
