/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which other files an image's header names: what it lies on, and where its data is.
 *
 * For the question whether a file may be removed, so it errs on one side: it gives every text that could be the name of
 * such a file, in every form that QEMU knows, and never misses one because the image is damaged elsewhere. It reads
 * through a callback and never more than a few pages.
 */
#pragma once

#include <glib.h>

#include "core/qcow2.h"

/* char*: names as they stand in the header, without a protocol's prefix; relative ones are relative to the image's
 * folder. Empty for a file that is no image, for one without such names, and for one that QEMU could not open either.
 * The error is the callback's own, or BAD_IMAGE where the names may be beyond what is read. (transfer full) */
GPtrArray *vmig_image_names(VmigReadFunc read, gpointer user, guint64 file_size, GError **error);
/* The same for one name as a header has it: a path, "file:...", or "json:..." with names at any depth. */
void vmig_image_names_add(GPtrArray *names, const char *name);
