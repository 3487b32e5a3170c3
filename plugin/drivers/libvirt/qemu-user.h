/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whom QEMU runs as on this host. */
#pragma once

#include <sys/types.h>

#include <glib.h>

#include "core/errors.h"

/* `user = ` in that qemu.conf (a name, or "+UID"), else libvirt-qemu (Debian) or qemu (Fedora), else root.
 * A conf that cannot be read is none; UNSUPPORTED for a user in it that does not exist. */
gboolean vmig_qemu_user(const char *conf_path, uid_t *uid, gid_t *gid, GError **error);
/* The value of a key in that qemu.conf, without quotes, or NULL. (transfer full) */
char *vmig_qemu_conf_value(const char *conf_path, const char *key);
/* dynamic_ownership is off there, and QEMU does not run as root. */
gboolean vmig_qemu_user_lacks_images(const char *conf_path);
/* Gives that user what he needs in an open folder of root's, to make sockets there, without power over those that
 * others made: an ACL entry and the sticky bit; where there are no ACLs, his group and the sticky bit. */
gboolean vmig_qemu_user_admit(int folder_fd, uid_t uid, gid_t gid, GError **error);
