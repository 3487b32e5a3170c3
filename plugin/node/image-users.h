/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds the users of an image. Every image that existed before a job must pass these checks before vmig-snap removes or
 * renames it, or reports it as unused. The checks are here and nowhere else:
 *
 *   - no domain of this host's libvirt names it, or an image on top of it, in its live or persistent definition, its
 *     saved state or a snapshot's definition (drivers/libvirt/libvirt-named.c),
 *   - no process and no loop device has it open,
 *   - no process holds one of QEMU's lock bytes on it,
 *   - no image below the roots has it as backing file, directly or indirectly, or as data file.
 *
 * Files are compared by device and inode, never by name. Anything that cannot be examined, or exceeds the limits, is a
 * reason to keep the image: only a complete check proves that it is unused.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"

typedef struct {
    const char *libvirt_uri;    /* of this host */
    const char *const *roots;   /* image roots, NULL-terminated */
    const char *const *paths;   /* the images to check */
    const char *const *leaving; /* images removed together with them: their backing files do not count; or NULL */
    gboolean taken;             /* this process locked them with vmig_image_take() */
    const char *domain;         /* UUID of a guest that leaves: its definitions and its QEMU do not count; or NULL */
} VmigImageQuestion;

/* char*, one for each path: NULL if the image is proven unused, otherwise its user, or what could not be examined, for
 * messages. A path that does not exist has no user. Returns within VMIG_IMAGE_USERS_SECONDS, even if libvirt or a file
 * system hangs. (transfer full) */
GPtrArray *vmig_image_users(const VmigImageQuestion *question);
#define VMIG_IMAGE_USERS_SECONDS 45

/* Takes all of QEMU's lock bytes exclusively on an image that is open for writing: no QEMU can open the image until the
 * descriptor is closed. FALSE with *why if that fails. */
gboolean vmig_image_take(int fd, char **why);
