/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "os/flag-file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core/errors.h"

static gboolean is_ours(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid();
}

gboolean vmig_flag_set(const char *folder, const char *flag, GError **error)
{
    g_autofree char *path = g_build_filename(folder, flag, NULL);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd >= 0) {
        close(fd);
        return TRUE;
    }
    if (errno == EEXIST && vmig_flag_is_set(folder, flag))
        return TRUE;
    return vmig_fail_errno(error, errno, "cannot create %s", path);
}

gboolean vmig_flag_is_set(const char *folder, const char *flag)
{
    g_autofree char *path = g_build_filename(folder, flag, NULL);
    struct stat st;

    return lstat(path, &st) == 0 && is_ours(&st);
}

gboolean vmig_flag_clear(const char *folder, const char *flag)
{
    g_autofree char *path = g_build_filename(folder, flag, NULL);

    return vmig_flag_is_set(folder, flag) && unlink(path) == 0;
}

gboolean vmig_flag_is(const char *name, const struct stat *st)
{
    return is_ours(st) && st->st_size == 0 &&
           (strcmp(name, VMIG_FLAG_GIVEN) == 0 || strcmp(name, VMIG_FLAG_TRY_NOW) == 0);
}
