/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that only root controls: the configuration, and the policies, whose commands run as root. */
#pragma once

#include <glib.h>

#include "core/errors.h"

#define VMIG_TRUSTED_MAX_SIZE (64 * 1024)

/* The text of the file. NULL without an error if it does not exist. USAGE for a file larger than 64 KiB, one that does
 * not belong to root (or the caller), one that others can write to, or one that is not text. (transfer full) */
char *vmig_trusted_read(const char *path, GError **error);
/* The same for a file in a folder that others cannot write to either, because they could replace the file. */
char *vmig_trusted_read_in(const char *folder, const char *name, GError **error);
/* Checks a program that a policy names: root's (or the caller's), and not writable for others. USAGE. */
gboolean vmig_trusted_program(const char *path, GError **error);
