/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The invariants: permanent ones, those checked at irreversible operations, and those at the end. */
#include "sim.h"

#include <string.h>

#include "core/job-facts.h"
#include "definition/snapshot-tree.h"
#include "flows/migrate/states.h"
#include "../roles.h"

void sim_violate(Sim *sim, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    sim_trace(sim, "VIOLATION: %s", text);
    if (sim->violation == NULL)
        sim->violation = g_steal_pointer(&text);
}

/* Called twice, because a system call that is made to fail may be one of this function's. */
static gboolean token_is_dest(const SimHost *host)
{
    const char *owner = token_in(host->journal, host->sim->job_id, NULL);

    if (owner == NULL)
        owner = token_in(host->journal, host->sim->job_id, NULL);
    return g_strcmp0(owner, vmig_role_name(VMIG_DEST)) == 0;
}

SimHost *sim_owner(Sim *sim)
{
    return token_is_dest(sim_source(sim)) || token_is_dest(sim_dest(sim)) ? sim_dest(sim) : sim_source(sim);
}

static gboolean qemu_is_right(const SimQemu *qemu, guint *disk, guint *block)
{
    const Sim *sim = qemu->host->sim;

    for (*disk = 0; *disk < sim->guest.n_disks; (*disk)++)
        for (*block = 0; *block < SIM_BLOCKS; (*block)++)
            if (sim_qemu_read(qemu, *disk, *block) != sim->guest.last[*disk][*block])
                return FALSE;
    return TRUE;
}

/* The facts of the record that the machine works on go together at every moment, not only when it is written. */
static void check_facts(Sim *sim)
{
    g_autoptr(GError) error = NULL;

    if (sim->machine != NULL && !vmig_job_facts_are_legal(sim->machine->job, &error))
        sim_violate(sim, "%s", error->message);
}

/* At most one copy runs, and it reads what was acknowledged to it. */
void sim_check_now(Sim *sim)
{
    const SimQemu *both[] = {sim->hosts[0].domain.qemu, sim->hosts[1].domain.qemu};
    guint disk, block;

    check_facts(sim);
    /* A process that has just started may have the record of an earlier state, until the hosts agree. */
    if (sim->machine != NULL && !sim->dead && vmig_job_state(sim->machine->job) == sim->state)
        sim_check_expected(sim, sim->machine->job);
    if (both[0] != NULL && both[1] != NULL && both[0]->running && both[1]->running)
        sim_violate(sim, "the guest runs on both hosts");
    for (guint h = 0; h < 2; h++)
        if (both[h] != NULL && both[h]->running && !qemu_is_right(both[h], &disk, &block))
            sim_violate(sim, "%s: block %u of disk %u reads as write %u, the last acknowledged one is %u",
                        sim->hosts[h].name, block, disk, sim_qemu_read(both[h], disk, block),
                        sim->guest.last[disk][block]);
}

/* Nothing runs on the destination without the durable token, and nothing on the source once either journal has it. */
static gboolean is_revoked(const SimHost *host)
{
    g_autoptr(VmigJob) job = vmig_journal_load(host->journal, host->sim->job_id, NULL);

    return job != NULL && job->revoked;
}

/* From the guest's next write on, the data that arrived is stale. This applies to any state, because the other host may
 * not answer by then, and the process may die. Later in the rollback the guest is resumed only for a pivot. */
static void check_revoked(Sim *sim)
{
    VmigState state = sim->machine != NULL ? vmig_job_state(sim->machine->job) : NULL;

    if ((state == VMIG_MIGRATE(UNCERTAIN) || state == VMIG_MIGRATE(ROLLBACK)) && !is_revoked(sim_source(sim)) &&
        !is_revoked(sim_dest(sim)))
        sim_violate(sim, "resumed on the source, and no journal says that what arrived is stale");
}

void sim_check_fence_drop(SimHost *host)
{
    const VmigMachine *m = host->sim->machine;

    if (!host->is_dest && m != NULL && m->job->revoked)
        check_revoked(host->sim);
}

void sim_check_resume(SimHost *host)
{
    Sim *sim = host->sim;

    if (host->is_dest && !token_is_dest(host))
        sim_violate(sim, "resumed on the destination, whose journal does not have the token");
    if (host->is_dest && !token_is_dest(sim_source(sim)) && sim_source(sim)->domain.qemu != NULL)
        sim_violate(sim, "resumed on the destination, and the source's journal does not know");
    if (!host->is_dest && (token_is_dest(host) || token_is_dest(sim_dest(sim))))
        sim_violate(sim, "resumed on the source, which has given the token away");
    if (!host->is_dest)
        check_revoked(sim);
}

static gboolean is_fenced(const SimHost *host)
{
    for (guint i = 0; i < host->guard.fences->len; i++)
        if (!((const SimFile *)host->guard.fences->pdata[i])->fenced)
            return FALSE;
    return host->guard.fences->len > 0;
}

/* An absent source proves nothing: it may have kept running after the copy was complete. */
void sim_check_give(SimHost *source)
{
    Sim *sim = source->sim;
    const SimDomain *d = &source->domain;

    if (token_is_dest(source) || token_is_dest(sim_dest(sim)) || sim->broken != SIM_BREAK_NOTHING)
        return;
    if (!is_fenced(source) && !(d->exists && d->qemu == NULL && d->migrated))
        sim_violate(sim, "the token is given, and nothing proves that the source did not run on");
}

/* The source's journal must be first, wherever the tool reaches it. */
void sim_check_receive(Sim *sim)
{
    const VmigMachine *m = sim->machine;

    if (m != NULL && m->env->source.node != NULL && !token_is_dest(sim_source(sim)) && !sim->old.put_back &&
        sim->broken == SIM_BREAK_NOTHING)
        sim_violate(sim, "the destination is given the token, and the source's journal still has it");
}

static gboolean same_file(const SimFile *a, const SimFile *b)
{
    if (a == NULL || b == NULL || memcmp(a->blocks, b->blocks, sizeof a->blocks) != 0 ||
        a->internals->len != b->internals->len)
        return FALSE;
    for (guint i = 0; i < a->internals->len; i++) {
        const SimInternal *one = a->internals->pdata[i];
        const SimInternal *other = sim_file_internal(b, one->name);
        if (other == NULL || memcmp(one->blocks, other->blocks, sizeof one->blocks) != 0)
            return FALSE;
    }
    return TRUE;
}

/* libvirt mirrors only the overlays; the rest of the guest's disks is what the base copies contain at the start. */
void sim_check_copies(Sim *sim)
{
    for (guint i = 0; !sim->foreign && i < sim->guest.n_disks; i++)
        for (guint k = 0; k < sim->n_bases; k++)
            if (!same_file(sim_file_find(sim_source(sim), sim->base[0][i][k]),
                           sim_file_find(sim_dest(sim), sim->base[1][i][k])))
                sim_violate(sim, "a migration comes in to a seed that is not the base: %s", sim->base[1][i][k]);
}

/* TRUE if the files hold everything, starting at the top that the persistent definition names. */
static gboolean config_is_right(SimHost *host)
{
    const Sim *sim = host->sim;

    for (guint i = 0; i < sim->guest.n_disks; i++) {
        guint32 blocks[SIM_BLOCKS];
        if (host->domain.config.n <= i || !sim_file_read_path(host, host->domain.config.disks[i].chain[0], blocks) ||
            memcmp(blocks, sim->guest.last[i], sizeof blocks) != 0)
            return FALSE;
    }
    return TRUE;
}

/* With an operator's overlay on top they are not right, and need not be. */
static gboolean bases_are_right(SimHost *host)
{
    const Sim *sim = host->sim;
    guint h = host->is_dest ? 1 : 0;

    for (guint i = 0; i < sim->guest.n_disks; i++) {
        guint32 blocks[SIM_BLOCKS];
        if (!sim_file_read_path(host, sim->base[h][i][0], blocks) ||
            memcmp(blocks, sim->guest.last[i], sizeof blocks) != 0)
            return FALSE;
    }
    return TRUE;
}

static gboolean is_base(SimHost *host, const char *path)
{
    const Sim *sim = host->sim;

    for (guint i = 0; i < sim->guest.n_disks; i++)
        for (guint k = 0; k < sim->n_bases; k++)
            if (strcmp(sim->base[host->is_dest ? 1 : 0][i][k], path) == 0)
                return TRUE;
    return FALSE;
}

static gboolean config_names(SimHost *host, const char *path)
{
    for (guint i = 0; i < host->domain.config.n; i++) {
        g_autoptr(GPtrArray) paths = g_ptr_array_new();
        sim_file_chain(host, host->domain.config.disks[i].chain[0], paths);
        for (guint k = 0; k < paths->len; k++)
            if (strcmp(paths->pdata[k], path) == 0)
                return TRUE;
    }
    return FALSE;
}

static gboolean qemu_has(const SimQemu *qemu, const SimFile *file)
{
    for (guint i = 0; qemu != NULL && i < qemu->n; i++)
        for (guint k = 0; k < qemu->disks[i].n_chain; k++)
            if (qemu->disks[i].chain[k] == file)
                return TRUE;
    return FALSE;
}

/* The gate removes a file. */
void sim_check_unlink(SimHost *host, const char *path, SimFile *file)
{
    Sim *sim = host->sim;
    SimHost *owner = sim_owner(sim);

    sim_trace(sim, "%s: %s is removed", host->name, path);
    if (sim->exit == VMIG_EXIT_BY_SET_ASIDE)
        sim_violate(sim, "%s: %s is removed by a job that is set aside", host->name, path);
    if (file->kept != NULL)
        sim_violate(sim, "%s: %s is removed, which an earlier job kept and none has taken", host->name, path);
    if (qemu_has(host->domain.qemu, file) || qemu_has(host->orphan, file))
        sim_violate(sim, "%s: %s is removed while a QEMU has it open", host->name, path);
    if (owner == host && config_names(host, path))
        sim_violate(sim, "%s: %s is removed while the owner's definition stands on it", host->name, path);
    for (guint i = 0; i < file->internals->len && !is_base(host, path) && strstr(path, ".part") == NULL; i++)
        sim_violate(sim, "%s: %s is removed with the snapshot '%s' in it", host->name, path,
                    ((SimInternal *)file->internals->pdata[i])->name);
    /* The owner is off or the bases are right: an overlay with the only copy of a write must not be removed. */
    if (owner == host && sim_guest_runner(sim) == NULL && !config_is_right(host))
        sim_violate(sim, "%s: %s is removed, and the owner's definition does not lead to every write", host->name,
                    path);
    if (host->is_dest || !is_base(host, path))
        return;
    if (sim->keep_source)
        sim_violate(sim, "the source's image %s is removed, which is to be kept", path);
    if (owner == host || (!sim->foreign && !bases_are_right(sim_dest(sim))))
        sim_violate(sim, "the source's image %s is removed before the destination has everything", path);
}

static void check_snapshots(Sim *sim, SimHost *host)
{
    g_autofree char *difference = NULL;

    for (guint i = 0; i < sim->guest.kept->len; i++) {
        const SimKept *kept = sim->guest.kept->pdata[i];
        GHashTableIter iter;
        gpointer file;
        gboolean found = FALSE;
        g_hash_table_iter_init(&iter, host->files);
        while (!found && g_hash_table_iter_next(&iter, NULL, &file)) {
            const SimInternal *internal = sim_file_internal(file, kept->name);
            found = internal != NULL && memcmp(internal->blocks, kept->blocks, sizeof kept->blocks) == 0;
        }
        if (!found)
            sim_violate(sim, "%s: snapshot '%s' of disk %u is gone or changed", host->name, kept->name, kept->disk);
    }
    if (sim->foreign || !sim->ended)
        return;
    if (!vmig_snapshot_tree_equal(sim->tree, host->domain.snapshots, &difference))
        sim_violate(sim, "%s: the snapshot tree differs: %s", host->name, difference);
}

/* A source whose journal was replaced with one from before the job, and which has no definition of the guest any more,
 * cannot tell that it was the source. It then accepts no record from the other host, and can start nothing. */
static gboolean source_knows_nothing(Sim *sim)
{
    const char *owner = token_in(sim_source(sim)->journal, sim->job_id, NULL);

    return owner == NULL && !sim_source(sim)->domain.exists;
}

/* Such a source accepts no record of the job: the job's files there stay, and a note says so. */
static gboolean forgot_its_part(SimHost *host)
{
    return !host->is_dest && host->sim->old.put_back && source_knows_nothing(host->sim);
}

static void check_files(Sim *sim, SimHost *host, gboolean bases)
{
    GHashTableIter iter;
    gpointer path, file;

    g_hash_table_iter_init(&iter, host->files);
    while (g_hash_table_iter_next(&iter, &path, &file)) {
        SimFile *f = file;
        g_autofree char *hash = f->kept != NULL ? sim_file_hash(f) : NULL;
        if (g_strcmp0(hash, f->kept) != 0)
            sim_violate(sim, "%s: %s is changed, which an earlier job kept and none has taken", host->name,
                        (char *)path);
        if (bases && f->kept != NULL)
            sim_violate(sim, "%s: %s is what an earlier job kept there", host->name, (char *)path);
        if (!f->foreign && f->kept == NULL && !(bases && is_base(host, path)) && !forgot_its_part(host))
            sim_violate(sim, "%s: %s is left over", host->name, (char *)path);
        if (f->frozen || f->fenced)
            sim_violate(sim, "%s: %s is still held", host->name, (char *)path);
    }
    for (guint i = 0; bases && i < sim->guest.n_disks; i++)
        for (guint k = 0; k < sim->n_bases; k++)
            if (sim_file_find(host, sim->base[host->is_dest ? 1 : 0][i][k]) == NULL)
                sim_violate(sim, "%s: the image of disk %u is gone", host->name, i);
}

static void check_left(Sim *sim, SimHost *host)
{
    const SimDomain *d = &host->domain;

    if (host->orphan != NULL)
        sim_violate(sim, "%s: a QEMU that libvirt has forgotten is left over", host->name);
    if (host->guard.alive)
        sim_violate(sim, "%s: the guard is left over", host->name);
    if (host->rundir)
        sim_violate(sim, "%s: the folder of sockets is left over", host->name);
    if ((sim_domain_has_block_job(d) && !sim->foreign) || d->out_job || d->in_job)
        sim_violate(sim, "%s: a job of libvirt's is left over", host->name);
}

/* A restarted guest runs with the definition for the next start. */
static gboolean attribute_is_right(const Sim *sim, guint i, const char *value, gboolean live)
{
    if (!live || sim->guest.was_off)
        return g_strcmp0(value, sim->snapshot_attr[i]) == 0 || (live && g_strcmp0(value, sim->live_attr[i]) == 0);
    return g_strcmp0(value, sim->live_attr[i]) == 0;
}

static void check_def(Sim *sim, SimHost *host, SimDef *def, const char *kind)
{
    guint h = host->is_dest ? 1 : 0;

    if (def->metadata != NULL)
        sim_violate(sim, "%s: our metadata is left in the %s definition", host->name, kind);
    for (guint i = 0; i < sim->guest.n_disks; i++) {
        const SimDefDisk *disk = &def->disks[i];
        if (!sim->foreign && strcmp(disk->chain[0], sim->base[h][i][0]) != 0)
            sim_violate(sim, "%s: the %s definition of disk %u is on %s", host->name, kind, i, disk->chain[0]);
        if (!attribute_is_right(sim, i, disk->snapshot, def == &host->domain.live))
            sim_violate(sim, "%s: the %s definition of disk %u has snapshot='%s'", host->name, kind, i,
                        disk->snapshot != NULL ? disk->snapshot : "");
    }
}

/* TRUE if it runs, or not, as its user and the faults require. */
static gboolean run_is_right(const Sim *sim, const SimDomain *d)
{
    gboolean running = d->qemu != NULL && d->qemu->running;

    /* A guest that arrived is not resumed if it was tampered with meanwhile; the source has released it. */
    if (d->qemu == NULL)
        return sim->guest.was_off || ((sim->foreign || sim->meddle.saved) && d->migrated);
    if (sim->guest.suspended && !d->qemu->host->is_dest && running && !sim->guest.was_off && !sim->foreign)
        return FALSE;
    if (sim->guest.stays_suspended && running && !sim->guest.was_off && !sim->foreign)
        return FALSE;
    if (sim->guest.user_acted || sim->guest.was_off)
        return TRUE;
    return running != sim->was_paused;
}

static void check_owner(Sim *sim, SimHost *host)
{
    SimDomain *d = &host->domain;
    guint disk, block;

    if (!d->exists) {
        sim_violate(sim, "%s: the guest is gone", host->name);
        return;
    }
    if (!run_is_right(sim, d))
        sim_violate(sim, "%s: the guest is %s", host->name, vmig_run_name(d->run));
    if (d->qemu != NULL && !qemu_is_right(d->qemu, &disk, &block))
        sim_violate(sim, "%s: block %u of disk %u is not the last acknowledged write", host->name, block, disk);
    if (!sim->reverted && !config_is_right(host))
        sim_violate(sim, "%s: the persistent definition does not lead to every acknowledged write", host->name);
}

static void check_final(Sim *sim, SimHost *host, SimHost *other)
{
    SimDomain *d = &host->domain;

    check_files(sim, host, TRUE);
    check_files(sim, other, host->is_dest ? sim->keep_source : FALSE);
    check_left(sim, host);
    check_left(sim, other);
    if (sim->stranger && !sim_dest(sim)->domain.stranger)
        sim_violate(sim, "the other guest with the UUID is gone");
    if (other->domain.exists && !other->domain.stranger)
        sim_violate(sim, "%s: the domain is left over", other->name);
    if (!d->persistent) {
        sim_violate(sim, "%s: the domain is not persistent", host->name);
        return;
    }
    if (d->autostart != sim->autostart)
        sim_violate(sim, "%s: autostart is %s", host->name, d->autostart ? "on" : "off");
    /* The job had disabled its autostart, so the boot did not start it. */
    if (sim->autostart && host->booted && d->qemu == NULL && d->off == VMIG_OFF_UNKNOWN)
        sim_violate(sim, "%s: the host was booted, and the guest, which starts with it, is off", host->name);
    if (d->qemu != NULL)
        check_def(sim, host, &d->live, "live");
    check_def(sim, host, &d->config, "persistent");
}

/* Nothing holds the guest any more; another user's changes, and the overlays, stay. */
static void check_set_aside(Sim *sim, SimHost *owner, SimHost *other)
{
    SimDef *defs[] = {owner->domain.qemu != NULL ? &owner->domain.live : NULL,
                      owner->domain.persistent ? &owner->domain.config : NULL};
    SimHost *hosts[] = {owner, other};

    for (guint h = 0; h < 2; h++) {
        GHashTableIter iter;
        gpointer path, file;
        g_hash_table_iter_init(&iter, hosts[h]->files);
        while (g_hash_table_iter_next(&iter, &path, &file))
            if (((SimFile *)file)->frozen || ((SimFile *)file)->fenced)
                sim_violate(sim, "%s: %s is still held", hosts[h]->name, (char *)path);
        if (hosts[h]->guard.alive || hosts[h]->rundir || hosts[h]->domain.out_job || hosts[h]->domain.in_job)
            sim_violate(sim, "%s: something of the job is left over", hosts[h]->name);
    }
    if (other->domain.exists && other->domain.migrated)
        sim_violate(sim, "%s: what arrived is left over", other->name);
    if (other->domain.qemu != NULL && other->domain.qemu->running)
        sim_violate(sim, "%s: a second copy runs", other->name);
    if (owner->domain.autostart != sim->autostart)
        sim_violate(sim, "%s: autostart is %s", owner->name, owner->domain.autostart ? "on" : "off");
    for (guint d = 0; d < G_N_ELEMENTS(defs); d++) {
        if (defs[d] != NULL && defs[d]->metadata != NULL)
            sim_violate(sim, "%s: our metadata is left", owner->name);
        for (guint i = 0; defs[d] != NULL && i < defs[d]->n; i++)
            if (!attribute_is_right(sim, i, defs[d]->disks[i].snapshot, d == 0))
                sim_violate(sim, "%s: disk %u has snapshot='%s'", owner->name, i, defs[d]->disks[i].snapshot);
    }
}

/* Blocks hold the numbers of the guest's writes, which only increase. */
void sim_check_offline_commit(SimHost *host, const SimFile *overlay, const SimFile *base)
{
    if (host->sim->rewritten && !host->is_dest)
        sim_violate(host->sim, "%s: an overlay is committed into a base that an operator reverted", host->name);
    for (guint b = 0; b < SIM_BLOCKS; b++)
        if (overlay->blocks[b] != 0 && overlay->blocks[b] < base->blocks[b])
            sim_violate(host->sim, "%s: an offline commit takes block %u from write %u back to %u", host->name, b,
                        base->blocks[b], overlay->blocks[b]);
}

/* A destination whose journal was replaced with one from before the job, after the source's journal recorded the end:
 * no process has anything left to do for the job, so none informs the destination. */
static gboolean dest_knows_nothing(Sim *sim)
{
    const char *owner = token_in(sim_dest(sim)->journal, sim->job_id, NULL);
    g_autoptr(VmigJob) job = vmig_journal_load(sim_source(sim)->journal, sim->job_id, NULL);

    return owner == NULL && sim->old.put_back && job != NULL && vmig_job_end(job) == VMIG_END_MOVED;
}

void sim_check_end(Sim *sim, const VmigJob *job)
{
    VmigState state = job != NULL ? vmig_job_state(job) : NULL;
    SimHost *owner = sim_owner(sim);

    sim_check_now(sim);
    check_owner(sim, owner);
    check_snapshots(sim, owner);
    if (token_is_dest(sim_source(sim)) != token_is_dest(sim_dest(sim)) && sim->healed && sim->ended &&
        !source_knows_nothing(sim) && !dest_knows_nothing(sim))
        sim_violate(sim, "the journals do not agree on the owner");
    sim_meddle_check(sim, state);
    if (state == VMIG_MIGRATE(DONE) && owner != sim_dest(sim))
        sim_violate(sim, "done, and the destination does not own the guest");
    if (state == VMIG_MIGRATE(ROLLED_BACK) && owner != sim_source(sim))
        sim_violate(sim, "rolled back, and the source does not own the guest");
    if (state == VMIG_MIGRATE(SET_ASIDE))
        check_set_aside(sim, owner, owner == sim_dest(sim) ? sim_source(sim) : sim_dest(sim));
    else if (sim->ended)
        check_final(sim, owner, owner == sim_dest(sim) ? sim_source(sim) : sim_dest(sim));
}
