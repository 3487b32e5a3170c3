/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guest's images on the source, once the guest is complete on the destination. */
#pragma once

#include "engine/machine.h"

/* --source-images delete: removes the images that nothing needs. The others stay, and the record and a note say why. */
gboolean vmig_images_remove(VmigMachine *m, GError **error);
/* --source-images keep: records the users of each image. Never fails: if the users cannot be determined, the record
 * says so. */
gboolean vmig_images_note_users(VmigMachine *m);
