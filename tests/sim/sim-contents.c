/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The simulated node: the contents of an image's snapshots, for the verification. Each disk is one block. */
#include "sim.h"

#include <string.h>

#include "image/snapshot-page.h"

#define MEMORY 65536

static char *stamp_of(const SimFile *file)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < file->internals->len; i++) {
        const SimInternal *internal = file->internals->pdata[i];
        g_string_append_printf(text, "%s/%" G_GINT64_FORMAT ";", internal->name, internal->date);
    }
    return g_string_free(text, FALSE);
}

JsonObject *sim_do_contents(SimHost *host, VmigReader *args, GError **error)
{
    const SimFile *file = sim_node_file(host, args, NULL, error);

    if (file == NULL)
        return NULL;
    g_autofree char *stamp = stamp_of(file);
    JsonObject *reply = json_object_new();
    JsonArray *snapshots = json_array_new();
    for (guint i = 0; i < file->internals->len; i++) {
        const SimInternal *internal = file->internals->pdata[i];
        JsonObject *object = json_object_new();
        g_autofree char *id = g_strdup_printf("%u", i + 1);
        json_object_set_string_member(object, "id", id);
        json_object_set_string_member(object, "name", internal->name);
        json_object_set_int_member(object, "date_sec", internal->date);
        json_object_set_int_member(object, "date_nsec", 0);
        json_object_set_int_member(object, "vm_clock", 0);
        json_object_set_int_member(object, "vm_state_size", internal->memory ? MEMORY : 0);
        json_object_set_int_member(object, "disk_size", (gint64)SIM_VIRTUAL_SIZE);
        json_object_set_int_member(object, "icount", -1);
        json_array_add_object_element(snapshots, object);
    }
    json_object_set_string_member(reply, "stamp", stamp);
    json_object_set_array_member(reply, "snapshots", snapshots);
    return reply;
}

/* Any function that distinguishes contents suffices: two sums with different factors. */
static void digest(gconstpointer data, gsize length, guint8 ret[VMIG_HASH_BYTES])
{
    const guint8 *bytes = data;
    guint64 sums[2] = {1, 1};

    for (gsize i = 0; i < length; i++) {
        sums[0] = (sums[0] ^ bytes[i]) * G_GUINT64_CONSTANT(0x100000001b3);
        sums[1] = sums[1] * 31 + bytes[i];
    }
    memcpy(ret, sums, VMIG_HASH_BYTES);
}

JsonObject *sim_do_content_page(SimHost *host, VmigReader *args, GError **error)
{
    const char *id = vmig_reader_text(args, "id");
    const char *kind = vmig_reader_text(args, "kind");
    const char *stamp = vmig_reader_text(args, "stamp");
    guint64 first = vmig_reader_size(args, "first");
    const SimFile *file = sim_node_file(host, args, NULL, error);
    guint8 page[1 + VMIG_HASH_BYTES] = {'D'};

    if (file == NULL)
        return NULL;
    g_autofree char *now = stamp_of(file);
    guint64 index = g_ascii_strtoull(id, NULL, 10);
    if (strcmp(now, stamp) != 0 || index == 0 || index > file->internals->len || first != 0) {
        vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "the snapshots changed while they were read");
        return NULL;
    }
    const SimInternal *internal = file->internals->pdata[index - 1];
    if (strcmp(kind, "disk") == 0)
        digest(internal->blocks, sizeof internal->blocks, page + 1);
    else
        digest(internal->name, strlen(internal->name), page + 1);
    g_autofree char *text = g_base64_encode(page, sizeof page);
    JsonObject *reply = json_object_new();
    json_object_set_string_member(reply, "page", text);
    json_object_set_int_member(reply, "next", 1);
    return reply;
}
