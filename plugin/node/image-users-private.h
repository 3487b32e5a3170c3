/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What image-users.c and image-lookers.c share: one search for the users of some images. */
#pragma once

#include <sys/types.h>

#include "node/image-users.h"

typedef struct {
    char *path;
    gboolean exists;
    dev_t dev;
    ino_t ino;
    char *user; /* the first that was found */
} VmigImageTarget;

typedef struct {
    /* copies of the question: who asked may have gone */
    char *libvirt_uri, *domain;
    char **roots, **leaving;
    gboolean taken;
    GPtrArray *targets;  /* VmigImageTarget */
    GHashTable *looked;  /* files whose header was read, by device and inode */
    GHashTable *folders; /* that were scanned, the same */
    guint entries;
    gint64 deadline;
    char *unknown; /* the first thing that could not be looked at */
} VmigImageSearch;

/* The file that a path means, as the kernel resolves it: if it is a target, or lies on one, `who` uses that one. */
void vmig_image_search_path(VmigImageSearch *search, const char *path, const char *who);
/* An image that is there: a target that it lies on has it as a user. */
void vmig_image_search_below(VmigImageSearch *search, int fd, const char *path);
gboolean vmig_image_search_is_leaving(const VmigImageSearch *search, dev_t dev, ino_t ino);
void vmig_image_search_found(VmigImageSearch *search, dev_t dev, ino_t ino, const char *user);
void vmig_image_search_unknown(VmigImageSearch *search, const char *format, ...) G_GNUC_PRINTF(2, 3);
gboolean vmig_image_search_over(VmigImageSearch *search);

/* image-lookers.c: one function for each place where a user may be */
void vmig_image_look_at_processes(VmigImageSearch *search);
void vmig_image_look_at_loops(VmigImageSearch *search);
void vmig_image_look_at_locks(VmigImageSearch *search);
void vmig_image_look_at_roots(VmigImageSearch *search);
