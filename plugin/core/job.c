/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The job's record and its JSON form. The same tables drive reading and writing. */
#include "core/job.h"

#include <string.h>

#include "core/errors.h"
#include "core/job-facts.h"
#include "core/job-private.h"

#define TEXT(type, member)                                                                                             \
    {                                                                                                                  \
#member, FIELD_STRING, G_STRUCT_OFFSET(type, member), NULL, 0                                                  \
    }
#define NAMED(type, member, name)                                                                                      \
    {                                                                                                                  \
        name, FIELD_STRING, G_STRUCT_OFFSET(type, member), NULL, 0                                                     \
    }
#define SIZE(type, member)                                                                                             \
    {                                                                                                                  \
#member, FIELD_UINT64, G_STRUCT_OFFSET(type, member), NULL, 0                                                  \
    }
#define TIME(type, member)                                                                                             \
    {                                                                                                                  \
#member, FIELD_INT64, G_STRUCT_OFFSET(type, member), NULL, 0                                                   \
    }
#define FLAG(type, member)                                                                                             \
    {                                                                                                                  \
#member, FIELD_BOOL, G_STRUCT_OFFSET(type, member), NULL, 0                                                    \
    }
#define LEVEL(type, member, name, lowest)                                                                              \
    {                                                                                                                  \
        name, FIELD_LEVEL, G_STRUCT_OFFSET(type, member), NULL, lowest                                                 \
    }
#define ROLE(type, member, name)                                                                                       \
    {                                                                                                                  \
        name, FIELD_ROLE, G_STRUCT_OFFSET(type, member), NULL, 0                                                       \
    }
#define FLOW(type, member)                                                                                             \
    {                                                                                                                  \
#member, FIELD_FLOW, G_STRUCT_OFFSET(type, member), NULL, 0                                                    \
    }
#define KIND(type, member)                                                                                             \
    {                                                                                                                  \
#member, FIELD_KIND, G_STRUCT_OFFSET(type, member), NULL, 0                                                    \
    }
#define LIST(type, member, tab)                                                                                        \
    {                                                                                                                  \
#member, FIELD_ARRAY, G_STRUCT_OFFSET(type, member), tab, 0                                                    \
    }
#define PART(type, member, tab)                                                                                        \
    {                                                                                                                  \
#member, FIELD_STRUCT, G_STRUCT_OFFSET(type, member), tab, 0                                                   \
    }
#define MEMORY(type, member)                                                                                           \
    {                                                                                                                  \
#member, FIELD_MEMORY, G_STRUCT_OFFSET(type, member), NULL, 0                                                  \
    }
#define TABLE(type, free_func, array)                                                                                  \
    {                                                                                                                  \
        sizeof(type), (GDestroyNotify)free_func, array, G_N_ELEMENTS(array)                                            \
    }

static const Field content_fields[] = {
    TEXT(VmigContent, id),          TEXT(VmigContent, name),     SIZE(VmigContent, date_sec),
    SIZE(VmigContent, date_nsec),   SIZE(VmigContent, vm_clock), SIZE(VmigContent, vm_state_size),
    SIZE(VmigContent, disk_size),   SIZE(VmigContent, icount),   TEXT(VmigContent, disk_hash),
    TEXT(VmigContent, memory_hash),
};
static const FieldTable content_table = TABLE(VmigContent, vmig_content_free, content_fields);

static const Field file_fields[] = {
    NAMED(VmigFile, path[VMIG_SOURCE], "source"),
    NAMED(VmigFile, path[VMIG_DEST], "dest"),
    TEXT(VmigFile, part),
    TEXT(VmigFile, format),
    TEXT(VmigFile, backing),
    TEXT(VmigFile, backing_format),
    TEXT(VmigFile, rebase),
    SIZE(VmigFile, size),
    SIZE(VmigFile, allocated),
    SIZE(VmigFile, virtual_size),
    SIZE(VmigFile, dev),
    SIZE(VmigFile, ino),
    SIZE(VmigFile, mtime_ns),
    SIZE(VmigFile, mode),
    TEXT(VmigFile, kept),
    TEXT(VmigFile, hash),
    LEVEL(VmigFile, copy, "placed", VMIG_BASE_COPY_PLACED),
    LEVEL(VmigFile, copy, "dirty", VMIG_BASE_COPY_DIRTY),
    TEXT(VmigFile, named),
    LIST(VmigFile, contents, &content_table),
    TEXT(VmigFile, source_user),
};
static const FieldTable file_table = TABLE(VmigFile, vmig_file_free, file_fields);

static const Field artifact_fields[] = {
    KIND(VmigArtifact, kind),
    TEXT(VmigArtifact, target),
    LIST(VmigArtifact, files, &file_table),
    NAMED(VmigArtifact, at[VMIG_SOURCE].overlay, "overlay"),
    NAMED(VmigArtifact, at[VMIG_DEST].overlay, "dest_overlay"),
    NAMED(VmigArtifact, at[VMIG_SOURCE].hold, "hold"),
    NAMED(VmigArtifact, at[VMIG_DEST].hold, "dest_hold"),
    TEXT(VmigArtifact, snapshot),
    FLAG(VmigArtifact, pivoted),
    SIZE(VmigArtifact, virtual_size),
    TEXT(VmigArtifact, next_snapshot),
};
static const FieldTable artifact_table = TABLE(VmigArtifact, vmig_artifact_free, artifact_fields);

static const Field snapshot_fields[] = {
    TEXT(VmigSnapshot, name),         TEXT(VmigSnapshot, parent),      TEXT(VmigSnapshot, state),
    TEXT(VmigSnapshot, text),         TEXT(VmigSnapshot, description), TIME(VmigSnapshot, creation_time),
    FLAG(VmigSnapshot, current),      FLAG(VmigSnapshot, memory),      FLAG(VmigSnapshot, external),
    TEXT(VmigSnapshot, unrevertable), MEMORY(VmigSnapshot, xml),
};
static const FieldTable snapshot_table = TABLE(VmigSnapshot, vmig_snapshot_free, snapshot_fields);

static const Field option_fields[] = {
    TEXT(VmigOptions, merge),
    TEXT(VmigOptions, transport),
    SIZE(VmigOptions, bandwidth),
    SIZE(VmigOptions, max_downtime),
    SIZE(VmigOptions, parallel),
    SIZE(VmigOptions, timeout),
    FLAG(VmigOptions, auto_converge),
    FLAG(VmigOptions, postcopy),
    FLAG(VmigOptions, keep_source),
    FLAG(VmigOptions, verify),
    TEXT(VmigOptions, policy),
    FLAG(VmigOptions, no_rehearsal),
    FLAG(VmigOptions, accept_unrevertable),
    TEXT(VmigOptions, migrate_host),
};
static const FieldTable option_table = TABLE(VmigOptions, NULL, option_fields);

static const Field job_fields[] = {
    SIZE(VmigJob, version),
    TEXT(VmigJob, id),
    FLOW(VmigJob, flow),
    TEXT(VmigJob, state),
    TEXT(VmigJob, parked_state),
    TEXT(VmigJob, domain),
    TEXT(VmigJob, uuid),
    NAMED(VmigJob, host[VMIG_SOURCE], "source_host"),
    NAMED(VmigJob, host[VMIG_DEST], "dest_host"),
    TEXT(VmigJob, connect_uri),
    TEXT(VmigJob, dest_uri),
    PART(VmigJob, options, &option_table),
    LIST(VmigJob, artifacts, &artifact_table),
    LIST(VmigJob, snapshots, &snapshot_table),
    TEXT(VmigJob, live_xml),
    TEXT(VmigJob, persistent_xml),
    TEXT(VmigJob, dest_xml),
    TEXT(VmigJob, dest_persistent_xml),
    FLAG(VmigJob, autostart),
    TEXT(VmigJob, source_boot),
    TEXT(VmigJob, content_key),
    FLAG(VmigJob, was_paused),
    FLAG(VmigJob, migration_begun),
    FLAG(VmigJob, revoked),
    ROLE(VmigJob, owner, "token"),
    LEVEL(VmigJob, overlays, "frozen", VMIG_OVERLAYS_IN_USE),
    LEVEL(VmigJob, overlays, "diverged", VMIG_OVERLAYS_DIVERGED),
    LEVEL(VmigJob, merge, "commit_started", VMIG_MERGE_COMMITTING),
    LEVEL(VmigJob, merge, "pivoting", VMIG_MERGE_PIVOTING),
    LEVEL(VmigJob, merge, "pivoted", VMIG_MERGE_DONE),
    FLAG(VmigJob, suspended),
    FLAG(VmigJob, start_again),
    FLAG(VmigJob, verified),
    FLAG(VmigJob, source_clean),
    SIZE(VmigJob, started),
    SIZE(VmigJob, ended),
    SIZE(VmigJob, bytes_copied),
    SIZE(VmigJob, bytes_mirrored),
    SIZE(VmigJob, bytes_memory),
    SIZE(VmigJob, downtime_ms),
    SIZE(VmigJob, attempt),
    TEXT(VmigJob, next_try),
    TEXT(VmigJob, last_code),
    TEXT(VmigJob, last_message),
    TEXT(VmigJob, last_hint),
    TEXT(VmigJob, error_code),
    TEXT(VmigJob, error_message),
    TEXT(VmigJob, error_hint),
};
static const FieldTable job_table = TABLE(VmigJob, vmig_job_free, job_fields);

VmigContent *vmig_content_new(void)
{
    return vmig_record_new(&content_table);
}

void vmig_content_free(VmigContent *content)
{
    vmig_record_clear(content, &content_table);
    g_free(content);
}

VmigFile *vmig_file_new(void)
{
    return vmig_record_new(&file_table);
}

void vmig_file_free(VmigFile *file)
{
    vmig_record_clear(file, &file_table);
    g_free(file);
}

VmigArtifact *vmig_artifact_new(VmigArtifactKind kind)
{
    VmigArtifact *artifact = vmig_record_new(&artifact_table);

    artifact->kind = kind;
    return artifact;
}

VmigDisk *vmig_disk_new(void)
{
    return vmig_artifact_new(VMIG_ARTIFACT_DISK);
}

void vmig_artifact_free(VmigArtifact *artifact)
{
    vmig_record_clear(artifact, &artifact_table);
    g_free(artifact);
}

VmigSnapshot *vmig_snapshot_new(void)
{
    return vmig_record_new(&snapshot_table);
}

void vmig_snapshot_free(VmigSnapshot *snapshot)
{
    vmig_record_clear(snapshot, &snapshot_table);
    g_free(snapshot);
}

void vmig_snapshot_take_xml(VmigSnapshot *snapshot, char *xml)
{
    g_free(snapshot->xml);
    g_free(snapshot->text);
    snapshot->xml = xml;
    snapshot->text = xml != NULL ? g_compute_checksum_for_string(G_CHECKSUM_SHA256, xml, -1) : NULL;
}

static VmigJob *empty_job(void)
{
    VmigJob *job = vmig_record_new(&job_table);

    job->disks = g_ptr_array_new();
    return job;
}

VmigJob *vmig_job_new(const VmigStates *flow)
{
    VmigJob *job = empty_job();

    job->version = VMIG_JOB_VERSION;
    job->flow = flow;
    job->state = g_strdup(vmig_state_name(flow->rows));
    return job;
}

VmigJob *vmig_job_only_id(const char *id)
{
    VmigJob *job = empty_job();

    job->id = g_strdup(id);
    return job;
}

void vmig_job_free(VmigJob *job)
{
    g_ptr_array_unref(job->disks);
    vmig_record_clear(job, &job_table);
    g_free(job);
}

/* Reads the fields into an empty job. */
static gboolean fill_job(VmigJob *job, JsonObject *object, GError **error)
{
    if (!vmig_record_from_json(job, &job_table, object, error))
        return FALSE;
    for (guint i = 0; i < job->artifacts->len; i++)
        if (((const VmigArtifact *)job->artifacts->pdata[i])->kind == VMIG_ARTIFACT_DISK)
            g_ptr_array_add(job->disks, job->artifacts->pdata[i]);
    return TRUE;
}

JsonObject *vmig_job_to_json(const VmigJob *job)
{
    return vmig_record_to_json(job, &job_table);
}

char *vmig_job_to_string(const VmigJob *job)
{
    return vmig_record_to_text(job, &job_table);
}

gsize vmig_job_record_size(const VmigJob *job)
{
    g_autofree char *text = vmig_job_to_string(job);

    return strlen(text);
}

/* The kinds are in the record already; an operation of this version moves only what can be copied ahead. */
static gboolean can_move_all(const VmigJob *job, GError **error)
{
    for (guint i = 0; i < job->artifacts->len; i++) {
        const VmigArtifact *artifact = job->artifacts->pdata[i];
        if (vmig_artifact_copy(artifact->kind) != VMIG_COPY_AHEAD)
            return vmig_fail(error, VMIG_ERROR_JOURNAL_NEWER, VMIG_RECORD_UPGRADE,
                             "the job also moves '%s', %s, which this vmig-snap cannot", artifact->target,
                             vmig_artifact_what(artifact->kind));
    }
    return TRUE;
}

gboolean vmig_job_check(const VmigJob *job, GError **error)
{
    if (job->version > VMIG_JOB_VERSION)
        return vmig_fail(error, VMIG_ERROR_JOURNAL_NEWER, VMIG_RECORD_UPGRADE,
                         "the record has version %" G_GUINT64_FORMAT ", but this vmig-snap supports versions up to %d",
                         job->version, VMIG_JOB_VERSION);
    /* Some states had other names in an older version. */
    gboolean strange_state =
        job->version == VMIG_JOB_VERSION ? job->flow == NULL || vmig_job_state(job) == NULL : job->state == NULL;
    if (job->version == 0 || job->id == NULL || job->uuid == NULL || strange_state)
        return vmig_fail(error, VMIG_ERROR_JOURNAL, NULL, "the record does not belong to a job");
    if (job->version < VMIG_JOB_VERSION && (vmig_job_state(job) == NULL || !vmig_state_is_final(vmig_job_state(job)))) {
        g_autofree char *hint = vmig_job_older_hint(job->id);
        return vmig_fail(error, VMIG_ERROR_JOURNAL_OLDER, hint,
                         "the record of the unfinished job has version %" G_GUINT64_FORMAT
                         ", but this vmig-snap continues only jobs of version %d",
                         job->version, VMIG_JOB_VERSION);
    }
    /* What an older version meant by a flag is not checked: its jobs have ended, and are only displayed. */
    return job->version < VMIG_JOB_VERSION || (can_move_all(job, error) && vmig_job_facts_are_legal(job, error));
}

VmigJob *vmig_job_from_json(JsonObject *object, GError **error)
{
    g_autoptr(VmigJob) job = empty_job();

    if (!fill_job(job, object, error))
        return NULL;
    /* A newer version is reported first: it may say in another way who owns the guest. */
    if (job->version <= VMIG_JOB_VERSION && !json_object_has_member(object, "token")) {
        vmig_fail(error, VMIG_ERROR_JOURNAL, NULL, "the record does not belong to a job");
        return NULL;
    }
    return vmig_job_check(job, error) ? g_steal_pointer(&job) : NULL;
}

VmigJob *vmig_job_from_string(const char *text, GError **error)
{
    g_autoptr(JsonNode) node = json_from_string(text, error);

    if (node == NULL || !JSON_NODE_HOLDS_OBJECT(node)) {
        if (error != NULL && *error != NULL)
            vmig_error_adopt(error, VMIG_ERROR_JOURNAL);
        else
            vmig_fail(error, VMIG_ERROR_JOURNAL, NULL, "the record is empty");
        return NULL;
    }
    return vmig_job_from_json(json_node_get_object(node), error);
}

VmigJob *vmig_job_copy(const VmigJob *job)
{
    g_autoptr(JsonObject) object = vmig_job_to_json(job);
    g_autoptr(VmigJob) copy = empty_job();

    return fill_job(copy, object, NULL) ? g_steal_pointer(&copy) : NULL;
}
