/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU's image locks (block/file-posix.c): QEMU locks byte 100 + bit if it uses a permission, and 200 + bit if it does
 * not share it. Bit 1 is write, bit 3 is resize. */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "port/node.h"

#define VMIG_LOCK_WRITE 101
#define VMIG_LOCK_RESIZE 103
#define VMIG_LOCK_NO_WRITE 201
#define VMIG_LOCK_NO_RESIZE 203

/* Reports the locks of other processes; takes none itself. */
gboolean vmig_image_locks_probe(const char *path, VmigImageLocks *ret, GError **error);
/* The same for an open file. */
gboolean vmig_image_locks_probe_fd(int fd, const char *path, VmigImageLocks *ret, GError **error);
/* Takes a read lock on one byte. INTERFERENCE if another process holds it exclusively. */
gboolean vmig_image_lock_shared(int fd, const char *path, int byte, GError **error);
