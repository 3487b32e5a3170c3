/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The simulated node: read-only requests about files and images. */
#include "sim.h"

#include <string.h>

#include "core/path-map.h"

gboolean sim_do_hello(SimHost *host, const VmigNothing *args G_GNUC_UNUSED, VmigNodeFacts *reply,
                      GError **error G_GNUC_UNUSED)
{
    const char *roots[] = {host->folder, NULL};

    reply->protocol = VMIG_PROTOCOL;
    reply->version = g_strdup("sim");
    reply->hostname = g_strdup(host->name);
    reply->machine_id = g_strdup(host->name);
    reply->qemu_img_version = g_strdup("7.2.0");
    reply->cpus = 2;
    reply->aes = TRUE;
    reply->roots = g_strdupv((char **)roots);
    return TRUE;
}

gboolean sim_do_path(SimHost *host, const VmigPathArgs *args, VmigPathFacts *reply, GError **error G_GNUC_UNUSED)
{
    const SimFile *file = sim_file_find(host, args->path);
    gboolean inside = vmig_path_is_below(args->path, host->folder);

    if (file != NULL && file->kept != NULL)
        file = NULL; /* sim-run.c adds it to the job */
    reply->exists = file != NULL;
    reply->is_regular = file != NULL;
    reply->folder_ok = inside;
    reply->in_roots = inside;
    reply->free_bytes = sim_is_full(host) ? 4096 : 1ull << 40;
    reply->filesystem = host->is_dest ? 2 : 1;
    reply->size = file != NULL ? SIM_VIRTUAL_SIZE : 0;
    reply->dev = host->is_dest ? 2 : 1;
    reply->ino = file != NULL ? file->ino : 0;
    return TRUE;
}

static GPtrArray *snapshots_of(const SimFile *file)
{
    GPtrArray *array = vmig_message_array(&vmig_image_snapshot_message);

    for (guint i = 0; i < file->internals->len; i++) {
        const SimInternal *internal = file->internals->pdata[i];
        VmigImageSnapshot *snapshot = g_new0(VmigImageSnapshot, 1);
        snapshot->id = g_strdup_printf("%u", i + 1);
        snapshot->name = g_strdup(internal->name);
        snapshot->vm_state_size = internal->memory ? 65536 : 0;
        snapshot->date = internal->date;
        g_ptr_array_add(array, snapshot);
    }
    return array;
}

static VmigImageFacts *image_facts(const char *path, const SimFile *file)
{
    VmigImageFacts *facts = g_new0(VmigImageFacts, 1);

    facts->path = g_strdup(path);
    facts->format = g_strdup("qcow2");
    if (file->backing != NULL) {
        facts->backing = g_strdup(file->backing);
        facts->backing_format = g_strdup(file->backing_format);
        facts->backing_path = g_strdup(file->backing);
    }
    facts->size = facts->allocated = facts->virtual_size = SIM_VIRTUAL_SIZE;
    facts->dev = 1;
    facts->ino = file->ino;
    facts->mtime_ns = file->mtime_ns;
    facts->version = 3;
    facts->snapshots = snapshots_of(file);
    return facts;
}

/* There are no links here: every name is plain. */
gboolean sim_do_real_path(SimHost *host G_GNUC_UNUSED, const VmigPathArgs *args, VmigRealPathReply *reply,
                          GError **error G_GNUC_UNUSED)
{
    reply->path = g_strdup(args->path);
    return TRUE;
}

gboolean sim_do_survey(SimHost *host, const VmigImageArgs *args, VmigSurveyReply *reply, GError **error)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new();

    if (!sim_file_chain(host, args->path, paths))
        return vmig_fail(error, VMIG_ERROR_CHAIN, NULL, "the chain of '%s' is broken", args->path);
    reply->images = vmig_message_array(&vmig_image_facts_message);
    for (guint i = 0; i < paths->len; i++)
        g_ptr_array_add(reply->images, image_facts(paths->pdata[i], sim_file_find(host, paths->pdata[i])));
    return TRUE;
}

SimFile *sim_node_file(SimHost *host, const char *path, GError **error)
{
    SimFile *file = sim_file_find(host, path);

    if (file == NULL)
        vmig_fail(error, VMIG_ERROR_IO, NULL, "'%s': No such file or directory", path);
    return file;
}

gboolean sim_do_stat(SimHost *host, const VmigPathArgs *args, VmigFileFacts *reply, GError **error)
{
    const SimFile *file = sim_node_file(host, args->path, error);

    if (file == NULL)
        return FALSE;
    reply->size = SIM_VIRTUAL_SIZE;
    reply->dev = host->is_dest ? 2 : 1;
    reply->ino = file->ino;
    reply->mtime_ns = file->mtime_ns;
    return TRUE;
}

gboolean sim_do_count_snapshots(SimHost *host, const VmigPathArgs *args, VmigCountReply *reply, GError **error)
{
    const SimFile *file = sim_node_file(host, args->path, error);

    if (file == NULL)
        return FALSE;
    reply->count = file->internals->len;
    return TRUE;
}

gboolean sim_do_locks(SimHost *host, const VmigPathArgs *args, VmigImageLocks *reply, GError **error)
{
    const SimFile *file = sim_node_file(host, args->path, error);

    if (file == NULL)
        return FALSE;
    reply->writer = file->writer != NULL;
    reply->frozen = file->frozen || file->fenced || file->writer != NULL;
    return TRUE;
}

gboolean sim_do_allocated(SimHost *host, const VmigPathArgs *args, VmigAllocatedReply *reply, GError **error)
{
    reply->bytes = SIM_VIRTUAL_SIZE;
    return sim_node_file(host, args->path, error) != NULL;
}

gboolean sim_do_check(SimHost *host, const VmigImageArgs *args, VmigCheckReply *reply G_GNUC_UNUSED, GError **error)
{
    return sim_node_file(host, args->path, error) != NULL;
}
