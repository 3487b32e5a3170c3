/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node: the users of an image, and the only way to remove or rename an image that no job made. */
#include <errno.h>
#include <sys/stat.h>

#include "image/image.h"
#include "node/image-users.h"
#include "node/leftovers.h"
#include "node/node-local-private.h"
#include "store/gate.h"

static GPtrArray *users_of(VmigLocal *local, const char *const *paths, const char *const *leaving, const char *domain,
                           gboolean taken)
{
    g_autoptr(GPtrArray) roots = g_ptr_array_new();
    VmigImageQuestion question = {
        .libvirt_uri = local->libvirt_uri,
        .paths = paths,
        .leaving = leaving,
        .domain = domain,
        .taken = taken,
    };

    for (guint i = 0; i < local->roots->len; i++)
        g_ptr_array_add(roots, local->roots->pdata[i]);
    g_ptr_array_add(roots, NULL);
    question.roots = (const char *const *)roots->pdata;
    return vmig_image_users(&question);
}

static char *user_of(VmigLocal *local, const char *path, const char *const *leaving, gboolean taken)
{
    const char *const paths[] = {path, NULL};
    g_autoptr(GPtrArray) users = users_of(local, paths, leaving, NULL, taken);

    return g_strdup(users->pdata[0]);
}

static char *changed(int fd, const VmigFile *file)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return g_strdup_printf("cannot stat it: %s", g_strerror(errno));
    /* The device is not compared: its number may change at each boot. */
    return vmig_stat_is(&st, file->ino, file->size, file->mtime_ns) ? NULL
                                                                    : g_strdup("it was changed after it was copied");
}

char *vmig_local_image_user(VmigLocal *local, const VmigFile *file, const char *path, const char *const *leaving)
{
    g_autoptr(GError) error = NULL;
    g_auto(VmigFd) fd = vmig_image_open(path, local->roots, FALSE, &error);

    if (fd < 0)
        return g_strdup(error->message);
    char *why = changed(fd, file);
    return why != NULL ? why : user_of(local, path, leaving, FALSE);
}

/* The first check runs without the lock, which would keep a guest that has the image from starting. If the image is
 * unused, the lock keeps every QEMU away, and a second check finds any use that began in between. */
int vmig_local_claim(VmigLocal *local, const VmigFile *file, const char *path, const char *const *leaving, char **why)
{
    g_autoptr(GError) error = NULL;

    if ((*why = vmig_local_image_user(local, file, path, leaving)) != NULL)
        return -1;
    int fd = vmig_image_open(path, local->roots, TRUE, &error);
    if (fd < 0) {
        *why = g_strdup(error->message);
        return -1;
    }
    if (vmig_image_take(fd, why) && (*why = changed(fd, file)) == NULL)
        *why = user_of(local, path, leaving, TRUE);
    if (*why == NULL)
        return fd;
    close(fd);
    return -1;
}

gboolean vmig_local_do_users(VmigLocal *local, const VmigUsersArgs *args, VmigUsersReply *reply, GError **error)
{
    for (guint i = 0; args->paths[i] != NULL; i++)
        if (!vmig_local_check_path(local, args->paths[i], error))
            return FALSE;
    g_autoptr(GPtrArray) users = users_of(local, args->paths, args->paths, args->domain, FALSE);
    reply->users = g_new0(char *, users->len + 1);
    for (guint i = 0; i < users->len; i++)
        reply->users[i] = g_strdup(users->pdata[i] != NULL ? users->pdata[i] : "");
    return TRUE;
}
