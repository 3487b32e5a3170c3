/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The source was booted while a job was unfinished. libvirt would have started the guest, had the job not taken its
 * autostart away: so the job starts it. */
#pragma once

#include "engine/machine.h"

/* Whether this is the source, and was not booted since the job began. Asks nobody. */
gboolean vmig_after_boot_same(const VmigMachine *m);

/* Before the migration was begun, and without the destination, which may be off for long: the guest runs on its
 * overlays meanwhile. What keeps it from that is noted; the job then does what it does with a guest that is off. */
void vmig_after_boot_start_early(VmigMachine *m);
/* At the end of the way back. TRUE where there is nothing to start. */
gboolean vmig_after_boot_start(VmigMachine *m, GError **error);
