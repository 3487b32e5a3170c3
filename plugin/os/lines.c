/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lines over a pair of pipes or sockets, with deadlines. */
#include "os/lines.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct VmigLines {
    int fd;
    gsize limit;
    GByteArray *buffer;
    gsize start;   /* of the next line */
    gsize scanned; /* there is no newline before this */
};

VmigLines *vmig_lines_new(int fd, gsize limit)
{
    VmigLines *lines = g_new0(VmigLines, 1);

    lines->fd = fd;
    lines->limit = limit;
    lines->buffer = g_byte_array_new();
    return lines;
}

void vmig_lines_free(VmigLines *lines)
{
    if (lines == NULL)
        return;
    g_byte_array_unref(lines->buffer);
    g_free(lines);
}

static int wait_ms(gint64 until)
{
    gint64 left = until - g_get_monotonic_time();

    return (int)CLAMP((left + 999) / 1000, 0, G_MAXINT / 2);
}

static gboolean take_line(VmigLines *lines, const char **line, gsize *length)
{
    if (lines->buffer->len <= lines->scanned)
        return FALSE; /* an empty buffer has no data pointer */
    guint8 *from = lines->buffer->data + lines->scanned;
    guint8 *end = memchr(from, '\n', lines->buffer->len - lines->scanned);

    if (end == NULL) {
        lines->scanned = lines->buffer->len;
        return FALSE;
    }
    *end = '\0';
    *line = (const char *)lines->buffer->data + lines->start;
    *length = (gsize)(end - lines->buffer->data) - lines->start;
    lines->start += *length + 1;
    lines->scanned = lines->start;
    return TRUE;
}

/* Drops the lines that were returned. Not done for each line, because a peer that sends many short lines would cause
 * the rest of the buffer to be moved each time. */
static void compact(VmigLines *lines)
{
    if (lines->start == 0)
        return;
    g_byte_array_remove_range(lines->buffer, 0, (guint)lines->start);
    lines->scanned -= lines->start;
    lines->start = 0;
}

static VmigLineResult fill(VmigLines *lines, int wake_fd, gint64 until, GError **error)
{
    struct pollfd fds[] = {{.fd = lines->fd, .events = POLLIN}, {.fd = wake_fd, .events = POLLIN}};
    guint8 chunk[65536];

    if (poll(fds, G_N_ELEMENTS(fds), wait_ms(until)) < 0 && errno != EINTR) {
        vmig_fail_errno(error, errno, "poll");
        return VMIG_LINE_FAILED;
    }
    if (fds[0].revents == 0)
        return fds[1].revents != 0 || g_get_monotonic_time() >= until ? VMIG_LINE_LATE : VMIG_LINE_GOT;
    gssize got = read(lines->fd, chunk, sizeof chunk);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return VMIG_LINE_GOT;
    if (got < 0 && errno != ECONNRESET) {
        vmig_fail_errno(error, errno, "cannot read from the peer");
        return VMIG_LINE_FAILED;
    }
    if (got <= 0)
        return VMIG_LINE_END;
    g_byte_array_append(lines->buffer, chunk, (guint)got);
    return VMIG_LINE_GOT;
}

VmigLineResult vmig_lines_next(VmigLines *lines, int wake_fd, gint64 until, const char **line, gsize *length,
                               GError **error)
{
    while (!take_line(lines, line, length)) {
        compact(lines);
        if (lines->buffer->len > lines->limit) {
            vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "a line of more than %" G_GSIZE_FORMAT " bytes", lines->limit);
            return VMIG_LINE_FAILED;
        }
        VmigLineResult result = fill(lines, wake_fd, until, error);
        if (result != VMIG_LINE_GOT)
            return result;
    }
    return VMIG_LINE_GOT;
}

/* poll() reports a pipe as writable if one page fits; writing one page then does not block. */
static gssize write_some(int fd, const char *data, gsize length)
{
    gssize sent = send(fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (sent < 0 && errno == ENOTSOCK)
        sent = write(fd, data, MIN(length, 4096));
    return sent;
}

gboolean vmig_line_write(int fd, const char *line, gint64 until, GError **error)
{
    g_autofree char *text = g_strconcat(line, "\n", NULL);
    gsize length = strlen(text);

    for (gsize done = 0; done < length;) {
        struct pollfd out = {.fd = fd, .events = POLLOUT};
        int ready = poll(&out, 1, wait_ms(until));
        if (ready == 0)
            return vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "the peer does not read");
        gssize sent = ready < 0 ? -1 : write_some(fd, text + done, length - done);
        if (sent < 0 && errno != EINTR && errno != EAGAIN)
            return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "cannot write to the peer: %s", g_strerror(errno));
        done += (gsize)MAX(sent, 0);
    }
    return TRUE;
}
