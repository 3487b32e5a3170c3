/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads the disk of one internal snapshot through qemu-nbd: read-only, without QEMU's locks (the image may be in use),
 * without network, with limited memory. qemu-nbd ends with the thread that started it. */
#pragma once

#include "image/image.h"

typedef struct VmigSnapshotServer VmigSnapshotServer;

/* chain: VmigImage, the image itself first. Each file is opened below the roots again and must still be the same file.
 * id: UNSUPPORTED unless it consists of letters, digits, '-', '_' and '.'. run_dir: a folder for the socket that only
 * this user can write to. */
VmigSnapshotServer *vmig_snapshot_server_start(GPtrArray *chain, GPtrArray *roots, const char *id, const char *run_dir,
                                               GError **error);
void vmig_snapshot_server_free(VmigSnapshotServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigSnapshotServer, vmig_snapshot_server_free)

/* The image's current size; the snapshot's own disk may have been smaller. */
guint64 vmig_snapshot_server_size(const VmigSnapshotServer *server);
/* TRUE in *zero if the range is known to be zeros without reading it. */
gboolean vmig_snapshot_server_is_zero(VmigSnapshotServer *server, guint64 offset, guint64 length, gboolean *zero,
                                      GError **error);
gboolean vmig_snapshot_server_read(VmigSnapshotServer *server, guint64 offset, gpointer buffer, gsize length,
                                   GError **error);
