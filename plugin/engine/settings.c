/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Applies a new limit to running jobs. The copier has it already, and libvirt's commits accept it. During a migration
 * only the memory traffic can be changed: virDomainBlockJobSetSpeed() needs the domain's job, which the migration
 * holds. */
#include "engine/settings.h"

#include "engine/host.h"

guint64 vmig_settings_share(const VmigJob *job)
{
    guint64 disks = MAX(job->disks->len, 1);

    return job->options.bandwidth > 0 ? MAX(job->options.bandwidth / disks, 1) : 0;
}

static void set_commits(VmigMachine *m, VmigRole role)
{
    VmigHost *host = vmig_host_at(m, role, NULL);

    for (guint i = 0; host != NULL && i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        g_autoptr(GError) why = NULL;
        if (!host->hypervisor->ops->block_speed(host->hypervisor, m->job->uuid, disk->target,
                                                vmig_settings_share(m->job), &why))
            vmig_machine_note(m, "disk %s: cannot change the speed of the commit: %s", disk->target, why->message);
    }
}

static void set_migration(VmigMachine *m)
{
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, NULL);
    g_autoptr(GError) why = NULL;

    if (source == NULL)
        return;
    if (!source->hypervisor->ops->block_speed(source->hypervisor, m->job->uuid, NULL, m->job->options.bandwidth, &why))
        vmig_machine_note(m, "cannot change the speed of the memory's migration: %s", why->message);
    vmig_machine_note(m, "libvirt cannot change the speed of its mirrors during a migration: it stays as it is");
}

gboolean vmig_settings_adopt(VmigMachine *m)
{
    g_mutex_lock(&m->wanted_lock);
    gboolean wanted = m->wanted;
    guint64 bandwidth = m->wanted_bandwidth;
    m->wanted = FALSE;
    g_mutex_unlock(&m->wanted_lock);
    if (!wanted)
        return FALSE;
    m->job->options.bandwidth = bandwidth;
    VmigState state = vmig_job_state(m->job);
    VmigSet set = vmig_state_set(state);
    if (set == VMIG_SET_MIGRATION)
        set_migration(m);
    if (set == VMIG_SET_COMMITS)
        set_commits(m, vmig_state_phase(state) == VMIG_PHASE_BACK ? VMIG_SOURCE : VMIG_DEST);
    return TRUE;
}
