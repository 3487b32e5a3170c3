/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user that QEMU runs as on this host. */
#pragma once

#include <sys/types.h>

#include <glib.h>

#include "core/errors.h"

/* The user in `user = ` of qemu.conf (a name, or "+UID"); otherwise libvirt-qemu (Debian) or qemu (Fedora), otherwise
 * root. An unreadable qemu.conf counts as missing. UNSUPPORTED if it names a user that does not exist. */
gboolean vmig_qemu_user(const char *conf_path, uid_t *uid, gid_t *gid, GError **error);
/* Sets *gid to QEMU's group: of `group = ` in qemu.conf (a name, "+GID" or a number, as virGetGroupID() reads it),
 * otherwise libvirt-qemu (Debian) or qemu (Fedora), whatever the user's own group is. Leaves it alone if none of these
 * exists and, returning FALSE, if the group that is named does not exist. */
gboolean vmig_qemu_group(const char *conf_path, gid_t *gid);
/* The value of a key in qemu.conf, without quotes, or NULL. (transfer full) */
char *vmig_qemu_conf_value(const char *conf_path, const char *key);
/* Prepares a new image. Its mode becomes `mode`, without what would make it a program and without access for everybody
 * to write. libvirt gives it to QEMU when a guest starts; with dynamic_ownership=0 it does not, and the file is given
 * to QEMU's user and group here. */
gboolean vmig_qemu_user_give(const char *conf_path, int fd, const char *path, guint mode, GError **error);
/* Lets this user create sockets in an open folder that belongs to root, without power over other users' sockets: by an
 * ACL entry and the sticky bit or, without ACL support, by the user's group and the sticky bit. */
gboolean vmig_qemu_user_admit(int folder_fd, uid_t uid, gid_t gid, GError **error);
