/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirtd is killed right at a pivot: QEMU has done it, and libvirt's knowledge afterwards is one of three cases that
 * were observed with libvirt 9.0. Or it lives, and only the connection of the caller ends: libvirt notes the pivot a
 * while after QEMU, and what needs the domain's job lock waits for that. */
#include "sim.h"

#include <string.h>

void sim_pivot_plan(Sim *sim)
{
    static const SimFaultKind kinds[] = {SIM_FAULT_FORGET, SIM_FAULT_OLD_CONFIG, SIM_FAULT_OLD_LIVE,
                                         SIM_FAULT_LATE_LIVE};
    SimRandom r;

    /* From its own random stream, so that everything else of a seed is the same with or without it. */
    sim_random_seed(&r, sim->seed, 6);
    sim->pivot.kind = SIM_FAULT_KINDS;
    if (!sim_random_percent(&r, 25))
        return;
    sim->pivot.kind = kinds[sim_random_below(&r, G_N_ELEMENTS(kinds))];
    sim->pivot.after = 1 + sim_random_below(&r, 4);
    sim->pivot.away = sim_random_scale(&r, 100 * SIM_MS, 30 * SIM_S);
}

SimFaultKind sim_pivot_fault(Sim *sim)
{
    if (sim->healed || sim->reopen != NULL || sim->pivot.kind == SIM_FAULT_KINDS || sim->pivot.after == 0 ||
        --sim->pivot.after > 0)
        return SIM_FAULT_KINDS;
    return sim->pivot.kind;
}

/* The state file could not be read: libvirt considers the domain off, but its QEMU is alive. */
static void forget(SimHost *host)
{
    SimDomain *d = &host->domain;

    host->orphan = g_steal_pointer(&d->qemu);
    sim_def_clear(&d->live);
    d->run = VMIG_RUN_SHUTOFF;
    d->off = VMIG_OFF_UNKNOWN;
    host->booted = FALSE;
}

gboolean sim_pivot_killed(SimHost *host, SimFaultKind kind, GError **error)
{
    Sim *sim = host->sim;

    sim->fired[kind] = TRUE;
    sim_trace(sim, "fault %s: %s: libvirtd is killed at a pivot", sim_fault_names[kind], host->name);
    host->libvirt_until = sim->now + sim->pivot.away;
    if (kind == SIM_FAULT_FORGET && host->domain.persistent)
        forget(host);
    return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "%s: the connection to libvirt broke", host->name);
}

gboolean sim_pivot_late(SimHost *host, const char *target, GError **error)
{
    Sim *sim = host->sim;

    sim->fired[SIM_FAULT_LATE_LIVE] = TRUE;
    sim_trace(sim, "fault late-live: %s: the connection breaks at a pivot", host->name);
    host->late.target = g_strdup(target);
    host->late.due = sim->now + sim->pivot.away;
    return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "%s: the connection to libvirt broke", host->name);
}

static void note(SimHost *host)
{
    g_autofree char *target = g_steal_pointer(&host->late.target);

    sim_trace(host->sim, "%s: libvirt notes the pivot of %s", host->name, target);
    sim_block_follow(host, target);
}

/* A libvirtd that is restarted asks QEMU. */
void sim_pivot_follow(SimHost *host)
{
    if (host->late.target != NULL && (host->sim->now >= host->late.due || host->libvirt_until > host->sim->now))
        note(host);
}

void sim_pivot_wait(SimHost *host)
{
    if (host->late.target == NULL)
        return;
    sim_advance_to(host->sim, host->late.due, FALSE);
    if (host->late.target != NULL)
        note(host);
}

void sim_pivot_check_destroy(SimHost *host)
{
    Sim *sim = host->sim;

    /* What arrived and is not the guest any more may be ended on the other host. */
    if (sim->fired[SIM_FAULT_LATE_LIVE] && sim->machine != NULL && host == sim_owner(sim) &&
        vmig_state_is(vmig_job_state(sim->machine->job), VMIG_STATE_MERGES))
        sim_violate(sim, "%s: the guest is destroyed, because libvirt noted a pivot late", host->name);
}

static gboolean is_disturbed(const SimDomain *d)
{
    for (guint i = 0; d->qemu != NULL && i < d->live.n; i++)
        if (d->qemu->disks[i].n_chain != d->live.disks[i].n_chain)
            return TRUE;
    return FALSE;
}

/* What the tool asks the operator to do where it must not do it itself: end that QEMU, or the guest. */
void sim_pivot_heal(SimHost *host)
{
    if (host->late.target != NULL)
        note(host);
    if (host->orphan != NULL || is_disturbed(&host->domain))
        host->sim->guest.was_off = TRUE;
    g_clear_pointer(&host->orphan, sim_qemu_kill);
    if (is_disturbed(&host->domain)) {
        sim_domain_off(host);
        host->domain.off = VMIG_OFF_ASKED;
    }
}

/* --- the node's methods --- */

gboolean sim_do_orphan_end(SimHost *host, const VmigGuestArgs *args G_GNUC_UNUSED, VmigNothing *reply G_GNUC_UNUSED,
                           GError **error G_GNUC_UNUSED)
{
    if (host->orphan != NULL)
        sim_trace(host->sim, "%s: the QEMU that libvirt has forgotten is killed", host->name);
    if (host->orphan != NULL && host->orphan->running)
        sim_violate(host->sim, "%s: a QEMU whose CPUs run is killed", host->name);
    g_clear_pointer(&host->orphan, sim_qemu_kill);
    return TRUE;
}

gboolean sim_do_orphan(SimHost *host, const VmigGuestArgs *args G_GNUC_UNUSED, VmigOrphanFacts *reply,
                       GError **error G_GNUC_UNUSED)
{
    reply->kind = host->orphan == NULL    ? VMIG_ORPHAN_NONE
                  : host->orphan->running ? VMIG_ORPHAN_RUNNING
                                          : VMIG_ORPHAN_SUSPENDED;
    reply->pid = host->orphan != NULL ? 4711 : 0;
    return TRUE;
}

/* --- QEMU's own report --- */

static const char *find_path(SimHost *host, const SimFile *file)
{
    GHashTableIter iter;
    gpointer path, each;

    g_hash_table_iter_init(&iter, host->files);
    while (g_hash_table_iter_next(&iter, &path, &each))
        if (each == file)
            return path;
    return NULL;
}

gboolean sim_hv_disk_file(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *target, char **ret,
                          GError **error)
{
    SimHost *host = sim_host_of(self);
    SimCall call;

    if (!sim_libvirt_begin(host->sim, &call, host, "disk-file", error))
        return FALSE;
    sim_pivot_wait(host);
    SimDomain *d = sim_hv_active(host, error);
    const char *path = NULL;
    for (guint i = 0; d != NULL && i < d->live.n; i++)
        if (strcmp(d->live.disks[i].target, target) == 0)
            path = find_path(host, d->qemu->disks[i].chain[0]);
    if (d != NULL && path == NULL)
        sim_hv_refuse(error, "%s: no disk '%s'", host->name, target);
    if (!sim_call_end(host->sim, &call, path != NULL, error))
        return FALSE;
    *ret = g_strdup(path);
    return TRUE;
}
