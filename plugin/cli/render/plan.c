/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Renders a plan as text. */
#include "cli/render/render.h"

#include <string.h>

#include "cli/render/look.h"
#include "vmig-snap/vmig-snap.h"

static void append_host(GString *out, const char *role, JsonObject *host)
{
    g_autofree char *name = vmig_look_shown(host, "host");
    g_autofree char *uri = vmig_look_shown(host, "uri");
    g_autofree char *libvirt = vmig_look_shown(host, "libvirt");
    g_autofree char *qemu = vmig_look_shown(host, "qemu");
    g_autofree char *version = vmig_look_shown(host, "vmig_snap");

    if (strcmp(name, "?") == 0) {
        g_string_append_printf(out, "  %-12s %s\n", role, strcmp(uri, "?") != 0 ? uri : "does not answer");
        return;
    }
    g_string_append_printf(out, "  %-12s %s (%s): libvirt %s, QEMU %s, vmig-snap %s\n", role, name, uri, libvirt, qemu,
                           version);
}

/* "3 snapshots: clean, booted (memory 201 MB), ..." */
static void append_image_snapshots(GString *out, JsonObject *file)
{
    guint n = vmig_look_count(file, "snapshots");

    if (n == 0)
        return;
    g_string_append_printf(out, "         %u snapshot%s inside:", n, n == 1 ? "" : "s");
    for (guint i = 0; i < n && i < 20; i++) {
        JsonObject *snapshot = vmig_look_element(file, "snapshots", i);
        g_autofree char *name = vmig_look_shown(snapshot, "name");
        g_string_append_printf(out, "%s %s", i > 0 ? "," : "", name);
        if (vmig_look_number(snapshot, "vm_state_size") > 0) {
            g_autofree char *memory = vmig_look_amount(snapshot, "vm_state_size");
            g_string_append_printf(out, " (memory %s)", memory);
        }
    }
    if (n > 20)
        g_string_append_printf(out, " and %u more", n - 20);
    g_string_append_c(out, '\n');
}

static void append_file(GString *out, JsonObject *file, gboolean top)
{
    g_autofree char *path = vmig_look_shown(file, "path");
    g_autofree char *format = vmig_look_shown(file, "format");
    g_autofree char *allocated = vmig_look_amount(file, "allocated");
    const char *dest = vmig_look_text(file, "destination");

    g_string_append_printf(out, "       %s%s (%s, %s on disk)\n", top ? "" : "on ", path, format, allocated);
    if (dest != NULL && strcmp(dest, vmig_look_text(file, "path") != NULL ? vmig_look_text(file, "path") : "") != 0) {
        g_autofree char *shown = vmig_look_shown(file, "destination");
        g_string_append_printf(out, "         there: %s\n", shown);
    }
    append_image_snapshots(out, file);
}

static void append_disk(GString *out, JsonObject *disk)
{
    g_autofree char *target = vmig_look_shown(disk, "target");
    gboolean moved = vmig_look_flag(disk, "moved");
    guint files = vmig_look_count(disk, "chain");

    g_string_append_printf(out, "  %-4s ", target);
    if (files > 0) {
        g_autofree char *size = vmig_look_amount(vmig_look_element(disk, "chain", 0), "virtual_size");
        g_string_append_printf(out, "%s for the guest, ", size);
    }
    if (!moved) {
        g_autofree char *why = vmig_look_shown(disk, "why_not");
        g_string_append_printf(out, "stays: %s\n", why);
        return;
    }
    g_string_append(out, "moves\n");
    for (guint i = 0; i < files; i++)
        append_file(out, vmig_look_element(disk, "chain", i), i == 0);
    g_autofree char *copy = vmig_look_amount(disk, "to_copy");
    g_autofree char *overlay = vmig_look_amount(disk, "overlay_forecast");
    g_autofree char *here = vmig_look_amount(disk, "source_free");
    g_autofree char *there = vmig_look_amount(disk, "destination_free");
    gboolean known = vmig_look_number(disk, "destination_free") != 0;
    g_string_append_printf(out, "       %s to copy, up to %s written meanwhile; free: %s here, %s there\n", copy,
                           overlay, here, known ? there : "not known");
}

static void append_list(GString *out, JsonObject *plan, const char *name)
{
    for (guint i = 0; i < vmig_look_count(plan, name); i++) {
        const char *text = vmig_look_text_element(plan, name, i);
        g_string_append_printf(out, "  - %s\n", text != NULL ? text : "?"); /* escaped by the library */
    }
}

char *vmig_render_plan(JsonObject *plan, gboolean utf8)
{
    GString *out = g_string_new(NULL);
    g_autofree char *domain = vmig_look_shown(plan, "domain");
    g_autofree char *uuid = vmig_look_shown(plan, "uuid");
    g_autofree char *copy = vmig_look_amount(plan, "bytes_to_copy");
    g_autofree char *needs = vmig_look_amount(plan, "destination_needs");
    g_autofree char *time = vmig_duration_format((guint64)MAX(vmig_look_number(plan, "estimate_s"), 0));
    guint snapshots = vmig_look_count(plan, "snapshots");
    gboolean can = vmig_look_flag(plan, "can_migrate");

    g_string_append_printf(out, "Guest %s (%s)\n", domain, uuid);
    append_host(out, "source", vmig_look_object(plan, "source"));
    append_host(out, "destination", vmig_look_object(plan, "destination"));
    if (vmig_look_count(plan, "disks") > 0)
        g_string_append(out, "\nDisks\n");
    for (guint i = 0; i < vmig_look_count(plan, "disks"); i++)
        append_disk(out, vmig_look_element(plan, "disks", i));
    g_string_append_printf(out, "\nSnapshots that libvirt knows: %u\n", snapshots);
    vmig_render_snapshots(out, plan, "  ", utf8);
    if (vmig_look_count(plan, "notes") > 0)
        g_string_append(out, "\nNotes\n");
    append_list(out, plan, "notes");
    gboolean known = vmig_look_number(plan, "destination_needs") != 0;
    g_string_append_printf(out, "\n%s to copy, about %s; %s %s\n", copy, time,
                           known ? "the destination needs" : "what the destination needs is",
                           known ? needs : "not known");
    if (vmig_look_text(plan, "merge") != NULL) {
        g_autofree char *merge = vmig_look_shown(plan, "merge");
        g_autofree char *why = vmig_look_shown(plan, "merge_why");
        g_string_append_printf(out, "Merge %s: %s\n", merge, why);
    }
    g_string_append(out, can ? "The guest can be migrated.\n" : "The guest cannot be migrated.\n");
    return g_string_free(out, FALSE);
}
