/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The source's part of CLEANUP, for an operation that ends a job in another way. */
#pragma once

#include "engine/machine.h"

/* Call it once the destination has the token. Ends the source's QEMU, releases its holds and undefines the domain,
 * because the definition would start an old copy of the guest. Removes no file. */
gboolean vmig_cleanup_end_source(VmigMachine *m, GError **error);
