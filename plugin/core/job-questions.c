/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Simple queries of a record, and the members that are set together. */
#include "core/errors.h"
#include "core/job.h"

VmigState vmig_job_state(const VmigJob *job)
{
    return vmig_state_from_name(job->flow, job->state);
}

VmigEnd vmig_job_end(const VmigJob *job)
{
    return vmig_state_end(vmig_job_state(job));
}

guint vmig_job_expected(const VmigJob *job, VmigRole role)
{
    VmigState state = vmig_job_work_state(job);
    guint may = vmig_state_expected(state, role);
    gboolean on_copies = state != NULL && role == VMIG_DEST && vmig_job_merges_by_mirror(job);

    /* With merge "mirror" there is no overlay there: the guest arrives on its base copies. */
    return on_copies && (may & VMIG_MAY_BE_OVERLAY) != 0 ? (may & ~(guint)VMIG_MAY_BE_OVERLAY) | VMIG_MAY_BE_BASE : may;
}

gboolean vmig_job_waits(const VmigJob *job)
{
    return vmig_state_is(vmig_job_state(job), VMIG_STATE_WAITS);
}

VmigState vmig_job_work_state(const VmigJob *job)
{
    return vmig_job_waits(job) ? vmig_state_from_name(job->flow, job->parked_state) : vmig_job_state(job);
}

void vmig_job_set_state(VmigJob *job, VmigState state)
{
    g_free(job->state);
    job->state = g_strdup(vmig_state_name(state));
}

static void set_why(char **code, char **message, char **hint, const GError *error)
{
    g_free(*code);
    g_free(*message);
    g_free(*hint);
    *code = error != NULL ? g_strdup(vmig_error_name_of(error)) : NULL;
    *message = error != NULL ? g_strdup(error->message) : NULL;
    *hint = error != NULL ? g_strdup(vmig_error_hint(error)) : NULL;
}

void vmig_job_set_error(VmigJob *job, const GError *error)
{
    set_why(&job->error_code, &job->error_message, &job->error_hint, error);
}

void vmig_job_set_last(VmigJob *job, const GError *error)
{
    set_why(&job->last_code, &job->last_message, &job->last_hint, error);
}

char **vmig_job_texts(const VmigJob *job)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    GPtrArray *names = g_ptr_array_new();

    for (guint i = 0; i < job->snapshots->len; i++) {
        char *name = ((const VmigSnapshot *)job->snapshots->pdata[i])->text;
        if (name != NULL && g_hash_table_add(seen, name))
            g_ptr_array_add(names, g_strdup(name));
    }
    g_ptr_array_add(names, NULL);
    return (char **)g_ptr_array_free(names, FALSE);
}

void vmig_job_forget_xml(VmigJob *job)
{
    for (guint i = 0; i < job->snapshots->len; i++)
        g_clear_pointer(&((VmigSnapshot *)job->snapshots->pdata[i])->xml, g_free);
}

void vmig_job_add(VmigJob *job, VmigArtifact *artifact)
{
    g_ptr_array_add(job->artifacts, artifact);
    if (artifact->kind == VMIG_ARTIFACT_DISK)
        g_ptr_array_add(job->disks, artifact);
}

void vmig_job_remove(VmigJob *job, VmigArtifact *artifact)
{
    g_ptr_array_remove(job->disks, artifact);
    g_ptr_array_remove(job->artifacts, artifact);
}

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

void vmig_job_reach_merge(VmigJob *job, VmigMergeStage stage)
{
    job->merge = MAX(job->merge, stage);
}

const char *vmig_file_path(const VmigFile *file, VmigRole role)
{
    return file->path[role];
}

const char *vmig_disk_overlay(const VmigDisk *disk, VmigRole role)
{
    return disk->at[role].overlay;
}

const char *vmig_disk_hold(const VmigDisk *disk, VmigRole role)
{
    return disk->at[role].hold;
}

gboolean vmig_job_merges_by_mirror(const VmigJob *job)
{
    return g_strcmp0(job->options.merge, "mirror") == 0;
}
