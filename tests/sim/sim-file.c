/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Image files: the write that each block holds, internal snapshots, and QEMU's lock bytes. */
#include "sim.h"

#include <string.h>

static void internal_free(gpointer data)
{
    SimInternal *internal = data;

    g_free(internal->name);
    g_free(internal);
}

SimFile *sim_file_bare(void)
{
    SimFile *file = g_new0(SimFile, 1);

    file->internals = g_ptr_array_new_with_free_func(internal_free);
    return file;
}

SimFile *sim_file_ref(SimFile *file)
{
    file->refs++;
    return file;
}

void sim_file_unref(SimFile *file)
{
    if (file == NULL || --file->refs > 0)
        return;
    g_free(file->backing);
    g_free(file->backing_format);
    g_free(file->kept);
    g_ptr_array_unref(file->internals);
    g_free(file);
}

SimFile *sim_file_find(SimHost *host, const char *path)
{
    return g_hash_table_lookup(host->files, path);
}

SimFile *sim_file_create(SimHost *host, const char *path, const char *backing)
{
    Sim *sim = host->sim;

    if (sim_file_find(host, path) != NULL)
        return NULL;
    SimFile *file = sim_file_ref(sim_file_bare());
    file->ino = ++sim->next_ino;
    file->born_ns = sim->now * 1000 + 1;
    file->mtime_ns = (guint64)sim->now * 1000;
    file->backing = g_strdup(backing);
    file->backing_format = backing != NULL ? g_strdup("qcow2") : NULL;
    g_hash_table_insert(host->files, g_strdup(path), file);
    return file;
}

void sim_file_touch(SimHost *host, SimFile *file)
{
    guint64 now = (guint64)host->sim->now * 1000;

    file->mtime_ns = MAX(now, file->mtime_ns + 1);
}

gboolean sim_file_chain(SimHost *host, const char *path, GPtrArray *paths)
{
    for (guint depth = 0; path != NULL; depth++) {
        SimFile *file = sim_file_find(host, path);
        if (file == NULL || depth >= SIM_CHAIN)
            return FALSE;
        g_ptr_array_add(paths, (gpointer)path);
        path = file->backing;
    }
    return TRUE;
}

gboolean sim_file_read_path(SimHost *host, const char *path, guint32 *blocks)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new();

    memset(blocks, 0, SIM_BLOCKS * sizeof *blocks);
    if (!sim_file_chain(host, path, paths))
        return FALSE;
    for (guint i = 0; i < paths->len; i++) {
        const SimFile *file = sim_file_find(host, paths->pdata[i]);
        for (guint b = 0; b < SIM_BLOCKS; b++)
            if (blocks[b] == 0)
                blocks[b] = file->blocks[b];
    }
    return TRUE;
}

SimInternal *sim_file_internal(const SimFile *file, const char *name)
{
    for (guint i = 0; i < file->internals->len; i++)
        if (strcmp(((SimInternal *)file->internals->pdata[i])->name, name) == 0)
            return file->internals->pdata[i];
    return NULL;
}

void sim_file_add_internal(SimFile *file, const char *name, gint64 date, gboolean memory, const guint32 *blocks)
{
    SimInternal *internal = g_new0(SimInternal, 1);

    internal->name = g_strdup(name);
    internal->date = date;
    internal->memory = memory;
    memcpy(internal->blocks, blocks, sizeof internal->blocks);
    g_ptr_array_add(file->internals, internal);
}

/* Covers the whole file: header, blocks, snapshots. */
char *sim_file_hash(const SimFile *file)
{
    guint64 h = g_str_hash(file->backing != NULL ? file->backing : "");

    for (guint b = 0; b < SIM_BLOCKS; b++)
        h = h * 1099511628211u + file->blocks[b];
    for (guint i = 0; i < file->internals->len; i++) {
        const SimInternal *internal = file->internals->pdata[i];
        h = h * 1099511628211u + g_str_hash(internal->name);
        for (guint b = 0; b < SIM_BLOCKS; b++)
            h = h * 1099511628211u + internal->blocks[b];
    }
    return g_strdup_printf("%016" G_GINT64_MODIFIER "x", h);
}

void sim_file_copy(SimFile *to, const SimFile *from)
{
    g_free(to->backing);
    to->backing = g_strdup(from->backing);
    g_free(to->backing_format);
    to->backing_format = g_strdup(from->backing_format);
    to->raw = from->raw;
    memcpy(to->blocks, from->blocks, sizeof to->blocks);
    g_ptr_array_set_size(to->internals, 0);
    for (guint i = 0; i < from->internals->len; i++) {
        const SimInternal *internal = from->internals->pdata[i];
        sim_file_add_internal(to, internal->name, internal->date, internal->memory, internal->blocks);
    }
}
