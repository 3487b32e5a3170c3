/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU's image locks (block/file-posix.c): a byte 100 + bit is locked by who uses a permission, 200 + bit by who does
 * not share it; bit 1 is write, bit 3 resize. */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "port/node.h"

#define VMIG_LOCK_WRITE 101
#define VMIG_LOCK_RESIZE 103
#define VMIG_LOCK_NO_WRITE 201
#define VMIG_LOCK_NO_RESIZE 203

/* Who else has the image; takes nothing itself. */
gboolean vmig_image_locks_probe(const char *path, VmigImageLocks *ret, GError **error);
/* The same for a file that is open. */
gboolean vmig_image_locks_probe_fd(int fd, const char *path, VmigImageLocks *ret, GError **error);
/* A read lock on one byte; FALSE with INTERFERENCE where somebody has it for himself. */
gboolean vmig_image_lock_shared(int fd, const char *path, int byte, GError **error);
