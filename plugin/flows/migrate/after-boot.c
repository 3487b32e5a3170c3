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
static gboolean start(VmigMachine *m, gboolean *started, GError **error)
{
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, error);
    VmigRun run;

    *started = FALSE;
    if (source == NULL || !vmig_host_run(m, VMIG_SOURCE, &run, error))
        return FALSE;
    if (run != VMIG_RUN_SHUTOFF)
        return TRUE;
    *started = source->hypervisor->ops->start(source->hypervisor, m->job->uuid, error);
    return *started;
}

gboolean vmig_after_boot_start(VmigMachine *m, GError **error)
{
    gboolean started;

    return !was_booted(m) || start(m, &started, error);
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

    if (!vmig_host_require_persistent(m, VMIG_SOURCE, VMIG_CHAIN_OVERLAY, error) || !start(m, &started, error))
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
