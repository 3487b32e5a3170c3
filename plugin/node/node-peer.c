/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node, called by another host: what the agent does not trust.
 *
 * A process that may start the agent can claim anything about any job. This host's role in a job, its guest, its files
 * and its end come from this host's own record, or from its own libvirt. methods.def says what each method requires of
 * a peer.
 */
#include <string.h>
#include <sys/stat.h>

#include "core/path-map.h"
#include "drivers/libvirt/own-domains.h"
#include "node/node-local-private.h"

static VmigJob *own_record(VmigLocal *local, const char *job, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);

    return vmig_journal_load(local->journal, job, error);
}

/* NULL in *ret: this host has no record of the job. */
static gboolean maybe_record(VmigLocal *local, const char *job, VmigJob **ret, GError **error)
{
    g_autoptr(GError) failure = NULL;

    *ret = own_record(local, job, &failure);
    if (*ret != NULL || g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_JOB))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
}

/* --- the lock --- */

static gboolean check_lock(VmigLocal *local, const char *job, const char *uuid, GError **error)
{
    g_autoptr(VmigJob) own = NULL;

    if (!maybe_record(local, job, &own, error))
        return FALSE;
    return own == NULL || g_strcmp0(own->uuid, uuid) == 0 ||
           vmig_fail(error, VMIG_ERROR_GATE, NULL, "cannot lock domain %s: job %s belongs to another domain", uuid,
                     job);
}

static gboolean check_locked(VmigLocal *local, VmigMethod method, const char *job, const char *uuid, GError **error)
{
    return vmig_local_holds(local, job, uuid) ||
           vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is refused: the other host does not hold the lock of job %s",
                     vmig_method_name(method), job);
}

static gboolean check_role(VmigLocal *local, VmigMethod method, const char *job, VmigRole role, GError **error)
{
    VmigRole own;

    if (!vmig_local_role(local, job, &own, error))
        return FALSE;
    return own == role || vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is refused: this host is the %s of job %s",
                                    vmig_method_name(method), vmig_role_name(own), job);
}

static gboolean check_work(VmigLocal *local, VmigMethod method, gconstpointer args, GError **error)
{
    const char *job = vmig_message_job(vmig_method_args(method), args);

    if (!check_locked(local, method, job, NULL, error))
        return FALSE;
    VmigMethodPeer rule = vmig_method_peer(method);
    return rule == VMIG_PEER_WORKS ||
           check_role(local, method, job, rule == VMIG_PEER_ON_SOURCE ? VMIG_SOURCE : VMIG_DEST, error);
}

/* --- records --- */

static gboolean find_domain(VmigLocal *local, const char *uuid, VmigOwnDomain *own, GError **error)
{
    return vmig_own_domain_find(local->libvirt_dir, local->libvirt_run_dir, uuid, own, error);
}

/* A guest that arrives here has the job's mark, and loses it at the end. A peer cannot make a job of any other guest
 * with this UUID. */
static gboolean check_new_dest(VmigLocal *local, const VmigJob *told, gboolean begins, GError **error)
{
    g_auto(VmigOwnDomain) own = {0};

    if (!find_domain(local, told->uuid, &own, error))
        return FALSE;
    return (own.persistent == NULL && own.running == NULL) || vmig_own_domain_is_marked(&own, told->id) ||
           vmig_local_was_given(local, told->id) ||
           vmig_fail(error, begins ? VMIG_ERROR_GATE : VMIG_ERROR_FORGOTTEN, "Check that domain: virsh dumpxml.",
                     "cannot begin job %s: this host already has a domain %s, which that job did not transfer",
                     told->id, told->uuid);
}

/* A journal that was replaced with an older one does not have the job any more. That this host was its source is proven
 * by its libvirt, or by the flag that this host left in its run folder when it gave the guest away. */
static gboolean check_new_source(VmigLocal *local, const VmigJob *told, GError **error)
{
    g_auto(VmigOwnDomain) own = {0};

    if (!find_domain(local, told->uuid, &own, error))
        return FALSE;
    gboolean defined = own.persistent != NULL || own.running != NULL;
    gboolean proven = defined ? vmig_own_domain_is_marked(&own, told->id) && vmig_own_domain_is_source(&own, told)
                              : vmig_local_was_given(local, told->id);
    return proven || vmig_fail(error, defined ? VMIG_ERROR_GATE : VMIG_ERROR_FORGOTTEN,
                               "If this host was the source, remove the job's files here by hand (vmig-snap doctor).",
                               "cannot take job %s from the other host: it is not in this host's journal, and it is "
                               "not proven that this host was its source",
                               told->id);
}

/* A guest that still runs here has not left. */
static gboolean check_left(VmigLocal *local, const VmigJob *told, GError **error)
{
    g_auto(VmigOwnDomain) own = {0};

    if (vmig_job_end(told) != VMIG_END_MOVED)
        return TRUE;
    if (!find_domain(local, told->uuid, &own, error))
        return FALSE;
    return own.running == NULL || vmig_fail(error, VMIG_ERROR_GATE, NULL,
                                            "cannot end job %s as done: its guest still runs on this host", told->id);
}

static gboolean check_record(VmigLocal *local, VmigMethod method, gconstpointer args, GError **error)
{
    const VmigJob *told = vmig_message_record(vmig_method_args(method), args);
    gboolean catches_up = method == VMIG_METHOD_CATCH_UP;
    gboolean as_source = catches_up && ((const VmigCatchUpArgs *)args)->role == VMIG_SOURCE;
    g_autoptr(VmigJob) own = NULL;

    if (told->id == NULL || told->uuid == NULL || !vmig_job_id_is_valid(told->id))
        return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the request: the record does not belong to a job");
    if (!check_locked(local, method, told->id, told->uuid, error) || !maybe_record(local, told->id, &own, error))
        return FALSE;
    if (own == NULL && as_source)
        return check_new_source(local, told, error);
    if (own == NULL)
        return check_new_dest(local, told, !catches_up, error);
    VmigRole role;
    return vmig_local_role(local, told->id, &role, error) && (role != VMIG_SOURCE || check_left(local, told, error));
}

static gboolean check_lock_request(VmigLocal *local, const VmigLockArgs *args, GError **error)
{
    return check_lock(local, args->job, args->uuid, error);
}

gboolean vmig_local_peer_may(VmigLocal *local, VmigMethod method, gconstpointer args, GError **error)
{
    switch (vmig_method_peer(method)) {
    case VMIG_PEER_LOOKS:
        return TRUE;
    case VMIG_PEER_LOCKS:
        return check_lock_request(local, args, error);
    case VMIG_PEER_RECORDS:
        return check_record(local, method, args, error);
    case VMIG_PEER_WORKS:
    case VMIG_PEER_ON_SOURCE:
    case VMIG_PEER_ON_DEST:
        return check_work(local, method, args, error);
    }
    g_return_val_if_reached(FALSE);
}

/* --- files --- */

static gboolean refuse_file(GError **error, const char *job, const char *path, const char *what)
{
    return vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is not a known %s of job %s according to this host's journal",
                     path, what, job);
}

gboolean vmig_local_peer_disk(VmigLocal *local, const char *job, const char *path, VmigPeerFile what, VmigJob **record,
                              const VmigDisk **ret, GError **error)
{
    VmigRole role;
    g_autoptr(VmigJob) own = vmig_local_role(local, job, &role, error) ? own_record(local, job, error) : NULL;

    if (own == NULL)
        return FALSE;
    for (guint i = 0; i < own->disks->len; i++) {
        const VmigDisk *disk = own->disks->pdata[i];
        if (g_strcmp0(path, disk->at[role].overlay) != 0 &&
            (what == VMIG_PEER_OVERLAY || g_strcmp0(path, disk->at[role].hold) != 0))
            continue;
        *ret = disk;
        *record = g_steal_pointer(&own);
        return TRUE;
    }
    return refuse_file(error, job, path, what == VMIG_PEER_OVERLAY ? "overlay" : "file");
}

/* Each path must be a base, or an overlay, on this host, which must be the source. */
gboolean vmig_local_peer_paths(VmigLocal *local, const char *job, const char *const *paths, gboolean overlays,
                               GError **error)
{
    g_autoptr(VmigJob) own = own_record(local, job, error);
    g_autoptr(GHashTable) good = g_hash_table_new(g_str_hash, g_str_equal);

    if (own == NULL)
        return FALSE;
    for (guint i = 0; i < own->disks->len; i++) {
        const VmigDisk *disk = own->disks->pdata[i];
        if (overlays && disk->at[VMIG_SOURCE].overlay != NULL)
            g_hash_table_add(good, disk->at[VMIG_SOURCE].overlay);
        for (guint k = 0; !overlays && k < disk->files->len; k++)
            g_hash_table_add(good, ((VmigFile *)disk->files->pdata[k])->path[VMIG_SOURCE]);
    }
    for (guint i = 0; paths[i] != NULL; i++)
        if (!g_hash_table_contains(good, paths[i]))
            return refuse_file(error, job, paths[i], overlays ? "overlay" : "base");
    return TRUE;
}

/* The base copy of one file, under both names that this host recorded. A kept image that it starts with must have been
 * left here by a job of the same guest. */
gboolean vmig_local_peer_copy(VmigLocal *local, const char *job, const char *part, const char *dest, const char *kept,
                              GError **error)
{
    g_autoptr(VmigJob) own = own_record(local, job, error);
    g_autoptr(VmigJob) left = NULL;

    if (own == NULL || (kept != NULL && !maybe_record(local, kept, &left, error)))
        return FALSE;
    if (kept != NULL && (left == NULL || g_strcmp0(left->uuid, own->uuid) != 0))
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' was not left on this host by a job of that guest", dest);
    /* With an overlay's name, a base copy could be committed like one. */
    if (vmig_path_is_ours(dest, job))
        return refuse_file(error, job, dest, "disk");
    for (guint i = 0; i < own->artifacts->len; i++) {
        const VmigArtifact *artifact = own->artifacts->pdata[i];
        for (guint k = 0; k < artifact->files->len; k++) {
            const VmigFile *file = artifact->files->pdata[k];
            if (g_strcmp0(file->part, part) == 0 && g_strcmp0(file->path[VMIG_DEST], dest) == 0)
                return g_strcmp0(file->kept, kept) == 0 || kept == NULL || refuse_file(error, job, dest, "kept image");
        }
    }
    return refuse_file(error, job, part, "copy");
}

gboolean vmig_local_peer_left_by_guest(VmigLocal *local, const char *job, const char *path, GError **error)
{
    g_autoptr(VmigJob) record = own_record(local, job, error);
    g_auto(VmigOwnDomain) own = {0};

    if (record == NULL || !find_domain(local, record->uuid, &own, error))
        return FALSE;
    return !vmig_own_domain_names(&own, path) ||
           vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is in a definition of the guest on this host", path);
}

gboolean vmig_local_peer_guest(VmigLocal *local, const char *job, const char *uuid, const char *domain, GError **error)
{
    g_autoptr(VmigJob) own = own_record(local, job, error);

    if (own == NULL)
        return FALSE;
    return (g_strcmp0(own->uuid, uuid) == 0 && g_strcmp0(own->domain, domain) == 0) ||
           vmig_fail(error, VMIG_ERROR_GATE, NULL, "job %s belongs to another guest than '%s'", job, domain);
}
