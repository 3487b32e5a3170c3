/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a qcow2 image keeps one internal snapshot: its L1 table and the L2 tables below it, read with the same care as
 * the header (core/qcow2.h).
 *
 * Two things need it. The memory of a snapshot lies behind its disk, where no tool of QEMU's shows it: it is read here.
 * And two snapshots of one image whose tables say the same of a range hold the same there, whatever that is: nobody has
 * to read it twice.
 *
 * The tables of a snapshot are never changed while it exists, but for the bit that says that a cluster has one user
 * (QEMU's block/qcow2-snapshot.c); an image that a guest writes to can be read as well as one that nobody uses.
 */
#pragma once

#include "core/qcow2.h"

typedef struct VmigQcow2Map VmigQcow2Map;

/* Keeps read, user and image for as long as it lives. BAD_IMAGE; UNSUPPORTED for an image with a data file or
 * encryption. (transfer full) */
VmigQcow2Map *vmig_qcow2_map_new(VmigReadFunc read, gpointer user, guint64 file_size, const VmigQcow2 *image,
                                 const VmigQcow2Snapshot *snapshot, GError **error);
void vmig_qcow2_map_free(VmigQcow2Map *map);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigQcow2Map, vmig_qcow2_map_free)

/* Of the memory: [offset, offset + length) of vm_state_size bytes. UNSUPPORTED for a compressed cluster: QEMU never
 * writes memory so. */
gboolean vmig_qcow2_map_read_memory(VmigQcow2Map *map, guint64 offset, gpointer buffer, gsize length, GError **error);

/* Do both say the same of [offset, offset + length) of the disk? FALSE in *same where that is not certain. Both are of
 * one image. */
gboolean vmig_qcow2_map_same(VmigQcow2Map *a, VmigQcow2Map *b, guint64 offset, guint64 length, gboolean *same,
                             GError **error);
