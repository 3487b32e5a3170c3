/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Flags in a job's run folder: empty regular files of this process's user. They live as long as this boot.
 *
 * QEMU's user may make sockets in that folder, and with them files of any name: a flag of another user is no flag. */
#pragma once

#include <glib.h>
#include <sys/stat.h>

/* The source gave the guest to the destination. The boot id and the guest's QEMU end with the flag, so that an older
 * journal that somebody puts back meanwhile is not the only one that knows. */
#define VMIG_FLAG_GIVEN "given"
/* A user asks the process that waits between two tries to try now. */
#define VMIG_FLAG_TRY_NOW "try-now"

/* TRUE if it is set now, also if it was set before. */
gboolean vmig_flag_set(const char *folder, const char *flag, GError **error);
gboolean vmig_flag_is_set(const char *folder, const char *flag);
/* Take it away; TRUE if it was set. */
gboolean vmig_flag_clear(const char *folder, const char *flag);
/* Whether a file of that name in a job's run folder may be removed together with the folder. */
gboolean vmig_flag_is(const char *name, const struct stat *st);
