/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hints of refusals that depend on more than the rule itself. Pure. */
#include <string.h>

#include "flow/plan.h"

/* What helps where a file is in the way of the chain's file of that index. --map is for the disks' own images. */
char *vmig_plan_hint_exists(const VmigPlan *plan, const VmigPlanDisk *disk, guint index)
{
    const VmigPathFacts *facts = disk->dest_facts->pdata[index];
    VmigState state = facts->owner_state != NULL ? vmig_state_from_name(facts->owner_state) : VMIG_STATE_LAST;

    if (state < VMIG_STATE_LAST && !vmig_state_is_final(state))
        return g_strdup_printf("Job %s there is not finished: vmig-snap resume or cancel there ends it.",
                               facts->owner_job);
    if (index > 0) {
        const VmigDomainInfo *domain = plan->survey->domain;
        g_autofree char *old = g_path_get_dirname(((const VmigImageFacts *)disk->chain->pdata[index])->path);
        g_autofree char *there = g_path_get_dirname(disk->dest_paths->pdata[index]);
        g_autofree char *new =
            g_build_filename(there, strchr(domain->name, '/') == NULL ? domain->name : domain->uuid, NULL);
        g_autofree char *map = g_strconcat(old, "=", new, NULL);
        g_autofree char *folder = g_shell_quote(new);
        g_autofree char *argument = g_shell_quote(map);
        return g_strdup_printf("Give this guest's images a folder of their own: mkdir %s on the destination, then "
                               "--map-dir %s.",
                               folder, argument);
    }
    if (facts->owner_job != NULL && state != VMIG_STATE_DONE)
        return g_strdup("A job left it: vmig-snap doctor on the destination says what to do.");
    if (facts->owner_job != NULL)
        return g_strdup_printf("Choose another path with --map: job %s brought it there as a guest's disk.",
                               facts->owner_job);
    return g_strdup("Choose another path with --map, or move that file away.");
}
