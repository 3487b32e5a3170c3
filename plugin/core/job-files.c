/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists the images of a job. */
#include "core/job.h"

static gboolean is_below(const VmigJob *job, guint disk_index, guint file_index)
{
    const VmigDisk *disk = job->disks->pdata[disk_index];
    const VmigFile *file = disk->files->pdata[file_index];

    for (guint i = disk_index + 1; i < job->disks->len; i++) {
        const VmigDisk *other = job->disks->pdata[i];
        for (guint k = 0; k < other->files->len; k++)
            if (g_strcmp0(((const VmigFile *)other->files->pdata[k])->source, file->source) == 0)
                return TRUE;
    }
    return FALSE;
}

VmigFile *vmig_job_first(const VmigJob *job, const VmigFile *file)
{
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++)
            if (g_strcmp0(((const VmigFile *)disk->files->pdata[k])->source, file->source) == 0)
                return disk->files->pdata[k];
    }
    return NULL;
}

GPtrArray *vmig_job_images(const VmigJob *job)
{
    GPtrArray *images = g_ptr_array_new();

    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++)
            if (!is_below(job, i, k))
                g_ptr_array_add(images, disk->files->pdata[k]);
    }
    return images;
}
