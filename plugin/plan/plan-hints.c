/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hints of refusals that depend on more than the rule itself. Pure. */
#include <string.h>

#include "core/names.h"
#include "plan/plan.h"

/* A name with a slash, ".." or 300 bytes cannot name a directory. */
static char *own_folder(const char *there, const VmigDomainInfo *domain)
{
    g_autofree char *by_name = g_build_filename(there, domain->name, NULL);

    if (strchr(domain->name, '/') == NULL && vmig_path_check(by_name, NULL))
        return g_steal_pointer(&by_name);
    return g_build_filename(there, domain->uuid, NULL);
}

/* The hint for a file that is in the way of the chain's file of that index. --map applies only to the disks' own
 * images. */
char *vmig_plan_hint_exists(const VmigPlan *plan, const VmigPlanDisk *disk, guint index)
{
    const VmigPathFacts *facts = disk->dest_facts->pdata[index];
    VmigState state = vmig_state_from_name(NULL, facts->owner_state);

    if (state != NULL && !vmig_state_is_final(state))
        return g_strdup_printf("Job %s on the destination is not finished: run vmig-snap resume or cancel there.",
                               facts->owner_job);
    if (index > 0) {
        const VmigDomainInfo *domain = plan->survey->domain;
        g_autofree char *old = g_path_get_dirname(((const VmigImageFacts *)disk->chain->pdata[index])->path);
        if (strstr(old, "=/") != NULL)
            return g_strdup("Move that file away. --map-dir cannot name a directory with '=/' in its path.");
        g_autofree char *there = g_path_get_dirname(disk->dest_paths->pdata[index]);
        g_autofree char *new = own_folder(there, domain);
        g_autofree char *map = g_strconcat(old, "=", new, NULL);
        g_autofree char *folder = vmig_shell_word(new);
        g_autofree char *argument = vmig_shell_word(map);
        return g_strdup_printf(
            "Give this guest's images a directory of their own: mkdir %s on the destination, then --map-dir %s.",
            folder, argument);
    }
    if (facts->owner_job != NULL && vmig_state_end(state) != VMIG_END_MOVED)
        return g_strdup("The file was left by a job: run vmig-snap doctor on the destination.");
    if (facts->owner_job != NULL)
        return g_strdup_printf("Choose another path with --map: job %s copied the file there as a guest's disk.",
                               facts->owner_job);
    return g_strdup("Choose another path with --map, or move that file away.");
}

const char *vmig_plan_hint_run(VmigRun run)
{
    if (run == VMIG_RUN_IO_ERROR)
        return "Remove the cause of the I/O error (virsh domblkerror), then resume the guest (virsh resume).";
    if (run == VMIG_RUN_CRASHED)
        return "Destroy the crashed guest (virsh destroy), then start it (virsh start).";
    if (run == VMIG_RUN_MIGRATING)
        return "Wait until the guest's other migration has ended (virsh domjobinfo).";
    return "Start the guest (virsh start).";
}

/* Without that image the guest loses its saved memory. */
const char *vmig_plan_hint_saved(VmigRun run)
{
    if (run == VMIG_RUN_SHUTOFF || run == VMIG_RUN_CRASHED)
        return "Start the guest (virsh start): it continues from that image, and libvirt then removes the image. Do "
               "not remove it by hand: it contains the guest's memory.";
    return "The guest runs without that image: remove it (virsh managedsave-remove).";
}

const char *vmig_plan_hint_there(gboolean name, gboolean uuid)
{
    if (name && uuid)
        return "Undefine that domain if it is not needed (virsh undefine).";
    return uuid ? "Undefine that domain if it is not needed (virsh undefine), or give it another UUID."
                : "Rename that domain (virsh domrename), or undefine it if it is not needed (virsh undefine).";
}

const char *vmig_plan_hint_outside(guint index)
{
    return index == 0 ? "Choose another path with --map or --map-dir, or add the directory to image-roots in "
                        "/etc/vmig-snap/vmig-snap.conf on the destination."
                      : "Choose another directory with --map-dir, or add the directory to image-roots in "
                        "/etc/vmig-snap/vmig-snap.conf on the destination.";
}

const char *vmig_plan_hint_clash(guint index)
{
    return index == 0 ? "Give each file its own path with --map."
                      : "Map the directories of the two files to different directories with --map-dir.";
}

const char *vmig_plan_hint_no_disk(gboolean some_were_named)
{
    return some_were_named ? "Omit --disk, or name a disk that can be moved (virsh domblklist)."
                           : "vmig-snap moves local disks. To move a guest without local disks, delete its snapshots "
                             "(virsh snapshot-list) and use virsh migrate.";
}
