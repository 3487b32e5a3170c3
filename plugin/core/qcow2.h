/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A small bounded reader of qcow2: header, header extensions and snapshot table.
 *
 * It examines an image before any other code does, because an image is hostile input, written by the owner of the
 * guest. It reads through a callback, never beyond the given file size and never more than the limits. It follows no
 * references: no backing file, no data file, no L1 and L2 tables (qemu-img check handles those).
 *
 * The format is QEMU's docs/interop/qcow2.txt. Where QEMU is stricter than its document, a comment names block/qcow2.c
 * or block/qcow2-snapshot.c.
 */
#pragma once

#include <glib.h>

/* Reads exactly that many bytes, or fails. The range is always inside the file size. */
typedef gboolean (*VmigReadFunc)(gpointer user, guint64 offset, gpointer buffer, gsize length, GError **error);

typedef struct {
    guint32 max_snapshots;
    guint32 max_id; /* bytes of one snapshot's id, name and extra data */
    guint32 max_name;
    guint32 max_extra;
    guint64 max_table; /* bytes of the whole snapshot table */
    guint64 max_virtual_size;
} VmigQcow2Limits;

extern const VmigQcow2Limits vmig_qcow2_default_limits;

typedef struct {
    char *id;         /* never empty, no NUL, unique in its image; may contain any other byte */
    GBytes *name;     /* no NUL; may be invalid UTF-8; need not be unique */
    guint32 date_sec; /* since the epoch */
    guint32 date_nsec;
    guint64 vm_clock_nsec;
    guint64 vm_state_size; /* 0: no memory */
    guint64 disk_size;
    guint64 icount; /* G_MAXUINT64 if not recorded */
    guint64 l1_offset;
    guint32 l1_size; /* entries */
} VmigQcow2Snapshot;

typedef struct {
    guint32 version; /* 2 or 3 */
    guint32 cluster_bits;
    guint64 virtual_size;
    guint32 crypt_method; /* 0 none, 1 AES, 2 LUKS */
    guint64 incompatible_features;
    guint64 compatible_features;
    guint64 autoclear_features;
    gboolean dirty;
    gboolean corrupt; /* always FALSE from vmig_qcow2_read(), which refuses such an image */
    gboolean data_file;
    gboolean extended_l2;
    gboolean has_bitmaps;
    guint32 n_bitmaps;
    char *backing_name;   /* as stored, bytes without NUL; NULL if there is none */
    char *backing_format; /* the same; NULL if none is stored */
    char *data_file_name; /* the same; may exist without the data_file flag, and QEMU then ignores it */
    guint32 nb_snapshots;
    GPtrArray *snapshots; /* VmigQcow2Snapshot, in the order of the table */
} VmigQcow2;

void vmig_qcow2_snapshot_free(VmigQcow2Snapshot *snapshot);
void vmig_qcow2_free(VmigQcow2 *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigQcow2Snapshot, vmig_qcow2_snapshot_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigQcow2, vmig_qcow2_free)

/* limits may be NULL for the defaults. BAD_IMAGE with the name of the field for anything that QEMU could not have
 * written, for damage, and for values beyond the limits; otherwise the callback's own error. A data file, encryption,
 * version 2, the dirty bit and bitmaps are reported but are no error: the plan decides whether they matter. (transfer
 * full) */
VmigQcow2 *vmig_qcow2_read(VmigReadFunc read, gpointer user, guint64 file_size, const VmigQcow2Limits *limits,
                           GError **error);
/* Reads only nb_snapshots, with one read of 64 bytes: cheap enough for repeated calls while a guest writes. */
gboolean vmig_qcow2_count_snapshots(VmigReadFunc read, gpointer user, guint64 file_size, guint32 *count,
                                    GError **error);

/* Error CHAIN unless the name is a plain path: no json:, no PROTOCOL: prefix, no control characters, UTF-8. */
gboolean vmig_backing_name_is_plain(const char *name, GError **error);
/* The path that a plain name denotes in an image at that absolute path: relative to the image's directory, normalized
 * as text, without access to files. (transfer full) */
char *vmig_backing_resolve(const char *image_path, const char *backing_name);

/* Makes bytes from an image or a tool fit for a message. Printable UTF-8 is kept, a backslash is doubled, every other
 * byte becomes \xHH. The result cannot control a terminal, and different bytes give different texts. (transfer full) */
char *vmig_printable(gconstpointer data, gsize length);
