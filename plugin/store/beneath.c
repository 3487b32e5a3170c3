/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* openat2() relative to a root's descriptor. */
#include "store/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/path-map.h"

/* openat2(2) fails with EAGAIN if a concurrent rename leaves the kernel unsure. */
#define TRIES 100

static int close_keeping_errno(int fd)
{
    int saved = errno;

    close(fd);
    errno = saved;
    return -1;
}

static int open_from(int root, const char *relative, int flags, mode_t mode)
{
    gboolean creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
    struct open_how how = {
        .flags = (guint64)(flags | O_CLOEXEC | ((flags & O_PATH) != 0 ? 0 : O_NOCTTY)),
        .mode = creates ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long fd = -1;

    for (guint i = 0; i < TRIES && fd < 0; i++) {
        fd = syscall(SYS_openat2, root, relative, &how, sizeof how);
        if (fd < 0 && errno != EAGAIN && errno != EINTR)
            break;
    }
    return (int)fd;
}

char *vmig_beneath_real_path(int fd, GError **error)
{
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
    char *real = g_file_read_link(link, error);

    if (real == NULL)
        vmig_error_adopt(error, VMIG_ERROR_IO);
    return real;
}

/* The part of path beneath root; "." for the root itself, NULL if it is outside. Both must be plain. */
static const char *below(const char *path, const char *root)
{
    gsize length = strlen(root);

    while (length > 0 && root[length - 1] == '/')
        length--;
    if (strncmp(path, root, length) != 0 || (path[length] != '/' && path[length] != '\0'))
        return NULL;
    path += length;
    while (*path == '/')
        path++;
    return *path == '\0' ? "." : path;
}

/* Selects the root as it is written. Of nested roots it takes the outermost, so that the inner root's own name is not
 * followed either. */
static const char *outermost(GPtrArray *roots, const char *path)
{
    const char *best = NULL;

    for (guint i = 0; i < roots->len; i++) {
        const char *root = roots->pdata[i];
        if (below(path, root) != NULL && (best == NULL || strlen(root) < strlen(best)))
            best = root;
    }
    return best;
}

static int open_in(const char *root, const char *path, int flags, mode_t mode)
{
    int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    int result = open_from(fd, below(path, root), flags, mode);
    close_keeping_errno(fd);
    return result;
}

/* Opens beneath the resolved root. EXDEV if path is outside. */
static int open_in_real(const char *root, const char *path, int flags, mode_t mode)
{
    int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        errno = EXDEV;
        return -1;
    }
    g_autofree char *real = vmig_beneath_real_path(fd, NULL);
    const char *relative = real != NULL ? below(path, real) : NULL;
    int result = -1;
    errno = EXDEV;
    if (relative != NULL)
        result = open_from(fd, relative, flags, mode);
    close_keeping_errno(fd);
    return result;
}

int vmig_beneath_open(GPtrArray *roots, const char *path, int flags, mode_t mode)
{
    const char *root = roots != NULL ? outermost(roots, path) : "/";

    if (root != NULL)
        return open_in(root, path, flags, mode);
    for (guint i = 0; i < roots->len; i++) {
        int fd = open_in_real(roots->pdata[i], path, flags, mode);
        if (fd >= 0 || errno != EXDEV)
            return fd;
    }
    errno = EXDEV;
    return -1;
}

int vmig_beneath_folder(GPtrArray *roots, const char *path)
{
    g_autofree char *folder = g_path_get_dirname(path);

    return vmig_beneath_open(roots, folder, O_RDONLY | O_DIRECTORY, 0);
}

int vmig_beneath_stat(GPtrArray *roots, const char *path, struct stat *st)
{
    int folder = vmig_beneath_folder(roots, path);

    if (folder < 0)
        return -1;
    int result = fstatat(folder, strrchr(path, '/') + 1, st, AT_SYMLINK_NOFOLLOW);
    close_keeping_errno(folder);
    return result;
}

gboolean vmig_beneath_fail(GError **error, int errnum, const char *path)
{
    switch (errnum) {
    case EXDEV:
        return vmig_fail(error, VMIG_ERROR_OUTSIDE_ROOTS,
                         "image-roots in vmig-snap.conf lists the directories in which images may be.",
                         "'%s' is outside the image roots", path);
    case ELOOP:
        return vmig_fail(error, VMIG_ERROR_OUTSIDE_ROOTS, NULL, "'%s' is a symbolic link or goes through one", path);
    case ENOSYS:
        return vmig_fail(error, VMIG_ERROR_UNSUPPORTED,
                         "In a systemd unit RestrictSUIDSGID= refuses openat2(), which Linux has since 5.6.",
                         "cannot open '%s': openat2() is refused by a system-call filter or an old kernel", path);
    default:
        return vmig_fail_errno(error, errnum, "cannot open '%s'", path);
    }
}
