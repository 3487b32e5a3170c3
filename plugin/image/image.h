/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Image files on this host: examines them and runs the four qemu-img operations on them.
 *
 * The format is always given ("qcow2" or "raw", from the domain XML or from the header that names a backing file) and
 * never probed: a guest can write a qcow2 header into its raw disk. Every path is absolute. If qemu-img works on a
 * single file, it gets the descriptor that was checked here instead of the path, so that the file cannot be replaced in
 * between.
 *
 * Folder plugin/image: image files of this host and their snapshots, with qemu-img and qemu-nbd, and QEMU's locks on
 * them.
 */
#pragma once

#include <glib.h>

#include "core/file-id.h"
#include "core/qcow2.h"

/* A longer backing chain is an accident or an attack; libvirt's own limit is 200. */
#define VMIG_IMAGE_MAX_CHAIN 64

#define VMIG_HINT_HARD_LINK                                                                                            \
    "While the guest is off, remove the other name (find ROOT -samefile FILE), or replace the image by a copy of it."

typedef struct {
    char *path;  /* plain: vmig_real_path() */
    char *named; /* the path in the definition or in the header above */
    char *format;
    guint64 virtual_size;
    guint64 file_size;
    guint64 allocated; /* bytes on disk */
    VmigFileId id;
    guint64 mtime_ns;
    guint mode;           /* permissions */
    VmigQcow2 *qcow2;     /* NULL for raw */
    char *backing;        /* as stored, may contain any bytes; or NULL */
    char *backing_format; /* as stored, or NULL */
    char *backing_path;   /* absolute; NULL if the stored name is not a plain path */
} VmigImage;

void vmig_image_free(VmigImage *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigImage, vmig_image_free)

/* Opens a regular file with a single hard link below one of the roots (char *; NULL: below its own folder). Symbolic
 * links below the root are refused; the root itself may be one, because its owner chose it. Never blocks and never
 * creates. Returns the descriptor, or -1: BAD_PATH, OUTSIDE_ROOTS (also for a symbolic or extra hard link), DISK_KIND
 * (not a regular file), IO. */
int vmig_image_open(const char *path, GPtrArray *roots, gboolean writable, GError **error);

/* A VmigReadFunc on a descriptor: user is GINT_TO_POINTER(fd). */
gboolean vmig_image_pread(gpointer user, guint64 offset, gpointer buffer, gsize length, GError **error);
/* For a qcow2 image, which may be in use. */
gboolean vmig_image_count_snapshots(const char *path, GPtrArray *roots, guint32 *count, GError **error);

/* Surveys one file, which may be in use: first with the bounded reader, then with `qemu-img info`. BAD_IMAGE if they
 * differ. qemu-img is not run on an image with a data file or encryption. (transfer full) */
VmigImage *vmig_image_survey(const char *path, const char *format, GError **error);
/* Surveys the chain (VmigImage), top first. CHAIN for a cycle, more than VMIG_IMAGE_MAX_CHAIN files, a backing name
 * that is not a plain path, or a backing file without a stored format. (transfer full) */
GPtrArray *vmig_image_survey_chain(const char *path, const char *format, GPtrArray *roots, GError **error);

/* Runs qemu-img check on this file alone, never a repair. Leaked clusters are counted (leaks may be NULL) and not an
 * error. Damage, and anything that the bounded reader refuses, is BAD_IMAGE. force_share: for an image in use, where
 * the result may be wrong. A raw image has nothing to check. */
gboolean vmig_image_check(const char *path, GPtrArray *roots, const char *format, gboolean force_share, gint64 *leaks,
                          GError **error);

/* Creates a qcow2 image of this size on the backing file (an absolute path, or relative to the overlay's folder);
 * durable, mode 0600. It appears complete or not at all, except on a file system without O_TMPFILE. DESTINATION_EXISTS
 * if the name is taken. */
gboolean vmig_image_create_overlay(const char *path, GPtrArray *roots, guint64 virtual_size, const char *backing,
                                   const char *backing_format, GError **error);
/* Writes only a new backing name and format into the header; durable. NULL, NULL: no backing file. */
gboolean vmig_image_rebase_name(const char *path, GPtrArray *roots, const char *format, const char *backing,
                                const char *backing_format, GError **error);
/* Commits the overlay's data into its backing file, which is then durable. The overlay keeps its content, so that the
 * commit can be repeated after a crash. The guest must be off. qemu-img gets the whole chain as open files. CHAIN if
 * the header names another backing file than into (NULL: any). */
gboolean vmig_image_commit_offline(const char *overlay, GPtrArray *roots, const char *into, GError **error);
