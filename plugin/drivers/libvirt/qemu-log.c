/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/libvirt/qemu-log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core/errors.h"
#include "core/names.h"

#define TAIL 65536
#define LINES 3
#define LONGEST 400

/* QEMU reports other errors (EIO, ECONNRESET) here if the source's part of the stream ended early. */
#define REFUSED "load of migration failed: Invalid argument"

static char *read_tail(const char *folder, const char *domain)
{
    g_autofree char *name = g_strconcat(domain, ".log", NULL);
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree char *text = g_malloc(TAIL + 1);

    if (strchr(domain, '/') != NULL)
        return NULL;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    off_t end = lseek(fd, 0, SEEK_END);
    gssize n = end < 0 ? -1 : pread(fd, text, TAIL, MAX(end - TAIL, 0));
    close(fd);
    if (n < 0)
        return NULL;
    text[n] = '\0';
    return g_steal_pointer(&text);
}

/* "2026-12-01T00:50:01.123456Z qemu-system-x86_64: WHAT" (-msg timestamp=on). The text after the program's name, or
 * NULL if QEMU did not write this line after `since`. */
static const char *said_since(const char *line, gint64 since)
{
    const char *blank = strchr(line, ' ');
    const char *colon = blank != NULL ? strstr(blank, ": ") : NULL;

    if (colon == NULL || memchr(blank + 1, ' ', (gsize)(colon - blank - 1)) != NULL)
        return NULL;
    g_autofree char *stamp = g_strndup(line, (gsize)(blank - line));
    g_autoptr(GDateTime) when = g_date_time_new_from_iso8601(stamp, NULL);
    if (when == NULL)
        return NULL;
    gint64 at = g_date_time_to_unix(when) * G_USEC_PER_SEC + g_date_time_get_microsecond(when);
    return at >= since ? colon + 2 : NULL;
}

char *vmig_qemu_log_refusal(const char *folder, const char *domain, gint64 since)
{
    g_autofree char *text = read_tail(folder, domain);
    g_auto(GStrv) lines = text != NULL ? g_strsplit(text, "\n", -1) : NULL;
    g_autoptr(GPtrArray) said = g_ptr_array_new();
    gboolean refused = FALSE;

    for (guint i = 0; lines != NULL && lines[i] != NULL && !refused; i++) {
        const char *what = said_since(lines[i], since);
        if (what == NULL)
            continue;
        refused = strstr(what, REFUSED) != NULL;
        if (said->len == LINES)
            g_ptr_array_remove_index(said, 0);
        g_ptr_array_add(said, (gpointer)what);
    }
    if (!refused)
        return NULL;
    g_ptr_array_add(said, NULL);
    g_autofree char *joined = g_strjoinv("; ", (char **)said->pdata);
    return vmig_text_escape(joined, (gssize)MIN(strlen(joined), LONGEST));
}
