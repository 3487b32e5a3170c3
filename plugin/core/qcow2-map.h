/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds where a qcow2 image stores one internal snapshot: reads its L1 table and the L2 tables below it, with the same
 * care as the header (core/qcow2.h).
 *
 * It has two uses. The memory of a snapshot lies behind its disk, where no QEMU tool shows it, so it is read here. And
 * if the tables of two snapshots of one image agree for a range, both hold the same data there, and it need not be read
 * twice.
 *
 * The tables of a snapshot never change while it exists, except for the bit that says that a cluster has a single user
 * (QEMU's block/qcow2-snapshot.c). An image that a guest writes to can therefore be read as well as an unused one.
 */
#pragma once

#include "core/qcow2.h"

typedef struct VmigQcow2Map VmigQcow2Map;

/* read, user and image must stay valid for its lifetime. Errors: BAD_IMAGE; UNSUPPORTED for an image with a data file
 * or encryption. (transfer full) */
VmigQcow2Map *vmig_qcow2_map_new(VmigReadFunc read, gpointer user, guint64 file_size, const VmigQcow2 *image,
                                 const VmigQcow2Snapshot *snapshot, GError **error);
void vmig_qcow2_map_free(VmigQcow2Map *map);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigQcow2Map, vmig_qcow2_map_free)

/* Reads [offset, offset + length) of the vm_state_size bytes of memory. UNSUPPORTED for a compressed cluster: QEMU
 * never compresses memory. */
gboolean vmig_qcow2_map_read_memory(VmigQcow2Map *map, guint64 offset, gpointer buffer, gsize length, GError **error);

/* Whether the tables of both agree for [offset, offset + length) of the disk. *same is FALSE if that is not certain.
 * Both must be of one image. */
gboolean vmig_qcow2_map_same(VmigQcow2Map *a, VmigQcow2Map *b, guint64 offset, guint64 length, gboolean *same,
                             GError **error);
