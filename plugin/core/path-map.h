/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Paths: which ones are good, where a file goes on the destination, and what our own files are called. */
#pragma once

#include <glib.h>

typedef struct VmigPathMap VmigPathMap;

VmigPathMap *vmig_path_map_new(void);
void vmig_path_map_free(VmigPathMap *map);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigPathMap, vmig_path_map_free)

/* --map TARGET=PATH, split at the first '='. Error: USAGE without '=' or for a target given twice, BAD_PATH. */
gboolean vmig_path_map_add_target(VmigPathMap *map, const char *text, GError **error);
/* --map-dir OLD=NEW, split at the first "=/". Slashes at the end do not count. Error: USAGE, BAD_PATH. */
gboolean vmig_path_map_add_dir(VmigPathMap *map, const char *text, GError **error);
/* Where `path` goes. target: the disk that `path` is the base of; NULL for a file below a base, which only --map-dir
 * moves. The longest OLD wins; nothing that fits leaves the path as it is. (transfer full) */
char *vmig_path_map_apply(const VmigPathMap *map, const char *target, const char *path);
/* The targets of --map (char*, transfer container), so that one that is no disk can be told. */
GPtrArray *vmig_path_map_targets(const VmigPathMap *map);

/* Absolute and plain: UTF-8, below 4,096 bytes, no part '..' or '.', none of more than 255 bytes, no '//', no slash
 * at the end, no control characters. Error: BAD_PATH. */
gboolean vmig_path_check(const char *path, GError **error);
/* Strictly below, on folder boundaries. Both must be good paths; root may be "/" or end in a slash. */
gboolean vmig_path_is_below(const char *path, const char *root);

/* 16 lower-case hex digits. */
gboolean vmig_job_id_is_valid(const char *id);

/* Our files beside a base: "a.qcow2" has the overlay "a.vmig-ID.qcow2" (virt-aa-helper guesses the format from the
 * name where it must), is written as ".a.qcow2.vmig-ID.part" and parked as "a.vmig-ID-hold.qcow2". A name that would
 * get longer than 255 bytes is cut between characters and gets a hash of the whole name, so that two never meet.
 * (transfer full) */
char *vmig_overlay_path(const char *base, const char *job_id);
char *vmig_part_path(const char *dest, const char *job_id);
char *vmig_hold_path(const char *base, const char *job_id);
/* Has the file's name one of these forms, for this job? FALSE for what is no job id or no good path. */
gboolean vmig_path_is_ours(const char *path, const char *job_id);
