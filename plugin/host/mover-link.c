/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One connection of a copy: takes blocks from the file's walk, reads, hashes and sends them.
 *
 * A block is read in order, request by request, so that its hash can be computed as a stream from the buffers that are
 * sent. Everything that waits does so in step(), which ends for a stop, an error, a stall or an event.
 */
#include "host/mover-private.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define ALIGNMENT 4096
#define ZERO_REQUEST (G_GUINT64_CONSTANT(1) << 30) /* a request's length has 32 bits */
#define LONGEST_NAP (G_USEC_PER_SEC / 10)          /* a change of the bandwidth is seen after that at the latest */
#define FLUSH_PATIENCE 10                          /* times the stall limit: a slow disk may have much to flush */

static const guint8 zeros[65536] __attribute__((aligned(4096)));

/* A request in flight, or the room for one. */
typedef struct Slot {
    VmigLink *link;
    guint8 *buffer;
    struct Slot *next; /* in the free list */
    guint64 done;      /* to account when it is acknowledged */
    guint64 sent;
    gboolean optional; /* the server may say that it cannot do this */
} Slot;

struct VmigLink {
    VmigCopy *copy;
    struct nbd_handle *nbd;
    XXH3_state_t *hash;
    Slot *slots;
    Slot *free;
    guint in_flight;
    guint64 export_size;
    gboolean can_zero;
    gboolean can_reserve;
    gboolean can_flush;
    int failed; /* the errno of the first request that failed */
};

static gboolean is_lost(VmigLink *link, int errnum)
{
    return nbd_aio_is_dead(link->nbd) > 0 || nbd_aio_is_closed(link->nbd) > 0 || errnum == ENOTCONN ||
           errnum == ESHUTDOWN || errnum == EPIPE || errnum == ECONNRESET;
}

static gboolean fail_request(VmigLink *link, int errnum, GError **error)
{
    if (is_lost(link, errnum))
        return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "The connection to the receiver %s broke: %s",
                         link->copy->socket, errnum != 0 ? g_strerror(errnum) : "it was closed");
    return vmig_fail_errno(error, errnum, "The receiver %s failed", link->copy->socket);
}

/* After a call of libnbd that returned -1. */
static gboolean fail_call(VmigLink *link, GError **error)
{
    const char *text = nbd_get_error();
    int errnum = nbd_get_errno();

    if (errnum == ENOSPC)
        return fail_request(link, errnum, error);
    return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "The receiver %s cannot be used: %s", link->copy->socket,
                     text != NULL ? text : g_strerror(errnum));
}

static gboolean check_state(VmigLink *link, GError **error)
{
    if (link->failed != 0)
        return fail_request(link, link->failed, error);
    if (nbd_aio_is_dead(link->nbd) > 0 || nbd_aio_is_closed(link->nbd) > 0)
        return fail_call(link, error);
    return TRUE;
}

static void note_activity(VmigCopy *copy)
{
    g_mutex_lock(&copy->lock);
    copy->activity = g_get_monotonic_time();
    g_mutex_unlock(&copy->lock);
}

/* The server may be frozen: then nothing fails, nothing ever comes. Bytes that it takes count as life, so that a slow
 * line is no stall. */
static gboolean check_stall(VmigLink *link, gint64 since, gint64 limit, GError **error)
{
    g_mutex_lock(&link->copy->lock);
    gint64 idle = g_get_monotonic_time() - MAX(since, link->copy->activity);
    g_mutex_unlock(&link->copy->lock);
    if (idle < limit)
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_STALLED, NULL, "The receiver %s has done nothing for %.1f s", link->copy->socket,
                     (double)idle / G_USEC_PER_SEC);
}

/* Waits at most that long for an event on the connection and handles it. */
static gboolean step(VmigLink *link, gint64 timeout, GError **error)
{
    unsigned direction = nbd_aio_get_direction(link->nbd);
    struct pollfd fds[] = {{.fd = nbd_aio_get_fd(link->nbd)}, {.fd = link->copy->send->stop_fd, .events = POLLIN}};
    struct timespec wait = {.tv_sec = timeout / G_USEC_PER_SEC, .tv_nsec = timeout % G_USEC_PER_SEC * 1000};
    int result = 0;

    fds[0].events = (short)(((direction & LIBNBD_AIO_DIRECTION_READ) ? POLLIN : 0) |
                            ((direction & LIBNBD_AIO_DIRECTION_WRITE) ? POLLOUT : 0));
    if (ppoll(fds, 2, &wait, NULL) < 0 && errno != EINTR)
        return vmig_fail_errno(error, errno, "Cannot wait for a connection");
    if (fds[1].revents != 0)
        return vmig_fail(error, VMIG_ERROR_CANCELLED, NULL, "The copy was stopped");
    if (fds[0].revents != 0)
        note_activity(link->copy);
    if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) && (direction & LIBNBD_AIO_DIRECTION_READ))
        result = nbd_aio_notify_read(link->nbd);
    else if (fds[0].revents & (POLLOUT | POLLHUP | POLLERR))
        result = nbd_aio_notify_write(link->nbd);
    if (result < 0)
        return link->failed != 0 ? fail_request(link, link->failed, error) : fail_call(link, error);
    return check_state(link, error);
}

/* Waits for an event as long as the other side may be silent. */
static gboolean await(VmigLink *link, gint64 since, gint64 limit, GError **error)
{
    return step(link, LONGEST_NAP, error) && check_stall(link, since, limit, error);
}

/* libnbd calls it from notify_read() on this connection's thread, also for what is still in flight at nbd_close(). */
static int completed(void *user, int *errnum)
{
    Slot *slot = user;
    VmigLink *link = slot->link;

    link->in_flight--;
    slot->next = link->free;
    link->free = slot;
    if (*errnum == 0)
        vmig_copy_account(link->copy, slot->done, slot->sent);
    else if (slot->optional && (*errnum == ENOTSUP || *errnum == EINVAL))
        link->can_reserve = FALSE;
    else if (link->failed == 0)
        link->failed = *errnum;
    return 1; /* retires the command */
}

static gboolean get_slot(VmigLink *link, Slot **ret, GError **error)
{
    gint64 since = g_get_monotonic_time();

    /* One look without waiting: replies are taken and the socket is kept full between two reads of the disk. */
    if (!step(link, 0, error))
        return FALSE;
    while (link->free == NULL)
        if (!await(link, since, link->copy->send->stall_limit, error))
            return FALSE;
    *ret = link->free;
    link->free = (*ret)->next;
    (*ret)->done = (*ret)->sent = 0;
    (*ret)->optional = FALSE;
    return TRUE;
}

static gboolean drain(VmigLink *link, gint64 limit, GError **error)
{
    gint64 since = g_get_monotonic_time();

    while (link->in_flight > 0)
        if (!await(link, since, limit, error))
            return FALSE;
    return check_state(link, error);
}

/* cookie is what the asynchronous call returned. */
static gboolean issued(VmigLink *link, int64_t cookie, GError **error)
{
    if (cookie >= 0)
        return TRUE;
    /* completed() was called or not, depending on where libnbd failed; after this error nobody asks for a slot. */
    return link->failed != 0 ? fail_request(link, link->failed, error) : fail_call(link, error);
}

/* The length on the server: its file is as long as the sector wants it. */
static gsize on_server(const VmigLink *link, guint64 offset, guint64 length)
{
    guint64 rounded = (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;

    return MIN(rounded, link->export_size - offset);
}

static gboolean send_zeros(VmigLink *link, Slot *slot, guint64 offset, guint64 length, guint32 flags, GError **error)
{
    nbd_completion_callback callback = {.callback = completed, .user_data = slot};
    guint64 there = on_server(link, offset, length);

    link->in_flight++;
    return issued(link, nbd_aio_zero(link->nbd, there, offset, callback, flags), error);
}

static gboolean send_data(VmigLink *link, Slot *slot, guint64 offset, gsize length, GError **error)
{
    nbd_completion_callback callback = {.callback = completed, .user_data = slot};
    VmigBandwidth *bandwidth = link->copy->send->bandwidth;
    gint64 since = g_get_monotonic_time(), wait;
    gsize there = on_server(link, offset, length);

    while ((wait = vmig_bandwidth_take(bandwidth, there, g_get_monotonic_time())) > 0)
        if (!step(link, MIN(wait, LONGEST_NAP), error) ||
            (link->in_flight > 0 && !check_stall(link, since, link->copy->send->stall_limit, error)))
            return FALSE;
    memset(slot->buffer + length, 0, there - length);
    slot->done = length;
    slot->sent = there;
    link->in_flight++;
    return issued(link, nbd_aio_pwrite(link->nbd, slot->buffer, there, offset, callback, 0), error);
}

/* A hole: it becomes one on the server, whatever was there. */
static gboolean send_hole(VmigLink *link, guint64 offset, guint64 end, GError **error)
{
    gsize most =
        link->can_zero ? ZERO_REQUEST : vmig_bandwidth_chunk(link->copy->send->bandwidth, link->copy->send->request);
    Slot *slot;

    for (guint64 length; offset < end; offset += length) {
        length = MIN(end - offset, most);
        if (!get_slot(link, &slot, error))
            return FALSE;
        slot->done = length;
        if (link->can_zero) {
            if (!send_zeros(link, slot, offset, length, 0, error))
                return FALSE;
            continue;
        }
        memset(slot->buffer, 0, length);
        if (!send_data(link, slot, offset, length, error))
            return FALSE;
    }
    return TRUE;
}

/* One request's worth of data. Zeros keep their room on the server (NO_HOLE), as they have it here. */
static gboolean send_piece(VmigLink *link, guint64 offset, gsize length, GError **error)
{
    Slot *slot;

    if (!get_slot(link, &slot, error) || !vmig_copy_read(link->copy, slot->buffer, length, offset, error))
        return FALSE;
    XXH3_128bits_update(link->hash, slot->buffer, length);
    if (!link->can_zero || !vmig_is_zero(slot->buffer, length))
        return send_data(link, slot, offset, length, error);
    slot->done = length;
    return send_zeros(link, slot, offset, length, LIBNBD_CMD_FLAG_NO_HOLE, error);
}

static void hash_zeros(VmigLink *link, guint64 length)
{
    for (guint64 part; length > 0; length -= part) {
        part = MIN(length, sizeof zeros);
        XXH3_128bits_update(link->hash, zeros, part);
    }
}

static gboolean send_block(VmigLink *link, guint64 index, GError **error)
{
    VmigCopy *copy = link->copy;
    guint64 offset = index * VMIG_HASH_BLOCK, end = offset + vmig_tree_hash_block_length(copy->hash, index), stop;
    XXH128_canonical_t digest;
    gboolean hole;

    XXH3_128bits_reset(link->hash);
    for (; offset < end; offset = stop) {
        if (!vmig_next_extent(copy->fd, offset, end, &hole, &stop, error))
            return FALSE;
        if (hole) {
            hash_zeros(link, stop - offset);
            if (!send_hole(link, offset, stop, error))
                return FALSE;
        }
        for (gsize length; !hole && offset < stop; offset += length) {
            length = MIN(stop - offset, vmig_bandwidth_chunk(copy->send->bandwidth, copy->send->request));
            if (!send_piece(link, offset, length, error))
                return FALSE;
        }
    }
    XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(link->hash));
    vmig_tree_hash_set_digest(copy->hash, index, digest.digest);
    return TRUE;
}

static gboolean send_hole_run(VmigLink *link, const VmigBlockRun *run, GError **error)
{
    guint64 end = MIN((run->first + run->count) * VMIG_HASH_BLOCK, link->copy->size);

    for (guint64 i = run->first; i < run->first + run->count; i++)
        vmig_tree_hash_set_zero(link->copy->hash, i);
    return send_hole(link, run->first * VMIG_HASH_BLOCK, end, error);
}

gboolean vmig_link_run(VmigLink *link, GError **error)
{
    VmigBlockRun run;

    for (;;) {
        if (!vmig_block_walk_next(link->copy->walk, &run, error))
            return FALSE;
        if (run.count == 0)
            return drain(link, link->copy->send->stall_limit, error);
        if (!(run.hole ? send_hole_run(link, &run, error) : send_block(link, run.first, error)))
            return FALSE;
    }
}

/* WRITE_ZEROES that keeps the room: qemu-nbd's fallocate(ZERO_RANGE). With FAST_ZERO it refuses where it would have to
 * write the zeros one by one, and then there is nothing to gain. */
gboolean vmig_link_reserve(VmigLink *link, GError **error)
{
    VmigCopy *copy = link->copy;
    guint64 stop;
    gboolean hole;
    Slot *slot;

    for (guint64 offset = 0; link->can_reserve && offset < copy->size; offset = stop) {
        if (!vmig_next_extent(copy->fd, offset, copy->size, &hole, &stop, error))
            return FALSE;
        if (hole)
            continue;
        stop = MIN(stop, offset + ZERO_REQUEST);
        if (!get_slot(link, &slot, error))
            return FALSE;
        slot->optional = TRUE;
        if (!send_zeros(link, slot, offset, stop - offset, LIBNBD_CMD_FLAG_NO_HOLE | LIBNBD_CMD_FLAG_FAST_ZERO, error))
            return FALSE;
    }
    return drain(link, FLUSH_PATIENCE * copy->send->stall_limit, error);
}

gboolean vmig_link_flush(VmigLink *link, GError **error)
{
    nbd_completion_callback callback = {.callback = completed};
    Slot *slot;

    if (!link->can_flush)
        return TRUE;
    if (!get_slot(link, &slot, error))
        return FALSE;
    callback.user_data = slot;
    link->in_flight++;
    if (!issued(link, nbd_aio_flush(link->nbd, callback, 0), error) ||
        !drain(link, FLUSH_PATIENCE * link->copy->send->stall_limit, error))
        return FALSE;
    (void)nbd_aio_disconnect(link->nbd, 0); /* politeness: everything is acknowledged */
    return TRUE;
}

static gboolean connect_link(VmigLink *link, GError **error)
{
    gboolean uri = strstr(link->copy->socket, "://") != NULL;
    gint64 since = g_get_monotonic_time();

    link->nbd = nbd_create();
    if (link->nbd == NULL)
        return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "libnbd: %s", nbd_get_error());
    if ((uri ? nbd_aio_connect_uri(link->nbd, link->copy->socket)
             : nbd_aio_connect_unix(link->nbd, link->copy->socket)) < 0)
        return fail_call(link, error);
    while (nbd_aio_is_ready(link->nbd) <= 0)
        if (!await(link, since, link->copy->send->stall_limit, error))
            return FALSE;
    return TRUE;
}

static gboolean look_at_export(VmigLink *link, GError **error)
{
    int64_t size = nbd_get_size(link->nbd);

    if (size < 0)
        return fail_call(link, error);
    link->export_size = (guint64)size;
    if (link->export_size < link->copy->size || nbd_is_read_only(link->nbd) > 0)
        return vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, NULL,
                         "The receiver %s offers %" G_GUINT64_FORMAT " bytes%s for a file of %" G_GUINT64_FORMAT,
                         link->copy->socket, link->export_size, nbd_is_read_only(link->nbd) > 0 ? ", read-only," : "",
                         link->copy->size);
    link->can_zero = nbd_can_zero(link->nbd) > 0;
    link->can_reserve = link->can_zero && nbd_can_fast_zero(link->nbd) > 0;
    link->can_flush = nbd_can_flush(link->nbd) > 0;
    return TRUE;
}

static gboolean make_slots(VmigLink *link, GError **error)
{
    VmigSend *send = link->copy->send;

    link->slots = g_new0(Slot, send->depth);
    for (guint i = 0; i < send->depth; i++) {
        Slot *slot = &link->slots[i];
        slot->link = link;
        slot->buffer = aligned_alloc(ALIGNMENT, send->request);
        if (slot->buffer == NULL)
            return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "Out of memory");
        slot->next = link->free;
        link->free = slot;
    }
    g_mutex_lock(&send->lock);
    *send->buffers_now += send->depth * send->request;
    *send->buffers_peak = MAX(*send->buffers_peak, *send->buffers_now);
    g_mutex_unlock(&send->lock);
    return TRUE;
}

VmigLink *vmig_link_new(VmigCopy *copy, GError **error)
{
    g_autoptr(VmigLink) link = g_new0(VmigLink, 1);

    link->copy = copy;
    link->hash = XXH3_createState();
    if (!connect_link(link, error) || !look_at_export(link, error) || !make_slots(link, error))
        return NULL;
    return g_steal_pointer(&link);
}

void vmig_link_free(VmigLink *link)
{
    VmigSend *send = link->copy->send;

    nbd_close(link->nbd); /* before the buffers that it may still refer to */
    for (guint i = 0; link->slots != NULL && i < send->depth; i++)
        free(link->slots[i].buffer);
    if (link->slots != NULL) {
        g_mutex_lock(&send->lock);
        *send->buffers_now -= send->depth * send->request;
        g_mutex_unlock(&send->lock);
    }
    XXH3_freeState(link->hash);
    g_free(link->slots);
    g_free(link);
}

gboolean vmig_link_can_multi(const VmigLink *link)
{
    return nbd_can_multi_conn(link->nbd) > 0;
}
