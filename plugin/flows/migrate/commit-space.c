/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Space for a commit, and for a guest that QEMU paused on a full file system. */
#include "core/amount.h"
#include "core/names.h"
#include "flows/migrate/commit.h"
#include "flows/migrate/ours.h"

#define MIB (1024ull * 1024)
/* This much more free space than when it was full is worth another try, whatever the estimate says. */
#define ROOM_STEP MIB
#define ROOM_POLL (2 * G_USEC_PER_SEC)

void vmig_room_free(VmigRoom *room)
{
    g_free(room->folder);
    g_free(room);
}

/* An overlay that is committed, or was never made, needs no space. */
static gboolean overlay_holds(VmigMachine *m, VmigHost *host, const char *path, const VmigDisk *disk, guint64 *bytes,
                              GError **error)
{
    if (path == NULL || disk->pivoted || m->job->merge == VMIG_MERGE_DONE)
        return TRUE;
    g_autoptr(VmigPathFacts) overlay = vmig_node_path(host->node, path, error);
    return overlay != NULL && (!overlay->exists || vmig_node_allocated(host->node, path, bytes, error));
}

static gboolean add_disk(VmigMachine *m, VmigHost *host, VmigRole role, const VmigDisk *disk, GHashTable *rooms,
                         GError **error)
{
    const char *base = vmig_file_path(vmig_disk_base(disk), role);
    g_autoptr(VmigPathFacts) facts = vmig_node_path(host->node, base, error);
    guint64 allocated = 0;

    if (facts == NULL)
        return FALSE;
    if (!overlay_holds(m, host, vmig_disk_overlay(disk, role), disk, &allocated, error))
        return FALSE;
    VmigRoom *room = g_hash_table_lookup(rooms, &facts->filesystem);
    if (room == NULL) {
        room = g_new0(VmigRoom, 1);
        room->folder = g_path_get_dirname(base);
        room->needed = MIB; /* for the base's tables, which grow */
        g_hash_table_insert(rooms, g_memdup2(&facts->filesystem, sizeof facts->filesystem), room);
    }
    room->free = facts->free_bytes;
    room->needed += allocated;
    return TRUE;
}

static gboolean is_tighter(const VmigRoom *a, const VmigRoom *b)
{
    return b == NULL || (gint64)(a->free - a->needed) < (gint64)(b->free - b->needed);
}

VmigRoom *vmig_room_ask(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_autoptr(GHashTable) rooms =
        g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, (GDestroyNotify)vmig_room_free);
    const VmigRoom *tightest = NULL;
    GHashTableIter iter;
    gpointer each;

    if (host == NULL)
        return NULL;
    for (guint i = 0; i < m->job->disks->len; i++)
        if (!add_disk(m, host, role, m->job->disks->pdata[i], rooms, error))
            return NULL;
    g_hash_table_iter_init(&iter, rooms);
    while (g_hash_table_iter_next(&iter, NULL, &each))
        if (is_tighter(each, tightest))
            tightest = each;
    if (tightest == NULL) {
        vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "job %s has no disk", m->job->id);
        return NULL;
    }
    VmigRoom *room = g_memdup2(tightest, sizeof *tightest);
    room->folder = g_strdup(tightest->folder);
    return room;
}

gboolean vmig_room_is_there(const VmigMachine *m, const VmigRoom *room)
{
    if (room->free >= room->needed && !m->full_again)
        return TRUE;
    return m->full && room->free >= m->full_at + MAX(room->needed / 8, ROOM_STEP);
}

void vmig_room_note_full(VmigMachine *m, const VmigRoom *room)
{
    m->full = TRUE;
    m->full_at = room->free;
}

static void tell_starved(VmigMachine *m, const VmigHost *host, const VmigRoom *room)
{
    g_autofree char *free = vmig_amount_format(room->free);
    g_autofree char *needed = vmig_amount_format(room->needed);

    vmig_machine_note(m,
                      "%s: the guest is paused, because %s is full: %s are free, the job may need %s; it is resumed "
                      "when there is enough space",
                      host->hypervisor->host, room->folder, free, needed);
}

static void tell_io_error(VmigMachine *m, VmigHost *host)
{
    g_autofree char *domain = vmig_shell_domain(m->job->domain, m->job->uuid);

    vmig_machine_note(m,
                      "%s: the guest is paused on an I/O error of a disk (virsh domblkerror %s): the job does not "
                      "resume it, a user must",
                      host->hypervisor->host, domain);
}

/* *waits: the guest is still paused for lack of space. */
static gboolean relieve(VmigMachine *m, VmigRole role, gboolean *waits, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    gboolean space = FALSE;
    VmigRun run;

    *waits = FALSE;
    if (host == NULL || !vmig_host_run(m, role, &run, error))
        return FALSE;
    if (run != VMIG_RUN_IO_ERROR) {
        m->starved = FALSE;
        return TRUE;
    }
    if (!host->hypervisor->ops->lacks_space(host->hypervisor, m->job->uuid, &space, error))
        return FALSE;
    if (!space) {
        if (!m->starved)
            tell_io_error(m, host);
        m->starved = TRUE;
        return TRUE;
    }
    g_autoptr(VmigRoom) room = vmig_room_ask(m, role, error);
    if (room == NULL)
        return FALSE;
    gboolean there = vmig_room_is_there(m, room);
    if (!m->starved && !there) {
        m->starved = TRUE;
        vmig_room_note_full(m, room);
        tell_starved(m, host, room);
    }
    *waits = !there;
    if (!there)
        return TRUE;
    if (!vmig_ours_require_no_stranger(m, role, error) ||
        !host->hypervisor->ops->resume(host->hypervisor, m->job->uuid, error))
        return FALSE;
    vmig_machine_note(m, "%s: enough space is free again: the guest was resumed", host->hypervisor->host);
    /* If the guest pauses again, only more free space than now counts as room. */
    vmig_room_note_full(m, room);
    m->full_again = TRUE;
    m->starved = FALSE;
    return TRUE;
}

void vmig_room_relieve(VmigMachine *m, VmigRole role)
{
    g_autoptr(GError) error = NULL;
    gboolean waits;

    if (!relieve(m, role, &waits, &error))
        vmig_machine_note(m, "%s", error->message);
}

gboolean vmig_room_require_relief(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    gboolean waits;

    if (host == NULL || !relieve(m, role, &waits, error))
        return FALSE;
    return !waits || vmig_fail(error, VMIG_ERROR_NO_SPACE,
                               "Free space there, then run vmig-snap resume; or destroy the guest (virsh destroy).",
                               "%s: cannot resume '%s', the last step of the job: it is paused, because the file "
                               "system of its disks is full",
                               host->hypervisor->host, m->job->domain);
}

/* FALSE for a state whose files are not the overlays and their bases. */
static gboolean role_of(VmigState state, VmigRole *role)
{
    *role = vmig_state_phase(state) == VMIG_PHASE_BACK ? VMIG_SOURCE : VMIG_DEST;
    return vmig_state_is(state, VMIG_STATE_MERGES);
}

static gboolean has_room(VmigMachine *m, VmigRole role)
{
    g_autoptr(VmigRoom) room = vmig_room_ask(m, role, NULL);

    return room != NULL && vmig_room_is_there(m, room);
}

static gboolean is_asked(VmigMachine *m)
{
    return m->env->asked != NULL && m->env->asked(m->env);
}

/* If there is already enough space for everything, space was not the cause, and only time helps. Space that the failed
 * commit itself has freed since is no new room, so the count starts now. */
static gboolean wants_room(VmigMachine *m, VmigRole role)
{
    g_autoptr(VmigRoom) room = vmig_room_ask(m, role, NULL);

    if (room == NULL || room->free >= room->needed)
        return FALSE;
    vmig_room_note_full(m, room);
    return TRUE;
}

void vmig_room_await_retry(VmigMachine *m, const GError *why, gint64 until)
{
    VmigRole role;
    gboolean space = role_of(vmig_job_state(m->job), &role) && g_error_matches(why, VMIG_ERROR, VMIG_ERROR_NO_SPACE) &&
                     wants_room(m, role);

    while (vmig_machine_now(m) < until && vmig_machine_check_cancel(m, NULL)) {
        if (vmig_machine_must_leave(m))
            return;
        if (is_asked(m)) {
            vmig_machine_note(m, "a user asked for an immediate retry");
            return;
        }
        /* Query the room before the guest is resumed: resuming it restarts the count of room from there. */
        gboolean there = space && has_room(m, role);
        if (space)
            vmig_room_relieve(m, role);
        if (there) {
            vmig_machine_note(m, "enough space is free again");
            return;
        }
        gint64 rest = until - vmig_machine_now(m);
        gboolean looks = space || m->env->asked != NULL;
        vmig_machine_wait(m, looks ? MIN(rest, ROOM_POLL) : rest);
    }
}
