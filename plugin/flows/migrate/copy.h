/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The base copies: what of them is proven. */
#pragma once

#include "engine/machine.h"

/* Before a migration: every base copy that an earlier try may have written into is converged to its base again. Nothing
 * of the guest may be on the destination. */
gboolean vmig_copy_prove_again(VmigMachine *m, GError **error);
/* Right before libvirt is asked to migrate: all base copies are proven, else STATE; durable on both hosts that those
 * which it writes into are so no more. */
gboolean vmig_copy_note_written(VmigMachine *m, GError **error);
