/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fence's second holder: this process takes the same locks as the guard as soon as the guard has them.
 *
 * Between that moment and the end of the source's QEMU there are two synced writes. If the guard is killed in between,
 * libvirt, which did not get the reply to its last call, would resume that QEMU.
 */
#include <fcntl.h>

#include "image/image-locks.h"
#include "node/node-local-private.h"
#include "store/beneath.h"

typedef struct {
    char *path;
    int fd;
} Hold;

static void hold_free(gpointer data)
{
    Hold *hold = data;

    if (hold->fd >= 0)
        close(hold->fd); /* also releases its OFD locks */
    g_free(hold->path);
    g_free(hold);
}

void vmig_local_hold_plan(VmigLocal *local, const char *job, const char *const *paths)
{
    GPtrArray *holds = g_ptr_array_new_with_free_func(hold_free);

    for (guint i = 0; paths[i] != NULL; i++) {
        Hold *hold = g_new0(Hold, 1);
        hold->path = g_strdup(paths[i]);
        hold->fd = -1;
        g_ptr_array_add(holds, hold);
    }
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);
    g_hash_table_replace(local->holds, g_strdup(job), holds);
}

/* First the lock, then the check, as in QEMU (raw_handle_perm_lock): if two processes race, one of them notices. */
static gboolean take(Hold *hold, GError **error)
{
    VmigImageLocks locks;

    if (hold->fd < 0)
        hold->fd = vmig_beneath_open(NULL, hold->path, O_RDONLY | O_NONBLOCK, 0);
    if (hold->fd < 0)
        return vmig_beneath_fail(error, errno, hold->path);
    if (!vmig_image_lock_shared(hold->fd, hold->path, VMIG_LOCK_NO_WRITE, error) ||
        !vmig_image_locks_probe_fd(hold->fd, hold->path, &locks, error))
        return FALSE;
    return !locks.writer ||
           vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "another process has %s open for writing again", hold->path);
}

gboolean vmig_local_hold(VmigLocal *local, const char *job, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);
    GPtrArray *holds = g_hash_table_lookup(local->holds, job);

    for (guint i = 0; holds != NULL && i < holds->len; i++)
        if (!take(holds->pdata[i], error)) {
            g_hash_table_remove(local->holds, job);
            return FALSE;
        }
    return TRUE;
}

void vmig_local_hold_drop(VmigLocal *local, const char *job)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);

    g_hash_table_remove(local->holds, job);
}
