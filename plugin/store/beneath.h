/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opens files and folders beneath the image roots, and follows no symbolic link on the way.
 *
 * Users may own folders in an image root, and can put a symbolic link in the place of a folder between two system calls
 * of ours. So nothing in an image root is created, renamed, removed or opened by its path: vmig_beneath_folder() opens
 * the folder, and all that follows is relative to that descriptor. The root itself may be a symbolic link, or lie
 * behind one: it is the administrator's.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "core/errors.h"

/* path is absolute and plain (vmig_path_check()), and is beneath one of the roots (char *), as they are written or as
 * they really are; roots NULL: there is no symbolic link in it at all. A root in another root counts as a folder of
 * that one. Returns the descriptor, with O_CLOEXEC, or -1 with errno: EXDEV if path is beneath none of the roots, ELOOP
 * for a symbolic link, ENOSYS where openat2() is refused. */
int vmig_beneath_open(GPtrArray *roots, const char *path, int flags, mode_t mode);
/* The same for the folder of path, for reading. */
int vmig_beneath_folder(GPtrArray *roots, const char *path);
/* What stat() is for a path; the last part is not followed either. -1 with errno. */
struct stat;
int vmig_beneath_stat(GPtrArray *roots, const char *path, struct stat *st);
/* The path of an open file or folder as the kernel has it now, with no symbolic link in it. NULL with the error set.
 * (transfer full) */
char *vmig_beneath_real_path(int fd, GError **error);
/* Sets the error for what these calls left in errno. Returns FALSE. */
gboolean vmig_beneath_fail(GError **error, int errnum, const char *path);
