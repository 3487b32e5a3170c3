/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node: describes what is at a path, so that another host can tell whether it has the same. Read-only.
 *
 * A file is read only if it is in the image roots or world-readable. A hash confirms a guess about a file's content,
 * and the peer must not learn anything about other files.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "image/block-identity.h"
#include "image/image.h"
#include "drivers/libvirt/qemu-access.h"
#include "os/real-path.h"
#include "node/node-local-private.h"

#define BLOCK 4096
#define SAMPLES 32
#define DIGEST_LIMIT (60 * G_USEC_PER_SEC)

/* Every folder above must be searchable by every user. */
static gboolean is_reachable_for_all(const char *real)
{
    g_autofree char *folder = g_path_get_dirname(real);
    struct stat st;

    for (;;) {
        if (stat(folder, &st) != 0 || (st.st_mode & S_IXOTH) == 0)
            return FALSE;
        if (g_str_equal(folder, "/"))
            return TRUE;
        char *above = g_path_get_dirname(folder);
        g_free(folder);
        folder = above;
    }
}

/* Opens a world-readable regular file; -1 with the error set. */
static int open_public(const char *path, GError **error)
{
    struct stat st;
    char *real = realpath(path, NULL);
    g_autofree char *copy = g_strdup(real);
    free(real);

    g_auto(VmigFd) fd = copy != NULL ? open(copy, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY) : -1;
    if (fd < 0) {
        vmig_fail_errno(error, errno, "cannot open '%s'", path);
        return -1;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (st.st_mode & S_IROTH) == 0 || !is_reachable_for_all(copy)) {
        vmig_fail(error, VMIG_ERROR_OUTSIDE_ROOTS, NULL,
                  "'%s' is outside the image roots and not readable for all users", path);
        return -1;
    }
    VmigFd result = fd;
    fd = -1;
    return result;
}

static int open_file(VmigLocal *local, const char *path, GError **error)
{
    g_autofree char *real = vmig_real_path(path, local->roots, NULL);
    int fd = real != NULL ? vmig_image_open(real, local->roots, FALSE, NULL) : -1;

    return fd >= 0 ? fd : open_public(path, error);
}

static char *sample(int fd, gpointer buffer, guint64 offset)
{
    ssize_t got = pread(fd, buffer, BLOCK, (off_t)offset);

    return got > 0 ? g_compute_checksum_for_data(G_CHECKSUM_SHA256, buffer, (gsize)got) : NULL;
}

/* Samples a whole device, but only the beginning of a file, which may grow meanwhile. Reads with O_DIRECT, because the
 * page cache of a network file system may be older than the server's data. Unreadable blocks are not sampled. */
static char **take_samples(int fd, guint64 size, gboolean device)
{
    char **samples = g_new0(char *, SAMPLES + 1);
    gpointer buffer = NULL;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || posix_memalign(&buffer, BLOCK, BLOCK) != 0)
        return samples;
    (void)!fcntl(fd, F_SETFL, flags | O_DIRECT); /* without O_DIRECT in the file system, the cache has to do */
    guint64 step = device ? MAX(size / SAMPLES / BLOCK * BLOCK, BLOCK) : BLOCK;
    for (guint i = 0; i < SAMPLES && i * step < size; i++) {
        samples[i] = sample(fd, buffer, i * step);
        if (samples[i] == NULL)
            break;
    }
    free(buffer);
    return samples;
}

static gboolean set_block(VmigIdentity *identity, const char *path, const struct stat *st, GError **error)
{
    g_auto(VmigFd) fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat now;
    guint64 size = 0;

    if (fd < 0 || fstat(fd, &now) != 0)
        return vmig_fail_errno(error, errno, "cannot open '%s'", path);
    if (!S_ISBLK(now.st_mode) || now.st_rdev != st->st_rdev || ioctl(fd, BLKGETSIZE64, &size) != 0)
        return vmig_fail(error, VMIG_ERROR_DISK_KIND, NULL, "cannot read '%s': it is no longer the same device", path);
    identity->size = size;
    identity->name = vmig_block_identity("/sys", major(st->st_rdev), minor(st->st_rdev));
    identity->samples = take_samples(fd, size, TRUE);
    return TRUE;
}

static void set_file(VmigLocal *local, VmigIdentity *identity, const char *path)
{
    g_auto(VmigFd) fd = open_file(local, path, NULL);
    struct statfs fs;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0 || fstatfs(fd, &fs) != 0)
        return;
    identity->size = (guint64)st.st_size;
    identity->ino = st.st_ino;
    identity->filesystem = (guint64)fs.f_type;
    identity->shared = vmig_local_is_shared(fd, &st);
    identity->samples = take_samples(fd, (guint64)st.st_size, FALSE);
}

/* Only for the destination: on the source, QEMU already has it open. */
static void set_access(VmigLocal *local, VmigIdentity *identity, const char *path)
{
    identity->denied = vmig_qemu_access_denied(local->qemu_conf, path);
    if (vmig_qemu_access_read_only(path))
        identity->read_only = g_strdup("the file system is not writable there");
}

static VmigIdentityKind kind_of(const struct stat *st)
{
    if (S_ISREG(st->st_mode))
        return VMIG_IDENTITY_FILE;
    return S_ISBLK(st->st_mode) ? VMIG_IDENTITY_BLOCK : VMIG_IDENTITY_OTHER;
}

gboolean vmig_local_do_identity(VmigLocal *local, const VmigPathArgs *args, VmigIdentity *reply, GError **error)
{
    const char *path = args->path;
    struct stat st = {0};
    gboolean exists = *path == '/' && stat(path, &st) == 0;

    reply->kind = exists ? kind_of(&st) : VMIG_IDENTITY_ABSENT;
    reply->size = exists ? (guint64)st.st_size : 0;
    if (exists && local->role == VMIG_DEST)
        set_access(local, reply, path);
    if (exists && S_ISREG(st.st_mode))
        set_file(local, reply, path);
    if (exists && S_ISBLK(st.st_mode) && !set_block(reply, path, &st, error))
        return FALSE;
    if (reply->samples == NULL)
        reply->samples = g_new0(char *, 1);
    return TRUE;
}

gboolean vmig_local_do_digest(VmigLocal *local, const VmigPathArgs *args, VmigDigestReply *reply, GError **error)
{
    const char *path = args->path;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autofree guint8 *buffer = g_malloc(1024 * 1024);
    gint64 until = g_get_monotonic_time() + DIGEST_LIMIT;
    ssize_t got = 1;

    g_auto(VmigFd) fd = open_file(local, path, error);
    if (fd < 0)
        return FALSE;
    while (got > 0 && g_get_monotonic_time() < until) {
        got = read(fd, buffer, 1024 * 1024);
        if (got > 0)
            g_checksum_update(sum, buffer, got);
    }
    if (got < 0) {
        vmig_fail_errno(error, errno, "cannot read '%s'", path);
        return FALSE;
    }
    if (got > 0) {
        vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "cannot compare '%s': reading it takes more than %d s", path,
                  (int)(DIGEST_LIMIT / G_USEC_PER_SEC));
        return FALSE;
    }
    reply->digest = g_strdup(g_checksum_get_string(sum));
    return TRUE;
}
