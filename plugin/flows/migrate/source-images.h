/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The images of the guest on the source, once it is complete on the destination. */
#pragma once

#include "engine/machine.h"

/* --source-images delete: removes those that nothing needs; the others stay, and the record and a note say why. */
gboolean vmig_images_remove(VmigMachine *m, GError **error);
/* --source-images keep: the record says who needs them all the same. Never fails: what cannot be found out is told as
 * that. */
gboolean vmig_images_note_users(VmigMachine *m);
