/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rules for a disk that is not moved: libvirt would start the guest on whatever file the destination has under that
 * name, without an error. Each type of source is handled here by name. */
#include <string.h>

#include "plan/plan.h"

static void refuse(VmigPlan *plan, const VmigPlanDisk *disk, VmigErrorCode code, const char *hint, const char *format,
                   ...) G_GNUC_PRINTF(5, 6);

static void refuse(VmigPlan *plan, const VmigPlanDisk *disk, VmigErrorCode code, const char *hint, const char *format,
                   ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    vmig_plan_refuse(plan, code, disk->disk->target, hint, text);
}

static gboolean is_medium(const VmigDomainDisk *d)
{
    return strcmp(d->device, "cdrom") == 0 || strcmp(d->device, "floppy") == 0;
}

/* libvirt itself drops such a medium if it is missing. */
static gboolean may_be_missing(const VmigDomainDisk *d)
{
    return is_medium(d) &&
           (g_strcmp0(d->startup_policy, "optional") == 0 || g_strcmp0(d->startup_policy, "requisite") == 0);
}

/* No rule refuses the disk if it is moved instead. */
static gboolean can_be_moved(const VmigDomainDisk *d)
{
    gboolean whole = !d->sliced && !d->reservations && !d->encrypted && !d->data_store && !d->transient;
    gboolean known =
        d->driver_type == NULL || strcmp(d->driver_type, "raw") == 0 || strcmp(d->driver_type, "qcow2") == 0;

    return d->source != NULL && !d->readonly && !d->shareable && strcmp(d->device, "disk") == 0 && whole && known;
}

#define DETACH "Detach it before the migration (virsh detach-disk), and attach one on the destination afterwards."
#define DETACH_NEXT                                                                                                    \
    "Detach it from the definition (virsh detach-disk --config), and attach one on the destination afterwards."

static const char *detach_hint(const VmigPlanDisk *disk)
{
    return disk->next_start ? DETACH_NEXT : DETACH;
}

static const char *next_start_hint(const VmigDomainDisk *d, const VmigStayFile *file)
{
    if (is_medium(d) && !file->written)
        return "Eject it from the definition (virsh change-media --eject --config), or copy this host's file to the "
               "destination.";
    return is_medium(d) ? "Eject it from the definition (virsh change-media --eject --config)." : DETACH_NEXT;
}

static const char *hint_for(const VmigPlanDisk *disk, const VmigStayFile *file)
{
    const VmigDomainDisk *d = disk->disk;

    if (disk->next_start)
        return next_start_hint(d, file);
    if (is_medium(d) && !file->written)
        return "Eject it (virsh change-media --eject), or copy this host's file to the destination.";
    if (is_medium(d))
        return "Eject it (virsh change-media --eject).";
    if (!file->written)
        return "Copy this host's file to the destination, or detach the disk (virsh detach-disk).";
    if (can_be_moved(d) && (file->there == NULL || file->there->kind == VMIG_IDENTITY_ABSENT))
        return "Move it too: omit --disk, or name this disk as well.";
    if (can_be_moved(d))
        return "Move it too, to another path (--map): omit --disk, or name this disk as well.";
    return "Detach it before the migration (virsh detach-disk), and attach one on the destination afterwards. Storage "
           "can be proven to be the same on both hosts only if it has a WWN or is on a network file system below the "
           "image roots.";
}

/* The rehearsal cannot find this out, because its twin lacks such a disk: libvirt would change the owner of the image
 * for the twin and restore it afterwards, while the guest uses the image. */
static void rule_access(VmigPlan *plan, const VmigPlanDisk *disk, const VmigStayFile *file)
{
    const VmigDomainDisk *d = disk->disk;

    if (file->there->denied != NULL)
        refuse(plan, disk, VMIG_ERROR_NO_ACCESS,
               "Give that user access to the directory there (setfacl -m u:UID:x DIRECTORY, or chmod o+x), or detach "
               "the disk (virsh detach-disk).",
               "disk %s (%s) is not moved, and the destination cannot open %s: %s", d->target, disk->why_not,
               file->path, file->there->denied);
    if (file->written && file->there->read_only != NULL)
        refuse(plan, disk, VMIG_ERROR_NO_ACCESS,
               "Mount the file system writable there, or detach the disk (virsh detach-disk).",
               "disk %s (%s) is not moved, and the destination cannot write to %s: %s", d->target, disk->why_not,
               file->path, file->there->read_only);
}

static void rule_file(VmigPlan *plan, const VmigPlanDisk *disk, const VmigStayFile *file)
{
    const VmigDomainDisk *d = disk->disk;
    gboolean missing = file->there != NULL && file->there->kind == VMIG_IDENTITY_ABSENT;

    if (file->why_not == NULL)
        rule_access(plan, disk, file);
    if (file->why_not == NULL || (missing && may_be_missing(d)))
        return;
    if (missing && !file->written)
        refuse(plan, disk, VMIG_ERROR_MEDIA_MISSING, hint_for(disk, file),
               "disk %s (%s) is not moved, and the destination does not have %s", d->target, disk->why_not, file->path);
    else
        refuse(plan, disk, VMIG_ERROR_NOT_SHARED, hint_for(disk, file),
               "disk %s (%s) is not moved, and it is not proven that %s is the same on the destination: %s", d->target,
               disk->why_not, file->path, file->why_not);
}

static void rule_files(VmigPlan *plan, const VmigPlanDisk *disk)
{
    const VmigDomainDisk *d = disk->disk;

    if (disk->stay == NULL) /* the destination does not answer, which is a refusal of its own */
        return;
    for (guint i = 0; i < disk->stay->len; i++)
        rule_file(plan, disk, disk->stay->pdata[i]);
    gboolean raw = d->driver_type == NULL || strcmp(d->driver_type, "raw") == 0;
    if (disk->stay->len != d->backing->len + 1 || (!raw && !d->chain_known))
        refuse(plan, disk, VMIG_ERROR_NOT_SHARED, detach_hint(disk),
               "disk %s (%s) is not moved, and it has a backing file that cannot be compared with the destination's",
               d->target, disk->why_not);
    else if (vmig_survey_is_shared(disk)) {
        g_autofree char *text = g_strdup_printf("disk %s (%s) is not moved: %s is the same on both hosts", d->target,
                                                disk->why_not, d->source_text);
        vmig_plan_note(plan, text);
    }
}

/* The same definition names the same server on both hosts, unless the server is the host itself. */
static void rule_network(VmigPlan *plan, const VmigPlanDisk *disk)
{
    const VmigDomainDisk *d = disk->disk;

    if (d->local_server)
        refuse(plan, disk, VMIG_ERROR_NOT_SHARED,
               "Name the server by an address that is the same for both hosts (virsh edit), then shut the guest down "
               "and start it.",
               "disk %s (%s) is not moved, and its server is this host itself ('%s'): the destination would connect to "
               "its own server",
               d->target, disk->why_not, d->source_text);
    else if (d->backing->len > 0)
        refuse(plan, disk, VMIG_ERROR_NOT_SHARED, detach_hint(disk),
               "disk %s (%s) is not moved, and it has a backing file that cannot be compared with the destination's",
               d->target, disk->why_not);
}

static void rule_volume(VmigPlan *plan, const VmigPlanDisk *disk)
{
    const VmigDomainDisk *d = disk->disk;

    refuse(plan, disk, VMIG_ERROR_NOT_SHARED,
           disk->next_start ? detach_hint(disk)
           : is_medium(d)
               ? "Eject it (virsh change-media --eject)."
               : "Name the volume by its path instead of its pool (virsh edit), then shut the guest down and start it.",
           "disk %s (%s) is not moved, and it is not proven that %s is the same on both hosts: the destination's pool "
           "of that name may be different",
           d->target, disk->why_not, d->source_text);
}

void vmig_plan_rule_stay(VmigPlan *plan, const VmigPlanDisk *disk)
{
    static const char *const of_this_host[] = {"dir", "nvme", "vhostuser", "vhostvdpa", NULL};
    const VmigDomainDisk *d = disk->disk;

    if (d->source_text == NULL && is_medium(d)) /* an empty drive */
        return;
    if (strcmp(d->type, "file") == 0 || strcmp(d->type, "block") == 0)
        rule_files(plan, disk);
    else if (strcmp(d->type, "network") == 0)
        rule_network(plan, disk);
    else if (strcmp(d->type, "volume") == 0)
        rule_volume(plan, disk);
    else
        refuse(plan, disk, VMIG_ERROR_NOT_SHARED, detach_hint(disk), "disk %s (%s) is not moved, and it is %s ('%s')",
               d->target, disk->why_not,
               g_strv_contains(of_this_host, d->type) ? "a resource of this host"
                                                      : "of a type that vmig-snap does not know",
               d->source_text != NULL ? d->source_text : d->type);
}
