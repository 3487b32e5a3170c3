/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node: the job's run directory with its sockets, and the way to this host's libvirt.
 *
 * The other host reaches both through sshd, which acts as the user of the login. That user is root, or one who may run
 * the agent as root (sudo): then it gets access to the sockets by an access list, and libvirt is reached through this
 * process, because the user may have no access to libvirt. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copy/listen.h"
#include "core/path-map.h"
#include "drivers/libvirt/libvirt-socket.h"
#include "drivers/libvirt/qemu-user.h"
#include "node/node-local-private.h"
#include "os/acl.h"
#include "os/flag-file.h"

/* Root owns it, so that no other user can replace the relay. QEMU's user can create sockets in it, because the
 * destination's QEMU listens there. Any user can reach a socket whose mode allows it. */
static gboolean make_job_dir(const VmigLocal *local, const char *path, GError **error)
{
    struct stat st;
    uid_t uid;
    gid_t gid;

    if (!vmig_qemu_user(local->qemu_conf, &uid, &gid, error))
        return FALSE;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return vmig_fail_errno(error, errno, "cannot create %s", path);
    g_auto(VmigFd) fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        return vmig_fail_errno(error, errno, "cannot open %s", path);
    if (st.st_uid != geteuid())
        return vmig_fail(error, VMIG_ERROR_IO, NULL, "%s belongs to another user", path);
    if (!vmig_qemu_user_admit(fd, uid, gid, error))
        return FALSE;
    /* For the sockets of QEMU, which asks for a mode that allows everything and relies on its umask. */
    const VmigAcl sockets = {.user = local->login, .owner = 7, .its = 6};
    return local->login == 0 || vmig_acl_set_default(path, &sockets) == 0 ||
           vmig_fail_errno(error, errno, "cannot give user %u access to the sockets in %s", (guint)local->login, path);
}

gboolean vmig_local_do_rundir(VmigLocal *local, const VmigJobArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                              GError **error)
{
    g_autofree char *path = vmig_local_job_dir(local, args->job);

    return make_job_dir(local, path, error);
}

/* Sockets and flags have no content, so removing them loses nothing. The sockets are not in the journal, because ssh,
 * QEMU and libvirt made them. Any other file stays, and the message says so. */
static gboolean remove_sockets_and_flags(int folder, const char *path, GError **error)
{
    int copy = fcntl(folder, F_DUPFD_CLOEXEC, 0);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    gboolean ok = TRUE;

    if (dir == NULL) {
        vmig_fail_errno(error, errno, "cannot read %s", path);
        if (copy >= 0)
            close(copy);
        return FALSE;
    }
    for (struct dirent *entry = readdir(dir); entry != NULL && ok; entry = readdir(dir)) {
        struct stat st;
        if (g_str_equal(entry->d_name, ".") || g_str_equal(entry->d_name, ".."))
            continue;
        if (fstatat(folder, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)
            continue;
        if (!S_ISSOCK(st.st_mode) && !vmig_flag_is(entry->d_name, &st))
            ok =
                vmig_fail(error, VMIG_ERROR_GATE, NULL, "cannot remove %s: it contains files other than sockets", path);
        else if (unlinkat(folder, entry->d_name, 0) != 0 && errno != ENOENT)
            ok = vmig_fail_errno(error, errno, "cannot remove a socket in %s", path);
    }
    closedir(dir);
    return ok;
}

gboolean vmig_local_do_rundir_remove(VmigLocal *local, const VmigJobArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                                     GError **error)
{
    const char *job = args->job;

    g_autofree char *path = vmig_local_job_dir(local, job);
    g_auto(VmigFd) fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || vmig_fail_errno(error, errno, "cannot open %s", path);
    if (!remove_sockets_and_flags(fd, path, error))
        return FALSE;
    return rmdir(path) == 0 || errno == ENOENT || vmig_fail_errno(error, errno, "cannot remove %s", path);
}

/* Relays whose agent was killed, and their directories if nothing else is in them: a killed plan has no job, so that
 * nothing else would remove them. A directory in use has more sockets, or its next agent makes it again. */
static void sweep_relays(const VmigLocal *local)
{
    g_autoptr(GDir) dir = g_dir_open(local->run_dir, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *folder = g_build_filename(local->run_dir, name, NULL);
        g_autofree char *path = g_build_filename(folder, VMIG_RELAY_SOCKET, NULL);
        if (!vmig_job_id_is_valid(name))
            continue;
        int fd = vmig_relay_connect(path);
        if (fd >= 0)
            close(fd);
        else if (errno == ECONNREFUSED && unlink(path) == 0)
            (void)rmdir(folder);
    }
}

gboolean vmig_local_do_libvirt_relay(VmigLocal *local, const VmigLibvirtRelayArgs *args,
                                     VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    const VmigLibvirtWanted wanted = {args->socket, args->mode};
    g_autofree char *to = vmig_libvirt_socket_find(local->libvirt_sockets, &wanted, error);
    g_autofree char *dir = vmig_local_job_dir(local, args->job);
    g_autofree char *path = g_build_filename(dir, VMIG_RELAY_SOCKET, NULL);
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);
    struct stat st;
    guint port;

    if (to == NULL)
        return FALSE;
    if (local->relay != NULL)
        return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the connection to libvirt was asked for twice");
    sweep_relays(local);
    if (!make_job_dir(local, dir, error))
        return FALSE;
    int fd = vmig_listen_open(&(VmigListen){.socket = path, .admitted = local->login}, &port, error);
    if (fd < 0)
        return FALSE;
    local->relay_id = lstat(path, &st) == 0 ? VMIG_FILE_ID(st) : (VmigFileId){0};
    local->relay = vmig_relay_start(fd, to);
    local->relay_path = g_steal_pointer(&path);
    return TRUE;
}

/* The next agent for the job may have put its socket there already. A directory with other sockets is that of a job
 * that began; it is removed with the job. */
void vmig_local_relay_end(VmigLocal *local)
{
    struct stat st;

    if (local->relay == NULL)
        return;
    g_autofree char *dir = g_path_get_dirname(local->relay_path);
    g_clear_pointer(&local->relay, vmig_relay_free);
    if (lstat(local->relay_path, &st) == 0 && vmig_file_id_equal(VMIG_FILE_ID(st), local->relay_id))
        (void)unlink(local->relay_path);
    (void)rmdir(dir);
    g_clear_pointer(&local->relay_path, g_free);
}
