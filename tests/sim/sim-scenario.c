/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest before the job: disks, history, settings, all from the seed. */
#include "sim.h"

#include <string.h>

#include "definition/snapshot-tree.h"

static void make_paths(Sim *sim, guint h, guint disk)
{
    const char *folder = sim->hosts[h].folder;

    sim->base[h][disk][0] = g_strdup_printf("%s/disk-%u.qcow2", folder, disk);
    sim->base[h][disk][1] = g_strdup_printf("%s/below-%u.qcow2", folder, disk);
}

static void make_disk(Sim *sim, guint i)
{
    SimHost *source = sim_source(sim);
    SimFile *below = sim->n_bases > 1 ? sim_file_create(source, sim->base[0][i][1], NULL) : NULL;
    SimFile *base = sim_file_create(source, sim->base[0][i][0], below != NULL ? sim->base[0][i][1] : NULL);

    for (guint b = 0; b < SIM_BLOCKS; b++) {
        SimFile *file = below != NULL && sim_random_percent(&sim->env, 50) ? below : base;
        file->blocks[b] = sim->guest.last[i][b] = ++sim->guest.counter;
    }
}

static void make_def(Sim *sim, SimDef *def)
{
    def->n = sim->guest.n_disks;
    for (guint i = 0; i < def->n; i++) {
        SimDefDisk *disk = &def->disks[i];
        disk->target = g_strdup_printf("vd%c", 'a' + i);
        disk->snapshot = g_strdup(sim->snapshot_attr[i]);
        disk->chain_known = sim->config_chain;
        disk->n_chain = sim->config_chain ? sim->n_bases : 1;
        for (guint k = 0; k < disk->n_chain; k++)
            disk->chain[k] = g_strdup(sim->base[0][i][k]);
    }
}

/* A user took a snapshot and continued working. */
static void take_snapshot(Sim *sim, guint n)
{
    SimHost *source = sim_source(sim);
    SimDomain *d = &source->domain;
    g_autofree char *name = g_strdup_printf("s%u", n);
    gint64 date = 1600000000 + n;
    gboolean memory = sim_random_percent(&sim->env, 50);
    const char *parent = n > 0 && sim_random_percent(&sim->env, 80)
                             ? ((VmigSnapshot *)d->snapshots->pdata[sim_random_below(&sim->env, n)])->name
                             : NULL;
    g_autofree char *xml = sim_snapshot_xml(sim, name, parent, memory ? "running" : "shutoff", date, &d->config);

    g_ptr_array_add(d->snapshots, vmig_snapshot_from_xml(xml, NULL));
    for (guint i = 0; i < sim->guest.n_disks; i++) {
        SimFile *base = sim_file_find(source, sim->base[0][i][0]);
        sim_file_add_internal(base, name, date, memory, sim->guest.last[i]);
        sim_guest_keep(sim, i, name, sim->guest.last[i]);
        for (guint b = 0; b < SIM_BLOCKS; b++)
            if (sim_random_percent(&sim->env, 30))
                base->blocks[b] = sim->guest.last[i][b] = ++sim->guest.counter;
    }
}

static void make_history(Sim *sim)
{
    GPtrArray *list = sim_source(sim)->domain.snapshots;
    guint n = sim_random_below(&sim->env, 4);

    for (guint i = 0; i < n; i++)
        take_snapshot(sim, i);
    if (n > 0 && sim_random_percent(&sim->env, 90))
        ((VmigSnapshot *)list->pdata[sim_random_below(&sim->env, n)])->current = TRUE;
    sim->tree = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_snapshot_free);
    for (guint i = 0; i < n; i++) {
        VmigSnapshot *copy = vmig_snapshot_from_xml(((VmigSnapshot *)list->pdata[i])->xml, NULL);
        copy->current = ((VmigSnapshot *)list->pdata[i])->current;
        g_ptr_array_add(sim->tree, copy);
    }
}

/* What stayed on the destination when the guest left it earlier: older blocks, some of its snapshots. */
static void keep_image(Sim *sim, SimRandom *random, guint disk, guint k)
{
    const SimFile *base = sim_file_find(sim_source(sim), sim->base[0][disk][k]);
    const char *below = k + 1 < sim->n_bases ? sim->base[1][disk][k + 1] : NULL;
    SimFile *file = sim_file_create(sim_dest(sim), sim->base[1][disk][k], below);

    for (guint b = 0; b < SIM_BLOCKS; b++)
        file->blocks[b] = base->blocks[b] / (1 + sim_random_below(random, 3));
    for (guint i = 0; i < base->internals->len; i++) {
        const SimInternal *internal = base->internals->pdata[i];
        if (sim_random_percent(random, 70))
            sim_file_add_internal(file, internal->name, internal->date, internal->memory,
                                  sim_random_percent(random, 70) ? internal->blocks : file->blocks);
    }
    file->kept = sim_file_hash(file);
}

static void make_kept(Sim *sim)
{
    SimRandom random;

    sim_random_seed(&random, sim->seed, 5); /* its own stream: everything else of a seed is the same without it */
    if (!sim_random_percent(&random, 25))
        return;
    for (guint i = 0; i < sim->guest.n_disks; i++)
        for (guint k = 0; k < sim->n_bases; k++)
            if (sim_random_percent(&random, 80))
                keep_image(sim, &random, i, k);
}

static void make_host(Sim *sim, guint h)
{
    SimHost *host = &sim->hosts[h];

    host->sim = sim;
    host->is_dest = h == 1;
    host->name = h == 1 ? "dest" : "source";
    host->folder = g_strdup(h == 1 && sim_random_percent(&sim->env, 50) ? "/data" : "/img");
    host->files = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)sim_file_unref);
    host->receivers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    host->hashes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    host->guard.frozen = g_ptr_array_new_with_free_func((GDestroyNotify)sim_file_unref);
    host->guard.fences = g_ptr_array_new_with_free_func((GDestroyNotify)sim_file_unref);
    sim_domain_drop(host);
}

/* A user changed snapshot= of the running guest only. */
static void make_live_differ(Sim *sim, const char *const *attrs, guint n_attrs)
{
    SimRandom random;

    sim_random_seed(&random, sim->seed, 6); /* its own stream, as in make_kept() */
    gboolean differs = sim_random_percent(&random, 25);
    for (guint i = 0; i < sim->guest.n_disks; i++) {
        SimDefDisk *disk = &sim_source(sim)->domain.live.disks[i];
        if (differs) {
            g_free(disk->snapshot);
            disk->snapshot = g_strdup(attrs[sim_random_below(&random, n_attrs)]);
        }
        sim->live_attr[i] = g_strdup(disk->snapshot);
    }
}

void sim_scenario(Sim *sim)
{
    static const char *const attrs[] = {NULL, NULL, "internal", "no"};
    SimRandom *r = &sim->env;
    SimRandom merge;

    sim->state = VMIG_MIGRATE(PLAN);
    sim_random_seed(&sim->env, sim->seed, 1);
    sim_random_seed(&sim->chance, sim->seed, 2);
    sim_random_seed(&sim->tool, sim->seed, 3);
    sim_random_seed(&merge, sim->seed, 4); /* its own stream: everything else of a seed is the same with either */
    sim->direct = sim_random_percent(&merge, 40);
    sim->now = 1000 * SIM_S;
    sim->guest.due = sim->migration.due = SIM_NEVER;
    sim->guest.kept = g_ptr_array_new_with_free_func(sim_guest_free_kept);
    sim->uuid = g_strdup_printf("c7a5fdbd-cdaf-4455-926a-%012" G_GINT64_MODIFIER "x", sim->seed & 0xffffffffffff);
    sim->job_id = g_strdup_printf("%016" G_GINT64_MODIFIER "x", sim->seed);
    make_host(sim, 0);
    make_host(sim, 1);
    sim->guest.n_disks = 1 + sim_random_below(r, SIM_DISKS);
    sim->n_bases = sim_random_percent(r, 30) ? 2 : 1;
    sim->config_chain = sim_random_percent(r, 30);
    sim->was_paused = sim_random_percent(r, 10);
    sim->autostart = sim_random_percent(r, 50);
    sim->keep_source = sim_random_percent(r, 50);
    for (guint i = 0; i < sim->guest.n_disks; i++) {
        make_paths(sim, 0, i);
        make_paths(sim, 1, i);
        sim->snapshot_attr[i] = g_strdup(attrs[sim_random_below(r, G_N_ELEMENTS(attrs))]);
        make_disk(sim, i);
    }
    SimDomain *d = &sim_source(sim)->domain;
    d->exists = d->persistent = TRUE;
    d->autostart = sim->autostart;
    d->changed_at = -SIM_S * 1000;
    make_def(sim, &d->config);
    make_history(sim);
    make_kept(sim);
    if (!sim_domain_start(sim_source(sim), sim->was_paused, NULL))
        g_assert_not_reached();
    make_live_differ(sim, attrs, G_N_ELEMENTS(attrs));
    sim_advance(sim, SIM_S);
}

static void clear_host(SimHost *host)
{
    if (host->files == NULL)
        return;
    g_clear_pointer(&host->domain.qemu, sim_qemu_kill);
    g_clear_pointer(&host->orphan, sim_qemu_kill);
    sim_domain_drop(host);
    g_ptr_array_unref(host->domain.snapshots);
    g_ptr_array_unref(host->guard.frozen);
    g_ptr_array_unref(host->guard.fences);
    g_hash_table_unref(host->files);
    g_hash_table_unref(host->receivers);
    g_hash_table_unref(host->hashes);
    g_free(host->folder);
    g_free(host->oplock);
    g_free(host->rehearsed);
    g_free(host->rehearsal);
    g_free(host->late.target);
}

void sim_clear(Sim *sim)
{
    for (guint h = 0; h < 2; h++)
        clear_host(&sim->hosts[h]);
    for (guint i = 0; i < SIM_DISKS; i++) {
        g_free(sim->snapshot_attr[i]);
        g_free(sim->live_attr[i]);
        for (guint k = 0; k < 4; k++)
            g_free(sim->base[k / 2][i][k % 2]);
    }
    sim_migration_clear(&sim->migration);
    g_ptr_array_unref(sim->guest.kept);
    g_ptr_array_unref(sim->tree);
    g_free(sim->uuid);
    g_free(sim->job_id);
    g_free(sim->violation);
    g_free(sim->sent_hash);
    sim_journal_drop_old(sim);
}
