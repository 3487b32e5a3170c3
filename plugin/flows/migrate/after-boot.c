/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "flows/migrate/after-boot.h"

#include "flows/migrate/overlay.h"
#include "engine/host.h"

gboolean vmig_after_boot_same(const VmigMachine *m)
{
    return m->here == VMIG_SOURCE && g_strcmp0(m->job->source_boot, vmig_journal_boot_id(m->journal)) == 0;
}

static gboolean was_booted(const VmigMachine *m)
{
    return m->here == VMIG_SOURCE && m->job->autostart && m->job->source_boot != NULL && !vmig_after_boot_same(m);
}

/* *started: the guest was off and was started. */
static gboolean start(VmigMachine *m, VmigRole role, gboolean *started, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    VmigRun run;

    *started = FALSE;
    if (host == NULL || !vmig_host_run(m, role, &run, error))
        return FALSE;
    if (run != VMIG_RUN_SHUTOFF)
        return TRUE;
    *started = host->hypervisor->ops->start(host->hypervisor, m->job->uuid, error);
    return *started;
}

/* The record has the boot of the source only, and the other host cannot compare it. There libvirt tells: it has no
 * reason for the end of a guest that ended with the host, or while libvirt was off. */
static gboolean ended_with_host(VmigMachine *m, VmigRole role, gboolean *ret, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_autoptr(VmigDomainInfo) info = NULL;

    *ret = role == VMIG_SOURCE && was_booted(m);
    if ((role == VMIG_SOURCE && m->here == VMIG_SOURCE) || !m->job->autostart)
        return TRUE;
    if (host == NULL || !host->hypervisor->ops->find(host->hypervisor, m->job->uuid, &info, error))
        return FALSE;
    *ret = info != NULL && info->run == VMIG_RUN_SHUTOFF && info->off == VMIG_OFF_UNKNOWN;
    return TRUE;
}

gboolean vmig_after_boot_start(VmigMachine *m, VmigRole role, GError **error)
{
    gboolean ended;
    gboolean started;

    return ended_with_host(m, role, &ended, error) && (!ended || start(m, role, &started, error));
}

/* The overlays have the guest's last writes, and the definition names them. The way back merges them by itself or waits
 * for an operator. */
static gboolean may_start_early(VmigMachine *m)
{
    const VmigJob *job = m->job;
    VmigState state = vmig_job_state(job);

    return was_booted(m) && vmig_state_is(state, VMIG_STATE_HOLDS) && job->overlays == VMIG_OVERLAYS_IN_USE &&
           !job->migration_begun && job->owner == VMIG_SOURCE;
}

static gboolean start_early(VmigMachine *m, GError **error)
{
    gboolean started;

    if (!vmig_host_require_persistent(m, VMIG_SOURCE, VMIG_CHAIN_OVERLAY, error) ||
        !start(m, VMIG_SOURCE, &started, error))
        return FALSE;
    if (!started)
        return TRUE;
    vmig_machine_note(m, "%s: the host was rebooted; '%s', which has autostart, was started again",
                      m->env->source.hypervisor->host, m->job->domain);
    vmig_overlay_hold_disks(m, VMIG_SOURCE);
    return TRUE;
}

void vmig_after_boot_start_early(VmigMachine *m)
{
    g_autoptr(GError) error = NULL;

    if (may_start_early(m) && !start_early(m, &error))
        vmig_machine_note(m, "'%s' has autostart, but cannot be started yet: %s", m->job->domain, error->message);
}
