/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parked block copies that keep libvirt itself refusing everything else. */
#pragma once

#include "flow/machine.h"

/* Parks every disk that is not parked, then looks again whether anything got in before. */
gboolean vmig_overlay_park(VmigMachine *m, GError **error);
/* Parks the disks and freezes the bases, as far as either is not done. */
gboolean vmig_overlay_hold(VmigMachine *m, GError **error);
/* Ends the parked copies and removes their throw-away files. */
gboolean vmig_overlay_unpark(VmigMachine *m, GError **error);
