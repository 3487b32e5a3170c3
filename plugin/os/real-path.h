/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Resolves the names in definitions and image headers, which may contain symbolic links, "..", "." and "//". */
#pragma once

#include <glib.h>

/* The plain path of an existing file below the roots (char *), as the kernel resolves it, without symbolic links below
 * the root. A root may be a symbolic link; the result begins with the root as configured. OUTSIDE_ROOTS with a hint
 * that names the folder it leads to; IO if the file does not exist. (transfer full) */
char *vmig_real_path(const char *path, GPtrArray *roots, GError **error);
