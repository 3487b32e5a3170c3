/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU: open images with their locks, CPUs, and block jobs that progress by themselves. */
#include "sim.h"

#include <string.h>

/* block/file-posix.c, raw_check_lock_bytes(): a writer requires bytes 101 and 201 to be unlocked. */
gboolean sim_qemu_can_write(const SimFile *file, const SimQemu *qemu)
{
    return (file->writer == NULL || file->writer == qemu) && !file->frozen && !file->fenced;
}

static gboolean no_lock(GError **error, const SimHost *host, const char *path)
{
    return vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL, "%s: Failed to get \"write\" lock on %s", host->name, path);
}

/* The guard saw that this was released, and now sees that it was opened again. */
static void take(SimQemu *qemu, SimFile *file)
{
    SimGuard *guard = &qemu->host->guard;

    file->writer = qemu;
    guard->taken = guard->taken || (guard->alive && g_ptr_array_find(guard->fences, file, NULL));
}

static gboolean open_disk(SimQemu *qemu, SimDefDisk *def, SimQemuDisk *disk, GError **error)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new();

    if (def->chain_known) {
        for (guint i = 0; i < def->n_chain; i++)
            g_ptr_array_add(paths, def->chain[i]);
    } else if (!sim_file_chain(qemu->host, def->chain[0], paths)) {
        return vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL, "%s: a file of the chain of %s is missing",
                         qemu->host->name, def->chain[0]);
    }
    for (guint i = 0; i < paths->len; i++) {
        SimFile *file = sim_file_find(qemu->host, paths->pdata[i]);
        if (file == NULL)
            return vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL, "%s: Cannot access storage file '%s'",
                             qemu->host->name, (const char *)paths->pdata[i]);
        disk->chain[disk->n_chain++] = sim_file_ref(file);
        if (i == 0 && !sim_qemu_can_write(file, qemu))
            return no_lock(error, qemu->host, paths->pdata[i]);
        if (i == 0)
            take(qemu, file);
        else if (file->writer != NULL)
            return no_lock(error, qemu->host, paths->pdata[i]);
    }
    if (!def->chain_known) {
        for (guint i = 1; i < paths->len; i++)
            def->chain[i] = g_strdup(paths->pdata[i]);
        def->n_chain = paths->len;
        def->chain_known = TRUE;
    }
    return TRUE;
}

SimQemu *sim_qemu_new(SimHost *host, SimDef *def, gboolean incoming, GError **error)
{
    SimQemu *qemu = g_new0(SimQemu, 1);

    qemu->host = host;
    qemu->incoming = incoming;
    for (guint i = 0; i < def->n; i++) {
        qemu->n = i + 1;
        qemu->disks[i].job.due = SIM_NEVER;
        if (!open_disk(qemu, &def->disks[i], &qemu->disks[i], error)) {
            sim_qemu_kill(qemu);
            return NULL;
        }
    }
    host->domain.id = (int)++host->sim->runs;
    host->domain.by_user = host->domain.cancelled = FALSE;
    return qemu;
}

void sim_qemu_kill(SimQemu *qemu)
{
    for (guint i = 0; i < qemu->n; i++) {
        SimQemuDisk *disk = &qemu->disks[i];
        sim_qemu_end_job(disk, VMIG_BLOCK_END_UNKNOWN);
        for (guint k = 0; k < disk->n_chain; k++) {
            if (disk->chain[k]->writer == qemu)
                disk->chain[k]->writer = NULL;
            sim_file_unref(disk->chain[k]);
        }
    }
    g_free(qemu);
}

gboolean sim_qemu_cont(SimQemu *qemu, GError **error)
{
    for (guint i = 0; qemu->inactive && i < qemu->n; i++)
        if (!sim_qemu_can_write(qemu->disks[i].chain[0], qemu))
            return vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL,
                             "%s: unable to execute QEMU command 'cont': Failed to get \"write\" lock",
                             qemu->host->name);
    for (guint i = 0; qemu->inactive && i < qemu->n; i++)
        take(qemu, qemu->disks[i].chain[0]);
    qemu->inactive = FALSE;
    qemu->running = TRUE;
    qemu->host->sim->guest.due = qemu->host->sim->now;
    qemu->host->sim->guest.idle = 0;
    sim_check_now(qemu->host->sim);
    return TRUE;
}

void sim_qemu_stop(SimQemu *qemu)
{
    qemu->running = FALSE;
}

/* bdrv_inactivate_all(). */
void sim_qemu_inactivate(SimQemu *qemu)
{
    qemu->inactive = TRUE;
    for (guint i = 0; i < qemu->n; i++)
        qemu->disks[i].chain[0]->writer = NULL;
}

guint32 sim_qemu_read(const SimQemu *qemu, guint disk, guint block)
{
    const SimQemuDisk *d = &qemu->disks[disk];

    for (guint i = 0; i < d->n_chain; i++)
        if (d->chain[i]->blocks[block] != 0)
            return d->chain[i]->blocks[block];
    return 0;
}

void sim_qemu_write(SimQemu *qemu, guint disk, guint block, guint32 value)
{
    SimQemuDisk *d = &qemu->disks[disk];

    d->chain[0]->blocks[block] = value;
    sim_file_touch(qemu->host, d->chain[0]);
    if (d->job.kind == VMIG_BLOCK_JOB_COMMIT) {
        d->job.dirty |= 1u << block;
        if (d->job.due == SIM_NEVER && !d->job.stalled)
            d->job.due = qemu->host->sim->now + d->job.step;
    }
}

void sim_qemu_end_job(SimQemuDisk *disk, VmigBlockEnd end)
{
    if (disk->job.kind == VMIG_BLOCK_JOB_COMMIT)
        disk->end = end;
    if (disk->job.kind == VMIG_BLOCK_JOB_COMMIT && disk->n_chain > 1)
        disk->chain[1]->writer = NULL;
    if (disk->job.hold != NULL)
        disk->job.hold->writer = NULL;
    g_clear_pointer(&disk->job.hold, sim_file_unref);
    disk->job = (SimBlockJob){.due = SIM_NEVER};
}

/* One more block of the overlay reaches the base. */
void sim_qemu_job_tick(SimQemu *qemu, guint index)
{
    SimQemuDisk *disk = &qemu->disks[index];
    SimBlockJob *job = &disk->job;
    Sim *sim = qemu->host->sim;

    job->due = SIM_NEVER;
    if (job->kind != VMIG_BLOCK_JOB_COMMIT)
        return;
    if (sim_is_full(qemu->host) || (job->fails_after > 0 && --job->fails_after == 0)) {
        sim_trace(sim, "%s: the commit of disk %u fails", qemu->host->name, index);
        sim_qemu_end_job(disk, VMIG_BLOCK_END_FAILED);
        sim->woken = TRUE;
        return;
    }
    for (guint b = 0; b < SIM_BLOCKS; b++) {
        if ((job->dirty & (1u << b)) == 0)
            continue;
        job->dirty &= ~(1u << b);
        if (sim->broken == SIM_BREAK_ORDER && b == SIM_BLOCKS - 1)
            break;
        disk->chain[1]->blocks[b] = disk->chain[0]->blocks[b];
        sim_file_touch(qemu->host, disk->chain[1]);
        break;
    }
    if (job->dirty != 0)
        job->due = sim->now + job->step;
    else if (!job->ready) {
        job->ready = TRUE;
        sim->woken = TRUE;
    }
}
