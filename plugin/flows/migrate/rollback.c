/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ROLLBACK: removes the guest from the destination and makes sure that the source runs. BACK_REDEFINE: removes
 * everything that belongs to the job on both hosts. */
#include "flows/migrate/after-boot.h"
#include "flows/migrate/migrate-flow.h"
#include "flows/migrate/commit.h"
#include "flows/migrate/redefine.h"
#include "flows/migrate/resolve.h"
#include "engine/host.h"

gboolean vmig_step_rollback(VmigMachine *m, VmigState *next, GError **error)
{
    VmigDecision decision;

    /* Ends a migration of this process that was given up. vmig_resolve() finds and aborts one of a dead process. */
    m->env->source.hypervisor->ops->migrate_abort(m->env->source.hypervisor, NULL);
    m->env->source.hypervisor->ops->migrate_end(m->env->source.hypervisor, NULL);
    if (!vmig_resolve(m, &decision, error))
        return FALSE;
    if (decision != VMIG_DECIDE_BACK && decision != VMIG_DECIDE_DOWN)
        *next = VMIG_MIGRATE(UNCERTAIN);
    return TRUE;
}

static gboolean clean_source(VmigMachine *m, GError **error)
{
    VmigHost *source = vmig_host_at(m, VMIG_SOURCE, error);

    if (source == NULL || !vmig_host_require_on_bases(m, VMIG_SOURCE, error) ||
        !vmig_host_require_defined(m, VMIG_SOURCE, error) || !vmig_redefine_snapshots(m, VMIG_SOURCE, error) ||
        !vmig_host_set_snapshot_attribute(m, VMIG_SOURCE, FALSE, error) ||
        !source->hypervisor->ops->set_autostart(source->hypervisor, m->job->uuid, m->job->autostart, error) ||
        !source->hypervisor->ops->set_metadata(source->hypervisor, m->job->uuid, NULL, error) ||
        !vmig_node_sync_config(source->node, error) || !vmig_node_guard_stop(source->node, m->job, error))
        return FALSE;
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        if (!vmig_node_remove(source->node, m->job, disk->at[VMIG_SOURCE].hold, "the hold ended", error) ||
            !vmig_node_remove(source->node, m->job, disk->at[VMIG_SOURCE].overlay,
                              "committed back into the base and pivoted, or never used", error))
            return FALSE;
    }
    return vmig_after_boot_start(m, VMIG_SOURCE, error);
}

/* Removes everything that the job made on the destination, as listed in the journal there. The guest is on the source,
 * so nothing there is in use. */
static gboolean clean_destination(VmigMachine *m, GError **error)
{
    VmigHost *dest = vmig_host_at(m, VMIG_DEST, error);
    g_auto(GStrv) left = NULL;

    /* The destination may not have answered when the guest was resumed on the source. */
    if (dest == NULL || !vmig_resolve_remove_arrived(m, error))
        return FALSE;
    left = vmig_node_leftovers(dest->node, m->job, error);
    if (left == NULL)
        return FALSE;
    for (char **path = left; *path != NULL; path++)
        if (!vmig_node_remove(dest->node, m->job, *path, "rolled back: the guest is on the source", error))
            return FALSE;
    return TRUE;
}

/* The job began with a running guest. If the guest is off now, it shut down by itself or was stopped, and the result
 * must not say that it runs as before. */
static gboolean tell_if_off(VmigMachine *m, GError **error)
{
    g_autoptr(GError) why = NULL;
    const char *first = m->job->error_message;
    VmigRun run;

    if (!vmig_host_run(m, VMIG_SOURCE, &run, error))
        return FALSE;
    if (run != VMIG_RUN_SHUTOFF || g_strcmp0(m->job->error_code, vmig_error_name(VMIG_ERROR_GUEST_GONE)) == 0)
        return TRUE;
    vmig_fail(&why, VMIG_ERROR_GUEST_GONE,
              "virsh domstate --reason and the guest's log say why it stopped; virsh start starts it on its disks as "
              "they were.",
              "'%s' stopped during the migration%s%s", m->job->domain, first != NULL ? "; before that: " : "",
              first != NULL ? first : "");
    vmig_job_set_error(m->job, why);
    return TRUE;
}

gboolean vmig_step_back_redefine(VmigMachine *m, VmigState *next G_GNUC_UNUSED, GError **error)
{
    if (!clean_source(m, error) || !tell_if_off(m, error) || !clean_destination(m, error))
        return FALSE;
    return vmig_room_require_relief(m, VMIG_SOURCE, error) &&
           vmig_node_rundir_remove(m->env->dest.node, m->job, error) &&
           vmig_node_rundir_remove(m->env->source.node, m->job, error);
}
