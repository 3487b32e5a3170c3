/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What CLEANUP does on the source, for who ends a job in another way. */
#pragma once

#include "engine/machine.h"

/* The token is the destination's: the source's QEMU ends, its holds go, and its definition, which would start an old
 * copy of the guest. No file is removed. */
gboolean vmig_cleanup_end_source(VmigMachine *m, GError **error);
