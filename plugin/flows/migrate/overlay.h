/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The holds: block jobs that make libvirt refuse all other block operations. */
#pragma once

#include "engine/host.h"

/* Starts a hold on every disk that has none, then checks whether a disk was changed before its hold started. */
gboolean vmig_overlay_hold_all(VmigMachine *m, GError **error);
/* Starts the missing holds and freezes the bases, if not already done. */
gboolean vmig_overlay_hold(VmigMachine *m, GError **error);
/* Ends the holds and removes their throw-away files. */
gboolean vmig_overlay_release(VmigMachine *m, GError **error);
/* The same for one disk on either host. A disk without a hold is success. */
gboolean vmig_overlay_release_disk(VmigMachine *m, VmigRole role, VmigDisk *disk, GError **error);
/* Starts holds on the disks that are on their overlays, as far as possible: between two tries of a commit, and while
 * the job waits for an operator. */
void vmig_overlay_hold_disks(VmigMachine *m, VmigRole role);
