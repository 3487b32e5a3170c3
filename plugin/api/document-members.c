/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Typed members of documents. A member that is missing, null or of another type counts as not there. */
#include "api/hints.h"
#include "core/errors.h"
#include "vmig-snap/vmig-snap.h"

G_DEFINE_ENUM_TYPE(VmigOutcome, vmig_outcome, G_DEFINE_ENUM_VALUE(VMIG_OUTCOME_FAILED, "failed"),
                   G_DEFINE_ENUM_VALUE(VMIG_OUTCOME_DONE, "done"), G_DEFINE_ENUM_VALUE(VMIG_OUTCOME_REFUSED, "refused"),
                   G_DEFINE_ENUM_VALUE(VMIG_OUTCOME_LOCKED, "locked"),
                   G_DEFINE_ENUM_VALUE(VMIG_OUTCOME_ROLLED_BACK, "rolled-back"),
                   G_DEFINE_ENUM_VALUE(VMIG_OUTCOME_PARKED, "parked"),
                   G_DEFINE_ENUM_VALUE(VMIG_OUTCOME_SET_ASIDE, "set-aside"))

static JsonNode *member(JsonNode *document, const char *name)
{
    return document != NULL && JSON_NODE_HOLDS_OBJECT(document)
               ? json_object_get_member(json_node_get_object(document), name)
               : NULL;
}

static gboolean holds(JsonNode *node, GType type)
{
    return node != NULL && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == type;
}

static const char *text(JsonNode *document, const char *name)
{
    JsonNode *node = member(document, name);

    return holds(node, G_TYPE_STRING) ? json_node_get_string(node) : NULL;
}

static guint64 number(JsonNode *document, const char *name)
{
    JsonNode *node = member(document, name);

    return holds(node, G_TYPE_INT64) ? (guint64)MAX(json_node_get_int(node), 0) : 0;
}

/* A plan describes a host with an object, a result with its name. */
static const char *host(JsonNode *document, const char *name)
{
    const char *plain = text(document, name);

    return plain != NULL ? plain : text(member(document, name), "host");
}

static int value_of(GType type, const char *nick, int otherwise)
{
    g_autoptr(GEnumClass) klass = g_type_class_ref(type);
    const GEnumValue *value = nick != NULL ? g_enum_get_value_by_nick(klass, nick) : NULL;

    return value != NULL ? value->value : otherwise;
}

/**
 * vmig_document_get_outcome:
 * @document: a "result" document
 *
 * Returns: how the migration ended; %VMIG_OUTCOME_FAILED for an outcome that this version does not know
 */
VmigOutcome vmig_document_get_outcome(JsonNode *document)
{
    return (VmigOutcome)value_of(VMIG_TYPE_OUTCOME, text(document, "outcome"), VMIG_OUTCOME_FAILED);
}

/**
 * vmig_document_can_migrate:
 * @document: a "plan" document
 *
 * Returns: %TRUE if the plan found no reason to refuse the migration
 */
gboolean vmig_document_can_migrate(JsonNode *document)
{
    JsonNode *node = member(document, "can_migrate");

    return holds(node, G_TYPE_BOOLEAN) && json_node_get_boolean(node);
}

/**
 * vmig_document_get_job:
 * @document: a document, an event, or a job of a "status" document
 *
 * Returns: (transfer none) (nullable): the id of the job; %NULL if no job was created
 */
const char *vmig_document_get_job(JsonNode *document)
{
    return text(document, "job");
}

/**
 * vmig_document_get_domain:
 * @document: a document, or a job of a "status" document
 *
 * Returns: (transfer none) (nullable): the name of the guest
 */
const char *vmig_document_get_domain(JsonNode *document)
{
    return text(document, "domain");
}

/**
 * vmig_document_get_source:
 * @document: a document, or a job of a "status" document
 *
 * Returns: (transfer none) (nullable): the name of the source
 */
const char *vmig_document_get_source(JsonNode *document)
{
    return host(document, "source");
}

/**
 * vmig_document_get_destination:
 * @document: a document, or a job of a "status" document
 *
 * Returns: (transfer none) (nullable): the name of the destination
 */
const char *vmig_document_get_destination(JsonNode *document)
{
    return host(document, "destination");
}

/**
 * vmig_document_get_state:
 * @document: a "result" document, an event, or a job of a "status" document
 *
 * Returns: (transfer none) (nullable): the name of the job's state, for vmig_job_state_get_phase() and others
 */
const char *vmig_document_get_state(JsonNode *document)
{
    return text(document, "state");
}

/**
 * vmig_document_get_merge:
 * @document: a "plan" or "result" document, or a job of a "status" document
 *
 * Returns: the merge that is used; %VMIG_MERGE_AUTO if it was not chosen yet
 */
VmigMerge vmig_document_get_merge(JsonNode *document)
{
    return (VmigMerge)value_of(VMIG_TYPE_MERGE, text(document, "merge"), VMIG_MERGE_AUTO);
}

/**
 * vmig_document_get_bytes_copied:
 * @document: a "result" document, or a job of a "status" document
 *
 * Returns: the size of the copied data in bytes
 */
guint64 vmig_document_get_bytes_copied(JsonNode *document)
{
    return number(document, "bytes_copied");
}

/**
 * vmig_document_get_downtime:
 * @document: a "result" document, or a job of a "status" document
 *
 * Returns: the downtime in milliseconds; 0 if it is not known
 */
guint64 vmig_document_get_downtime(JsonNode *document)
{
    return number(document, "downtime_ms");
}

/**
 * vmig_document_get_duration:
 * @document: a "result" or "verify" document
 *
 * Returns: the duration in seconds
 */
guint64 vmig_document_get_duration(JsonNode *document)
{
    return number(document, "duration_s");
}

/**
 * vmig_document_get_error:
 * @document: a "result" or "verify" document, a "retry" event, or a job of a "status" document
 *
 * Returns: (transfer full) (nullable): the error of the document with its hint; %NULL if nothing failed
 */
GError *vmig_document_get_error(JsonNode *document)
{
    JsonNode *node = member(document, "error");
    const char *message = text(node, "message"), *hint = text(node, "hint");
    VmigErrorCode code = vmig_error_from_name(text(node, "code"));
    GError *error = NULL;

    if (node == NULL || !JSON_NODE_HOLDS_OBJECT(node))
        return NULL;
    vmig_fail(&error, code != VMIG_ERROR_LAST ? code : VMIG_ERROR_INTERNAL, hint, "%s", message != NULL ? message : "");
    vmig_hints_keep(error);
    return error;
}
