/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Output. The locale is never set, so that numbers and the bytes of names are the same everywhere. */
#include "cli/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static gint out_errno; /* atomic: events come from several threads */

/* Without stdio, which would write its buffer again after an error, and twice after a fork. */
static int write_all(int fd, const char *text)
{
    gsize left = strlen(text);

    while (left > 0) {
        ssize_t done = write(fd, text, left);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno;
        text += done;
        left -= (gsize)done;
    }
    return 0;
}

void vmig_out(const char *text)
{
    int errnum = write_all(STDOUT_FILENO, text);

    if (errnum != 0)
        g_atomic_int_compare_and_exchange(&out_errno, 0, errnum);
}

void vmig_out_json(JsonNode *node)
{
    g_autofree char *text = json_to_string(node, FALSE);
    g_autofree char *line = g_strconcat(text, "\n", NULL);

    vmig_out(line);
}

void vmig_err(const char *text)
{
    (void)write_all(STDERR_FILENO, text); /* there is no other place to report it */
}

gboolean vmig_out_ok(int *errnum)
{
    *errnum = g_atomic_int_get(&out_errno);
    return *errnum == 0;
}

gboolean vmig_out_is_terminal(void)
{
    return isatty(STDOUT_FILENO) && g_strcmp0(getenv("TERM"), "dumb") != 0;
}

guint vmig_out_columns(void)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        return size.ws_col;
    return 80;
}

gboolean vmig_out_is_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        const char *value = getenv(names[i]);
        if (value == NULL || *value == '\0')
            continue;
        g_autofree char *upper = g_ascii_strup(value, -1);
        return strstr(upper, "UTF-8") != NULL || strstr(upper, "UTF8") != NULL;
    }
    return FALSE;
}
