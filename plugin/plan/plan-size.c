/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks how large the job's record can become, before anything is changed. The record is sent to the destination as
 * one message, and a verification adds to it when there is no way back. Pure. */
#include <string.h>

#include "core/amount.h"
#include "core/names.h"
#include "plan/plan.h"
#include "os/json-read.h"

/* One snapshot of an image with its hashes, besides its id and its name. */
#define CONTENT_SIZE 640
/* A file's path may be longer on the destination, and a definition contains it a few times. */
#define FILE_SIZE (16 * 1024)
/* Devices that are attached after the plan, messages, times. */
#define SLACK (1024 * 1024)

static guint64 contents_size(const VmigSurvey *s)
{
    guint64 size = 0;

    for (guint d = 0; d < s->disks->len; d++) {
        const VmigPlanDisk *disk = s->disks->pdata[d];
        for (guint f = 0; disk->moved && disk->chain != NULL && f < disk->chain->len; f++) {
            const VmigImageFacts *image = disk->chain->pdata[f];
            for (guint i = 0; i < image->snapshots->len; i++) {
                const VmigImageSnapshot *snapshot = image->snapshots->pdata[i];
                size += CONTENT_SIZE + vmig_json_text_size(snapshot->id) + vmig_json_text_size(snapshot->name);
            }
        }
    }
    return size;
}

guint64 vmig_plan_record_bound(const VmigJob *job, const VmigSurvey *s)
{
    guint64 live = vmig_json_text_size(job->live_xml);
    guint64 persistent = job->persistent_xml != NULL ? vmig_json_text_size(job->persistent_xml) : live;
    guint64 bound = vmig_job_record_size(job) + live + persistent + contents_size(s) + SLACK;

    for (guint i = 0; i < job->artifacts->len; i++)
        bound += ((const VmigArtifact *)job->artifacts->pdata[i])->files->len * FILE_SIZE;
    return bound;
}

/* A single definition is sent in one message. Both journals keep all of them. */
static gboolean check_texts(const VmigJob *job, GError **error)
{
    guint64 sum = 0;

    for (guint i = 0; i < job->snapshots->len; i++) {
        const VmigSnapshot *snapshot = job->snapshots->pdata[i];
        gsize size = vmig_json_text_size(snapshot->xml);
        sum += strlen(snapshot->xml);
        if (size <= VMIG_JOB_RECORD_MAX)
            continue;
        g_autofree char *name = vmig_text_escape(snapshot->name, -1);
        g_autofree char *amount = vmig_amount_format(size);
        return vmig_fail(error, VMIG_ERROR_UNSUPPORTED,
                         "Make the snapshot's description smaller (virsh snapshot-edit), or delete the snapshot.",
                         "cannot migrate '%s': libvirt's definition of its snapshot '%s' takes %s, and at most %d MiB "
                         "can be transferred",
                         job->domain, name, amount, VMIG_JOB_RECORD_MAX >> 20);
    }
    g_autofree char *amount = vmig_amount_format(sum);
    return sum <= (guint64)VMIG_TEXTS_MAX_BYTES ||
           vmig_fail(error, VMIG_ERROR_UNSUPPORTED, "Delete snapshots, or make their descriptions smaller.",
                     "cannot migrate '%s': libvirt's definitions of its %u snapshots take %s, and at most %d MiB can "
                     "be transferred",
                     job->domain, job->snapshots->len, amount, (int)(VMIG_TEXTS_MAX_BYTES >> 20));
}

gboolean vmig_plan_check_size(const VmigJob *job, const VmigSurvey *s, GError **error)
{
    guint64 bound = vmig_plan_record_bound(job, s);
    g_autofree char *amount = vmig_amount_format(bound);

    if (bound > VMIG_JOB_RECORD_MAX)
        return vmig_fail(error, VMIG_ERROR_UNSUPPORTED,
                         "Make the guest's definition smaller, or reduce the number of its snapshots or disks.",
                         "cannot migrate '%s': the job's record may take %s (the guest's definitions, and what %u "
                         "disks and %u snapshots add), and at most %d MiB can be sent to the destination",
                         job->domain, amount, job->disks->len, job->snapshots->len, VMIG_JOB_RECORD_MAX >> 20);
    return check_texts(job, error);
}
