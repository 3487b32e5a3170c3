/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What looks like ours on this host, by name alone: files beside images, folders for sockets, guards. Changes nothing;
 * which of it is left over the journal says. */
#pragma once

#include <glib.h>

#include "core/errors.h"

/* A scan beneath the roots ends there, and says so. */
#define VMIG_SCAN_DEPTH 8
#define VMIG_SCAN_ENTRIES 200000
#define VMIG_SCAN_SECONDS 20

typedef struct {
    char *path;
    char *job; /* the id in its name */
    guint64 size, allocated;
} VmigOurFile;

typedef struct {
    char *path;
    char *job;
    gboolean in_use; /* a process listens on a socket in it */
    gint64 age_s;    /* since something in it was made or removed */
} VmigRunFolder;

typedef struct {
    char *socket;
    char *job;
    gboolean answers;
    guint frozen, armed, held; /* bases, fences, and fences that are taken */
} VmigGuardFacts;

/* The id in a file's name of one of our forms (core/path-map.h), or NULL. (transfer full) */
char *vmig_our_job_of_path(const char *path);

/* Regular files with such a name beneath the roots, through no symbolic link. *whole is FALSE if a limit ended the
 * scan. VmigOurFile (transfer full) */
GPtrArray *vmig_scan_files(const char *const *roots, gboolean *whole);
/* Is it the file that had these numbers, unchanged? The device is not compared: its number is given anew at each boot.
 */
gboolean vmig_file_is(const char *path, guint64 ino, guint64 size, guint64 mtime_ns);
struct stat;
gboolean vmig_stat_is(const struct stat *st, guint64 ino, guint64 size, guint64 mtime_ns);
/* VmigRunFolder of run_dir (transfer full) */
GPtrArray *vmig_scan_run_folders(const char *run_dir);
/* VmigGuardFacts of run_dir/guard (transfer full) */
GPtrArray *vmig_scan_guards(const char *run_dir);

/* TRUE if any process, QEMU or another, holds any of QEMU's image locks on the file, for reading or writing. */
gboolean vmig_image_is_held(const char *path, gboolean *held, GError **error);
/* The same of a file that is open. */
gboolean vmig_image_is_held_fd(int fd, const char *path, gboolean *held, GError **error);
