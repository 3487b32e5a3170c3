/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One function per structure both writes and reads it, so that the order is always the same. */
#include "sim-keep.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "definition/snapshot-tree.h"

#define SLOT (512 * 1024)

/* Two slots used alternately: one is complete at any time. */
typedef struct {
    guint64 generation; /* 0: empty */
    guint64 length;
    guint8 bytes[SLOT - 16];
} Slot;

struct SimKeep {
    Slot *slots;
};

typedef struct {
    guint8 *bytes;
    gsize at, size;
    gboolean writing;
    Sim *sim;
    GPtrArray *files; /* SimFile: a reference is stored as an index */
} Io;

static void io_raw(Io *io, gpointer data, gsize size)
{
    g_assert(io->at + size <= io->size);
    if (io->writing)
        memcpy(io->bytes + io->at, data, size);
    else
        memcpy(data, io->bytes + io->at, size);
    io->at += size;
}

#define IO(io, field) io_raw(io, &(field), sizeof(field))

static void io_text(Io *io, char **text)
{
    guint32 length = *text != NULL && io->writing ? (guint32)strlen(*text) : G_MAXUINT32;

    IO(io, length);
    if (!io->writing)
        *text = length != G_MAXUINT32 ? g_malloc0(length + 1) : NULL;
    if (length != G_MAXUINT32)
        io_raw(io, *text, length);
}

/* --- files ------------------------------------------------------------------------------------------------------- */

static void add_file(Io *io, SimFile *file)
{
    if (file != NULL && !g_ptr_array_find(io->files, file, NULL))
        g_ptr_array_add(io->files, file);
}

/* Files with a name, and those that only a QEMU or the guard still has open. */
static void find_files(Io *io, SimHost *host)
{
    GHashTableIter iter;
    gpointer file;

    g_hash_table_iter_init(&iter, host->files);
    while (g_hash_table_iter_next(&iter, NULL, &file))
        add_file(io, file);
    for (guint i = 0; i < host->guard.frozen->len; i++)
        add_file(io, host->guard.frozen->pdata[i]);
    for (guint i = 0; i < host->guard.fences->len; i++)
        add_file(io, host->guard.fences->pdata[i]);
    const SimQemu *qemu = host->domain.qemu;
    for (guint i = 0; qemu != NULL && i < qemu->n; i++) {
        add_file(io, qemu->disks[i].job.hold);
        for (guint k = 0; k < qemu->disks[i].n_chain; k++)
            add_file(io, qemu->disks[i].chain[k]);
    }
}

/* One more reference to a file, or none. */
static void io_file_ref(Io *io, SimFile **file)
{
    guint index = G_MAXUINT;

    if (io->writing && *file != NULL)
        g_ptr_array_find(io->files, *file, &index);
    IO(io, index);
    if (!io->writing)
        *file = index != G_MAXUINT ? sim_file_ref(io->files->pdata[index]) : NULL;
}

static void io_internals(Io *io, SimFile *file)
{
    guint n = io->writing ? file->internals->len : 0;

    IO(io, n);
    for (guint i = 0; i < n; i++) {
        if (!io->writing)
            sim_file_add_internal(file, "", 0, FALSE, (guint32[SIM_BLOCKS]){0});
        SimInternal *internal = file->internals->pdata[i];
        if (!io->writing)
            g_clear_pointer(&internal->name, g_free);
        io_text(io, &internal->name);
        IO(io, internal->date);
        IO(io, internal->memory);
        IO(io, internal->blocks);
    }
}

static void io_file(Io *io, SimFile *file)
{
    IO(io, file->ino);
    IO(io, file->born_ns);
    IO(io, file->mtime_ns);
    IO(io, file->raw);
    io_text(io, &file->backing);
    io_text(io, &file->backing_format);
    IO(io, file->blocks);
    io_internals(io, file);
    IO(io, file->frozen);
    IO(io, file->fenced);
    IO(io, file->foreign);
    io_text(io, &file->kept);
}

static void io_files(Io *io)
{
    guint n = 0;

    if (io->writing) {
        find_files(io, &io->sim->hosts[0]);
        find_files(io, &io->sim->hosts[1]);
        n = io->files->len;
    }
    IO(io, n);
    for (guint i = 0; i < n; i++) {
        if (!io->writing)
            g_ptr_array_add(io->files, sim_file_bare());
        io_file(io, io->files->pdata[i]);
    }
}

static void io_names(Io *io, SimHost *host)
{
    guint n = g_hash_table_size(host->files);
    GHashTableIter iter;
    gpointer path = NULL, file = NULL;

    g_hash_table_iter_init(&iter, host->files);
    IO(io, n);
    for (guint i = 0; i < n; i++) {
        if (io->writing)
            g_hash_table_iter_next(&iter, &path, &file);
        io_text(io, (char **)&path);
        io_file_ref(io, (SimFile **)&file);
        if (!io->writing)
            g_hash_table_insert(host->files, path, file);
    }
}

static void io_file_list(Io *io, GPtrArray *list)
{
    guint n = list->len;

    IO(io, n);
    for (guint i = 0; i < n; i++) {
        SimFile *file = io->writing ? list->pdata[i] : NULL;
        io_file_ref(io, &file);
        if (!io->writing)
            g_ptr_array_add(list, file);
    }
}

/* --- domain ------------------------------------------------------------------------------------------------------ */

static void io_def(Io *io, SimDef *def)
{
    IO(io, def->n);
    for (guint i = 0; i < def->n; i++) {
        SimDefDisk *disk = &def->disks[i];
        io_text(io, &disk->target);
        io_text(io, &disk->snapshot);
        IO(io, disk->n_chain);
        IO(io, disk->chain_known);
        for (guint k = 0; k < disk->n_chain; k++)
            io_text(io, &disk->chain[k]);
    }
    io_text(io, &def->metadata);
}

static void io_snapshots(Io *io, GPtrArray *list)
{
    guint n = list->len;

    IO(io, n);
    for (guint i = 0; i < n; i++) {
        VmigSnapshot *snapshot = io->writing ? list->pdata[i] : NULL;
        char *xml = io->writing ? snapshot->xml : NULL;
        gboolean current = io->writing && snapshot->current;
        io_text(io, &xml);
        IO(io, current);
        if (io->writing)
            continue;
        snapshot = vmig_snapshot_from_xml(xml, NULL);
        snapshot->current = current;
        g_ptr_array_add(list, snapshot);
        g_free(xml);
    }
}

static void io_qemu_disk(Io *io, SimQemu *qemu, SimQemuDisk *disk)
{
    SimBlockJob *job = &disk->job;

    IO(io, disk->n_chain);
    for (guint k = 0; k < disk->n_chain; k++) {
        gboolean writes = io->writing && disk->chain[k]->writer == qemu;
        io_file_ref(io, &disk->chain[k]);
        IO(io, writes);
        if (writes)
            disk->chain[k]->writer = qemu;
    }
    io_file_ref(io, &job->hold);
    IO(io, job->kind);
    IO(io, job->ready);
    IO(io, job->dirty);
    IO(io, job->step);
    IO(io, job->due);
    IO(io, job->fails_after);
    if (job->hold != NULL)
        job->hold->writer = qemu;
}

static void io_qemu(Io *io, SimHost *host)
{
    gboolean exists = host->domain.qemu != NULL;

    IO(io, exists);
    if (!exists)
        return;
    if (!io->writing) {
        host->domain.qemu = g_new0(SimQemu, 1);
        host->domain.qemu->host = host;
    }
    SimQemu *qemu = host->domain.qemu;
    IO(io, qemu->n);
    IO(io, qemu->running);
    IO(io, qemu->inactive);
    IO(io, qemu->incoming);
    for (guint i = 0; i < qemu->n; i++)
        io_qemu_disk(io, qemu, &qemu->disks[i]);
}

static void io_domain(Io *io, SimHost *host)
{
    SimDomain *d = &host->domain;

    IO(io, d->exists);
    IO(io, d->persistent);
    IO(io, d->autostart);
    IO(io, d->by_user);
    IO(io, d->cancelled);
    IO(io, d->stranger);
    IO(io, d->id);
    IO(io, d->migrated);
    IO(io, d->run);
    IO(io, d->out_job);
    IO(io, d->in_job);
    IO(io, d->synced_set);
    IO(io, d->changed_at);
    io_def(io, &d->live);
    io_def(io, &d->config);
    io_def(io, &d->synced);
    io_snapshots(io, d->snapshots);
    io_qemu(io, host);
}

/* --- everything --------------------------------------------------------------------------------------------------- */

static void io_host(Io *io, SimHost *host)
{
    io_names(io, host);
    io_domain(io, host);
    IO(io, host->guard.alive);
    io_file_list(io, host->guard.frozen);
    io_file_list(io, host->guard.fences);
    IO(io, host->rundir);
    IO(io, host->rundir_stuck);
    IO(io, host->given);
    IO(io, host->down_until);
    IO(io, host->libvirt_until);
    IO(io, host->no_space_guest);
}

static void io_guest(Io *io, SimGuest *guest)
{
    IO(io, guest->last);
    IO(io, guest->counter);
    IO(io, guest->due);
    IO(io, guest->idle);
    IO(io, guest->want);
    IO(io, guest->was_off);
    IO(io, guest->user_acted);
    IO(io, guest->suspended);
    IO(io, guest->stays_suspended);
}

static void io_migration(Io *io, SimMigration *migration)
{
    IO(io, *migration);
    io_text(io, &migration->dest_xml);
    io_text(io, &migration->persistent_xml);
}

static void io_env(Io *io)
{
    Sim *sim = io->sim;

    IO(io, sim->env);
    IO(io, sim->chance);
    IO(io, sim->tool);
    IO(io, sim->now);
    IO(io, sim->next_ino);
    IO(io, sim->runs);
    IO(io, sim->stranger);
    IO(io, sim->here);
    IO(io, sim->processes);
    IO(io, sim->calls);
    IO(io, sim->next_fault);
    IO(io, sim->healed);
    IO(io, sim->commit_fails);
    IO(io, sim->net_until);
    IO(io, sim->corrupt);
    IO(io, sim->foreign);
    IO(io, sim->meddle);
    IO(io, sim->lost_config);
    IO(io, sim->fired);
    IO(io, sim->visited);
    io_text(io, &sim->violation);
    io_files(io);
    io_host(io, &sim->hosts[0]);
    io_host(io, &sim->hosts[1]);
    io_guest(io, &sim->guest);
    io_migration(io, &sim->migration);
}

SimKeep *sim_keep_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, 2 * sizeof(Slot)) != 0)
        return NULL;
    void *map = mmap(NULL, 2 * sizeof(Slot), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return NULL;
    SimKeep *keep = g_new0(SimKeep, 1);
    keep->slots = map;
    return keep;
}

void sim_keep_save(SimKeep *keep, Sim *sim)
{
    Slot *last = keep->slots[0].generation > keep->slots[1].generation ? &keep->slots[0] : &keep->slots[1];
    Slot *slot = last == &keep->slots[0] ? &keep->slots[1] : &keep->slots[0];
    g_autoptr(GPtrArray) files = g_ptr_array_new();
    Io io = {slot->bytes, 0, sizeof slot->bytes, TRUE, sim, files};

    slot->generation = 0;
    io_env(&io);
    slot->length = io.at;
    slot->generation = last->generation + 1;
}

/* Clears what sim_scenario() made and the run has changed. */
static void clear(Sim *sim)
{
    for (guint h = 0; h < 2; h++) {
        SimHost *host = &sim->hosts[h];
        g_clear_pointer(&host->domain.qemu, sim_qemu_kill);
        sim_domain_drop(host);
        g_hash_table_remove_all(host->files);
    }
    sim_migration_clear(&sim->migration);
}

gboolean sim_keep_load(SimKeep *keep, Sim *sim)
{
    Slot *last = keep->slots[0].generation > keep->slots[1].generation ? &keep->slots[0] : &keep->slots[1];
    g_autoptr(GPtrArray) files = g_ptr_array_new();
    Io io = {last->bytes, 0, last->length, FALSE, sim, files};

    if (last->generation == 0)
        return FALSE;
    clear(sim);
    io_env(&io);
    return TRUE;
}
