/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The disk of one internal snapshot, read through qemu-nbd: read-only, without QEMU's locks (the image may be in use),
 * without a network, with limits of memory, ended with the thread that started it. */
#pragma once

#include "image/image.h"

typedef struct VmigSnapshotServer VmigSnapshotServer;

/* chain: VmigImage, the image itself first; each file is opened beneath the roots again, and has to be the same one.
 * id: UNSUPPORTED unless it is of letters, digits, '-', '_' and '.'. run_dir: a folder that only this user can write
 * to, for the socket. */
VmigSnapshotServer *vmig_snapshot_server_start(GPtrArray *chain, GPtrArray *roots, const char *id, const char *run_dir,
                                               GError **error);
void vmig_snapshot_server_free(VmigSnapshotServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigSnapshotServer, vmig_snapshot_server_free)

/* Of the image as it is now; the snapshot's own disk may have been smaller. */
guint64 vmig_snapshot_server_size(const VmigSnapshotServer *server);
/* Does [offset, offset + length) read as zeros, without reading it? FALSE in *zero where that is not known. */
gboolean vmig_snapshot_server_is_zero(VmigSnapshotServer *server, guint64 offset, guint64 length, gboolean *zero,
                                      GError **error);
gboolean vmig_snapshot_server_read(VmigSnapshotServer *server, guint64 offset, gpointer buffer, gsize length,
                                   GError **error);
