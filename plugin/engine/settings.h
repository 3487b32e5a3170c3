/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is changed of a job while it runs. */
#pragma once

#include "engine/machine.h"

/* On the machine's own thread: takes what vmig_machine_set_bandwidth() was told into the record, and tells libvirt's
 * jobs of it. TRUE if there was anything; the record is then to be saved. */
gboolean vmig_settings_adopt(VmigMachine *machine);
/* A limit for one of the disks' jobs of libvirt: their sum is the job's. */
guint64 vmig_settings_share(const VmigJob *job);
