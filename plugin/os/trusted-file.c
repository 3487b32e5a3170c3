/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "os/trusted-file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static gboolean check_owner(const struct stat *st, const char *path, GError **error)
{
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return vmig_fail(error, VMIG_ERROR_USAGE, "Check its content, then give it to root (chown root).",
                         "%s does not belong to root", path);
    if ((st->st_mode & 022) != 0)
        return vmig_fail(error, VMIG_ERROR_USAGE,
                         S_ISDIR(st->st_mode) ? "Check its content, then change its mode (chmod 0755)."
                                              : "Check its content, then change its mode (chmod 0644).",
                         "other users can write to %s", path);
    return TRUE;
}

static gboolean check_file(int fd, const char *path, GError **error)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return vmig_fail_errno(error, errno, "cannot stat %s", path);
    if (!S_ISREG(st.st_mode) || st.st_size > VMIG_TRUSTED_MAX_SIZE)
        return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "%s must be a regular file of at most 64 KiB", path);
    return check_owner(&st, path, error);
}

static char *read_text(int fd, const char *path, GError **error)
{
    g_autofree char *text = g_malloc0(VMIG_TRUSTED_MAX_SIZE + 1);
    gsize length = 0;
    gssize got;

    while ((got = read(fd, text + length, VMIG_TRUSTED_MAX_SIZE - length)) > 0)
        length += (gsize)got;
    if (got < 0) {
        vmig_fail_errno(error, errno, "cannot read %s", path);
        return NULL;
    }
    if (strlen(text) != length || !g_utf8_validate(text, -1, NULL)) {
        vmig_fail(error, VMIG_ERROR_USAGE, NULL, "%s is not a text file", path);
        return NULL;
    }
    return g_steal_pointer(&text);
}

/* -1 without an error: it does not exist. O_NONBLOCK, because it may be a FIFO. */
static int open_at(int folder, const char *name, int flags, const char *path, GError **error)
{
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | flags);

    if (fd < 0 && errno != ENOENT)
        vmig_fail_errno(error, errno, "cannot open %s", path);
    return fd;
}

static char *read_at(int folder, const char *name, const char *path, GError **error)
{
    int fd = open_at(folder, name, 0, path, error);

    if (fd < 0)
        return NULL;
    char *text = check_file(fd, path, error) ? read_text(fd, path, error) : NULL;
    close(fd);
    return text;
}

char *vmig_trusted_read(const char *path, GError **error)
{
    return read_at(AT_FDCWD, path, path, error);
}

char *vmig_trusted_read_in(const char *folder, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    char *text = NULL;
    struct stat st;
    int fd = open_at(AT_FDCWD, folder, O_DIRECTORY, folder, error);

    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) != 0)
        vmig_fail_errno(error, errno, "cannot stat %s", folder);
    else if (check_owner(&st, folder, error))
        text = read_at(fd, name, path, error);
    close(fd);
    return text;
}

gboolean vmig_trusted_program(const char *path, GError **error)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return vmig_fail_errno(error, errno, "cannot stat %s", path);
    if (!S_ISREG(st.st_mode))
        return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "%s is not a program", path);
    return check_owner(&st, path, error);
}
