/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What QEMU has, what libvirt believes and what the next start would use, after a pivot that did not go through without
 * a word. libvirtd that is killed within some 30 ms of a pivot can forget the guest while its QEMU lives, or leave the
 * persistent definition on the overlay (libvirt 9.0, qemuBlockJobEventProcess()). */
#pragma once

#include "engine/host.h"

/* libvirt says that the guest is off. A QEMU of it that lives nevertheless, on the job's disks, is ended if the job
 * suspended it and it stands still: what it has in memory is lost to libvirt in any case, its disks are whole, and the
 * guest is started again from them. INTERFERENCE for any other one. TRUE without one. */
gboolean vmig_truth_end_orphan(VmigMachine *m, VmigRole role, GError **error);
/* The guest is known to libvirt. Asks QEMU which file each disk is on. Where libvirt believes another, the guest is
 * ended like an orphan, and the error is JOB_LOST. Disks that are on their base are noted, and the persistent
 * definition follows them. */
gboolean vmig_truth_ask_qemu(VmigMachine *m, VmigRole role, GError **error);
/* Where the live disk is on its base and the persistent definition still names the overlay, it is defined anew. */
gboolean vmig_truth_mend_definition(VmigMachine *m, VmigRole role, GError **error);
