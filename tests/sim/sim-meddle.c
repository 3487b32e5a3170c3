/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a user with root's rights does behind libvirt and all locks, at moments when only a check by the job can notice
 * it. The user writes to a base during its copy, makes a snapshot in the overlays by QEMU's monitor, deletes a
 * snapshot's metadata while REDEFINE defines it, and redefines the guest on its overlays before CLEANUP. */
#include "sim.h"
#include "flows/migrate/states.h"

#include <string.h>

#define SAVED "by-monitor"

/* From its own random stream, so that everything else of a seed is the same with or without it. */
void sim_meddle_plan(Sim *sim)
{
    SimRandom r;

    sim_random_seed(&r, sim->seed, 7);
    sim->meddle.touches = sim_random_percent(&r, 3);
    sim->meddle.redefines = sim_random_percent(&r, 3);
    sim->meddle.saves = sim_random_percent(&r, 3);
    sim->meddle.saves_in = sim_random_percent(&r, 50) ? VMIG_MIGRATE(COPY) : VMIG_MIGRATE(MIGRATE);
    sim->meddle.prunes = sim_random_percent(&r, 3);
}

/* The bytes stay unchanged; otherwise the source's own guest would read what it never wrote. */
void sim_meddle_copied(Sim *sim, const char *path)
{
    if (!sim->meddle.touches || sim->healed || sim->meddle.touched)
        return;
    sim_trace(sim, "%s: somebody writes to %s while it is copied", sim_source(sim)->name, path);
    sim_file_touch(sim_source(sim), sim_file_find(sim_source(sim), path));
    sim->meddle.touched = sim->foreign = TRUE;
}

static void name_top(SimDef *def, guint i, const char *path)
{
    SimDefDisk *disk = &def->disks[i];

    while (disk->n_chain > 1)
        sim_def_pop(disk);
    g_free(disk->chain[0]);
    disk->chain[0] = g_strdup(path);
    disk->chain_known = FALSE;
}

/* savevm, which QEMU does in the top of each disk. */
static void save(Sim *sim, const VmigJob *job)
{
    SimHost *source = sim_source(sim);

    for (guint i = 0; i < job->disks->len; i++) {
        const char *overlay = ((const VmigDisk *)job->disks->pdata[i])->at[VMIG_SOURCE].overlay;
        SimFile *file = sim_file_find(source, overlay);
        guint32 blocks[SIM_BLOCKS];
        if (file != NULL && sim_file_read_path(source, overlay, blocks))
            sim_file_add_internal(file, SAVED, 1700000000, TRUE, blocks);
    }
    sim_trace(sim, "%s: somebody makes a snapshot in the overlays", source->name);
    sim->meddle.saved = TRUE;
}

void sim_meddle_save(Sim *sim)
{
    g_autoptr(VmigJob) job = vmig_journal_load(sim_source(sim)->journal, sim->job_id, NULL);

    if (job != NULL)
        save(sim, job);
}

/* While the snapshot exists, no state may be entered that leaves the overlays behind. */
static void check_saved(Sim *sim, VmigState state)
{
    if (sim->meddle.saved && !sim->healed && (state == VMIG_MIGRATE(ACTIVATE) || state == VMIG_MIGRATE(BACK_PIVOT)))
        sim_violate(sim, "%s, and an overlay holds a snapshot that somebody made", vmig_state_name(state));
}

/* delvm, or qemu-img snapshot -d. */
static void forget_saved(SimHost *host)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, host->files);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        SimFile *file = value;
        for (guint i = file->internals->len; i > 0; i--)
            if (strcmp(((SimInternal *)file->internals->pdata[i - 1])->name, SAVED) == 0)
                g_ptr_array_remove_index(file->internals, i - 1);
    }
}

/* A booting host would start the guest with this definition, so not on a host with its autostart. */
static void redefine(Sim *sim, const VmigJob *job)
{
    SimHost *dest = sim_dest(sim);
    SimDomain *d = &dest->domain;

    if (sim->autostart || sim->direct || !d->persistent || d->stranger)
        return;
    sim_trace(sim, "%s: somebody defines the guest on its overlays", dest->name);
    sim_domain_before_config(dest);
    for (guint i = 0; i < job->disks->len; i++)
        name_top(&d->config, i, ((const VmigDisk *)job->disks->pdata[i])->at[VMIG_DEST].overlay);
    sim->meddle.redefined = TRUE;
}

/* virsh snapshot-delete --metadata of the last one, which has no children, right after REDEFINE defined it. */
void sim_meddle_defined(SimHost *host)
{
    Sim *sim = host->sim;
    GPtrArray *list = host->domain.snapshots;

    if (!sim->meddle.prunes || sim->healed || sim->meddle.pruned || !host->is_dest || list->len < sim->tree->len ||
        sim->machine == NULL || vmig_job_state(sim->machine->job) != VMIG_MIGRATE(REDEFINE))
        return;
    const VmigSnapshot *last = list->pdata[list->len - 1];
    sim_trace(sim, "%s: somebody deletes the metadata of %s", host->name, last->name);
    sim_snapshot_drop(host, last->name);
    sim->meddle.pruned = TRUE;
}

void sim_meddle_entered(Sim *sim, const VmigJob *job)
{
    VmigState state = vmig_job_state(job);

    check_saved(sim, state);
    if (sim->healed)
        return;
    if (state == sim->meddle.saves_in && sim->meddle.saves && !sim->meddle.saved)
        save(sim, job);
    if (state == VMIG_MIGRATE(CLEANUP) && sim->meddle.redefines && !sim->meddle.redefined)
        redefine(sim, job);
}

/* The operator repairs it as the hint says. */
void sim_meddle_heal(Sim *sim)
{
    SimHost *dest = sim_dest(sim);

    if (sim->healed)
        return;
    forget_saved(sim_source(sim));
    if (!sim->meddle.redefined || !dest->domain.persistent)
        return;
    sim_domain_before_config(dest);
    for (guint i = 0; i < dest->domain.config.n; i++)
        name_top(&dest->domain.config, i, sim->base[1][i][0]);
}

void sim_meddle_check(Sim *sim, VmigState end)
{
    if (end == VMIG_MIGRATE(DONE) && sim->meddle.touched)
        sim_violate(sim, "done, although somebody wrote to a base while it was copied");
}
