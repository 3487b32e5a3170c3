/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard's fence: watches which process has the overlays open for writing, then keeps all from opening them again.
 * One thread per overlay. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guard/guard-private.h"
#include "image/image-locks.h"
#include "store/beneath.h"

#define LONGEST_WAIT (10 * 60 * 1000) /* milliseconds of "take wait" */
#define NUDGE (5 * G_TIME_SPAN_MILLISECOND)
#define LOOK G_TIME_SPAN_MILLISECOND /* between two checks of an image that was released */

void vmig_guard_held_free(gpointer data)
{
    VmigHeld *held = data;

    close(held->fd); /* also releases its OFD locks */
    g_free(held->path);
    g_free(held);
}

VmigHeld *vmig_guard_open(VmigGuard *guard, const char *path, int flags, GError **error)
{
    struct stat st;
    int fd = vmig_beneath_open(NULL, path, flags | O_NONBLOCK, 0); /* the caller has resolved the real path */

    if (fd < 0) {
        vmig_beneath_fail(error, errno, path);
        return NULL;
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        vmig_fail_errno(error, EINVAL, "cannot open %s", path);
        close(fd);
        return NULL;
    }
    VmigHeld *held = g_new0(VmigHeld, 1);
    held->guard = guard;
    held->path = g_strdup(path);
    held->fd = fd;
    held->file = VMIG_FILE_ID(st);
    return held;
}

VmigHeld *vmig_guard_find(GPtrArray *list, const VmigHeld *wanted)
{
    for (guint i = 0; i < list->len; i++) {
        VmigHeld *held = list->pdata[i];
        if (vmig_file_id_equal(held->file, wanted->file))
            return held;
    }
    return NULL;
}

/* Waits in the kernel until no process holds byte 101. QEMU releases its read lock on it in bdrv_inactivate(). The lock
 * taken here is released at once: if the migration fails after that, QEMU takes the images back, and it dies if it
 * cannot. */
static int wait_until_free(const VmigHeld *fence)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = VMIG_LOCK_WRITE, .l_len = 1};

    if (fcntl(fence->fd, F_OFD_SETLKW, &lock) < 0)
        return errno;
    lock.l_type = F_UNLCK;
    return fcntl(fence->fd, F_OFD_SETLK, &lock) < 0 ? errno : 0;
}

/* TRUE also if this cannot be determined: then the fence must not be relied on. */
static gboolean has_writer(const VmigHeld *fence)
{
    VmigImageLocks locks;

    return !vmig_image_locks_probe_fd(fence->fd, fence->path, &locks, NULL) || locks.writer;
}

/* Call with the lock held. The kernel reports when a lock is released, not when one is taken, so this polls. A guest
 * that got its disks back and wrote to them keeps them longer than the interval between two checks. */
static void watch_free(VmigHeld *fence)
{
    VmigGuard *guard = fence->guard;

    fence->free = TRUE;
    g_cond_broadcast(&guard->changed);
    while (!fence->drop && !fence->held && !fence->taken) {
        g_cond_wait_until(&guard->changed, &guard->lock, g_get_monotonic_time() + LOOK);
        if (!fence->held && has_writer(fence)) {
            fence->taken = TRUE;
            fence->free = FALSE;
        }
    }
}

/* The kernel does not hand the lock to the waiting thread; it wakes the thread, which tries again. A QEMU that took its
 * image back in between would go unnoticed. Real-time priority makes that interval very short. Without permission for
 * it, the thread continues with normal priority. */
static int be_quick(void)
{
    struct sched_param param = {.sched_priority = 1};

    return pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
}

/* Tries it in the calling thread and reverts it: the fences' threads have the same permission. */
char *vmig_guard_try_quick(void)
{
    struct sched_param before;
    int policy, failed;

    failed = pthread_getschedparam(pthread_self(), &policy, &before);
    if (failed == 0)
        failed = be_quick();
    if (failed != 0)
        return g_strdup_printf("no %s", g_strerror(failed));
    (void)pthread_setschedparam(pthread_self(), policy, &before);
    return g_strdup("yes");
}

static gpointer fence_thread(gpointer data)
{
    VmigHeld *fence = data;
    int result = EINTR;

    (void)be_quick();

    g_mutex_lock(&fence->guard->lock);
    fence->id = pthread_self();
    fence->waiting = TRUE;
    while (result == EINTR && !fence->drop) {
        g_mutex_unlock(&fence->guard->lock);
        result = wait_until_free(fence);
        g_mutex_lock(&fence->guard->lock);
    }
    fence->failed = result != EINTR ? result : 0;
    if (result == 0)
        watch_free(fence);
    fence->over = TRUE;
    g_cond_broadcast(&fence->guard->changed);
    g_mutex_unlock(&fence->guard->lock);
    return NULL;
}

/* Call with the lock held. A signal that arrives between the thread's check of drop and its system call is lost, so it
 * is sent until the thread reports that it is over. */
void vmig_guard_drop(VmigGuard *guard)
{
    g_autoptr(GPtrArray) fences = g_steal_pointer(&guard->fences);

    guard->fences = g_ptr_array_new_with_free_func(vmig_guard_held_free);
    for (guint i = 0; i < fences->len; i++) {
        VmigHeld *fence = fences->pdata[i];
        fence->drop = TRUE;
        while (!fence->over) {
            if (fence->waiting)
                pthread_kill(fence->id, SIGUSR1);
            g_cond_wait_until(&guard->changed, &guard->lock, g_get_monotonic_time() + NUDGE);
        }
    }
    g_mutex_unlock(&guard->lock);
    for (guint i = 0; i < fences->len; i++)
        g_thread_join(((VmigHeld *)fences->pdata[i])->thread);
    g_mutex_lock(&guard->lock);
}

gboolean vmig_guard_arm(VmigGuard *guard, char **paths, GError **error)
{
    g_autoptr(GPtrArray) fresh = g_ptr_array_new_with_free_func(vmig_guard_held_free);

    for (guint i = 0; paths[i] != NULL; i++) {
        VmigHeld *fence = vmig_guard_open(guard, paths[i], O_RDWR, error);
        if (fence == NULL)
            return FALSE;
        if (vmig_guard_find(guard->fences, fence) == NULL && vmig_guard_find(fresh, fence) == NULL)
            g_ptr_array_add(fresh, fence);
        else
            vmig_guard_held_free(fence);
    }
    for (guint i = 0; i < fresh->len; i++) {
        VmigHeld *fence = fresh->pdata[i];
        g_ptr_array_add(guard->fences, fence);
        fence->thread = g_thread_new("vmig-fence", fence_thread, fence);
    }
    g_ptr_array_set_free_func(fresh, NULL);
    return TRUE;
}

static guint count(const VmigGuard *guard, gsize member)
{
    guint n = 0;

    for (guint i = 0; i < guard->fences->len; i++)
        n += G_STRUCT_MEMBER(gboolean, guard->fences->pdata[i], member) != FALSE;
    return n;
}

#define COUNT(guard, what) count(guard, G_STRUCT_OFFSET(VmigHeld, what))

guint vmig_guard_count_held(const VmigGuard *guard)
{
    return COUNT(guard, held);
}

guint vmig_guard_count_free(const VmigGuard *guard)
{
    return COUNT(guard, free);
}

static gboolean any_failed(const VmigGuard *guard, GError **error)
{
    for (guint i = 0; i < guard->fences->len; i++) {
        const VmigHeld *fence = guard->fences->pdata[i];
        if (fence->failed != 0)
            return !vmig_fail_errno(error, fence->failed, "cannot fence %s", fence->path);
    }
    return FALSE;
}

static void lock_no_write(const VmigHeld *fence, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = VMIG_LOCK_NO_WRITE, .l_len = 1};

    (void)fcntl(fence->fd, F_OFD_SETLK, &lock); /* its effect is checked afterwards */
}

/* First the locks, then the check for a writer, as in QEMU: if two processes race, at least one notices the other. All
 * or none: if one disk is in use again, the guest runs. */
static void take_fences(VmigGuard *guard)
{
    gboolean all = TRUE;

    for (guint i = 0; i < guard->fences->len; i++) {
        VmigHeld *fence = guard->fences->pdata[i];
        lock_no_write(fence, F_RDLCK);
        fence->taken = has_writer(fence);
        all = all && !fence->taken;
    }
    for (guint i = 0; i < guard->fences->len; i++) {
        VmigHeld *fence = guard->fences->pdata[i];
        fence->held = all;
        if (!all)
            lock_no_write(fence, F_UNLCK);
    }
    g_cond_broadcast(&guard->changed);
}

/* "" or "wait MS". */
char *vmig_guard_take(VmigGuard *guard, const char *rest, GError **error)
{
    gint64 deadline = g_get_monotonic_time();
    guint64 wait = 0;

    if (*rest != '\0' &&
        (!g_str_has_prefix(rest, "wait ") || !g_ascii_string_to_unsigned(rest + 5, 10, 0, LONGEST_WAIT, &wait, NULL))) {
        vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the guard does not understand \"take %s\"", rest);
        return NULL;
    }
    deadline += (gint64)wait * G_TIME_SPAN_MILLISECOND;
    while (COUNT(guard, free) < guard->fences->len && COUNT(guard, taken) == 0 && !guard->quitting &&
           !any_failed(guard, NULL))
        if (!g_cond_wait_until(&guard->changed, &guard->lock, deadline))
            break;
    if (any_failed(guard, error))
        return NULL;
    if (COUNT(guard, free) == guard->fences->len && COUNT(guard, taken) == 0 && COUNT(guard, held) == 0)
        take_fences(guard);
    return g_strdup_printf("armed %u held %u", guard->fences->len, COUNT(guard, held));
}
