/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Paths: which paths are valid, which destination path a file gets, and the names of vmig-snap's own files. */
#pragma once

#include <glib.h>

typedef struct VmigPathMap VmigPathMap;

VmigPathMap *vmig_path_map_new(void);
void vmig_path_map_free(VmigPathMap *map);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigPathMap, vmig_path_map_free)

/* --map TARGET=PATH, split at the first '='. Error: USAGE without '=' or for a target given twice, BAD_PATH. */
gboolean vmig_path_map_add_target(VmigPathMap *map, const char *text, GError **error);
/* --map-dir OLD=NEW, split at the first "=/". Trailing slashes are ignored. Error: USAGE, BAD_PATH. */
gboolean vmig_path_map_add_dir(VmigPathMap *map, const char *text, GError **error);
/* The destination path of `path`. target: the disk whose base `path` is; NULL for a backing file, to which only
 * --map-dir applies. The longest OLD wins. A path without a matching rule is kept. (transfer full) */
char *vmig_path_map_apply(const VmigPathMap *map, const char *target, const char *path);
/* The targets of --map (char *, transfer container), so that the caller can report one that is no disk. */
GPtrArray *vmig_path_map_targets(const VmigPathMap *map);

/* Requires a plain absolute path: UTF-8, below 4,096 bytes, no component '..' or '.', none of more than 255 bytes, no
 * '//', no trailing slash, no control characters. Error: BAD_PATH. */
gboolean vmig_path_check(const char *path, GError **error);
/* Whether path is strictly below root, at a directory boundary. Both must be valid paths; root may be "/" or end in a
 * slash. */
gboolean vmig_path_is_below(const char *path, const char *root);

/* Whether it is 16 lower-case hex digits. */
gboolean vmig_job_id_is_valid(const char *id);

/* The names of vmig-snap's files beside a base. "a.qcow2" has the overlay "a.vmig-ID.qcow2" (virt-aa-helper may guess
 * the format from the name), the part ".a.qcow2.vmig-ID.part" and the hold "a.vmig-ID-hold.qcow2". A name of more than
 * 255 bytes is cut between characters and gets a hash of the whole name, so that two names never collide. (transfer
 * full) */
char *vmig_overlay_path(const char *base, const char *job_id);
char *vmig_part_path(const char *dest, const char *job_id);
char *vmig_hold_path(const char *base, const char *job_id);
/* Whether the file's name has one of these forms for this job. FALSE for an invalid job id or path. */
gboolean vmig_path_is_ours(const char *path, const char *job_id);
