/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Probes and takes QEMU's lock bytes as OFD locks, as QEMU does (util/osdep.c). */
#include "image/image-locks.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static gboolean is_held(int fd, const char *path, int byte, gboolean *ret, GError **error)
{
    /* A write lock conflicts with any lock of another process; F_OFD_GETLK needs no write permission. */
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return vmig_fail_errno(error, errno, "cannot query the locks of %s", path);
    *ret = lock.l_type != F_UNLCK;
    return TRUE;
}

gboolean vmig_image_locks_probe_fd(int fd, const char *path, VmigImageLocks *ret, GError **error)
{
    return is_held(fd, path, VMIG_LOCK_WRITE, &ret->writer, error) &&
           is_held(fd, path, VMIG_LOCK_NO_WRITE, &ret->frozen, error);
}

gboolean vmig_image_locks_probe(const char *path, VmigImageLocks *ret, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return vmig_fail_errno(error, errno, "cannot open %s", path);
    gboolean ok = vmig_image_locks_probe_fd(fd, path, ret, error);
    close(fd); /* releases no other lock: these are OFD locks */
    return ok;
}

gboolean vmig_image_lock_shared(int fd, const char *path, int byte, GError **error)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return TRUE;
    if (errno == EAGAIN || errno == EACCES)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "another process has locked %s exclusively (byte %d)",
                         path, byte);
    return vmig_fail_errno(error, errno, "cannot lock %s", path);
}
