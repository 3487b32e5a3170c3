/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node: the contents of an image's internal snapshots. Read-only. */
#include <string.h>
#include <sys/stat.h>

#include "image/image.h"
#include "image/snapshot-page.h"
#include "node/node-local-private.h"

static void set_bytes(JsonObject *object, const char *name, gconstpointer bytes, gsize length)
{
    g_autofree char *text = vmig_printable(bytes != NULL ? bytes : "", length);

    json_object_set_string_member(object, name, text);
}

static JsonObject *snapshot_to_json(const VmigQcow2Snapshot *snapshot)
{
    JsonObject *object = json_object_new();
    gsize length;
    const char *name = g_bytes_get_data(snapshot->name, &length);

    set_bytes(object, "id", snapshot->id, strlen(snapshot->id));
    set_bytes(object, "name", name, length);
    json_object_set_int_member(object, "date_sec", snapshot->date_sec);
    json_object_set_int_member(object, "date_nsec", snapshot->date_nsec);
    json_object_set_int_member(object, "vm_clock", (gint64)snapshot->vm_clock_nsec);
    json_object_set_int_member(object, "vm_state_size", (gint64)snapshot->vm_state_size);
    json_object_set_int_member(object, "disk_size", (gint64)snapshot->disk_size);
    json_object_set_int_member(object, "icount", (gint64)snapshot->icount);
    return object;
}

JsonObject *vmig_local_do_contents(VmigLocal *local, VmigReader *args, GError **error)
{
    const char *path = vmig_reader_text(args, "path");

    if (!vmig_local_args(args, error) || !vmig_local_check_path(local, path, error))
        return NULL;
    g_autoptr(GPtrArray) chain = vmig_image_survey_chain(path, "qcow2", local->roots, error);
    if (chain == NULL)
        return NULL;
    const VmigQcow2 *qcow2 = ((const VmigImage *)chain->pdata[0])->qcow2;
    g_autofree char *stamp = vmig_snapshot_stamp(qcow2);
    JsonObject *reply = json_object_new();
    JsonArray *snapshots = json_array_new();
    for (guint i = 0; i < qcow2->snapshots->len; i++)
        json_array_add_object_element(snapshots, snapshot_to_json(qcow2->snapshots->pdata[i]));
    json_object_set_string_member(reply, "stamp", stamp);
    json_object_set_array_member(reply, "snapshots", snapshots);
    return reply;
}

/* Finds the raw ID in the image for an ID in printable form. The printable forms of different IDs differ. */
static const char *id_of(const VmigQcow2 *qcow2, const char *printable)
{
    for (guint i = 0; printable != NULL && i < qcow2->snapshots->len; i++) {
        const VmigQcow2Snapshot *snapshot = qcow2->snapshots->pdata[i];
        g_autofree char *shown = vmig_printable(snapshot->id, strlen(snapshot->id));
        if (g_str_equal(shown, printable))
            return snapshot->id;
    }
    return NULL;
}

JsonObject *vmig_local_do_content_page(VmigLocal *local, VmigReader *args, GError **error)
{
    const char *path = vmig_reader_text(args, "path");
    const char *id = vmig_reader_text(args, "id");
    const char *like = vmig_reader_maybe_text(args, "like");
    const char *kind = vmig_reader_text(args, "kind");
    const char *key_text = vmig_reader_text(args, "key");
    VmigHashKey key;
    VmigSnapshotPageRequest request = {
        .kind = g_strcmp0(kind, "memory") == 0 ? VMIG_CONTENT_MEMORY : VMIG_CONTENT_DISK,
        .stamp = vmig_reader_text(args, "stamp"),
        .key = &key,
        .first = vmig_reader_size(args, "first"),
    };
    guint64 next = 0;

    if (kind != NULL && !g_str_equal(kind, "memory") && !g_str_equal(kind, "disk"))
        vmig_reader_mistake(args, "kind", "\"disk\" or \"memory\"");
    if (!vmig_local_args(args, error) || !vmig_hash_key_read(key_text, &key, error) ||
        !vmig_local_check_path(local, path, error))
        return NULL;
    g_autoptr(GPtrArray) chain = vmig_image_survey_chain(path, "qcow2", local->roots, error);
    if (chain == NULL)
        return NULL;
    const VmigQcow2 *qcow2 = ((const VmigImage *)chain->pdata[0])->qcow2;
    request.id = id_of(qcow2, id);
    request.like = id_of(qcow2, like);
    if (request.id == NULL || (like != NULL && request.like == NULL)) {
        vmig_fail(error, VMIG_ERROR_INTERFERENCE, "Try again when no snapshots are being created or deleted.",
                  "'%s' no longer has a snapshot %s", path, request.id == NULL ? id : like);
        return NULL;
    }
    g_autoptr(GBytes) page = vmig_snapshot_page_make(chain, local->roots, local->run_dir, &request, &next, error);
    if (page == NULL)
        return NULL;
    gsize length;
    gconstpointer bytes = g_bytes_get_data(page, &length);
    g_autofree char *text = g_base64_encode(bytes, length);
    JsonObject *reply = json_object_new();
    json_object_set_string_member(reply, "page", text);
    json_object_set_int_member(reply, "next", (gint64)next);
    return reply;
}
