/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The simulated node: read-only requests about files and images. */
#include "sim.h"

#include <string.h>

#include "core/path-map.h"

JsonObject *sim_do_hello(SimHost *host, VmigReader *args G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    JsonObject *reply = json_object_new();
    JsonArray *roots = json_array_new();

    json_array_add_string_element(roots, host->folder);
    json_object_set_int_member(reply, "protocol", VMIG_PROTOCOL);
    json_object_set_string_member(reply, "version", "sim");
    json_object_set_string_member(reply, "hostname", host->name);
    json_object_set_string_member(reply, "machine_id", host->name);
    json_object_set_string_member(reply, "qemu_img_version", "7.2.0");
    json_object_set_int_member(reply, "cpus", 2);
    json_object_set_boolean_member(reply, "images_denied", FALSE);
    json_object_set_boolean_member(reply, "aes", TRUE);
    json_object_set_array_member(reply, "roots", roots);
    return reply;
}

JsonObject *sim_do_path(SimHost *host, VmigReader *args, GError **error)
{
    const char *path = vmig_reader_text(args, "path");

    if (!vmig_reader_end(args, error, "the request"))
        return NULL;
    const SimFile *file = sim_file_find(host, path);
    if (file != NULL && file->kept != NULL)
        file = NULL; /* sim-run.c adds it to the job */
    gboolean inside = vmig_path_is_below(path, host->folder);
    JsonObject *reply = json_object_new();
    json_object_set_boolean_member(reply, "exists", file != NULL);
    json_object_set_boolean_member(reply, "is_regular", file != NULL);
    json_object_set_boolean_member(reply, "folder_ok", inside);
    json_object_set_boolean_member(reply, "in_roots", inside);
    json_object_set_boolean_member(reply, "shared", FALSE);
    json_object_set_int_member(reply, "free_bytes", sim_is_full(host) ? 4096 : 1ll << 40);
    json_object_set_int_member(reply, "filesystem", host->is_dest ? 2 : 1);
    json_object_set_int_member(reply, "size", file != NULL ? (gint64)SIM_VIRTUAL_SIZE : 0);
    json_object_set_int_member(reply, "dev", host->is_dest ? 2 : 1);
    json_object_set_int_member(reply, "ino", file != NULL ? (gint64)file->ino : 0);
    return reply;
}

static JsonObject *image_facts(const char *path, const SimFile *file)
{
    JsonObject *image = json_object_new();
    JsonArray *snapshots = json_array_new();

    json_object_set_string_member(image, "path", path);
    json_object_set_string_member(image, "format", "qcow2");
    if (file->backing != NULL) {
        json_object_set_string_member(image, "backing", file->backing);
        json_object_set_string_member(image, "backing_format", file->backing_format);
        json_object_set_string_member(image, "backing_path", file->backing);
    }
    json_object_set_int_member(image, "size", (gint64)SIM_VIRTUAL_SIZE);
    json_object_set_int_member(image, "allocated", (gint64)SIM_VIRTUAL_SIZE);
    json_object_set_int_member(image, "virtual_size", (gint64)SIM_VIRTUAL_SIZE);
    json_object_set_int_member(image, "dev", 1);
    json_object_set_int_member(image, "ino", (gint64)file->ino);
    json_object_set_int_member(image, "mtime_ns", (gint64)file->mtime_ns);
    json_object_set_int_member(image, "version", 3);
    json_object_set_int_member(image, "bitmaps", 0);
    json_object_set_boolean_member(image, "encrypted", FALSE);
    json_object_set_boolean_member(image, "data_file", FALSE);
    json_object_set_boolean_member(image, "dirty", FALSE);
    for (guint i = 0; i < file->internals->len; i++) {
        const SimInternal *internal = file->internals->pdata[i];
        JsonObject *snapshot = json_object_new();
        g_autofree char *id = g_strdup_printf("%u", i + 1);
        json_object_set_string_member(snapshot, "id", id);
        json_object_set_string_member(snapshot, "name", internal->name);
        json_object_set_int_member(snapshot, "vm_state_size", internal->memory ? 65536 : 0);
        json_object_set_int_member(snapshot, "date", internal->date);
        json_array_add_object_element(snapshots, snapshot);
    }
    json_object_set_array_member(image, "snapshots", snapshots);
    return image;
}

/* There are no links here: every name is plain. */
JsonObject *sim_do_real_path(SimHost *host G_GNUC_UNUSED, VmigReader *args, GError **error)
{
    const char *path = vmig_reader_text(args, "path");

    if (!vmig_reader_end(args, error, "the request"))
        return NULL;
    JsonObject *reply = json_object_new();
    json_object_set_string_member(reply, "path", path);
    return reply;
}

JsonObject *sim_do_survey(SimHost *host, VmigReader *args, GError **error)
{
    const char *path = vmig_reader_text(args, "path");
    g_autoptr(GPtrArray) paths = g_ptr_array_new();

    if (!vmig_reader_end(args, error, "the request"))
        return NULL;
    if (!sim_file_chain(host, path, paths)) {
        vmig_fail(error, VMIG_ERROR_CHAIN, NULL, "the chain of '%s' is broken", path);
        return NULL;
    }
    JsonArray *images = json_array_new();
    for (guint i = 0; i < paths->len; i++)
        json_array_add_object_element(images, image_facts(paths->pdata[i], sim_file_find(host, paths->pdata[i])));
    JsonObject *reply = json_object_new();
    json_object_set_array_member(reply, "images", images);
    return reply;
}

SimFile *sim_node_file(SimHost *host, VmigReader *args, const char **ret, GError **error)
{
    const char *path = vmig_reader_text(args, "path");
    SimFile *file = vmig_reader_end(args, error, "the request") ? sim_file_find(host, path) : NULL;

    if (ret != NULL)
        *ret = path;
    if (file == NULL && path != NULL)
        vmig_fail(error, VMIG_ERROR_IO, NULL, "'%s': No such file or directory", path);
    return file;
}

JsonObject *sim_do_stat(SimHost *host, VmigReader *args, GError **error)
{
    const SimFile *file = sim_node_file(host, args, NULL, error);

    if (file == NULL)
        return NULL;
    JsonObject *reply = json_object_new();
    json_object_set_int_member(reply, "size", (gint64)SIM_VIRTUAL_SIZE);
    json_object_set_int_member(reply, "dev", host->is_dest ? 2 : 1);
    json_object_set_int_member(reply, "ino", (gint64)file->ino);
    json_object_set_int_member(reply, "mtime_ns", (gint64)file->mtime_ns);
    return reply;
}

JsonObject *sim_do_count_snapshots(SimHost *host, VmigReader *args, GError **error)
{
    const SimFile *file = sim_node_file(host, args, NULL, error);
    JsonObject *reply = file != NULL ? json_object_new() : NULL;

    if (file != NULL)
        json_object_set_int_member(reply, "count", file->internals->len);
    return reply;
}

JsonObject *sim_do_locks(SimHost *host, VmigReader *args, GError **error)
{
    const SimFile *file = sim_node_file(host, args, NULL, error);
    JsonObject *reply = file != NULL ? json_object_new() : NULL;

    if (file == NULL)
        return NULL;
    json_object_set_boolean_member(reply, "writer", file->writer != NULL);
    json_object_set_boolean_member(reply, "frozen", file->frozen || file->fenced || file->writer != NULL);
    return reply;
}

static JsonObject *do_number(SimHost *host, VmigReader *args, GError **error, const char *name, gint64 value)
{
    const SimFile *file = sim_node_file(host, args, NULL, error);
    JsonObject *reply = file != NULL ? json_object_new() : NULL;

    if (file != NULL)
        json_object_set_int_member(reply, name, value);
    return reply;
}

JsonObject *sim_do_allocated(SimHost *host, VmigReader *args, GError **error)
{
    return do_number(host, args, error, "bytes", (gint64)SIM_VIRTUAL_SIZE);
}

JsonObject *sim_do_check(SimHost *host, VmigReader *args, GError **error)
{
    return do_number(host, args, error, "leaks", 0);
}
