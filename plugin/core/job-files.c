/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists the images of a job. */
#include "core/job.h"

static gboolean is_below(const VmigJob *job, guint index, guint file_index)
{
    const VmigArtifact *artifact = job->artifacts->pdata[index];
    const VmigFile *file = artifact->files->pdata[file_index];

    for (guint i = index + 1; i < job->artifacts->len; i++) {
        const VmigArtifact *other = job->artifacts->pdata[i];
        for (guint k = 0; k < other->files->len; k++)
            if (g_strcmp0(((const VmigFile *)other->files->pdata[k])->path[VMIG_SOURCE], file->path[VMIG_SOURCE]) == 0)
                return TRUE;
    }
    return FALSE;
}

VmigFile *vmig_job_first(const VmigJob *job, const VmigFile *file)
{
    for (guint i = 0; i < job->artifacts->len; i++) {
        const VmigArtifact *artifact = job->artifacts->pdata[i];
        for (guint k = 0; k < artifact->files->len; k++)
            if (g_strcmp0(((const VmigFile *)artifact->files->pdata[k])->path[VMIG_SOURCE], file->path[VMIG_SOURCE]) ==
                0)
                return artifact->files->pdata[k];
    }
    return NULL;
}

GPtrArray *vmig_job_images(const VmigJob *job)
{
    GPtrArray *images = g_ptr_array_new();

    for (guint i = 0; i < job->artifacts->len; i++) {
        const VmigArtifact *artifact = job->artifacts->pdata[i];
        for (guint k = 0; k < artifact->files->len; k++)
            if (!is_below(job, i, k))
                g_ptr_array_add(images, artifact->files->pdata[k]);
    }
    return images;
}
