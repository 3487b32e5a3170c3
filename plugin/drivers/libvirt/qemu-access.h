/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether QEMU on this host could open a file that it did not open yet. Nothing is opened, written or changed. */
#pragma once

#include <glib.h>

/* What keeps QEMU's user from a path, for people: a folder that he cannot enter. NULL where nothing does, and where
 * that cannot be found out. Not the file's own mode: libvirt gives QEMU the file. (transfer full) */
char *vmig_qemu_access_denied(const char *conf_path, const char *path);
/* The file system, or the device, takes no writes. */
gboolean vmig_qemu_access_read_only(const char *path);
