/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who needs an image: the proofs that every image which was there before a job passes before it is removed, renamed or
 * said to be unused. All of them are here and nowhere else:
 *
 *   - no domain of this host's libvirt names it, or an image that lies on it, in its live or persistent definition, its
 *     saved state or a snapshot's definition (drivers/libvirt/libvirt-named.c),
 *   - no process and no loop device has it open,
 *   - nobody holds one of QEMU's lock bytes on it,
 *   - no image beneath the roots lies on it, directly or through others, or keeps its data in it.
 *
 * Files are compared by device and inode, never by their names. What cannot be looked at, and what is more than the
 * bounds allow, is a reason to keep the image: only a complete look proves that nothing needs it.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"

typedef struct {
    const char *libvirt_uri;    /* of this host */
    const char *const *roots;   /* image roots, NULL-terminated */
    const char *const *paths;   /* the images that are asked about */
    const char *const *leaving; /* images that go together with them: that these lie on one is no reason; or NULL */
    gboolean taken;             /* this process has them by vmig_image_take() */
    const char *domain;         /* UUID of a guest that leaves: neither its definitions nor its QEMU count; or NULL */
} VmigImageQuestion;

/* char*, one for each of the paths: NULL where it is proven that nothing needs the image, else who does, or what could
 * not be looked at, for people. A path where nothing lies has no user. Ends within VMIG_IMAGE_USERS_SECONDS, whatever
 * libvirt and the file systems do. (transfer full) */
GPtrArray *vmig_image_users(const VmigImageQuestion *question);
#define VMIG_IMAGE_USERS_SECONDS 45

/* Takes all of QEMU's lock bytes on an image that is open for writing, for this process alone: as long as the
 * descriptor is open, no QEMU can open the image. FALSE with *why where that cannot be. */
gboolean vmig_image_take(int fd, char **why);
