/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Image files of this host: what they are, and the four things that are done to them with qemu-img.
 *
 * A format is always given ("qcow2" or "raw", from the domain's XML, or from the header that names a backing file) and
 * never guessed: a guest can write a qcow2 header into its raw disk. Every path is absolute. Where qemu-img can work on
 * one file alone it gets the descriptor that was checked here instead of the path, so that nothing can be put in its
 * place in between.
 *
 * Folder plugin/image: image files of this host and their snapshots, through qemu-img and qemu-nbd, and QEMU's locks
 * on them.
 */
#pragma once

#include <glib.h>

#include "core/qcow2.h"

/* A backing chain beyond that is an accident or an attack; libvirt's own limit is 200. */
#define VMIG_IMAGE_MAX_CHAIN 64

#define VMIG_HINT_HARD_LINK                                                                                            \
    "With the guest off, remove the other name (find ROOT -samefile FILE), or put a copy in the image's place."

typedef struct {
    char *path;  /* plain: vmig_real_path() */
    char *named; /* as the definition, or the header above, leads to it */
    char *format;
    guint64 virtual_size;
    guint64 file_size; /* st_size */
    guint64 allocated; /* bytes that it occupies */
    guint64 dev, ino;
    guint64 mtime_ns;
    VmigQcow2 *qcow2;     /* NULL for raw */
    char *backing;        /* as stored, any bytes, or NULL */
    char *backing_format; /* as stored, or NULL */
    char *backing_path;   /* absolute; NULL where the stored name is no plain path */
} VmigImage;

void vmig_image_free(VmigImage *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigImage, vmig_image_free)

/* Opens a regular file with one name, beneath one of the roots (char *; NULL: beneath its own folder), not through a
 * symbolic link below the root; the root itself may be one, its owner chose it. Never blocks and never creates. The
 * descriptor, or -1: BAD_PATH, OUTSIDE_ROOTS (also for a symbolic or a hard link), DISK_KIND (not a regular file), IO.
 */
int vmig_image_open(const char *path, GPtrArray *roots, gboolean writable, GError **error);

/* A VmigReadFunc on a descriptor: user is GINT_TO_POINTER(fd). */
gboolean vmig_image_pread(gpointer user, guint64 offset, gpointer buffer, gsize length, GError **error);
/* Of a qcow2 image, which may be in use. */
gboolean vmig_image_count_snapshots(const char *path, GPtrArray *roots, guint32 *count, GError **error);

/* One file, which may be in use: first the bounded reader, then `qemu-img info`; where the two differ it is BAD_IMAGE.
 * An image with a data file or encryption is not given to qemu-img. (transfer full) */
VmigImage *vmig_image_survey(const char *path, const char *format, GError **error);
/* The chain (VmigImage), the top first. CHAIN for a cycle, more than VMIG_IMAGE_MAX_CHAIN files, a backing name that is
 * no plain path, and a backing file without a stored format. (transfer full) */
GPtrArray *vmig_image_survey_chain(const char *path, const char *format, GPtrArray *roots, GError **error);

/* qemu-img check of that file alone, never a repair. Leaked clusters are counted (leaks may be NULL) and no error;
 * damage, and what the bounded reader refuses, is BAD_IMAGE. force_share for an image that is in use: what it finds
 * then may be untrue. A raw image has nothing to check. */
gboolean vmig_image_check(const char *path, GPtrArray *roots, const char *format, gboolean force_share, gint64 *leaks,
                          GError **error);

/* A new qcow2 of that size on that backing file (absolute, or relative to the overlay's folder), durable, mode 0600.
 * It appears under its name complete or not at all, except on a file system without O_TMPFILE. DESTINATION_EXISTS where
 * the name is taken. */
gboolean vmig_image_create_overlay(const char *path, GPtrArray *roots, guint64 virtual_size, const char *backing,
                                   const char *backing_format, GError **error);
/* Writes another backing name and format into the header, and nothing else; durable. NULL, NULL: no backing file. */
gboolean vmig_image_rebase_name(const char *path, GPtrArray *roots, const char *format, const char *backing,
                                const char *backing_format, GError **error);
/* Writes what the overlay has into its backing file, which is durable then. The overlay keeps its content: the commit
 * can be repeated after a crash. For a guest that is off. qemu-img gets the whole chain as open files. The backing file
 * has to be into (NULL: any): CHAIN where the header names another one. */
gboolean vmig_image_commit_offline(const char *overlay, GPtrArray *roots, const char *into, GError **error);
