/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard of a host, its socket folder, and libvirt's configuration on its disk. */
#include "sim.h"

#include <string.h>

static void thaw(SimGuard *guard)
{
    for (guint i = 0; i < guard->frozen->len; i++)
        ((SimFile *)guard->frozen->pdata[i])->frozen = FALSE;
    g_ptr_array_set_size(guard->frozen, 0);
}

static void unfence(SimGuard *guard)
{
    for (guint i = 0; i < guard->fences->len; i++)
        ((SimFile *)guard->fences->pdata[i])->fenced = FALSE;
    g_ptr_array_set_size(guard->fences, 0);
    guard->taken = guard->shared = FALSE;
}

void sim_guard_kill(SimHost *host)
{
    thaw(&host->guard);
    if (!host->guard.shared)
        unfence(&host->guard);
    host->guard.alive = FALSE;
}

void sim_guard_asker_ends(SimHost *host)
{
    host->guard.shared = FALSE;
    if (!host->guard.alive)
        unfence(&host->guard);
}

static gboolean freeze(SimHost *host, const char *const *paths, GError **error)
{
    for (guint i = 0; paths[i] != NULL; i++) {
        SimFile *file = sim_file_find(host, paths[i]);
        if (file == NULL)
            return vmig_fail(error, VMIG_ERROR_IO, NULL, "cannot open %s", paths[i]);
        if (file->writer != NULL)
            return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "another process has %s open for writing", paths[i]);
    }
    for (guint i = 0; paths[i] != NULL; i++) {
        SimFile *file = sim_file_find(host, paths[i]);
        if (!g_ptr_array_find(host->guard.frozen, file, NULL))
            g_ptr_array_add(host->guard.frozen, sim_file_ref(file));
        file->frozen = TRUE;
    }
    return TRUE;
}

static gboolean fence(SimHost *host, const char *const *paths, GError **error)
{
    for (guint i = 0; paths[i] != NULL; i++) {
        SimFile *file = sim_file_find(host, paths[i]);
        if (file == NULL)
            return vmig_fail(error, VMIG_ERROR_IO, NULL, "cannot open %s", paths[i]);
        if (!g_ptr_array_find(host->guard.fences, file, NULL))
            g_ptr_array_add(host->guard.fences, sim_file_ref(file));
    }
    return TRUE;
}

static gboolean all_free(const SimHost *host)
{
    const SimGuard *guard = &host->guard;

    for (guint i = 0; i < guard->fences->len; i++)
        if (((const SimFile *)guard->fences->pdata[i])->writer != NULL)
            return FALSE;
    return TRUE;
}

/* If broken on purpose, claims to hold overlays that it did not take, even those that the source opened again. */
static gboolean take(SimHost *host)
{
    SimGuard *guard = &host->guard;

    if (!guard->alive || guard->fences->len == 0 || !all_free(host))
        return FALSE;
    if (host->sim->broken == SIM_BREAK_FENCE)
        return TRUE;
    for (guint i = 0; !guard->taken && i < guard->fences->len; i++)
        ((SimFile *)guard->fences->pdata[i])->fenced = TRUE;
    guard->shared = !guard->taken;
    return !guard->taken;
}

gboolean sim_do_fence_take(SimHost *host, const VmigFenceTakeArgs *args, VmigFenceTakeReply *reply,
                           GError **error G_GNUC_UNUSED)
{
    guint64 wait = args->wait_us;
    gint64 until = host->sim->now + (gint64)wait;

    /* A guard that is gone, or has nothing to wait for, answers at once. */
    while (host->guard.alive && !host->guard.taken && !all_free(host) && host->sim->now < until)
        sim_advance_to(host->sim, MIN(until, host->sim->now + 20 * SIM_MS), TRUE);
    reply->held = take(host);
    return TRUE;
}

/* libvirt's status file says how far it is; a QEMU that libvirt does not end itself is killed. */
gboolean sim_do_end_source_qemu(SimHost *host, const VmigDomainArgs *args G_GNUC_UNUSED,
                                VmigEndSourceQemuReply *reply G_GNUC_UNUSED, GError **error)
{
    Sim *sim = host->sim;
    SimDomain *d = &host->domain;

    if (d->qemu == NULL || sim->broken == SIM_BREAK_FENCE ||
        (d->out_job && sim->migration.phase == SIM_MIG_CONFIRM && !sim->migration.lost_confirm))
        return TRUE;
    if (d->qemu->running)
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL, "%s: it runs although it was given away", host->name);
    sim_trace(sim, "%s: the QEMU that the guest has left is killed", host->name);
    sim_migration_qemu_died(sim, host);
    sim_domain_off(host);
    return TRUE;
}

gboolean sim_do_freeze(SimHost *host, const VmigJobPathsArgs *args, VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    host->guard.alive = TRUE;
    return freeze(host, args->paths, error);
}

gboolean sim_do_fence_arm(SimHost *host, const VmigJobPathsArgs *args, VmigFenceArmReply *reply G_GNUC_UNUSED,
                          GError **error)
{
    host->guard.alive = TRUE;
    return fence(host, args->paths, error);
}

/* The methods that only need the host, and succeed. */
#define SIMPLE(function, args_)                                                                                        \
    static void simple_##function(SimHost *host);                                                                      \
    gboolean sim_do_##function(SimHost *host, const struct vmig_##args_ *args G_GNUC_UNUSED,                           \
                               VmigNothing *reply G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)                         \
    {                                                                                                                  \
        simple_##function(host);                                                                                       \
        return TRUE;                                                                                                   \
    }                                                                                                                  \
    static void simple_##function(SimHost *host)

SIMPLE(thaw, job_args)
{
    thaw(&host->guard);
}

SIMPLE(fence_drop, job_args)
{
    sim_check_fence_drop(host);
    unfence(&host->guard);
}

SIMPLE(guard_stop, job_args)
{
    unfence(&host->guard);
    sim_guard_kill(host);
}

SIMPLE(sync_config, nothing)
{
    sim_domain_sync(host);
}

SIMPLE(rundir, job_args)
{
    host->rundir = TRUE;
}

SIMPLE(rundir_remove, job_args)
{
    host->rundir = host->given = FALSE;
}
