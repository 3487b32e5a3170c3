/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The preparations that every try of the migration begins with. */
#pragma once

#include "engine/machine.h"

/* Creates the destination's overlays, anew for every try. Merge "mirror" has none. */
gboolean vmig_prepare_fresh_overlays(VmigMachine *m, GError **error);
/* Removes the metadata of every snapshot from the source's libvirt, which refuses to migrate a guest that has any. It
 * is success if there is none. */
gboolean vmig_prepare_drop_metadata(VmigMachine *m, GError **error);
/* Defines the metadata again during a long wait: the guest runs on the source, and the holds protect its disks. A
 * failure is only noted, because the way back defines the metadata as well. */
void vmig_prepare_give_back(VmigMachine *m);
