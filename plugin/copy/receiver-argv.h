/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line of qemu-nbd for a part. */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "copy/listen.h"

/* file_fd: the number of the file's descriptor in the server's process; direct: use direct I/O. export: the name that
 * clients must request. IMAGE_TOOL if qemu-nbd is not installed. (transfer full) */
char **vmig_receiver_argv(int file_fd, gboolean direct, const char *export, const VmigListen *to, GError **error);
