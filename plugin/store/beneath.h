/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opens files and directories beneath the image roots without following symbolic links.
 *
 * Users may own directories in an image root, and can replace a directory with a symbolic link between two system
 * calls. So nothing in an image root is created, renamed, removed or opened by its path: vmig_beneath_folder() opens
 * the directory, and all further calls are relative to that descriptor. The root itself may be a symbolic link, or be
 * reached through one, because it belongs to the administrator.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "core/errors.h"

/* path must be absolute and plain (vmig_path_check()), and beneath one of the roots (char *), either as written or as
 * resolved. If roots is NULL, path must not contain any symbolic link. A root inside another root counts as a directory
 * of that root. Returns the descriptor, with O_CLOEXEC, or -1 with errno: EXDEV if path is beneath none of the roots,
 * ELOOP for a symbolic link, ENOSYS if openat2() is refused. */
int vmig_beneath_open(GPtrArray *roots, const char *path, int flags, mode_t mode);
/* The same for the directory of path, for reading. */
int vmig_beneath_folder(GPtrArray *roots, const char *path);
/* Like lstat() for a path, which is resolved in the same way. -1 with errno. */
struct stat;
int vmig_beneath_stat(GPtrArray *roots, const char *path, struct stat *st);
/* The current path of an open file or directory according to the kernel, without symbolic links. NULL with the error
 * set. (transfer full) */
char *vmig_beneath_real_path(int fd, GError **error);
/* Sets the error from the errno of these calls. Returns FALSE. */
gboolean vmig_beneath_fail(GError **error, int errnum, const char *path);
