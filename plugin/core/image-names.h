/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds the other files that an image's header names: its backing file and its data file.
 *
 * It answers whether a file may be removed, so it prefers false positives. It returns every text that could be the name
 * of such a file, in every form that QEMU accepts. Damage elsewhere in the image does not make it miss one. It reads
 * through a callback, and never more than a few pages.
 */
#pragma once

#include <glib.h>

#include "core/qcow2.h"

/* char *: names as stored in the header, without a protocol's prefix. Relative names are relative to the image's
 * directory. Empty for a file that is no image, that names no other file, or that QEMU could not open either. The error
 * is the callback's own, or BAD_IMAGE if names may lie beyond the part that is read. (transfer full) */
GPtrArray *vmig_image_names(VmigReadFunc read, gpointer user, guint64 file_size, GError **error);
/* The same for one name as stored in a header: a path, "file:...", or "json:..." with names at any depth. */
void vmig_image_names_add(GPtrArray *names, const char *name);
