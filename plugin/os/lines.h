/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lines over a pair of pipes or sockets, with a deadline on each of them and without changing the descriptors' flags
 * (they may be shared with others, as standard input and output are). */
#pragma once

#include <glib.h>

#include "core/errors.h"

typedef struct VmigLines VmigLines;

/* Does not own the descriptor. A line that is longer than the limit is a PROTOCOL error. */
VmigLines *vmig_lines_new(int fd, gsize limit);
void vmig_lines_free(VmigLines *lines);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigLines, vmig_lines_free)

typedef enum {
    VMIG_LINE_FAILED,
    VMIG_LINE_GOT,
    VMIG_LINE_END,  /* the other end closed; half a line is dropped */
    VMIG_LINE_LATE, /* until is over, or wake_fd (or -1) can be read */
} VmigLineResult;

/* Waits for the next line until that monotonic time. What has come is given even where the time is over. The line
 * belongs to lines, without its newline, and is good until the next call. */
VmigLineResult vmig_lines_next(VmigLines *lines, int wake_fd, gint64 until, const char **line, gsize *length,
                               GError **error);

/* The line and a newline. Error: CONNECTION, TIMEOUT; what was written then is anybody's guess. */
gboolean vmig_line_write(int fd, const char *line, gint64 until, GError **error);
