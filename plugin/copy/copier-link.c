/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The requests of one connection. All waiting is done in step(), which ends on a stop, an error, a stall or an event.
 */
#include "copy/copier-private.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ALIGNMENT 4096
#define LONGEST_NAP (G_USEC_PER_SEC / 10) /* the longest delay until a change of the bandwidth takes effect */
#define FLUSH_PATIENCE 10                 /* multiple of the stall limit: a slow disk may have much to flush */

static gboolean is_lost(VmigLink *link, int errnum)
{
    return nbd_aio_is_dead(link->nbd) > 0 || nbd_aio_is_closed(link->nbd) > 0 || errnum == ENOTCONN ||
           errnum == ESHUTDOWN || errnum == EPIPE || errnum == ECONNRESET;
}

static gboolean fail_request(VmigLink *link, int errnum, GError **error)
{
    if (is_lost(link, errnum))
        return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "the connection to the receiver %s was lost: %s",
                         link->socket, errnum != 0 ? g_strerror(errnum) : "it was closed");
    return vmig_fail_errno(error, errnum, "the receiver %s failed", link->socket);
}

/* Whether the server refused the handshake, so that retrying does not help: an unknown export, TLS that one of the two
 * does not want. libnbd's errno tells it from a lost connection; its texts change with each version. It sets no errno
 * for invalid data, and until 1.20 for some refusals. */
static gboolean is_refusal(const VmigLink *link, const char *text, int errnum)
{
    static const int of_the_network[] = {ENOTCONN,     ESHUTDOWN,    EPIPE,       ECONNRESET, ECONNABORTED,
                                         ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ENETDOWN,   ETIMEDOUT};

    if (text != NULL && (strstr(text, ": handshake: ") != NULL || strstr(text, "TLS") != NULL || errnum == ENOTSUP))
        return TRUE;
    for (guint i = 0; i < G_N_ELEMENTS(of_the_network); i++)
        if (errnum == of_the_network[i])
            return FALSE;
    /* Only the connection to a socket in the file system can fail with such an errno. */
    return errnum != 0 && (link->negotiating || strstr(link->socket, "://") != NULL);
}

/* Call after a libnbd function returned -1. */
static gboolean fail_call(VmigLink *link, GError **error)
{
    const char *text = nbd_get_error();
    int errnum = nbd_get_errno();

    if (errnum == ENOSPC)
        return fail_request(link, errnum, error);
    if (text != NULL && (strstr(text, "certificate") != NULL || strstr(text, "gnutls_handshake") != NULL))
        return vmig_fail(error, VMIG_ERROR_UNREACHABLE,
                         "Both hosts need certificates of the same CA in tls-dir; the destination's certificate needs "
                         "the host name of the destination's URI.",
                         "TLS with %s failed: %s", link->socket, text);
    const char *why = text != NULL ? text : errnum != 0 ? g_strerror(errnum) : "the connection was closed";
    if (is_refusal(link, text, errnum))
        return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "%s is not the receiver that was started: %s", link->socket,
                         why);
    return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "cannot use the receiver %s: %s", link->socket, why);
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

/* A frozen server causes no error and sends nothing. Bytes that it accepts count as activity, so that a slow line is
 * not a stall. */
static gboolean check_stall(VmigLink *link, gint64 since, gint64 limit, GError **error)
{
    g_mutex_lock(&link->copy->lock);
    gint64 idle = g_get_monotonic_time() - MAX(since, link->copy->activity);
    g_mutex_unlock(&link->copy->lock);
    if (idle < limit)
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_STALLED, NULL, "the receiver %s has made no progress for %.1f s", link->socket,
                     (double)idle / G_USEC_PER_SEC);
}

/* Waits up to the timeout for an event on the connection and handles it. */
static gboolean step(VmigLink *link, gint64 timeout, GError **error)
{
    unsigned direction = nbd_aio_get_direction(link->nbd);
    struct pollfd fds[] = {{.fd = nbd_aio_get_fd(link->nbd)}, {.fd = link->copy->send->stop_fd, .events = POLLIN}};
    struct timespec wait = {.tv_sec = timeout / G_USEC_PER_SEC, .tv_nsec = timeout % G_USEC_PER_SEC * 1000};
    int result = 0;

    fds[0].events = (short)(((direction & LIBNBD_AIO_DIRECTION_READ) ? POLLIN : 0) |
                            ((direction & LIBNBD_AIO_DIRECTION_WRITE) ? POLLOUT : 0));
    if (ppoll(fds, 2, &wait, NULL) < 0 && errno != EINTR)
        return vmig_fail_errno(error, errno, "cannot wait for a connection");
    if (fds[1].revents != 0)
        return vmig_fail(error, VMIG_ERROR_CANCELLED, NULL, "the copy was stopped");
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

/* Waits for an event as long as the server may be silent. */
static gboolean await(VmigLink *link, gint64 since, gint64 limit, GError **error)
{
    return step(link, LONGEST_NAP, error) && check_stall(link, since, limit, error);
}

static void end_part(VmigSlot *slot)
{
    VmigLink *link = slot->link;

    if (--slot->parts > 0)
        return;
    slot->next = link->free;
    link->free = slot;
    if (slot->done > 0)
        vmig_copy_account(link->copy, slot->done, slot->sent);
}

/* libnbd calls it from notify_read() on this connection's thread, and for requests still in flight in nbd_close(). */
static int completed(void *user, int *errnum)
{
    VmigSlot *slot = user;
    VmigLink *link = slot->link;

    link->in_flight--;
    if (*errnum != 0 && slot->optional && (*errnum == ENOTSUP || *errnum == EINVAL))
        link->can_reserve = FALSE;
    else if (*errnum != 0 && link->failed == 0)
        link->failed = *errnum;
    if (*errnum != 0)
        slot->done = slot->sent = 0; /* nothing to account */
    end_part(slot);
    return 1; /* retires the command */
}

gboolean vmig_link_get_slot(VmigLink *link, VmigSlot **ret, GError **error)
{
    gint64 since = g_get_monotonic_time();

    /* One step without waiting between two disk reads takes replies and keeps the socket full. */
    if (!step(link, 0, error))
        return FALSE;
    while (link->free == NULL)
        if (!await(link, since, link->copy->send->stall_limit, error))
            return FALSE;
    *ret = link->free;
    link->free = (*ret)->next;
    (*ret)->parts = 0;
    (*ret)->done = (*ret)->sent = 0;
    (*ret)->optional = FALSE;
    return TRUE;
}

void vmig_link_hold_slot(VmigSlot *slot)
{
    slot->parts++;
}

void vmig_link_release_slot(VmigSlot *slot)
{
    end_part(slot);
}

gboolean vmig_link_drain(VmigLink *link, gint64 limit, GError **error)
{
    gint64 since = g_get_monotonic_time();

    while (link->in_flight > 0)
        if (!await(link, since, limit, error))
            return FALSE;
    return check_state(link, error);
}

/* cookie: what the asynchronous call returned. */
static gboolean issued(VmigLink *link, int64_t cookie, GError **error)
{
    if (cookie >= 0)
        return TRUE;
    /* libnbd may or may not have called completed(), depending on where it failed; after this error no slot is taken.
     */
    return link->failed != 0 ? fail_request(link, link->failed, error) : fail_call(link, error);
}

/* The length on the server, whose file is rounded up to the sector size. */
static gsize on_server(const VmigLink *link, guint64 offset, guint64 length)
{
    guint64 rounded = (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;

    return MIN(rounded, link->export_size - offset);
}

gboolean vmig_link_zero(VmigLink *link, VmigSlot *slot, guint64 offset, guint64 length, guint32 flags, GError **error)
{
    nbd_completion_callback callback = {.callback = completed, .user_data = slot};
    guint64 there = on_server(link, offset, length);

    slot->parts++;
    link->in_flight++;
    return issued(link, nbd_aio_zero(link->nbd, there, offset, callback, flags), error);
}

gboolean vmig_link_write(VmigLink *link, VmigSlot *slot, guint8 *data, guint64 offset, gsize length, GError **error)
{
    nbd_completion_callback callback = {.callback = completed, .user_data = slot};
    VmigBandwidth *bandwidth = link->copy->send->bandwidth;
    gint64 since = g_get_monotonic_time(), wait;
    gsize there = on_server(link, offset, length);

    while ((wait = vmig_bandwidth_take(bandwidth, there, g_get_monotonic_time())) > 0)
        if (!step(link, MIN(wait, LONGEST_NAP), error) ||
            (link->in_flight > 0 && !check_stall(link, since, link->copy->send->stall_limit, error)))
            return FALSE;
    memset(data + length, 0, there - length);
    slot->sent += there;
    slot->parts++;
    link->in_flight++;
    return issued(link, nbd_aio_pwrite(link->nbd, data, there, offset, callback, 0), error);
}

gboolean vmig_link_flush(VmigLink *link, GError **error)
{
    nbd_completion_callback callback = {.callback = completed};
    VmigSlot *slot;

    if (!link->can_flush)
        return TRUE;
    if (!vmig_link_get_slot(link, &slot, error))
        return FALSE;
    callback.user_data = slot;
    slot->parts++;
    link->in_flight++;
    if (!issued(link, nbd_aio_flush(link->nbd, callback, 0), error) ||
        !vmig_link_drain(link, FLUSH_PATIENCE * link->copy->send->stall_limit, error))
        return FALSE;
    (void)nbd_aio_disconnect(link->nbd, 0); /* a courtesy: everything is acknowledged */
    return TRUE;
}

/* QEMU's user may create sockets in the job's folder for QEMU's part of the migration. The listener on a copy's socket
 * gets the guest's disk only if it runs as root or as this process's user. */
static gboolean check_peer(VmigLink *link, GError **error)
{
    struct ucred peer;
    socklen_t length = sizeof peer;

    if (getsockopt(nbd_aio_get_fd(link->nbd), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
        return vmig_fail_errno(error, errno, "cannot determine which process listens on %s", link->socket);
    return peer.uid == 0 || peer.uid == geteuid() ||
           vmig_fail(error, VMIG_ERROR_PROTOCOL, "Find out which process of that user created the socket.",
                     "cannot copy over %s: a process of user %u listens on it", link->socket, (guint)peer.uid);
}

static gboolean has_server(VmigLink *link)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;

    return getpeername(nbd_aio_get_fd(link->nbd), (struct sockaddr *)&address, &length) == 0;
}

static gboolean connect_link(VmigLink *link, GError **error)
{
    gboolean uri = strstr(link->socket, "://") != NULL;
    gint64 since = g_get_monotonic_time();

    link->nbd = nbd_create();
    if (link->nbd == NULL)
        return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "libnbd: %s", nbd_get_error());
    (void)nbd_set_uri_allow_local_file(link->nbd, true); /* the certificates' folder belongs to vmig-snap */
    if ((uri ? nbd_aio_connect_uri(link->nbd, link->socket) : nbd_aio_connect_unix(link->nbd, link->socket)) < 0)
        return fail_call(link, error);
    while (nbd_aio_is_ready(link->nbd) <= 0) {
        link->negotiating = link->negotiating || has_server(link);
        if (!await(link, since, link->copy->send->stall_limit, error))
            return FALSE;
    }
    link->negotiating = FALSE;
    return uri || check_peer(link, error);
}

static gboolean look_at_export(VmigLink *link, GError **error)
{
    int64_t size = nbd_get_size(link->nbd);

    if (size < 0)
        return fail_call(link, error);
    link->export_size = (guint64)size;
    if (link->export_size < link->copy->size || nbd_is_read_only(link->nbd) > 0)
        return vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, NULL,
                         "the receiver %s offers %" G_GUINT64_FORMAT " bytes%s for a file of %" G_GUINT64_FORMAT,
                         link->socket, link->export_size, nbd_is_read_only(link->nbd) > 0 ? ", read-only," : "",
                         link->copy->size);
    link->can_zero = nbd_can_zero(link->nbd) > 0;
    link->can_reserve = link->can_zero && nbd_can_fast_zero(link->nbd) > 0;
    link->can_flush = nbd_can_flush(link->nbd) > 0;
    return TRUE;
}

static gboolean make_slots(VmigLink *link, GError **error)
{
    VmigSend *send = link->copy->send;

    link->slots = g_new0(VmigSlot, send->depth);
    for (guint i = 0; i < send->depth; i++) {
        VmigSlot *slot = &link->slots[i];
        slot->link = link;
        slot->buffer = aligned_alloc(ALIGNMENT, send->request);
        if (slot->buffer == NULL)
            return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "out of memory");
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

    guint sockets = g_strv_length((char **)copy->task->sockets);

    link->copy = copy;
    link->socket = copy->task->sockets[(guint)g_atomic_int_add(&copy->next_socket, 1) % sockets];
    link->hash = vmig_tree_hash_streamer(copy->hash);
    if (!connect_link(link, error) || !look_at_export(link, error) || !make_slots(link, error))
        return NULL;
    return g_steal_pointer(&link);
}

void vmig_link_free(VmigLink *link)
{
    VmigSend *send = link->copy->send;

    nbd_close(link->nbd); /* before the buffers that it may still use */
    for (guint i = 0; link->slots != NULL && i < send->depth; i++)
        free(link->slots[i].buffer);
    if (link->slots != NULL) {
        g_mutex_lock(&send->lock);
        *send->buffers_now -= send->depth * send->request;
        g_mutex_unlock(&send->lock);
    }
    vmig_block_hash_free(link->hash);
    g_free(link->slots);
    g_free(link);
}

gboolean vmig_link_can_multi(const VmigLink *link)
{
    return nbd_can_multi_conn(link->nbd) > 0;
}
