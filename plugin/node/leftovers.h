/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds files on this host whose names are vmig-snap's: files beside images, socket folders, guards. Changes nothing.
 * The journal decides which of them are leftovers. */
#pragma once

#include <glib.h>

#include "core/errors.h"

/* Limits of a scan below the roots. A scan that reaches one stops and reports that it is incomplete. */
#define VMIG_SCAN_DEPTH 8
#define VMIG_SCAN_ENTRIES 200000
#define VMIG_SCAN_SECONDS 20

typedef struct {
    char *path;
    char *job; /* the ID in its name */
    guint64 size, allocated;
} VmigOurFile;

typedef struct {
    char *path;
    char *job;
    gboolean in_use; /* a process listens on a socket in it */
    gint64 age_s;    /* since an entry in it was created or removed */
} VmigRunFolder;

typedef struct {
    char *socket;
    char *job;
    gboolean answers;
    guint frozen, armed, held; /* frozen bases, armed fences, fences that are held */
} VmigGuardFacts;

/* The job ID in a file name of one of vmig-snap's forms (core/path-map.h), or NULL. (transfer full) */
char *vmig_our_job_of_path(const char *path);

/* Regular files with such a name below the roots. Follows no symbolic links. *whole is FALSE if a limit stopped the
 * scan. VmigOurFile (transfer full) */
GPtrArray *vmig_scan_files(const char *const *roots, gboolean *whole);
/* TRUE if the file still has these numbers. The device is not compared: its number may change at each boot. */
gboolean vmig_file_is(const char *path, guint64 ino, guint64 size, guint64 mtime_ns);
struct stat;
gboolean vmig_stat_is(const struct stat *st, guint64 ino, guint64 size, guint64 mtime_ns);
/* VmigRunFolder of run_dir (transfer full) */
GPtrArray *vmig_scan_run_folders(const char *run_dir);
/* VmigGuardFacts of run_dir/guard (transfer full) */
GPtrArray *vmig_scan_guards(const char *run_dir);

/* TRUE in *held if any process, QEMU or not, holds one of QEMU's image locks on the file, for reading or writing. */
gboolean vmig_image_is_held(const char *path, gboolean *held, GError **error);
/* The same for an open file. */
gboolean vmig_image_is_held_fd(int fd, const char *path, gboolean *held, GError **error);
