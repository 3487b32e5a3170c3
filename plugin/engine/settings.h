/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Settings that can be changed while a job runs. */
#pragma once

#include "engine/machine.h"

/* Call it on the machine's own thread. Moves the limit from vmig_machine_set_bandwidth() into the record and applies it
 * to libvirt's jobs. TRUE if there was a change: the caller must then save the record. */
gboolean vmig_settings_adopt(VmigMachine *machine);
/* The limit for one disk's libvirt job. The limits of all disks add up to the job's. */
guint64 vmig_settings_share(const VmigJob *job);
