/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a try of the migration begins with. */
#pragma once

#include "engine/machine.h"

/* The destination's overlays: fresh at every try. The merge "mirror" has none. */
gboolean vmig_prepare_fresh_overlays(VmigMachine *m, GError **error);
/* The metadata of every snapshot leaves the source's libvirt, which refuses to migrate a guest that has any. None there
 * is success. */
gboolean vmig_prepare_drop_metadata(VmigMachine *m, GError **error);
/* It comes back while nothing is tried for long: the guest runs on the source, held by the holds. What fails is
 * a note; the way back defines it as well. */
void vmig_prepare_give_back(VmigMachine *m);
