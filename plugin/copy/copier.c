/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* All files of one send: the distribution of connections, the source's files, the first error. */
#include "copy/copier.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file-id.h"
#include "copy/copier-private.h"
#include "store/beneath.h"

#define STALL_LIMIT (30 * G_USEC_PER_SEC)
#define CONNECTIONS 4       /* per file */
#define MOST_CONNECTIONS 16 /* of all files; further files wait for their turn */
#define REQUEST (1024 * 1024)
#define DEPTH 8
#define BUFFERS (32 * 1024 * 1024) /* of all connections */
#define PROGRESS_INTERVAL (G_USEC_PER_SEC / 4)
#define PAGE 4096

typedef struct {
    VmigCopier copier;
    VmigBandwidth *bandwidth;
    gint64 stall_limit;
    GPtrArray *roots;
    guint connections;
    gsize request;
    guint depth;
    gsize buffers_now;
    gsize buffers_peak;
    GMutex lock;
    gboolean cancelled;
    VmigSend *running; /* under lock */
} RealCopier;

typedef struct {
    VmigSend *send;
    GPtrArray *tasks;
    guint connections; /* per file */
    gint next;         /* atomic: the next file that no thread has taken */
} Batch;

void vmig_send_fail(VmigSend *send, GError *error)
{
    guint64 one = 1;

    g_mutex_lock(&send->lock);
    gboolean first = send->error == NULL;
    if (first)
        send->error = error;
    for (guint i = 0; i < send->known->len; i++)
        vmig_known_stop(send->known->pdata[i]);
    g_mutex_unlock(&send->lock);
    if (!first)
        g_error_free(error);
    else if (write(send->stop_fd, &one, sizeof one) < 0)
        g_warn_if_reached(); /* cannot fail below 2^64 - 1 */
}

static gboolean send_failed(VmigSend *send)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&send->lock);

    return send->error != NULL;
}

static void copy_fail(VmigCopy *copy, GError *error)
{
    g_prefix_error(&error, "cannot copy %s: ", copy->file->path[VMIG_SOURCE]);
    vmig_send_fail(copy->send, error);
}

void vmig_copy_account(VmigCopy *copy, guint64 done, guint64 sent)
{
    gint64 now = g_get_monotonic_time();
    gboolean tell;

    g_mutex_lock(&copy->lock);
    copy->activity = now;
    copy->done += done;
    copy->sent += sent;
    VmigCopyProgress progress = {.done = copy->done, .sent = copy->sent, .total = copy->size};
    tell = copy->send->events->progress != NULL && now - copy->last_told >= PROGRESS_INTERVAL;
    if (tell)
        copy->last_told = now;
    g_mutex_unlock(&copy->lock);
    if (tell)
        copy->send->events->progress(copy->send->events->user, copy->index, &progress);
}

void vmig_copy_unaccount(VmigCopy *copy, guint64 done)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&copy->lock);

    copy->done -= done;
}

/* TRUE if all of it is in the page cache: then the cache is faster than the disk, and reading from it adds nothing to
 * it. Other data is read with direct I/O, so that a copy does not evict what other guests on the host need. */
static gboolean is_cached(const VmigCopy *copy, gsize length, guint64 offset)
{
    unsigned char pages[512];

    if (copy->pages == NULL)
        return FALSE;
    for (gsize done = 0; done < length; done += sizeof pages * PAGE) {
        gsize part = MIN(length - done, sizeof pages * PAGE);
        if (mincore(copy->pages + offset + done, part, pages) < 0)
            return FALSE;
        for (gsize i = 0; i < (part + PAGE - 1) / PAGE; i++)
            if (!(pages[i] & 1))
                return FALSE;
    }
    return TRUE;
}

gboolean vmig_copy_read(VmigCopy *copy, guint8 *buffer, gsize length, guint64 offset, GError **error)
{
    gboolean cached = is_cached(copy, length, offset);
    int fd = copy->direct >= 0 && !cached ? copy->direct : copy->fd;
    gsize rounded = (length + PAGE - 1) / PAGE * PAGE;

    for (gsize done = 0; done < length;) {
        ssize_t got = pread(fd, buffer + done, rounded - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EINVAL && fd == copy->direct) {
            fd = copy->fd; /* the device needs more than 4096-byte alignment */
            continue;
        }
        if (got < 0)
            return vmig_fail_errno(error, errno, "cannot read at offset %" G_GUINT64_FORMAT, offset + done);
        if (got == 0)
            return vmig_fail(error, VMIG_ERROR_BASE_CHANGED, NULL, "it became shorter while it was copied");
        done += (gsize)got;
    }
    if (fd == copy->fd && !cached)
        (void)posix_fadvise(copy->fd, (off_t)offset, (off_t)length, POSIX_FADV_DONTNEED);
    return TRUE;
}

static void link_thread_run(VmigCopy *copy)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigLink) link = vmig_link_new(copy, &error);

    if (link == NULL || !vmig_link_run(link, &error))
        copy_fail(copy, g_steal_pointer(&error));
}

static gpointer link_thread(gpointer data)
{
    link_thread_run(data);
    return NULL;
}

/* The first connection shows whether the server allows more of them. */
static gboolean run_links(VmigCopy *copy, guint connections, GError **error)
{
    g_autoptr(GPtrArray) threads = g_ptr_array_new();
    g_autoptr(VmigLink) first = vmig_link_new(copy, error);

    if (first == NULL || (copy->known == NULL && !vmig_link_reserve(first, error)))
        return FALSE;
    if (!vmig_link_can_multi(first))
        connections = 1;
    for (guint i = 1; i < MIN(connections, vmig_tree_hash_blocks(copy->hash)); i++)
        g_ptr_array_add(threads, g_thread_new("vmig-link", link_thread, copy));
    gboolean ok = vmig_link_run(first, error);
    if (!ok) /* ends the other connections, which are joined below */
        copy_fail(copy, g_error_copy(*error));
    for (guint i = 0; i < threads->len; i++)
        g_thread_join(threads->pdata[i]);
    if (!ok)
        return FALSE;
    if (send_failed(copy->send))
        return vmig_fail(error, VMIG_ERROR_CANCELLED, NULL, "the copy was stopped");
    return vmig_link_flush(first, error);
}

/* Checks that the file and its content are unchanged, and that its name still refers to it. */
static gboolean check_unchanged(const VmigCopy *copy, const struct stat *before, GError **error)
{
    struct stat now, named;

    if (fstat(copy->fd, &now) < 0 || vmig_beneath_stat(copy->send->roots, copy->file->path[VMIG_SOURCE], &named) < 0)
        return vmig_fail(error, VMIG_ERROR_BASE_CHANGED, NULL, "cannot stat it any longer: %s", g_strerror(errno));
    if (now.st_size != before->st_size || now.st_mtim.tv_sec != before->st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != before->st_mtim.tv_nsec)
        return vmig_fail(error, VMIG_ERROR_BASE_CHANGED, NULL, "it was written to while it was copied");
    if (!vmig_file_id_equal(VMIG_FILE_ID(named), VMIG_FILE_ID(*before)))
        return vmig_fail(error, VMIG_ERROR_BASE_CHANGED, NULL, "another file now has its name");
    return TRUE;
}

static gboolean open_source(VmigCopy *copy, struct stat *st, GError **error)
{
    copy->fd = vmig_beneath_open(copy->send->roots, copy->file->path[VMIG_SOURCE], O_RDONLY | O_NONBLOCK, 0);
    if (copy->fd < 0)
        return vmig_beneath_fail(error, errno, copy->file->path[VMIG_SOURCE]);
    if (fstat(copy->fd, st) < 0)
        return vmig_fail_errno(error, errno, "cannot stat it");
    if (!S_ISREG(st->st_mode))
        return vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "it is not a regular file");
    if ((guint64)st->st_size != copy->file->size)
        return vmig_fail(error, VMIG_ERROR_BASE_CHANGED, NULL,
                         "it has %" G_GUINT64_FORMAT " bytes instead of the %" G_GUINT64_FORMAT
                         " bytes that it had when it was frozen",
                         (guint64)st->st_size, copy->file->size);
    copy->size = copy->file->size;
    copy->direct = vmig_open_direct(copy->fd, O_RDONLY);
    /* For users other than the owner mincore() reports everything as resident (mm/mincore.c, can_do_mincore()). */
    gboolean may_ask = copy->size > 0 && (geteuid() == 0 || geteuid() == st->st_uid);
    void *pages = may_ask ? mmap(NULL, copy->size, PROT_READ, MAP_SHARED, copy->fd, 0) : MAP_FAILED;
    copy->pages = pages != MAP_FAILED ? pages : NULL;
    return TRUE;
}

static void close_source(VmigCopy *copy)
{
    if (copy->pages != NULL)
        munmap(copy->pages, copy->size);
    if (copy->direct >= 0)
        close(copy->direct);
    if (copy->fd >= 0)
        close(copy->fd);
}

static char *copy_opened(VmigCopy *copy, guint connections, const struct stat *before, GError **error)
{
    g_autoptr(VmigTreeHash) hash = vmig_tree_hash_new(copy->size, &copy->task->key);
    g_autoptr(VmigBlockWalk) walk = vmig_block_walk_new(copy->fd, copy->size);
    g_autoptr(VmigKnown) known = NULL;
    g_autofree guint8 *rewritten = NULL;

    if (!copy->task->fresh && copy->size > 0) {
        known = vmig_known_new(copy->size, copy->send->events, copy->index);
        rewritten = g_malloc0(vmig_block_set_bytes(vmig_tree_hash_blocks(hash)));
    }
    copy->hash = hash;
    copy->walk = walk;
    copy->rewritten = rewritten;
    g_mutex_lock(&copy->send->lock);
    copy->known = known;
    if (known != NULL)
        g_ptr_array_add(copy->send->known, known); /* vmig_send_fail() stops it */
    if (known != NULL && copy->send->error != NULL)
        vmig_known_stop(known);
    g_mutex_unlock(&copy->send->lock);
    gboolean ok = run_links(copy, connections, error) && check_unchanged(copy, before, error);
    g_mutex_lock(&copy->send->lock);
    if (known != NULL)
        g_ptr_array_remove(copy->send->known, known);
    g_mutex_unlock(&copy->send->lock);
    if (!ok)
        return NULL;
    copy->task->rewritten = rewritten != NULL ? vmig_block_set_write(rewritten, vmig_tree_hash_blocks(hash)) : NULL;
    return vmig_tree_hash_finish(hash, error);
}

static void copy_file(Batch *batch, guint index)
{
    VmigCopyTask *task = batch->tasks->pdata[index];
    const VmigCopyEvents *events = batch->send->events;
    VmigCopy copy = {.send = batch->send, .index = index, .task = task, .file = task->file, .fd = -1, .direct = -1};
    g_autoptr(GError) error = NULL;
    struct stat before;

    g_mutex_init(&copy.lock);
    if (open_source(&copy, &before, &error))
        task->hash = copy_opened(&copy, batch->connections, &before, &error);
    if (task->hash == NULL)
        copy_fail(&copy, g_steal_pointer(&error));
    else if (events->progress != NULL)
        events->progress(events->user, index, &(VmigCopyProgress){copy.done, copy.sent, copy.size});
    close_source(&copy);
    g_mutex_clear(&copy.lock);
}

static gpointer file_thread(gpointer data)
{
    Batch *batch = data;
    guint index;

    while ((index = (guint)g_atomic_int_add(&batch->next, 1)) < batch->tasks->len && !send_failed(batch->send))
        copy_file(batch, index);
    return NULL;
}

static void run_batch(Batch *batch, guint at_once)
{
    g_autoptr(GPtrArray) threads = g_ptr_array_new();

    for (guint i = 1; i < at_once; i++)
        g_ptr_array_add(threads, g_thread_new("vmig-copy", file_thread, batch));
    file_thread(batch);
    for (guint i = 0; i < threads->len; i++)
        g_thread_join(threads->pdata[i]);
}

/* Divides connections and buffers among the files that are copied in parallel. */
static guint divide(const RealCopier *self, VmigSend *send, guint at_once)
{
    guint connections = MAX(MIN(MOST_CONNECTIONS / at_once, self->connections), 1);

    send->request = self->request;
    send->depth = (guint)CLAMP(BUFFERS / (connections * at_once * send->request), 1, self->depth);
    return connections;
}

static gboolean begin(RealCopier *self, VmigSend *send, GError **error)
{
    if (!vmig_hash_check(error))
        return FALSE;
    send->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (send->stop_fd < 0)
        return vmig_fail_errno(error, errno, "cannot create an eventfd");
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&self->lock);
    if (self->cancelled)
        return vmig_fail(error, VMIG_ERROR_CANCELLED, NULL, "the copy was cancelled");
    self->running = send;
    return TRUE;
}

static void end(RealCopier *self)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&self->lock);

    self->running = NULL;
}

static void forget_results(GPtrArray *tasks)
{
    for (guint i = 0; i < tasks->len; i++) {
        VmigCopyTask *task = tasks->pdata[i];
        g_clear_pointer(&task->hash, g_free);
        g_clear_pointer(&task->rewritten, g_free);
    }
}

static gboolean real_send(VmigCopier *copier, GPtrArray *tasks, const VmigCopyEvents *events, GError **error)
{
    RealCopier *self = (RealCopier *)copier;
    g_autoptr(GPtrArray) known = g_ptr_array_new();
    VmigSend send = {.bandwidth = self->bandwidth,
                     .stall_limit = self->stall_limit,
                     .roots = self->roots,
                     .buffers_now = &self->buffers_now,
                     .buffers_peak = &self->buffers_peak,
                     .events = events,
                     .known = known,
                     .stop_fd = -1};
    guint at_once = CLAMP(tasks->len, 1, MOST_CONNECTIONS);
    Batch batch = {.send = &send, .tasks = tasks, .connections = divide(self, &send, at_once)};

    g_mutex_init(&send.lock);
    gboolean begun = begin(self, &send, error);
    if (begun) {
        run_batch(&batch, at_once);
        end(self);
    }
    if (send.stop_fd >= 0)
        close(send.stop_fd);
    g_mutex_clear(&send.lock);
    if (send.error != NULL)
        g_propagate_error(error, send.error);
    if (begun && send.error == NULL)
        return TRUE;
    forget_results(tasks);
    return FALSE;
}

static void real_cancel(VmigCopier *copier)
{
    RealCopier *self = (RealCopier *)copier;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&self->lock);
    g_autoptr(GError) error = NULL;

    self->cancelled = TRUE;
    if (self->running == NULL)
        return;
    vmig_fail(&error, VMIG_ERROR_CANCELLED, NULL, "the copy was cancelled");
    vmig_send_fail(self->running, g_steal_pointer(&error));
}

static void real_set_bandwidth(VmigCopier *copier, guint64 bytes_per_s)
{
    vmig_bandwidth_set(((RealCopier *)copier)->bandwidth, bytes_per_s);
}

static void real_free(VmigCopier *copier)
{
    RealCopier *self = (RealCopier *)copier;

    vmig_bandwidth_free(self->bandwidth);
    g_clear_pointer(&self->roots, g_ptr_array_unref);
    g_mutex_clear(&self->lock);
    g_free(self);
}

static const VmigCopierOps real_ops = {
    .send = real_send,
    .cancel = real_cancel,
    .set_bandwidth = real_set_bandwidth,
    .free = real_free,
};

VmigCopier *vmig_copier_new(guint64 bandwidth)
{
    RealCopier *self = g_new0(RealCopier, 1);

    self->copier.ops = &real_ops;
    self->bandwidth = vmig_bandwidth_new(bandwidth);
    self->stall_limit = STALL_LIMIT;
    self->connections = CONNECTIONS;
    self->request = REQUEST;
    self->depth = DEPTH;
    g_mutex_init(&self->lock);
    return &self->copier;
}

void vmig_copier_free(VmigCopier *copier)
{
    if (copier != NULL)
        copier->ops->free(copier);
}

void vmig_copier_set_stall_limit(VmigCopier *copier, gint64 microseconds)
{
    ((RealCopier *)copier)->stall_limit = microseconds;
}

void vmig_copier_set_roots(VmigCopier *copier, const char *const *roots)
{
    RealCopier *self = (RealCopier *)copier;

    g_clear_pointer(&self->roots, g_ptr_array_unref);
    self->roots = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; roots[i] != NULL; i++)
        g_ptr_array_add(self->roots, g_strdup(roots[i]));
}

void vmig_copier_set_tuning(VmigCopier *copier, guint connections, gsize request, guint depth)
{
    RealCopier *self = (RealCopier *)copier;

    self->connections = connections != 0 ? connections : self->connections;
    self->request = request != 0 ? request : self->request;
    self->depth = depth != 0 ? depth : self->depth;
}

gsize vmig_copier_peak_buffers(VmigCopier *copier)
{
    return ((RealCopier *)copier)->buffers_peak;
}
