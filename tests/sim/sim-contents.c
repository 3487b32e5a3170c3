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

gboolean sim_do_contents(SimHost *host, const VmigPathArgs *args, VmigContentsReply *reply, GError **error)
{
    const SimFile *file = sim_node_file(host, args->path, error);

    if (file == NULL)
        return FALSE;
    reply->stamp = stamp_of(file);
    reply->snapshots = vmig_message_array(&vmig_snapshot_facts_message);
    for (guint i = 0; i < file->internals->len; i++) {
        const SimInternal *internal = file->internals->pdata[i];
        VmigSnapshotFacts *facts = g_new0(VmigSnapshotFacts, 1);
        facts->id = g_strdup_printf("%u", i + 1);
        facts->name = g_strdup(internal->name);
        facts->date_sec = (guint64)internal->date;
        facts->vm_state_size = internal->memory ? MEMORY : 0;
        facts->disk_size = SIM_VIRTUAL_SIZE;
        facts->icount = G_MAXUINT64;
        g_ptr_array_add(reply->snapshots, facts);
    }
    return TRUE;
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

gboolean sim_do_content_page(SimHost *host, const VmigContentPageArgs *args, VmigContentPageReply *reply,
                             GError **error)
{
    const SimFile *file = sim_node_file(host, args->path, error);
    guint8 page[1 + VMIG_HASH_BYTES] = {'D'};

    if (file == NULL)
        return FALSE;
    g_autofree char *now = stamp_of(file);
    guint64 index = g_ascii_strtoull(args->id, NULL, 10);
    if (strcmp(now, args->stamp) != 0 || index == 0 || index > file->internals->len || args->first != 0)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "the snapshots changed while they were read");
    const SimInternal *internal = file->internals->pdata[index - 1];
    if (args->kind == VMIG_CONTENT_DISK)
        digest(internal->blocks, sizeof internal->blocks, page + 1);
    else
        digest(internal->name, strlen(internal->name), page + 1);
    reply->page = g_bytes_new(page, sizeof page);
    reply->next = 1;
    return TRUE;
}
