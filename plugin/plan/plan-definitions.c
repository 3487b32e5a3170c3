/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rules for a guest whose running definition differs from the one for its next start. Devices may differ, and each
 * definition is transferred as it is. Disks that are moved must be the same in both. libvirt updates the definition for
 * the next start only if it names the same image. During the job this definition is the fallback after a crash. */
#include <string.h>

#include "plan/plan.h"

#define HINT_RUN                                                                                                       \
    "Shut the guest down and start it (virsh shutdown, virsh start), so that it runs on the disk that its definition " \
    "names; "                                                                                                          \
    "or change the definition so that it names the disk on which the guest runs (virsh edit)."

static void refuse(VmigPlan *plan, const char *target, const char *hint, const char *format, ...) G_GNUC_PRINTF(4, 5);

static void refuse(VmigPlan *plan, const char *target, const char *hint, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    vmig_plan_refuse(plan, VMIG_ERROR_DEFINITIONS_DIFFER, target, hint, text);
}

static const char *format_of(const VmigDomainDisk *disk)
{
    return disk->driver_type != NULL ? disk->driver_type : "raw";
}

/* A definition for the next start names the chain only if the user wrote it there, or libvirt after a block job. */
static gboolean same_chain(const VmigDomainDisk *next, const VmigPlanDisk *disk)
{
    if (!next->chain_known || disk->chain == NULL)
        return TRUE;
    if (next->backing->len + 1 != disk->chain->len)
        return FALSE;
    for (guint i = 0; i < next->backing->len; i++)
        if (!vmig_plan_names_image(((const VmigChainFile *)next->backing->pdata[i])->file, disk->chain->pdata[i + 1]))
            return FALSE;
    return TRUE;
}

static void rule_disk(VmigPlan *plan, const VmigPlanDisk *disk, const VmigDomainDisk *next)
{
    const VmigDomainDisk *now = disk->disk;
    const char *t = now->target;

    if (next == NULL)
        refuse(plan, t,
               "Attach the disk to the definition too (virsh attach-device --config), or detach it (virsh detach-disk "
               "--live).",
               "disk %s is attached only to the running guest: the definition for the next start does not contain it",
               t);
    else if (g_strcmp0(now->type, next->type) != 0 || g_strcmp0(now->source_text, next->source_text) != 0 ||
             strcmp(now->device, next->device) != 0)
        refuse(plan, t, HINT_RUN, "disk %s: the guest runs on %s, but the definition for the next start names %s (%s)",
               t, now->source_text, next->source_text != NULL ? next->source_text : "nothing", next->device);
    else if (strcmp(format_of(now), format_of(next)) != 0)
        refuse(plan, t, HINT_RUN,
               "disk %s: the guest runs with the format %s, but the definition for the next start says %s", t,
               format_of(now), format_of(next));
    else if (!same_chain(next, disk))
        refuse(plan, t, "Remove <backingStore> of that disk from the definition (virsh edit).",
               "disk %s: the backing files in the definition for the next start differ from those in the image headers",
               t);
}

void vmig_plan_rule_definitions(VmigPlan *plan)
{
    const VmigSurvey *s = plan->survey;

    for (guint i = 0; s->persistent != NULL && i < s->disks->len; i++) {
        const VmigPlanDisk *disk = s->disks->pdata[i];
        if (disk->moved)
            rule_disk(plan, disk, vmig_domain_xml_disk(s->persistent, disk->disk->target));
    }
    for (guint i = 0; i < s->next_disks->len; i++)
        vmig_plan_rule_stay(plan, s->next_disks->pdata[i]);
}
