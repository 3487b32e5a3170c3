/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node: the guard, the socket folder, and libvirt's own files. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "guard/guard.h"
#include "node/source-qemu.h"
#include "node/node-local-private.h"

/* Outside the job's folder, which may be removed while the guard has to stay. */
static char *guard_socket(const VmigLocal *local, const char *job, GError **error)
{
    g_autofree char *dir = g_build_filename(local->run_dir, "guard", NULL);
    g_autofree char *name = g_strconcat(job, ".sock", NULL);

    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        vmig_fail_errno(error, errno, "cannot create %s", dir);
        return NULL;
    }
    return g_build_filename(dir, name, NULL);
}

/* Without a guard nothing is held. */
static gboolean forgive_absence(gboolean ok, GError *failure, GError **error)
{
    g_autoptr(GError) owned = failure;

    if (ok || g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_CONNECTION))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&owned));
    return FALSE;
}

typedef gboolean (*PathsFunc)(const char *socket_path, const char *const *paths, GError **error);

static gboolean guard_paths(VmigLocal *local, const VmigJobPathsArgs *args, PathsFunc ask, GError **error)
{
    for (guint i = 0; args->paths[i] != NULL; i++)
        if (!vmig_local_check_path(local, args->paths[i], error))
            return FALSE;
    if (local->serves_peer && !vmig_local_peer_paths(local, args->job, args->paths, ask == vmig_guard_fence_arm, error))
        return FALSE;
    g_auto(GStrv) real = vmig_local_real_paths(local, args->paths, error);
    g_autofree char *socket = real != NULL ? guard_socket(local, args->job, error) : NULL;
    if (socket == NULL || !vmig_guard_start(socket, local->exe, error) ||
        !ask(socket, (const char *const *)real, error))
        return FALSE;
    if (ask == vmig_guard_fence_arm)
        vmig_local_hold_plan(local, args->job, (const char *const *)real);
    return TRUE;
}

gboolean vmig_local_do_freeze(VmigLocal *local, const VmigJobPathsArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                              GError **error)
{
    return guard_paths(local, args, vmig_guard_freeze, error);
}

gboolean vmig_local_do_fence_arm(VmigLocal *local, const VmigJobPathsArgs *args, VmigFenceArmReply *reply,
                                 GError **error)
{
    if (!guard_paths(local, args, vmig_guard_fence_arm, error))
        return FALSE;
    g_autofree char *socket = guard_socket(local, args->job, error);
    return socket != NULL && vmig_guard_slow(socket, &reply->slow, error);
}

static gboolean guard_drop(VmigLocal *local, const VmigJobArgs *args, gboolean (*ask)(const char *, GError **),
                           GError **error)
{
    g_autofree char *socket = guard_socket(local, args->job, error);
    GError *failure = NULL;

    if (socket == NULL)
        return FALSE;
    if (ask != vmig_guard_thaw)
        vmig_local_hold_drop(local, args->job);
    gboolean ok = ask(socket, &failure);
    return forgive_absence(ok, failure, error);
}

gboolean vmig_local_do_thaw(VmigLocal *local, const VmigJobArgs *args, VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    return guard_drop(local, args, vmig_guard_thaw, error);
}

gboolean vmig_local_do_fence_drop(VmigLocal *local, const VmigJobArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                                  GError **error)
{
    return guard_drop(local, args, vmig_guard_fence_drop, error);
}

/* A killed guard leaves its socket behind. The caller holds the job, so no other process starts a guard meanwhile. */
static gboolean stop_and_bury(const char *socket, GError **error)
{
    return vmig_guard_stop(socket, error) &&
           (unlink(socket) == 0 || errno == ENOENT || vmig_fail_errno(error, errno, "cannot remove %s", socket));
}

gboolean vmig_local_do_guard_stop(VmigLocal *local, const VmigJobArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                                  GError **error)
{
    return guard_drop(local, args, stop_and_bury, error);
}

gboolean vmig_local_do_fence_take(VmigLocal *local, const VmigFenceTakeArgs *args, VmigFenceTakeReply *reply,
                                  GError **error)
{
    const char *job = args->job;
    guint64 wait_us = args->wait_us;
    gboolean held = FALSE;
    GError *failure = NULL;

    g_autofree char *socket = guard_socket(local, job, error);
    if (socket == NULL)
        return FALSE;
    gboolean ok = vmig_guard_fence_take(socket, (gint64)MIN(wait_us, (guint64)600 * G_USEC_PER_SEC), &held, &failure);
    if (!forgive_absence(ok, failure, error) || (ok && held && !vmig_local_hold(local, job, error)))
        return FALSE;
    reply->held = ok && held;
    return TRUE;
}

static gboolean given_away(VmigLocal *local, const char *job, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    VmigRole owner;

    if (!vmig_journal_token(local->journal, job, &owner, error))
        return FALSE;
    return owner == VMIG_DEST || vmig_fail(error, VMIG_ERROR_GATE, NULL,
                                           "according to the journal, the source still owns the guest of job %s", job);
}

gboolean vmig_local_do_end_source_qemu(VmigLocal *local, const VmigDomainArgs *args, VmigEndSourceQemuReply *reply,
                                       GError **error)
{
    const char *job = args->job;
    const char *uuid = args->uuid;
    const char *domain = args->domain;
    VmigLeft left;

    if ((local->serves_peer && !vmig_local_peer_guest(local, job, uuid, domain, error)) ||
        !given_away(local, job, error) || !vmig_source_qemu_end(local->libvirt_run_dir, domain, uuid, &left, error))
        return FALSE;
    if (left == VMIG_LEFT_KILLED)
        reply->note =
            g_strdup("libvirt had not yet heard that the guest arrived; the remaining QEMU of the source was ended");
    return TRUE;
}

static gboolean sync_folder(const char *path, GError **error)
{
    g_auto(VmigFd) fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT || vmig_fail_errno(error, errno, "cannot open %s", path);
    return fsync(fd) == 0 || vmig_fail_errno(error, errno, "cannot sync %s", path);
}

/* libvirt renames a finished file into place but does not sync the folder (virXMLSaveFile → virFileRewrite). */
gboolean vmig_local_do_sync_config(VmigLocal *local, const VmigNothing *args G_GNUC_UNUSED,
                                   VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    g_autofree char *autostart = g_build_filename(local->libvirt_dir, "autostart", NULL);

    return sync_folder(local->libvirt_dir, error) && sync_folder(autostart, error);
}
