/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The destination's overlays: fresh at every try of the migration. The fold "direct" has none. */
#pragma once

#include "flow/machine.h"

gboolean vmig_handover_fresh_overlays(VmigMachine *m, GError **error);
