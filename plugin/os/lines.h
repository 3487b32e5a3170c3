/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lines over a pair of pipes or sockets, each with a deadline, and without changing the descriptors' flags (they may be
 * shared with other processes, like standard input and output). */
#pragma once

#include <glib.h>

#include "core/errors.h"

typedef struct VmigLines VmigLines;

/* Does not own the descriptor. A line longer than the limit is a PROTOCOL error. */
VmigLines *vmig_lines_new(int fd, gsize limit);
void vmig_lines_free(VmigLines *lines);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigLines, vmig_lines_free)

typedef enum {
    VMIG_LINE_FAILED,
    VMIG_LINE_GOT,
    VMIG_LINE_END,  /* the peer closed; an incomplete line is dropped */
    VMIG_LINE_LATE, /* until has passed, or wake_fd (or -1) is readable */
} VmigLineResult;

/* Waits for the next line until this monotonic time. Returns a line that has already arrived even if the time has
 * passed. The line belongs to lines, has no newline, and is valid until the next call. */
VmigLineResult vmig_lines_next(VmigLines *lines, int wake_fd, gint64 until, const char **line, gsize *length,
                               GError **error);

/* Writes the line and a newline. CONNECTION, TIMEOUT; it is unknown how much was written then. */
gboolean vmig_line_write(int fd, const char *line, gint64 until, GError **error);
