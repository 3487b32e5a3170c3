/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks that only the destination can make: the files that snapshots need, and the rehearsal. They are also made after
 * other refusals, as far as possible, so that the user sees all problems at once. */
#include <string.h>

#include "plan/plan.h"
#include "plan/rehearsal.h"
#include "plan/snapshot-files.h"

/* The part that each refusal removes from the rehearsal. Every code of the class REFUSAL must be listed. */
static const struct {
    VmigErrorCode code;
    VmigTwinLack lack;
} lacks[] = {
    {VMIG_ERROR_REFUSED, VMIG_TWIN_NONE},
    {VMIG_ERROR_NO_DOMAIN, VMIG_TWIN_NONE},
    {VMIG_ERROR_AMBIGUOUS_DOMAIN, VMIG_TWIN_NONE},
    {VMIG_ERROR_NOT_RUNNING, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_TRANSIENT_DOMAIN, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_UNREACHABLE, VMIG_TWIN_NONE},
    {VMIG_ERROR_SAME_HOST, VMIG_TWIN_NONE},
    {VMIG_ERROR_NO_AGENT, VMIG_TWIN_NONE},
    {VMIG_ERROR_PROTOCOL, VMIG_TWIN_NONE},
    {VMIG_ERROR_BLOCK_JOB, VMIG_TWIN_NO_DISK},
    {VMIG_ERROR_DOMAIN_JOB, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_CHECKPOINTS, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_BITMAPS, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_MANAGED_SAVE, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_TRANSIENT_DISK, VMIG_TWIN_NO_DISK},
    {VMIG_ERROR_SHARED_DISK, VMIG_TWIN_NO_DISK},
    {VMIG_ERROR_NOT_SHARED, VMIG_TWIN_WHOLE}, /* a disk that is not moved */
    {VMIG_ERROR_NO_ACCESS, VMIG_TWIN_WHOLE},  /* a disk that is not moved */
    {VMIG_ERROR_READONLY_DISK, VMIG_TWIN_NO_DISK},
    {VMIG_ERROR_UNKNOWN_DISK, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_DEFINITIONS_DIFFER, VMIG_TWIN_NO_DISK},
    {VMIG_ERROR_DISK_KIND, VMIG_TWIN_NO_DISK},
    {VMIG_ERROR_NO_DISK, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_EXTERNAL_SNAPSHOT, VMIG_TWIN_NO_SNAPSHOTS},
    {VMIG_ERROR_NVRAM, VMIG_TWIN_WHOLE},       /* the twin has no firmware of that kind */
    {VMIG_ERROR_HOST_DEVICE, VMIG_TWIN_WHOLE}, /* nor these devices */
    {VMIG_ERROR_DESTINATION_EXISTS, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_PATH_CLASH, VMIG_TWIN_NO_DISK},
    {VMIG_ERROR_OUTSIDE_ROOTS, VMIG_TWIN_NO_DISK},
    {VMIG_ERROR_ODD_PATH, VMIG_TWIN_NO_DISK},
    {VMIG_ERROR_NO_DIRECTORY, VMIG_TWIN_NO_DISK},
    {VMIG_ERROR_NO_SPACE, VMIG_TWIN_NO_DISK}, /* the twin's images may not fit either */
    {VMIG_ERROR_DATA_FILE, VMIG_TWIN_NO_DISK},
    {VMIG_ERROR_ENCRYPTED, VMIG_TWIN_NO_DISK},
    {VMIG_ERROR_OLD_IMAGE, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_ODD_SIZE, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_BAD_IMAGE, VMIG_TWIN_NO_DISK},
    {VMIG_ERROR_CHAIN, VMIG_TWIN_NO_DISK},
    {VMIG_ERROR_NO_EMULATOR, VMIG_TWIN_NONE}, /* no twin can start, and the reason is reported */
    {VMIG_ERROR_DOMAIN_EXISTS, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_MEDIA_MISSING, VMIG_TWIN_NO_BOOT_FILES},
    {VMIG_ERROR_REHEARSAL, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_SNAPSHOT_DEFINITION, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_UNREVERTABLE, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_UNRESOLVED, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_NOT_AUTHORIZED, VMIG_TWIN_NONE},
    {VMIG_ERROR_NO_FORWARDING, VMIG_TWIN_NONE},
    {VMIG_ERROR_LIBVIRT_SOCKET, VMIG_TWIN_NONE},
    {VMIG_ERROR_MERGE, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_UNSUPPORTED, VMIG_TWIN_WHOLE},
    {VMIG_ERROR_LOCKED, VMIG_TWIN_NONE},
};

gboolean vmig_plan_twin_lack(VmigErrorCode code, VmigTwinLack *lack)
{
    for (guint i = 0; i < G_N_ELEMENTS(lacks); i++)
        if (lacks[i].code == code) {
            *lack = lacks[i].lack;
            return TRUE;
        }
    return FALSE;
}

/* A failed query about a disk leaves that disk unknown, any other leaves the whole host unknown. */
static VmigTwinLack lack_of(const VmigRefusal *refusal)
{
    VmigTwinLack lack = VMIG_TWIN_WHOLE;

    if (!vmig_plan_twin_lack(refusal->code, &lack))
        return refusal->disk != NULL ? VMIG_TWIN_NO_DISK : VMIG_TWIN_NONE;
    /* A medium is ejected from the twin. A missing file that belongs to no disk is a kernel, a table or a firmware. */
    return lack == VMIG_TWIN_NO_BOOT_FILES && refusal->disk != NULL ? VMIG_TWIN_WHOLE : lack;
}

VmigTwinLack vmig_plan_lack(const VmigPlan *plan)
{
    const VmigSurvey *s = plan->survey;
    VmigTwinLack all = VMIG_TWIN_WHOLE;

    for (guint i = 0; i < plan->refusals->len; i++)
        all |= lack_of(plan->refusals->pdata[i]);
    if (plan->refusals->len > 0 && (s->domain == NULL || s->live == NULL || s->snapshots == NULL ||
                                    s->source_info == NULL || s->dest_info == NULL || s->dest_facts == NULL))
        all |= VMIG_TWIN_NONE;
    return all;
}

/* Whether a refusal concerns this disk's place in the twin. A refusal without a disk concerns all disks. */
static gboolean is_refused(const VmigPlan *plan, const char *target)
{
    for (guint i = 0; i < plan->refusals->len; i++) {
        const VmigRefusal *refusal = plan->refusals->pdata[i];
        if ((lack_of(refusal) & VMIG_TWIN_NO_DISK) != 0 &&
            (refusal->disk == NULL || strcmp(refusal->disk, target) == 0))
            return TRUE;
    }
    return FALSE;
}

void vmig_plan_drop_disks(const VmigPlan *plan, VmigJob *job)
{
    for (guint i = job->disks->len; i > 0; i--)
        if (is_refused(plan, ((const VmigDisk *)job->disks->pdata[i - 1])->target))
            vmig_job_remove(job, job->disks->pdata[i - 1]);
}

static void add_told(GHashTable *told, const char *path)
{
    if (path != NULL)
        g_hash_table_add(told, (gpointer)path);
}

static void add_disks(GHashTable *told, GPtrArray *disks)
{
    for (guint i = 0; i < disks->len; i++) {
        const VmigPlanDisk *disk = disks->pdata[i];
        for (guint k = 0; disk->stay != NULL && k < disk->stay->len; k++) {
            const VmigStayFile *file = disk->stay->pdata[k];
            if (file->why_not != NULL)
                add_told(told, file->path);
        }
        if (disk->moved && (disk->chain == NULL || disk->dest_facts->len < disk->chain->len)) {
            add_told(told, disk->disk->source != NULL ? disk->disk->source : disk->disk->source_text);
            for (guint k = 0; k < disk->disk->backing->len; k++)
                add_told(told, ((const VmigChainFile *)disk->disk->backing->pdata[k])->file);
        }
    }
}

/* Paths that are already part of a refusal. A snapshot that needs them too has the same cause. */
static GHashTable *paths_told(const VmigSurvey *s)
{
    GHashTable *told = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < s->media_missing->len; i++)
        add_told(told, s->media_missing->pdata[i]);
    add_disks(told, s->disks);
    add_disks(told, s->next_disks);
    return told;
}

/* A file that only a snapshot uses is not copied. It must exist on the destination, or the operator accepts that the
 * snapshot cannot be reverted to. */
static void judge_snapshots(VmigPlan *plan, VmigEnv *env, VmigJob *job)
{
    g_autoptr(GHashTable) told = paths_told(plan->survey);
    g_autoptr(GError) error = NULL;

    if (!vmig_snapshot_files_survey(env->dest.node, job, told, &error))
        vmig_plan_refuse_error(plan, NULL, error);
    for (guint i = 0; i < job->snapshots->len; i++) {
        const VmigSnapshot *snapshot = job->snapshots->pdata[i];
        g_autoptr(GError) why = NULL;
        if (snapshot->unrevertable == NULL || job->options.accept_unrevertable)
            continue;
        vmig_fail(&why, VMIG_ERROR_UNREVERTABLE,
                  "Copy that file to the destination under the same name, or delete the snapshot; "
                  "--accept-unrevertable migrates the guest anyway.",
                  "%s: cannot revert to snapshot '%s': %s", job->host[VMIG_DEST], snapshot->name,
                  snapshot->unrevertable);
        vmig_plan_refuse_error(plan, NULL, why);
    }
}

static void rehearse(VmigPlan *plan, VmigEnv *env, VmigJob *job, VmigTwinLack lack)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *left = NULL;
    g_autoptr(GPtrArray) problems = vmig_rehearse(env, job, lack, &plan->survey->request->stop, &left, &error);

    if (left != NULL && env->reconnect != NULL && env->reconnect(env, NULL))
        vmig_rehearsal_clear(&env->dest, left, NULL);
    if (problems == NULL)
        vmig_plan_refuse_error(plan, NULL, error);
    for (guint i = 0; problems != NULL && i < problems->len; i++)
        vmig_plan_refuse_error(plan, NULL, problems->pdata[i]);
}

static void note_accepted(VmigPlan *plan, const VmigJob *job)
{
    for (guint i = 0; job->options.accept_unrevertable && i < job->snapshots->len; i++) {
        const VmigSnapshot *snapshot = job->snapshots->pdata[i];
        if (snapshot->unrevertable == NULL)
            continue;
        g_autofree char *text =
            g_strdup_printf("%s: cannot revert to snapshot '%s', which --accept-unrevertable accepts: %s",
                            job->host[VMIG_DEST], snapshot->name, snapshot->unrevertable);
        vmig_plan_note(plan, text);
    }
}

void vmig_plan_prove(VmigPlan *plan, VmigEnv *env, VmigJob *job)
{
    VmigTwinLack lack = vmig_plan_lack(plan);

    if ((lack & VMIG_TWIN_NONE) != 0)
        return;
    if ((lack & VMIG_TWIN_NO_SNAPSHOTS) == 0)
        judge_snapshots(plan, env, job);
    vmig_plan_drop_disks(plan, job);
    rehearse(plan, env, job, lack);
    note_accepted(plan, job);
}
