/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that only root decides about: the configuration, and the policies, whose commands run as root. */
#pragma once

#include <glib.h>

#include "core/errors.h"

#define VMIG_TRUSTED_MAX_SIZE (64 * 1024)

/* The text of the file. NULL without an error: there is none. USAGE for one of more than 64 KiB, one that is not root's
 * (or the caller's own), one that others can write to, and what is no text. (transfer full) */
char *vmig_trusted_read(const char *path, GError **error);
/* The same of a file in a folder that others may not change either: who can write there can put another file there. */
char *vmig_trusted_read_in(const char *folder, const char *name, GError **error);
/* A program that a policy names: root's (or the caller's own), and nobody else can write it. USAGE. */
gboolean vmig_trusted_program(const char *path, GError **error);
