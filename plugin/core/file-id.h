/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether two names or descriptors are the same file: the device and the inode decide, and nothing else. */
#pragma once

#include <glib.h>

typedef struct {
    guint64 dev;
    guint64 ino;
} VmigFileId;

/* Of a struct stat. */
#define VMIG_FILE_ID(st) ((VmigFileId){.dev = (guint64)(st).st_dev, .ino = (guint64)(st).st_ino})

gboolean vmig_file_id_equal(VmigFileId one, VmigFileId other);
gboolean vmig_file_id_is(VmigFileId id, guint64 dev, guint64 ino);
