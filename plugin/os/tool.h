/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs qemu-img (or another tool) with limits on time, memory and output, and without network: the file that it reads
 * may be hostile, and the tool may hang. It dies with the thread that runs it, because the operation lock ends then,
 * too.
 *
 * Folder plugin/os: the operating system: running tools with limits, bounded JSON and lines from other processes, the
 * configuration, flag files, and fault points for tests.
 */
#pragma once

#include <glib.h>

#define VMIG_TOOL_DEADLINE_US (30 * G_USEC_PER_SEC)

/* Initialize with VMIG_TOOL_LIMITS. */
typedef struct {
    gint64 deadline_us; /* in g_get_monotonic_time(); 0: VMIG_TOOL_DEADLINE_US from now */
    guint64 memory;     /* bytes of address space */
    gsize output;       /* bytes of stdout; more is an error */
    int fd;             /* becomes descriptor 3 of the tool, named VMIG_TOOL_FD; -1: none */
    GArray *fds;        /* int, instead of fd: descriptors VMIG_TOOL_FIRST_FD and up; NULL: none */
} VmigToolLimits;

#define VMIG_TOOL_LIMITS                                                                                               \
    (VmigToolLimits)                                                                                                   \
    {                                                                                                                  \
        .memory = (guint64)1 << 30, .output = (gsize)16 << 20, .fd = -1                                                \
    }
#define VMIG_TOOL_FD "/proc/self/fd/3"
#define VMIG_TOOL_FIRST_FD 3

typedef struct {
    int status; /* exit status */
    char *out;  /* all of stdout */
    char *err;  /* the first 2 KiB of stderr, printable */
} VmigToolResult;

void vmig_tool_result_free(VmigToolResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigToolResult, vmig_tool_result_free)

/* Any exit status of the tool is a result. TIMEOUT for the deadline; IMAGE_TOOL if it cannot be started, is killed by a
 * signal or writes too much. limits may be NULL. (transfer full) */
VmigToolResult *vmig_tool_exec(const char *const *argv, const VmigToolLimits *limits, GError **error);
/* Converts a result into an error: NO_SPACE if the tool reports it, otherwise IMAGE_TOOL with its message. Returns
 * FALSE. */
gboolean vmig_tool_fail(const char *const *argv, const VmigToolResult *result, GError **error);
/* Combines both: every exit status but 0 is an error. ret_stdout may be NULL. */
gboolean vmig_tool_run(const char *const *argv, gint64 deadline_us, char **ret_stdout, GError **error);
