/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The base copies and whether they are proven. */
#pragma once

#include "engine/machine.h"

/* Call it before a migration. Makes every base copy that an earlier try may have written into equal to its base again.
 * The guest must not be on the destination. */
gboolean vmig_copy_prove_again(VmigMachine *m, GError **error);
/* Call it right before libvirt is asked to migrate. STATE unless all base copies are proven. The migration writes into
 * some of them: records durably on both hosts that these are no longer proven. */
gboolean vmig_copy_note_written(VmigMachine *m, GError **error);
