/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /etc/vmig-snap/vmig-snap.conf: what this host's administrator permits. A key file:
 *
 *   [vmig-snap]
 *   # No image outside these folders is examined, created or removed here. The default is where virt-aa-helper permits
 *   # images.
 *   image-roots = /var/lib/libvirt/images;/srv;/mnt;/media;/opt
 *   state-dir = /var/lib/vmig-snap
 *   run-dir = /run/vmig-snap
 *   ssh-command = ssh                 the program, a name in PATH or an absolute path
 *   agent-command = vmig-snap agent   the command that ssh runs on the other host
 *   stall-limit = 30                  seconds, from 2 to 3600: a copy without progress for this time is ended and
 *                                     retried; a commit or a migration after twice this time
 *   nbd-ports = 49500-49563           on which this host receives base copies over tcp or tls
 *   tls-dir = /etc/pki/qemu           QEMU's x509 files, for base copies over tls
 *
 * These are the defaults if the file or a key is missing.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"

#define VMIG_CONFIG_PATH "/etc/vmig-snap/vmig-snap.conf"

typedef struct {
    char **image_roots;
    char *state_dir;
    char *run_dir;
    char *ssh_command;
    char *agent_command;
    guint stall_limit; /* seconds */
    char *tls_dir;
    guint first_port, last_port; /* "nbd-ports" */
} VmigConfig;

/* path may be NULL for VMIG_CONFIG_PATH. A missing file gives the defaults. USAGE for an unknown or repeated group or
 * key, a bad value, a file larger than 64 KiB, or one that does not belong to root (or the caller) or that others can
 * write to. (transfer full) */
VmigConfig *vmig_config_load(const char *path, GError **error);
/* Only the two directories, for the hook. Everything else in the file is ignored, because the hook must find the
 * journal even if another key is misspelled; a directory that is not an absolute path counts as missing. USAGE if the
 * file is not one that only root controls, or not a key file. Both (transfer full) */
/* NOT_AUTHORIZED unless this process is root, or the state directory is its user's own (or can be created). */
gboolean vmig_config_check_user(const VmigConfig *config, GError **error);
gboolean vmig_config_load_folders(const char *path, char **state_dir, char **run_dir, GError **error);
void vmig_config_free(VmigConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigConfig, vmig_config_free)
