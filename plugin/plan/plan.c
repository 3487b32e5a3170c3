/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The plan as a whole: the survey, the rules, and the resulting job. */
#include "plan/plan.h"

#include "core/names.h"
#include "core/path-map.h"
#include "core/qcow2.h"
#include "plan/rehearsal.h"

/* For the estimate only, without --bandwidth: a rate that hashing, a disk and a 10 Gbit/s link easily reach. */
#define ASSUMED_RATE (300ull * 1000 * 1000)

static void refusal_free(VmigRefusal *refusal)
{
    g_free(refusal->disk);
    g_free(refusal->message);
    g_free(refusal->hint);
    g_free(refusal);
}

void vmig_plan_free(VmigPlan *plan)
{
    g_clear_pointer(&plan->survey, vmig_survey_free);
    g_clear_pointer(&plan->job, vmig_job_free);
    g_ptr_array_unref(plan->refusals);
    g_ptr_array_unref(plan->notes);
    g_free(plan->merge_why);
    g_free(plan);
}

/* A host that is gone answers every query with the same error. */
static gboolean is_said(const VmigPlan *plan, VmigErrorCode code, const char *disk, const char *message)
{
    for (guint i = 0; i < plan->refusals->len; i++) {
        const VmigRefusal *said = plan->refusals->pdata[i];
        if (said->code == code && g_strcmp0(said->disk, disk) == 0 && g_str_equal(said->message, message))
            return TRUE;
    }
    return FALSE;
}

void vmig_plan_refuse(VmigPlan *plan, VmigErrorCode code, const char *disk, const char *hint, const char *text)
{
    g_autofree char *message = vmig_text_escape(text, -1);

    if (is_said(plan, code, disk, message))
        return;
    VmigRefusal *refusal = g_new0(VmigRefusal, 1);
    refusal->code = code;
    refusal->disk = g_strdup(disk);
    refusal->message = g_steal_pointer(&message);
    refusal->hint = g_strdup(hint);
    g_ptr_array_add(plan->refusals, refusal);
}

gboolean vmig_plan_names_image(const char *name, const VmigImageFacts *image)
{
    return name != NULL && (g_strcmp0(name, image->path) == 0 || g_strcmp0(name, image->named) == 0);
}

void vmig_plan_note(VmigPlan *plan, const char *text)
{
    g_ptr_array_add(plan->notes, vmig_text_escape(text, -1));
}

static VmigFile *make_file(const VmigImageFacts *facts, const VmigPathFacts *at_dest, const char *dest,
                           const char *below, const char *job_id)
{
    VmigFile *file = vmig_file_new();

    file->path[VMIG_SOURCE] = g_strdup(facts->path);
    file->named = g_strcmp0(facts->named, facts->path) != 0 ? g_strdup(facts->named) : NULL;
    file->path[VMIG_DEST] = g_strdup(dest);
    file->part = vmig_part_path(dest, job_id);
    file->format = g_strdup(facts->format);
    file->backing = g_strdup(facts->backing);
    file->backing_format = g_strdup(facts->backing_format);
    file->size = facts->size;
    file->allocated = facts->allocated;
    file->virtual_size = facts->virtual_size;
    file->dev = facts->dev;
    file->ino = facts->ino;
    file->mtime_ns = facts->mtime_ns;
    file->mode = facts->mode;
    file->kept = at_dest->exists ? g_strdup(at_dest->kept_job) : NULL; /* otherwise the plan would have refused it */
    if (below != NULL) {
        /* If the name in the header does not lead to the right file there, an absolute name is written instead. */
        g_autofree char *there = vmig_backing_resolve(dest, facts->backing);
        if (g_strcmp0(there, below) != 0)
            file->rebase = g_strdup(below);
    }
    return file;
}

static VmigDisk *make_disk(const VmigPlanDisk *plan, const VmigDomainDisk *next, const char *job_id, gboolean direct)
{
    VmigDisk *disk = vmig_disk_new();
    const VmigImageFacts *top = plan->chain->pdata[0];

    disk->target = g_strdup(plan->disk->target);
    disk->snapshot = g_strdup(plan->disk->snapshot);
    disk->next_snapshot = g_strdup(next != NULL ? next->snapshot : NULL);
    disk->virtual_size = top->virtual_size;
    disk->at[VMIG_SOURCE].overlay = vmig_overlay_path(top->path, job_id);
    disk->at[VMIG_SOURCE].hold = vmig_hold_path(top->path, job_id);
    if (!direct)
        disk->at[VMIG_DEST].overlay = vmig_overlay_path(plan->dest_paths->pdata[0], job_id);
    for (guint i = 0; i < plan->chain->len; i++) {
        const char *below = i + 1 < plan->chain->len ? plan->dest_paths->pdata[i + 1] : NULL;
        g_ptr_array_add(disk->files, make_file(plan->chain->pdata[i], plan->dest_facts->pdata[i],
                                               plan->dest_paths->pdata[i], below, job_id));
    }
    return disk;
}

static void copy_options(VmigOptions *to, const VmigOptions *from, const char *merge)
{
    *to = *from;
    to->merge = g_strdup(merge);
    to->transport = g_strdup(from->transport);
    to->policy = g_strdup(from->policy);
    to->migrate_host = g_strdup(from->migrate_host);
}

static VmigJob *make_job(VmigEnv *env, const VmigSurvey *s, const char *merge)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);

    job->id = g_strdup(s->request->job_id);
    job->domain = g_strdup(s->domain->name);
    job->uuid = g_strdup(s->domain->uuid);
    job->host[VMIG_SOURCE] = g_strdup(s->source_info->hostname);
    job->host[VMIG_DEST] = g_strdup(s->dest_info->hostname);
    job->connect_uri = g_strdup(s->request->connect_uri);
    job->dest_uri = g_strdup(s->request->dest_uri);
    copy_options(&job->options, s->request->options, merge);
    job->live_xml = g_strdup(s->live_xml);
    job->persistent_xml = g_strdup(s->persistent_xml);
    job->autostart = s->domain->autostart;
    job->was_paused = s->domain->run == VMIG_RUN_PAUSED;
    job->started = (guint64)(env->clock->ops->wall(env->clock) / G_USEC_PER_SEC);
    job->attempt = 1;
    for (guint i = 0; i < s->disks->len; i++) {
        const VmigPlanDisk *disk = s->disks->pdata[i];
        const VmigDomainDisk *next =
            s->persistent != NULL ? vmig_domain_xml_disk(s->persistent, disk->disk->target) : NULL;
        /* Incomplete if the disk, or its place on the destination, is refused. */
        if (disk->moved && disk->chain != NULL && disk->dest_facts->len == disk->chain->len)
            vmig_job_add(job, make_disk(disk, next, job->id, vmig_job_merges_by_mirror(job)));
    }
    g_ptr_array_unref(job->snapshots);
    job->snapshots = g_ptr_array_ref(s->snapshots);
    return job;
}

/* For a refused plan the job is needed only for the queries to the destination. */
static void prove(VmigPlan *plan, VmigEnv *env)
{
    g_autoptr(GError) too_large = NULL;

    if ((vmig_plan_lack(plan) & VMIG_TWIN_NONE) != 0)
        return;
    g_autoptr(VmigJob) job = make_job(env, plan->survey, plan->merge);
    if (!vmig_plan_check_size(job, plan->survey, &too_large))
        vmig_plan_refuse_error(plan, NULL, too_large);
    vmig_plan_prove(plan, env, job);
    if (plan->refusals->len == 0)
        plan->job = g_steal_pointer(&job);
}

VmigPlan *vmig_plan_make(VmigEnv *env, VmigJournal *journal, const VmigPlanRequest *request, GError **error)
{
    g_autoptr(VmigPlan) plan = g_new0(VmigPlan, 1);

    plan->refusals = g_ptr_array_new_with_free_func((GDestroyNotify)refusal_free);
    plan->notes = g_ptr_array_new_with_free_func(g_free);
    plan->survey = vmig_survey_make(env, journal, request, error);
    if (plan->survey == NULL)
        return NULL;
    vmig_plan_apply_rules(plan);
    for (guint i = 0; i < plan->survey->staying->len; i++)
        g_ptr_array_add(plan->notes, vmig_text_escape(plan->survey->staying->pdata[i], -1));
    guint64 rate = request->options->bandwidth > 0 ? MIN(request->options->bandwidth, ASSUMED_RATE) : ASSUMED_RATE;
    plan->estimate_s = plan->bytes_to_copy / rate + 2;
    if (!vmig_stop_check(&request->stop, error))
        return NULL;
    prove(plan, env);
    /* A rehearsal that was stopped counts as a refusal. */
    return vmig_stop_check(&request->stop, error) ? g_steal_pointer(&plan) : NULL;
}

gboolean vmig_plan_to_error(const VmigPlan *plan, GError **error)
{
    g_autoptr(GString) all = g_string_new(NULL);
    const VmigRefusal *first = plan->refusals->pdata[0];

    for (guint i = 0; i < plan->refusals->len; i++) {
        const VmigRefusal *r = plan->refusals->pdata[i];
        if (r->code == VMIG_ERROR_LOCKED)
            return vmig_fail(error, r->code, r->hint, "%s", r->message);
        g_string_append_printf(all, "%s%s", i > 0 ? "\n" : "", r->message);
    }
    if (plan->refusals->len == 1)
        return vmig_fail(error, first->code, first->hint, "%s", first->message);
    return vmig_fail(error, VMIG_ERROR_REFUSED, NULL, "%s", all->str);
}
