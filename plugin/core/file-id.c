/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/file-id.h"

gboolean vmig_file_id_equal(VmigFileId one, VmigFileId other)
{
    return one.dev == other.dev && one.ino == other.ino;
}

gboolean vmig_file_id_is(VmigFileId id, guint64 dev, guint64 ino)
{
    return vmig_file_id_equal(id, (VmigFileId){.dev = dev, .ino = ino});
}
