/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by image-users.c and image-lookers.c: one search for the users of some images. */
#pragma once

#include <sys/types.h>

#include "core/file-id.h"
#include "node/image-users.h"

typedef struct {
    char *path;
    gboolean exists;
    VmigFileId id;
    char *user; /* the first one found */
} VmigImageTarget;

typedef struct {
    /* copies of the question's members, because the caller may have returned already */
    char *libvirt_uri, *domain;
    char **roots, **leaving;
    gboolean taken;
    GPtrArray *targets;  /* VmigImageTarget */
    GHashTable *looked;  /* files whose header was read, by device and inode */
    GHashTable *folders; /* folders that were scanned, by device and inode */
    guint entries;
    gint64 deadline;
    char *unknown; /* the first thing that could not be examined */
} VmigImageSearch;

/* Follows the path as the kernel does. If it is a target, or has one in its backing chain, `who` is that target's user.
 */
void vmig_image_search_path(VmigImageSearch *search, const char *path, const char *who);
/* For an existing image: it becomes the user of every target in its backing chain. */
void vmig_image_search_below(VmigImageSearch *search, int fd, const char *path);
gboolean vmig_image_search_is_leaving(const VmigImageSearch *search, dev_t dev, ino_t ino);
void vmig_image_search_found(VmigImageSearch *search, dev_t dev, ino_t ino, const char *user);
void vmig_image_search_unknown(VmigImageSearch *search, const char *format, ...) G_GNUC_PRINTF(2, 3);
gboolean vmig_image_search_over(VmigImageSearch *search);

/* image-lookers.c: one function for each kind of user. */
void vmig_image_look_at_processes(VmigImageSearch *search);
void vmig_image_look_at_loops(VmigImageSearch *search);
void vmig_image_look_at_locks(VmigImageSearch *search);
void vmig_image_look_at_roots(VmigImageSearch *search);
