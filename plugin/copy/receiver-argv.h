/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-nbd's command line for a part. */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "copy/listen.h"

/* The file is an open descriptor of that number in the server's process; direct: with direct I/O. export: the name that
 * clients must ask for. IMAGE_TOOL where qemu-nbd is not installed. (transfer full) */
char **vmig_receiver_argv(int file_fd, gboolean direct, const char *export, const VmigListen *to, GError **error);
