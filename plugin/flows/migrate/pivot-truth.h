/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reconciles QEMU's files, libvirt's view and the persistent definition after a pivot that did not end with a clear
 * result. If libvirtd is killed within some 30 ms of a pivot, it can forget the guest while its QEMU lives, or leave
 * the persistent definition on the overlay (libvirt 9.0, qemuBlockJobEventProcess()). */
#pragma once

#include "engine/host.h"

/* For a guest that libvirt reports as off. If a QEMU of the guest still lives on the job's disks, it is ended, provided
 * that the job suspended it and it is still paused. libvirt has lost its memory state in any case, its disks are whole,
 * and the guest is started again from them. INTERFERENCE for any other such QEMU. TRUE if there is none. */
gboolean vmig_truth_end_orphan(VmigMachine *m, VmigRole role, GError **error);
/* For a guest that libvirt knows. Asks QEMU which file each disk is on. If libvirt's view differs for 5 s, the guest is
 * ended like an orphan, and the error is JOB_LOST. Disks on their bases are recorded, and the persistent definition is
 * corrected to match. */
gboolean vmig_truth_ask_qemu(VmigMachine *m, VmigRole role, GError **error);
/* Corrects the persistent definition of each disk that is live on its base but still named with its overlay there. */
gboolean vmig_truth_mend_definition(VmigMachine *m, VmigRole role, GError **error);
