/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds out why a commit ended before it was done. libvirt's event says "failed" or "cancelled" without a reason. The
 * free space of the file system distinguishes lack of space from an I/O error. In every case the overlay is untouched
 * and stays authoritative. */
#include "core/amount.h"
#include "flows/migrate/commit-private.h"

#define EVENT_LIMIT G_USEC_PER_SEC
/* QEMU writes up to some MiB at a time: with less free space than this, a write may have found no room. */
#define FULL_BELOW (64ull * 1024 * 1024)

/* libvirt's reply about a block job may arrive before the event that explains it. */
static VmigBlockEnd await_end(VmigMachine *m, VmigHypervisor *hv, const VmigDisk *disk)
{
    gint64 until = vmig_machine_now(m) + EVENT_LIMIT;
    VmigBlockEnd end;

    while ((end = hv->ops->block_end(hv, m->job->uuid, disk->target)) == VMIG_BLOCK_END_UNKNOWN &&
           vmig_machine_now(m) < until)
        vmig_machine_wait(m, EVENT_LIMIT / 10);
    return end;
}

static gboolean fail_no_space(VmigMachine *m, const VmigHost *host, const VmigDisk *disk, const VmigRoom *room,
                              GError **error)
{
    g_autofree char *free = vmig_amount_format(room->free);
    g_autofree char *needed = vmig_amount_format(room->needed);

    vmig_room_note_full(m, room);
    vmig_fail(error, VMIG_ERROR_NO_SPACE, NULL,
              "%s: not enough space for the commit of disk %s in %s: %s are free, it may need %s (%" G_GUINT64_FORMAT
              " bytes)",
              host->hypervisor->host, disk->target, room->folder, free, needed, room->needed);
    if (error != NULL && *error != NULL)
        vmig_error_set_hint(*error,
                            "Free space in %s on %s. A process that works on the job then continues by itself; "
                            "otherwise run vmig-snap resume.",
                            room->folder, host->hypervisor->host);
    return FALSE;
}

gboolean vmig_commit_require_room(VmigMachine *m, VmigRole role, const VmigDisk *disk, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_autoptr(VmigRoom) room = host != NULL ? vmig_room_ask(m, role, error) : NULL;

    if (room == NULL)
        return FALSE;
    return room->free >= room->needed || fail_no_space(m, host, disk, room, error);
}

gboolean vmig_commit_ended(VmigMachine *m, VmigRole role, const VmigDisk *disk, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);

    if (host == NULL)
        return FALSE;
    const char *name = host->hypervisor->host;
    VmigBlockEnd end = await_end(m, host->hypervisor, disk);
    if (end == VMIG_BLOCK_END_CANCELLED || end == VMIG_BLOCK_END_COMPLETED)
        return vmig_fail(error, VMIG_ERROR_JOB_CANCELLED, "Do not cancel it: the disk needs the commit.",
                         "%s: a user cancelled the commit of disk %s (virsh blockjob --abort)", name, disk->target);
    g_autoptr(VmigRoom) room = vmig_room_ask(m, role, error);
    if (room == NULL)
        return FALSE;
    if (room->free < MIN(room->needed, FULL_BELOW))
        return fail_no_space(m, host, disk, room, error);
    if (end == VMIG_BLOCK_END_FAILED)
        return vmig_fail(error, VMIG_ERROR_IO, "Check the host's kernel log and the storage.",
                         "%s: the commit of disk %s into %s failed with an I/O error", name, disk->target,
                         vmig_file_path(vmig_disk_base(disk), role));
    return vmig_fail(error, VMIG_ERROR_JOB_LOST, NULL,
                     "%s: the commit of disk %s disappeared before it was complete, and libvirt reported no end of it",
                     name, disk->target);
}

/* On a full file system QEMU may refuse to start the next commit ("Need a root block node") while it still has the
 * filter of the last one. The job must then wait for space. */
GError *vmig_commit_blame_room(VmigMachine *m, VmigRole role, GError *why)
{
    VmigHost *host = vmig_host_at(m, role, NULL);
    GError *full = NULL;

    if (host == NULL || !g_error_matches(why, VMIG_ERROR, VMIG_ERROR_HYPERVISOR))
        return why;
    g_autoptr(VmigRoom) room = vmig_room_ask(m, role, NULL);
    if (room == NULL || room->free >= MIN(room->needed, FULL_BELOW))
        return why;
    vmig_machine_note(m, "%s", why->message);
    g_error_free(why);
    fail_no_space(m, host, m->job->disks->pdata[0], room, &full);
    return full;
}

gboolean vmig_commit_is_ended(const GError *why)
{
    return g_error_matches(why, VMIG_ERROR, VMIG_ERROR_JOB_LOST) ||
           g_error_matches(why, VMIG_ERROR, VMIG_ERROR_JOB_CANCELLED) ||
           g_error_matches(why, VMIG_ERROR, VMIG_ERROR_NO_SPACE) || g_error_matches(why, VMIG_ERROR, VMIG_ERROR_IO);
}
