/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The library's output as JSON: one function for each document and event. */
#include "api/documents.h"

#include "api/json-members.h"
#include "core/parks.h"
#include "core/names.h"

static JsonNode *take(JsonBuilder *builder)
{
    JsonNode *node = json_builder_get_root(builder);

    g_object_unref(builder);
    return node;
}

static void error_member(JsonBuilder *b, const char *code, const char *message, const char *hint)
{
    vmig_json_error(b, "error", code, message, hint);
}

static char *version_text(guint64 version)
{
    return g_strdup_printf("%" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT, version / 1000000,
                           version / 1000 % 1000, version % 1000);
}

static void host_member(JsonBuilder *b, const char *name, const VmigHypervisorInfo *info, const VmigNodeFacts *facts,
                        const char *uri)
{
    g_autofree char *libvirt = info != NULL ? version_text(info->libvirt_version) : NULL;
    g_autofree char *qemu = info != NULL ? version_text(info->qemu_version) : NULL;

    json_builder_set_member_name(b, name);
    json_builder_begin_object(b);
    vmig_json_text(b, "host", info != NULL ? info->hostname : NULL);
    vmig_json_text(b, "uri", uri);
    vmig_json_text(b, "libvirt", libvirt);
    vmig_json_text(b, "qemu", qemu);
    vmig_json_text(b, "vmig_snap", facts != NULL ? facts->version : NULL);
    json_builder_end_object(b);
}

static void refusals_member(JsonBuilder *b, GPtrArray *refusals)
{
    vmig_json_begin_list(b, "refusals");
    for (guint i = 0; i < refusals->len; i++) {
        const VmigRefusal *r = refusals->pdata[i];
        json_builder_begin_object(b);
        vmig_json_text(b, "code", vmig_error_name(r->code));
        vmig_json_text(b, "disk", r->disk);
        vmig_json_text(b, "message", r->message);
        vmig_json_text(b, "hint", r->hint);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

static void chain_file(JsonBuilder *b, const VmigImageFacts *file, const char *dest)
{
    json_builder_begin_object(b);
    vmig_json_text(b, "path", file->path);
    vmig_json_text(b, "destination", dest);
    vmig_json_text(b, "format", file->format);
    vmig_json_number(b, "size", file->size);
    vmig_json_number(b, "allocated", file->allocated);
    vmig_json_number(b, "virtual_size", file->virtual_size);
    vmig_json_begin_list(b, "snapshots");
    for (guint i = 0; i < file->snapshots->len; i++) {
        const VmigImageSnapshot *s = file->snapshots->pdata[i];
        json_builder_begin_object(b);
        vmig_json_text(b, "id", s->id);
        vmig_json_text(b, "name", s->name);
        vmig_json_number(b, "vm_state_size", s->vm_state_size);
        vmig_json_number(b, "date", (guint64)s->date);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    json_builder_end_object(b);
}

static void plan_disk(JsonBuilder *b, const VmigPlanDisk *disk)
{
    json_builder_begin_object(b);
    vmig_json_text(b, "target", disk->disk->target);
    vmig_json_flag(b, "moved", disk->moved);
    vmig_json_text(b, "why_not", disk->why_not);
    vmig_json_text(b, "format", disk->disk->driver_type);
    vmig_json_begin_list(b, "chain");
    for (guint i = 0; disk->chain != NULL && i < disk->chain->len; i++)
        chain_file(b, disk->chain->pdata[i], disk->dest_paths->pdata[i]);
    json_builder_end_array(b);
    vmig_json_number(b, "to_copy", disk->to_copy);
    vmig_json_number(b, "overlay_forecast", disk->overlay_forecast);
    vmig_json_number(b, "source_free", disk->overlay_facts != NULL ? disk->overlay_facts->free_bytes : 0);
    vmig_json_number(b, "destination_free",
                     disk->dest_facts->len > 0 ? ((const VmigPathFacts *)disk->dest_facts->pdata[0])->free_bytes : 0);
    json_builder_end_object(b);
}

static void snapshots_member(JsonBuilder *b, GPtrArray *snapshots)
{
    vmig_json_begin_list(b, "snapshots");
    for (guint i = 0; snapshots != NULL && i < snapshots->len; i++) {
        const VmigSnapshot *s = snapshots->pdata[i];
        json_builder_begin_object(b);
        vmig_json_text(b, "name", s->name);
        vmig_json_text(b, "parent", s->parent);
        vmig_json_text(b, "state", s->state);
        vmig_json_number(b, "creation_time", (guint64)s->creation_time);
        vmig_json_flag(b, "memory", s->memory);
        vmig_json_flag(b, "external", s->external);
        vmig_json_flag(b, "current", s->current);
        vmig_json_text(b, "unrevertable", s->unrevertable);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

JsonNode *vmig_document_plan(const VmigPlan *plan)
{
    JsonBuilder *b = json_builder_new_immutable();
    const VmigSurvey *s = plan->survey;

    json_builder_begin_object(b);
    vmig_json_text(b, "domain", s->domain != NULL ? s->domain->name : s->request->domain);
    vmig_json_text(b, "uuid", s->domain != NULL ? s->domain->uuid : NULL);
    host_member(b, "source", s->source_info, s->source_facts, s->request->connect_uri);
    host_member(b, "destination", s->dest_info, s->dest_facts, s->request->dest_uri);
    vmig_json_flag(b, "can_migrate", plan->refusals->len == 0);
    refusals_member(b, plan->refusals);
    vmig_json_begin_list(b, "notes");
    for (guint i = 0; i < plan->notes->len; i++)
        json_builder_add_string_value(b, plan->notes->pdata[i]);
    json_builder_end_array(b);
    vmig_json_begin_list(b, "disks");
    for (guint i = 0; i < s->disks->len; i++)
        plan_disk(b, s->disks->pdata[i]);
    json_builder_end_array(b);
    snapshots_member(b, s->snapshots);
    vmig_json_number(b, "bytes_to_copy", plan->bytes_to_copy);
    vmig_json_number(b, "destination_needs", plan->dest_needs);
    vmig_json_number(b, "estimate_s", plan->estimate_s);
    vmig_json_text(b, "merge", plan->merge);
    vmig_json_text(b, "merge_why", plan->merge_why);
    json_builder_end_object(b);
    return take(b);
}

/* The commands that end a parked job, from core/parks.def. */
static void exits_member(JsonBuilder *b, const VmigJob *job, VmigRole role)
{
    g_auto(GStrv) commands = vmig_park_commands(job, role);

    vmig_json_text(b, "exits_how", vmig_park_of(job).what);
    vmig_json_begin_list(b, "exits");
    for (char **command = commands; *command != NULL; command++)
        json_builder_add_string_value(b, *command);
    json_builder_end_array(b);
}

static void job_object(JsonBuilder *b, const VmigJob *job, VmigRole role, const char *holder)
{
    json_builder_begin_object(b);
    vmig_json_text(b, "job", job->id);
    vmig_json_text(b, "domain", job->domain);
    vmig_json_text(b, "uuid", job->uuid);
    vmig_json_text(b, "state", job->state);
    vmig_json_text(b, "what", vmig_state_what(vmig_job_state(job)));
    vmig_json_text(b, "role", vmig_role_name(role));
    vmig_json_text(b, "held_by", holder);
    vmig_json_text(b, "parked_state", job->parked_state);
    vmig_json_text(b, "waits_for",
                   !vmig_job_waits(job)     ? NULL
                   : job->last_hint != NULL ? job->last_hint
                                            : job->error_hint);
    exits_member(b, job, role);
    vmig_json_number(b, "attempt", job->attempt);
    vmig_json_text(b, "next_try", job->next_try);
    vmig_json_error(b, "last_error", job->last_code, job->last_message, job->last_hint);
    error_member(b, job->error_code, job->error_message, job->error_hint);
    vmig_json_text(b, "source", job->host[VMIG_SOURCE]);
    vmig_json_text(b, "destination", job->host[VMIG_DEST]);
    vmig_json_text(b, "owner", vmig_role_name(job->owner));
    vmig_json_text(b, "merge", job->options.merge);
    vmig_json_flag(b, "migration_begun", job->migration_begun);
    vmig_json_number(b, "started", job->started);
    vmig_json_number(b, "ended", job->ended);
    vmig_json_number(b, "bytes_copied", job->bytes_copied);
    vmig_json_number(b, "downtime_ms", job->downtime_ms);
    json_builder_end_object(b);
}

JsonNode *vmig_document_jobs(GPtrArray *jobs, GArray *roles, GPtrArray *holders, guint left_out)
{
    JsonBuilder *b = json_builder_new_immutable();

    json_builder_begin_object(b);
    vmig_json_begin_list(b, "jobs");
    for (guint i = 0; i < jobs->len; i++)
        job_object(b, jobs->pdata[i], g_array_index(roles, VmigRole, i), holders->pdata[i]);
    json_builder_end_array(b);
    if (left_out > 0)
        vmig_json_number(b, "left_out", left_out);
    json_builder_end_object(b);
    return take(b);
}

JsonNode *vmig_document_setting(const VmigJob *job, guint64 bandwidth, gboolean running)
{
    JsonBuilder *b = json_builder_new_immutable();

    json_builder_begin_object(b);
    vmig_json_text(b, "job", job->id);
    vmig_json_text(b, "domain", job->domain);
    vmig_json_number(b, "bandwidth", bandwidth);
    vmig_json_flag(b, "running", running);
    json_builder_end_object(b);
    return take(b);
}

static void unrevertable_member(JsonBuilder *b, GPtrArray *snapshots)
{
    vmig_json_begin_list(b, "unrevertable");
    for (guint i = 0; i < snapshots->len; i++) {
        const VmigSnapshot *snapshot = snapshots->pdata[i];
        if (snapshot->unrevertable == NULL)
            continue;
        json_builder_begin_object(b);
        vmig_json_text(b, "snapshot", snapshot->name);
        vmig_json_text(b, "reason", snapshot->unrevertable);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

/* What happened to the source's images. */
static void images_member(JsonBuilder *b, const VmigJob *job)
{
    g_autoptr(GPtrArray) images = vmig_job_images(job);

    vmig_json_begin_list(b, "source_images");
    for (guint i = 0; i < images->len; i++) {
        const VmigFile *file = images->pdata[i];
        json_builder_begin_object(b);
        vmig_json_text(b, "path", file->path[VMIG_SOURCE]);
        vmig_json_flag(b, "kept", job->options.keep_source || file->source_user != NULL);
        vmig_json_text(b, "used_by", file->source_user);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

JsonNode *vmig_document_result(const char *outcome, const VmigJob *job, const GError *error, const VmigPlan *plan,
                               guint64 duration_s)
{
    JsonBuilder *b = json_builder_new_immutable();

    json_builder_begin_object(b);
    vmig_json_text(b, "event", "result");
    vmig_json_text(b, "job", job != NULL ? job->id : NULL);
    vmig_json_text(b, "outcome", outcome);
    vmig_json_text(b, "domain", job != NULL ? job->domain : plan != NULL ? plan->survey->request->domain : NULL);
    vmig_json_text(b, "state", job != NULL ? job->state : NULL);
    vmig_json_text(b, "source", job != NULL ? job->host[VMIG_SOURCE] : NULL);
    vmig_json_text(b, "destination", job != NULL ? job->host[VMIG_DEST] : NULL);
    if (error != NULL)
        error_member(b, vmig_error_name_of(error), error->message, vmig_error_hint(error));
    else
        error_member(b, job != NULL ? job->error_code : NULL, job != NULL ? job->error_message : NULL,
                     job != NULL ? job->error_hint : NULL);
    if (plan != NULL)
        refusals_member(b, plan->refusals);
    if (job != NULL && job->options.accept_unrevertable)
        unrevertable_member(b, job->snapshots);
    vmig_json_text(b, "merge", job != NULL ? job->options.merge : NULL);
    vmig_json_number(b, "bytes_copied", job != NULL ? job->bytes_copied : 0);
    vmig_json_number(b, "bytes_mirrored", job != NULL ? job->bytes_mirrored : 0);
    vmig_json_number(b, "bytes_memory", job != NULL ? job->bytes_memory : 0);
    vmig_json_number(b, "downtime_ms", job != NULL ? job->downtime_ms : 0);
    vmig_json_number(b, "duration_s", duration_s);
    if (job != NULL && job->source_clean && vmig_job_end(job) == VMIG_END_MOVED)
        images_member(b, job);
    json_builder_end_object(b);
    return take(b);
}

static JsonBuilder *event_new(const char *event, const VmigJob *job)
{
    JsonBuilder *b = json_builder_new_immutable();

    json_builder_begin_object(b);
    vmig_json_text(b, "event", event);
    vmig_json_text(b, "job", job->id);
    return b;
}

static JsonNode *event_end(JsonBuilder *b)
{
    json_builder_end_object(b);
    return take(b);
}

JsonNode *vmig_event_state(const VmigJob *job)
{
    JsonBuilder *b = event_new("state", job);

    vmig_json_text(b, "state", job->state);
    vmig_json_text(b, "what", vmig_state_what(vmig_job_state(job)));
    return event_end(b);
}

JsonNode *vmig_event_progress(const VmigJob *job, const VmigProgress *p)
{
    JsonBuilder *b = event_new("progress", job);

    vmig_json_text(b, "phase", p->phase);
    vmig_json_text(b, "disk", p->disk);
    vmig_json_number(b, "done", p->done);
    vmig_json_number(b, "total", p->total);
    vmig_json_number(b, "skipped", p->skipped);
    vmig_json_number(b, "rate", p->rate);
    json_builder_set_member_name(b, "eta_s");
    if (p->rate > 0 && p->total >= p->done)
        json_builder_add_int_value(b, (gint64)((p->total - p->done + p->rate - 1) / p->rate));
    else
        json_builder_add_null_value(b);
    return event_end(b);
}

JsonNode *vmig_event_retry(const VmigJob *job, const GError *why, gint64 delay_us)
{
    JsonBuilder *b = event_new("retry", job);

    vmig_json_text(b, "state", job->state);
    vmig_json_number(b, "attempt", job->attempt);
    json_builder_set_member_name(b, "delay_s");
    json_builder_add_double_value(b, (double)delay_us / G_USEC_PER_SEC);
    error_member(b, vmig_error_name_of(why), why->message, vmig_error_hint(why));
    return event_end(b);
}

JsonNode *vmig_event_note(const VmigJob *job, const char *message)
{
    JsonBuilder *b = event_new("note", job);
    g_autofree char *shown = vmig_text_escape(message, -1);

    vmig_json_text(b, "message", shown);
    return event_end(b);
}
