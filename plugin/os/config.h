/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /etc/vmig-snap/vmig-snap.conf: what the administrator of this host allows. A key file:
 *
 *   [vmig-snap]
 *   # Outside of these folders no image is looked at, made or removed here. The default is where virt-aa-helper lets
 *   # images be.
 *   image-roots = /var/lib/libvirt/images;/srv;/mnt;/media;/opt
 *   state-dir = /var/lib/vmig-snap
 *   run-dir = /run/vmig-snap
 *   ssh-command = ssh                 the program, a name in PATH or an absolute path
 *   agent-command = vmig-snap agent   what ssh runs on the other host
 *   stall-limit = 30                  seconds, from 2 to 3600: a copy that has moved nothing for so long is ended and
 *                                     tried again; a commit or a migration for twice as long
 *
 * Without a file, and for keys that are left out, these are the values.
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

/* path may be NULL for VMIG_CONFIG_PATH. A file that is not there gives the defaults. USAGE for an unknown or repeated
 * group or key, a bad value, a file of more than 64 KiB, one that is not root's (or the caller's own) or that others
 * can write to. (transfer full) */
VmigConfig *vmig_config_load(const char *path, GError **error);
void vmig_config_free(VmigConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigConfig, vmig_config_free)
