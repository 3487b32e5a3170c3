/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A host was rebooted while a job was unfinished. The job had disabled the guest's autostart, so libvirt does not start
 * the guest. The job does it instead. */
#pragma once

#include "engine/machine.h"

/* Whether this host is the source and was not rebooted since the job began. Contacts neither libvirt nor the other
 * host. */
gboolean vmig_after_boot_same(const VmigMachine *m);

/* Starts the guest on its overlays if the migration was not begun yet. Does not need the destination, which may be off
 * for long. A failure is only noted: the job then treats the guest as off. */
void vmig_after_boot_start_early(VmigMachine *m);
/* Starts the guest on the host where it is in the end, when its disks are complete. TRUE if there is nothing to start.
 */
gboolean vmig_after_boot_start(VmigMachine *m, VmigRole role, GError **error);
