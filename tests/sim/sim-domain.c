/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The single domain that a simulated libvirt may have: its life, independent of its callers. */
#include "sim.h"

#include <string.h>

gboolean sim_domain_start(SimHost *host, gboolean paused, GError **error)
{
    SimDomain *d = &host->domain;

    sim_def_copy(&d->live, &d->config);
    d->qemu = sim_qemu_new(host, &d->live, FALSE, error);
    if (d->qemu == NULL) {
        sim_def_clear(&d->live);
        return FALSE;
    }
    d->migrated = FALSE;
    d->run = VMIG_RUN_PAUSED;
    d->by_user = paused;
    if (!paused) {
        d->run = VMIG_RUN_RUNNING;
        sim_qemu_cont(d->qemu, NULL);
    }
    return TRUE;
}

void sim_domain_drop(SimHost *host)
{
    SimDomain *d = &host->domain;

    sim_def_clear(&d->live);
    sim_def_clear(&d->config);
    sim_def_clear(&d->synced);
    if (d->snapshots != NULL)
        g_ptr_array_unref(d->snapshots);
    *d = (SimDomain){.snapshots = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_snapshot_free)};
}

void sim_domain_off(SimHost *host)
{
    SimDomain *d = &host->domain;

    if (d->qemu == NULL)
        return;
    g_clear_pointer(&d->qemu, sim_qemu_kill);
    g_clear_pointer(&host->late.target, g_free);
    sim_def_clear(&d->live);
    d->run = VMIG_RUN_SHUTOFF;
    d->off = VMIG_OFF_DIED;
    d->out_job = d->in_job = FALSE;
    if (!d->persistent)
        sim_domain_drop(host);
    host->sim->woken = TRUE;
}

/* Anything older than the file system's commit interval is on the disk anyway. */
#define DURABLE (5 * SIM_S)

void sim_domain_before_config(SimHost *host)
{
    SimDomain *d = &host->domain;

    if (host->sim->now - d->changed_at > DURABLE) {
        d->synced_set = d->persistent;
        if (d->persistent)
            sim_def_copy(&d->synced, &d->config);
    }
    d->changed_at = host->sim->now;
}

void sim_domain_sync(SimHost *host)
{
    host->domain.changed_at = -2 * DURABLE;
}

/* A power loss: the folder may contain the previous definition. */
void sim_domain_lose_config(SimHost *host)
{
    SimDomain *d = &host->domain;

    /* If libvirt loses an operator's change, the tool need not repair that. */
    if (!d->persistent || host->sim->foreign || host->sim->now - d->changed_at > DURABLE ||
        sim_random_percent(&host->sim->env, 50))
        return;
    host->sim->lost_config = TRUE;
    sim_trace(host->sim, "%s: the last change of the persistent definition is lost", host->name);
    d->persistent = d->synced_set;
    if (d->synced_set)
        sim_def_copy(&d->config, &d->synced);
    else
        sim_def_clear(&d->config);
}

VmigSnapshot *sim_domain_snapshot(SimHost *host, const char *name)
{
    GPtrArray *list = host->domain.snapshots;

    for (guint i = 0; i < list->len; i++)
        if (strcmp(((VmigSnapshot *)list->pdata[i])->name, name) == 0)
            return list->pdata[i];
    return NULL;
}

gboolean sim_domain_has_block_job(const SimDomain *domain)
{
    for (guint i = 0; domain->qemu != NULL && i < domain->qemu->n; i++)
        if (domain->qemu->disks[i].job.kind != VMIG_BLOCK_JOB_NONE)
            return TRUE;
    return FALSE;
}
