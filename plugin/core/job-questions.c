/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Simple queries of a record. */
#include "core/job.h"

VmigDisk *vmig_job_disk(const VmigJob *job, const char *target)
{
    for (guint i = 0; i < job->disks->len; i++) {
        VmigDisk *disk = job->disks->pdata[i];
        if (g_strcmp0(disk->target, target) == 0)
            return disk;
    }
    return NULL;
}

VmigFile *vmig_disk_base(const VmigDisk *disk)
{
    g_return_val_if_fail(disk->files->len > 0, NULL);
    return disk->files->pdata[0];
}

gboolean vmig_job_token_is_dest(const VmigJob *job)
{
    return g_strcmp0(job->token, "destination") == 0;
}

gboolean vmig_job_merges_by_mirror(const VmigJob *job)
{
    return g_strcmp0(job->options.merge, "mirror") == 0;
}
