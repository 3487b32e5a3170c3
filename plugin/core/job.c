/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The job's record and its JSON form. The same tables drive reading and writing. */
#include "core/job.h"

#include <string.h>

#include "core/errors.h"
#include "core/job-facts.h"
#include "core/job-private.h"

#define UPGRADE "Upgrade vmig-snap on this host."

#define TEXT(type, member)                                                                                             \
    {                                                                                                                  \
#member, FIELD_STRING, G_STRUCT_OFFSET(type, member), NULL, 0                                                  \
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
    TEXT(VmigFile, source),
    TEXT(VmigFile, dest),
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
    TEXT(VmigFile, kept),
    TEXT(VmigFile, hash),
    LEVEL(VmigFile, copy, "placed", VMIG_BASE_COPY_PLACED),
    LEVEL(VmigFile, copy, "dirty", VMIG_BASE_COPY_DIRTY),
    TEXT(VmigFile, named),
    LIST(VmigFile, contents, &content_table),
    TEXT(VmigFile, source_user),
};
static const FieldTable file_table = TABLE(VmigFile, vmig_file_free, file_fields);

static const Field disk_fields[] = {
    TEXT(VmigDisk, target),       LIST(VmigDisk, files, &file_table),
    TEXT(VmigDisk, overlay),      TEXT(VmigDisk, dest_overlay),
    TEXT(VmigDisk, hold),         TEXT(VmigDisk, dest_hold),
    TEXT(VmigDisk, snapshot),     FLAG(VmigDisk, pivoted),
    SIZE(VmigDisk, virtual_size), TEXT(VmigDisk, next_snapshot),
};
static const FieldTable disk_table = TABLE(VmigDisk, vmig_disk_free, disk_fields);

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
    TEXT(VmigJob, source_host),
    TEXT(VmigJob, dest_host),
    TEXT(VmigJob, connect_uri),
    TEXT(VmigJob, dest_uri),
    PART(VmigJob, options, &option_table),
    LIST(VmigJob, disks, &disk_table),
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

static gpointer record_new(const FieldTable *table)
{
    gpointer record = g_malloc0(table->size);

    for (guint i = 0; i < table->n_fields; i++) {
        const Field *f = &table->fields[i];
        if (f->kind == FIELD_ARRAY)
            G_STRUCT_MEMBER(GPtrArray *, record, f->offset) = g_ptr_array_new_with_free_func(f->table->free);
    }
    return record;
}

static void record_clear(gpointer record, const FieldTable *table)
{
    for (guint i = 0; i < table->n_fields; i++) {
        const Field *f = &table->fields[i];
        if (f->kind == FIELD_STRING || f->kind == FIELD_MEMORY)
            g_free(G_STRUCT_MEMBER(char *, record, f->offset));
        else if (f->kind == FIELD_ARRAY)
            g_ptr_array_unref(G_STRUCT_MEMBER(GPtrArray *, record, f->offset));
        else if (f->kind == FIELD_STRUCT)
            record_clear(G_STRUCT_MEMBER_P(record, f->offset), f->table);
    }
}

static JsonObject *record_to_json(gconstpointer record, const FieldTable *table);

static void field_to_json(JsonObject *object, gconstpointer record, const Field *f)
{
    switch (f->kind) {
    case FIELD_STRING:
        if (G_STRUCT_MEMBER(char *, record, f->offset) != NULL)
            json_object_set_string_member(object, f->name, G_STRUCT_MEMBER(char *, record, f->offset));
        break;
    case FIELD_UINT64:
    case FIELD_INT64:
        json_object_set_int_member(object, f->name, G_STRUCT_MEMBER(gint64, record, f->offset));
        break;
    case FIELD_BOOL:
        json_object_set_boolean_member(object, f->name, G_STRUCT_MEMBER(gboolean, record, f->offset));
        break;
    case FIELD_ROLE:
        json_object_set_string_member(object, f->name, vmig_role_name(G_STRUCT_MEMBER(VmigRole, record, f->offset)));
        break;
    case FIELD_FLOW:
        if (G_STRUCT_MEMBER(const VmigStates *, record, f->offset) != NULL)
            json_object_set_string_member(object, f->name,
                                          G_STRUCT_MEMBER(const VmigStates *, record, f->offset)->name);
        break;
    case FIELD_LEVEL:
        json_object_set_boolean_member(object, f->name, G_STRUCT_MEMBER(guint, record, f->offset) >= f->level);
        break;
    case FIELD_STRUCT:
        json_object_set_object_member(object, f->name, record_to_json(G_STRUCT_MEMBER_P(record, f->offset), f->table));
        break;
    case FIELD_ARRAY: {
        GPtrArray *array = G_STRUCT_MEMBER(GPtrArray *, record, f->offset);
        JsonArray *list = json_array_new();
        for (guint i = 0; i < array->len; i++)
            json_array_add_object_element(list, record_to_json(array->pdata[i], f->table));
        json_object_set_array_member(object, f->name, list);
        break;
    }
    case FIELD_MEMORY:
        break;
    }
}

static JsonObject *record_to_json(gconstpointer record, const FieldTable *table)
{
    JsonObject *object = json_object_new();

    for (guint i = 0; i < table->n_fields; i++)
        field_to_json(object, record, &table->fields[i]);
    return object;
}

static gboolean record_from_json(gpointer record, const FieldTable *table, JsonObject *object, GError **error);

static gboolean array_from_json(GPtrArray *array, const Field *f, JsonNode *node, GError **error)
{
    if (!JSON_NODE_HOLDS_ARRAY(node))
        return vmig_fail(error, VMIG_ERROR_JOURNAL, NULL, "the record's field '%s' is not a list", f->name);
    JsonArray *list = json_node_get_array(node);
    for (guint i = 0; i < json_array_get_length(list); i++) {
        JsonNode *item = json_array_get_element(list, i);
        if (!JSON_NODE_HOLDS_OBJECT(item))
            return vmig_fail(error, VMIG_ERROR_JOURNAL, NULL, "an element of the record's field '%s' is not an object",
                             f->name);
        gpointer element = record_new(f->table);
        g_ptr_array_add(array, element);
        if (!record_from_json(element, f->table, json_node_get_object(item), error))
            return FALSE;
    }
    return TRUE;
}

static gboolean field_from_json(gpointer record, const Field *f, JsonNode *node, GError **error)
{
    GType type = json_node_get_value_type(node);

    if (JSON_NODE_HOLDS_NULL(node))
        return TRUE;
    switch (f->kind) {
    case FIELD_STRING:
        /* json-glib also accepts octal escapes, but could not read its own output of the resulting bytes. */
        if (type == G_TYPE_STRING && g_utf8_validate(json_node_get_string(node), -1, NULL)) {
            g_free(G_STRUCT_MEMBER(char *, record, f->offset));
            G_STRUCT_MEMBER(char *, record, f->offset) = json_node_dup_string(node);
            return TRUE;
        }
        break;
    case FIELD_UINT64:
    case FIELD_INT64:
        if (type == G_TYPE_INT64) {
            G_STRUCT_MEMBER(gint64, record, f->offset) = json_node_get_int(node);
            return TRUE;
        }
        break;
    case FIELD_BOOL:
        if (type == G_TYPE_BOOLEAN) {
            G_STRUCT_MEMBER(gboolean, record, f->offset) = json_node_get_boolean(node);
            return TRUE;
        }
        break;
    case FIELD_ROLE:
        if (type == G_TYPE_STRING && vmig_role_parse(json_node_get_string(node), G_STRUCT_MEMBER_P(record, f->offset)))
            return TRUE;
        break;
    case FIELD_FLOW:
        if (type != G_TYPE_STRING)
            break;
        G_STRUCT_MEMBER(const VmigStates *, record, f->offset) = vmig_states_of_flow(json_node_get_string(node));
        return G_STRUCT_MEMBER(const VmigStates *, record, f->offset) != NULL ||
               vmig_fail(error, VMIG_ERROR_JOURNAL_NEWER, UPGRADE,
                         "the record's field '%s' names an operation that this vmig-snap does not know: '%s'", f->name,
                         json_node_get_string(node));
    case FIELD_LEVEL:
        if (type == G_TYPE_BOOLEAN) {
            guint *level = G_STRUCT_MEMBER_P(record, f->offset);
            *level = MAX(*level, json_node_get_boolean(node) ? f->level : 0);
            return TRUE;
        }
        break;
    case FIELD_STRUCT:
        if (JSON_NODE_HOLDS_OBJECT(node))
            return record_from_json(G_STRUCT_MEMBER_P(record, f->offset), f->table, json_node_get_object(node), error);
        break;
    case FIELD_ARRAY:
        return array_from_json(G_STRUCT_MEMBER(GPtrArray *, record, f->offset), f, node, error);
    case FIELD_MEMORY:
        break;
    }
    return vmig_fail(error, VMIG_ERROR_JOURNAL, NULL, "the record's field '%s' has the wrong type", f->name);
}

static gboolean record_from_json(gpointer record, const FieldTable *table, JsonObject *object, GError **error)
{
    for (guint i = 0; i < table->n_fields; i++) {
        JsonNode *node = json_object_get_member(object, table->fields[i].name);
        if (node != NULL && table->fields[i].kind != FIELD_MEMORY &&
            !field_from_json(record, &table->fields[i], node, error))
            return FALSE;
    }
    return TRUE;
}

VmigContent *vmig_content_new(void)
{
    return record_new(&content_table);
}

void vmig_content_free(VmigContent *content)
{
    record_clear(content, &content_table);
    g_free(content);
}

VmigFile *vmig_file_new(void)
{
    return record_new(&file_table);
}

void vmig_file_free(VmigFile *file)
{
    record_clear(file, &file_table);
    g_free(file);
}

VmigDisk *vmig_disk_new(void)
{
    return record_new(&disk_table);
}

void vmig_disk_free(VmigDisk *disk)
{
    record_clear(disk, &disk_table);
    g_free(disk);
}

VmigSnapshot *vmig_snapshot_new(void)
{
    return record_new(&snapshot_table);
}

void vmig_snapshot_free(VmigSnapshot *snapshot)
{
    record_clear(snapshot, &snapshot_table);
    g_free(snapshot);
}

void vmig_snapshot_take_xml(VmigSnapshot *snapshot, char *xml)
{
    g_free(snapshot->xml);
    g_free(snapshot->text);
    snapshot->xml = xml;
    snapshot->text = xml != NULL ? g_compute_checksum_for_string(G_CHECKSUM_SHA256, xml, -1) : NULL;
}

VmigJob *vmig_job_new(const VmigStates *flow)
{
    VmigJob *job = record_new(&job_table);

    job->version = VMIG_JOB_VERSION;
    job->flow = flow;
    job->state = g_strdup(vmig_state_name(flow->rows));
    return job;
}

VmigJob *vmig_job_only_id(const char *id)
{
    VmigJob *job = record_new(&job_table);

    job->id = g_strdup(id);
    return job;
}

void vmig_job_free(VmigJob *job)
{
    record_clear(job, &job_table);
    g_free(job);
}

JsonObject *vmig_job_to_json(const VmigJob *job)
{
    return record_to_json(job, &job_table);
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

gboolean vmig_job_check(const VmigJob *job, GError **error)
{
    if (job->version > VMIG_JOB_VERSION)
        return vmig_fail(error, VMIG_ERROR_JOURNAL_NEWER, UPGRADE,
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
    return job->version < VMIG_JOB_VERSION || vmig_job_facts_are_legal(job, error);
}

VmigJob *vmig_job_from_json(JsonObject *object, GError **error)
{
    g_autoptr(VmigJob) job = record_new(&job_table);

    if (!record_from_json(job, &job_table, object, error))
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
    g_autoptr(VmigJob) copy = record_new(&job_table);

    return record_from_json(copy, &job_table, object, NULL) ? g_steal_pointer(&copy) : NULL;
}
