/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Flags in a job's run folder: empty regular files of this process's user. They exist until the next boot.
 *
 * QEMU's user may create sockets in that folder, and therefore files of any name: a file of another user is not a flag.
 */
#pragma once

#include <glib.h>
#include <sys/stat.h>

/* The source gave the guest to the destination. The boot ID and the guest's QEMU do not outlive this flag. With it, an
 * older journal that an administrator restores meanwhile is not the only record. */
#define VMIG_FLAG_GIVEN "given"
/* Asks the process that waits between two attempts to retry now. */
#define VMIG_FLAG_TRY_NOW "try-now"

/* TRUE if it is set now, even if it was set before. */
gboolean vmig_flag_set(const char *folder, const char *flag, GError **error);
gboolean vmig_flag_is_set(const char *folder, const char *flag);
/* Clears the flag; TRUE if it was set. */
gboolean vmig_flag_clear(const char *folder, const char *flag);
/* TRUE if a file of this name in a job's run folder may be removed together with the folder. */
gboolean vmig_flag_is(const char *name, const struct stat *st);
