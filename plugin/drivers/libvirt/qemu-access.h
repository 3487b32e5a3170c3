/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks whether QEMU on this host could open a file that it has not opened yet. Opens, writes and changes nothing. */
#pragma once

#include <glib.h>

/* Why QEMU's user cannot reach a path, for messages: a folder that the user cannot enter. NULL if there is no obstacle,
 * or if this cannot be determined. Ignores the file's own mode, because libvirt gives QEMU the file. (transfer full) */
char *vmig_qemu_access_denied(const char *conf_path, const char *path);
/* TRUE if the file system or the device is read-only. */
gboolean vmig_qemu_access_read_only(const char *path);
