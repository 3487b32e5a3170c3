/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The holds that keep libvirt itself refusing everything else. */
#pragma once

#include "engine/host.h"

/* Parks every disk that is not parked, then looks again whether anything got in before. */
gboolean vmig_overlay_hold_all(VmigMachine *m, GError **error);
/* Parks the disks and freezes the bases, as far as either is not done. */
gboolean vmig_overlay_hold(VmigMachine *m, GError **error);
/* Ends the holds and removes their throw-away files. */
gboolean vmig_overlay_release(VmigMachine *m, GError **error);
/* The same for one disk on either side; a disk that is not parked is success. */
gboolean vmig_overlay_release_disk(VmigMachine *m, VmigRole role, VmigDisk *disk, GError **error);
/* Parks the disks that are on their overlays, as far as that can be done: between two tries of a commit, and while the
 * job waits for somebody. */
void vmig_overlay_hold_disks(VmigMachine *m, VmigRole role);
