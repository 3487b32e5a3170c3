/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which file a name leads to: definitions and image headers may go through symbolic links, "..", "." and "//". */
#pragma once

#include <glib.h>

/* The one plain path of an existing file beneath the roots (char *), as the kernel goes to it, with no symbolic link
 * below the root. A root may be a symbolic link itself; the answer begins with the root as it is configured.
 * OUTSIDE_ROOTS with a hint that names the folder it leads to; IO where there is nothing. (transfer full) */
char *vmig_real_path(const char *path, GPtrArray *roots, GError **error);
