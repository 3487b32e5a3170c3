/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Other users: what root does to the guest with virsh meanwhile, as far as libvirt permits it. Behavior of libvirt 9.0.
 */
#include "sim.h"

#include <string.h>

static SimHost *host_of_guest(Sim *sim)
{
    const SimQemu *qemu = sim_guest_runner(sim);

    return qemu != NULL ? qemu->host : NULL;
}

void sim_guest_lost(Sim *sim, SimHost *host)
{
    const SimQemu *qemu = host->domain.qemu;

    if (qemu == NULL)
        return;
    const SimQemu *other = sim->hosts[host->is_dest ? 0 : 1].domain.qemu;
    /* A guest that has arrived may be given the token at the moment when it dies. */
    if (!qemu->incoming &&
        (qemu->running || host->is_dest || sim_owner(sim) == host || other == NULL || other->incoming))
        sim->guest.was_off = TRUE;
    sim_migration_qemu_died(sim, host);
    sim_domain_off(host);
}

void sim_guest_off(Sim *sim)
{
    SimHost *host = host_of_guest(sim);

    if (host == NULL)
        return;
    sim_trace(sim, "%s: the guest powers off", host->name);
    sim_guest_lost(sim, host);
    host->domain.off = VMIG_OFF_ASKED;
}

/* Between the record that the job suspends the guest for a pivot and the suspension itself, a user's suspension cannot
 * be told from the job's: the guest is resumed after the pivot. */
static gboolean is_being_suspended(SimHost *host)
{
    g_autoptr(VmigJob) job = vmig_journal_load(host->journal, host->sim->job_id, NULL);

    return job != NULL && job->suspended;
}

/* Suspend is permitted during a migration, resume is not. */
void sim_guest_pause(Sim *sim)
{
    SimHost *host = host_of_guest(sim);

    if (host == NULL)
        return;
    sim_trace(sim, "%s: its user suspends the guest", host->name);
    sim->guest.user_acted = TRUE;
    SimDomain *d = &host->domain;
    sim_qemu_stop(d->qemu);
    /* During a migration libvirt gives the migration as the reason (qemuDomainSuspend()). */
    d->run = d->out_job ? VMIG_RUN_MIGRATING : VMIG_RUN_PAUSED;
    d->by_user = !d->out_job;
    sim->guest.suspended = !host->is_dest && !d->out_job && !is_being_suspended(host);
    sim->guest.stays_suspended = sim->guest.suspended && vmig_state_is(sim->state, VMIG_STATE_FROM_SOURCE) &&
                                 !vmig_state_is(sim->state, VMIG_STATE_HANDS_OVER);
}

static gboolean is_busy(const SimDomain *d)
{
    return d->out_job || d->in_job || sim_domain_has_block_job(d);
}

static gboolean has_foreign_top(const SimDomain *d)
{
    return d->live.disks[0].n_chain > 0 && d->qemu->disks[0].chain[0]->foreign;
}

/* virsh snapshot-create with <disk snapshot='internal'> for each disk. */
static void internal_snapshot(Sim *sim, SimHost *host)
{
    SimDomain *d = &host->domain;
    g_autofree char *name = g_strdup_printf("foreign-%u", sim->calls);
    gint64 date = 1700000000 + sim->calls;
    const char *parent = NULL;

    for (guint i = 0; i < d->snapshots->len; i++) {
        VmigSnapshot *other = d->snapshots->pdata[i];
        if (other->current)
            parent = other->name;
        other->current = FALSE;
    }
    for (guint i = 0; i < d->qemu->n; i++) {
        guint32 blocks[SIM_BLOCKS];
        for (guint b = 0; b < SIM_BLOCKS; b++)
            blocks[b] = sim_qemu_read(d->qemu, i, b);
        sim_file_add_internal(d->qemu->disks[i].chain[0], name, date, TRUE, blocks);
        sim_guest_keep(sim, i, name, blocks);
    }
    g_autofree char *xml = sim_snapshot_xml(sim, name, parent, "running", date, &d->live);
    VmigSnapshot *snapshot = vmig_snapshot_new();
    snapshot->name = g_strdup(name);
    snapshot->parent = g_strdup(parent);
    snapshot->state = g_strdup("running");
    vmig_snapshot_take_xml(snapshot, g_steal_pointer(&xml));
    snapshot->creation_time = date;
    snapshot->memory = snapshot->current = TRUE;
    g_ptr_array_add(d->snapshots, snapshot);
}

/* qemuSnapshotRevertActive(): QEMU is ended, and started with the snapshot's definition: the bases. If they are locked,
 * this fails, and the guest is off. */
static void revert(Sim *sim, SimHost *host)
{
    SimDomain *d = &host->domain;
    guint h = host->is_dest ? 1 : 0;
    const VmigSnapshot *to = d->snapshots->pdata[sim_random_below(&sim->chance, d->snapshots->len)];
    g_autofree char *name = g_strdup(to->name);
    gboolean on_overlay = d->qemu->disks[0].chain[0] != sim_file_find(host, sim->base[h][0][0]);

    sim_guest_lost(sim, host);
    d->off = VMIG_OFF_ASKED;
    sim_domain_before_config(host);
    for (guint i = 0; i < d->config.n; i++) {
        SimDefDisk *disk = &d->config.disks[i];
        while (disk->n_chain > 1)
            sim_def_pop(disk);
        g_free(disk->chain[0]);
        disk->chain[0] = g_strdup(sim->base[h][i][0]);
        disk->chain_known = FALSE;
    }
    if (!sim_domain_start(host, TRUE, NULL)) {
        sim_trace(sim, "%s: the revert fails, the guest is off", host->name);
        sim->reverted = TRUE;
        return;
    }
    for (guint i = 0; i < d->qemu->n; i++) {
        SimFile *base = d->qemu->disks[i].chain[0];
        const SimInternal *internal = sim_file_internal(base, name);
        for (guint b = 0; internal != NULL && b < SIM_BLOCKS; b++)
            sim->guest.last[i][b] = base->blocks[b] = internal->blocks[b];
        sim_file_touch(host, base);
    }
    sim->rewritten = sim->rewritten || on_overlay;
    d->run = VMIG_RUN_RUNNING;
    sim_qemu_cont(d->qemu, NULL);
}

void sim_operator_revert(Sim *sim, SimHost *host)
{
    sim_trace(sim, "%s: an operator reverts", host->name);
    sim->foreign = TRUE;
    revert(sim, host);
}

/* virsh blockcommit --active by another user. */
static void commit(SimHost *host)
{
    const SimDefDisk *disk = &host->domain.live.disks[0];

    if (disk->n_chain > 1)
        sim_block_commit(host, disk->target, disk->chain[1], NULL);
}

/* virsh snapshot-create-as --disk-only --no-metadata. */
static void external_snapshot(Sim *sim, SimHost *host)
{
    g_autofree char *path = g_strdup_printf("%s/foreign-%u.qcow2", host->folder, sim->calls);
    g_autofree char *xml = g_strdup_printf("<domainsnapshot><disks><disk name='%s' snapshot='external'>"
                                           "<source file='%s'/></disk></disks></domainsnapshot>",
                                           host->domain.live.disks[0].target, path);

    if (sim_block_overlays(host, xml, NULL))
        sim_file_find(host, path)->foreign = TRUE;
}

void sim_operator_copy(Sim *sim, SimHost *host)
{
    SimQemuDisk *disk = host->domain.qemu != NULL ? &host->domain.qemu->disks[0] : NULL;
    g_autofree char *path = g_strdup_printf("%s/foreign-%u.qcow2", host->folder, sim->calls);
    SimFile *file = disk != NULL && disk->job.kind == VMIG_BLOCK_JOB_NONE ? sim_file_create(host, path, NULL) : NULL;

    if (file == NULL)
        return;
    sim->foreign = file->foreign = TRUE;
    file->writer = host->domain.qemu;
    disk->job = (SimBlockJob){.kind = VMIG_BLOCK_JOB_COPY, .due = SIM_NEVER, .hold = sim_file_ref(file)};
}

static void abort_job(SimHost *host)
{
    for (guint i = 0; i < host->domain.qemu->n && !host->domain.out_job; i++)
        sim_qemu_end_job(&host->domain.qemu->disks[i], VMIG_BLOCK_END_CANCELLED);
}

void sim_operator_act(Sim *sim)
{
    SimHost *host = host_of_guest(sim);
    guint what = sim_random_below(&sim->chance, 7);

    if (host == NULL)
        return;
    if (what == 6) {
        sim_stranger_come(sim);
        return;
    }
    SimDomain *d = &host->domain;
    gboolean busy = is_busy(d);
    sim_trace(sim, "%s: an operator does %u%s", host->name, what, busy && what < 4 ? ", which is refused" : "");
    if (what == 4) {
        abort_job(host);
        return;
    }
    if (what == 5) {
        sim_guest_off(sim);
        return;
    }
    if (busy || has_foreign_top(d))
        return;
    sim->foreign = TRUE;
    if (what == 0)
        internal_snapshot(sim, host);
    else if (what == 1 && d->snapshots->len > 0)
        revert(sim, host);
    else if (what == 2)
        commit(host);
    else if (what == 3 && sim->calls % 2 == 0)
        external_snapshot(sim, host);
    else if (what == 3)
        sim_operator_copy(sim, host);
}

void sim_operator_end_copy(SimHost *host)
{
    if (!host->domain.exists)
        return;
    if (host->domain.qemu != NULL) {
        sim_migration_qemu_died(host->sim, host);
        sim_domain_off(host);
    }
    if (host->domain.exists)
        sim_domain_drop(host);
}
