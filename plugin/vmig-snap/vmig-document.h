/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Typed members of the documents and events that docs/json.md describes. Each function reads one member of any object
 * that has it: a result, a plan, an event, or one job of a status document. */
#pragma once

#include <json-glib/json-glib.h>

#include <vmig-snap/vmig-state.h>
#include <vmig-snap/vmig-types.h>

G_BEGIN_DECLS

/**
 * VmigOutcome:
 * @VMIG_OUTCOME_FAILED: any other failure; the state is the one in which the job stopped
 * @VMIG_OUTCOME_DONE: the guest and every snapshot are on the destination
 * @VMIG_OUTCOME_REFUSED: refused before anything was touched
 * @VMIG_OUTCOME_LOCKED: another operation holds the guest
 * @VMIG_OUTCOME_ROLLED_BACK: the guest is on the source as before
 * @VMIG_OUTCOME_PARKED: the guest is safe, and the job waits for an operator
 * @VMIG_OUTCOME_SET_ASIDE: the operator gave a parked job up: the guest stays as it is, every file is kept
 *
 * How a migration ended.
 */
typedef enum {
    VMIG_OUTCOME_FAILED,
    VMIG_OUTCOME_DONE,
    VMIG_OUTCOME_REFUSED,
    VMIG_OUTCOME_LOCKED,
    VMIG_OUTCOME_ROLLED_BACK,
    VMIG_OUTCOME_PARKED,
    VMIG_OUTCOME_SET_ASIDE,
} VmigOutcome;

#define VMIG_TYPE_OUTCOME (vmig_outcome_get_type())
GType vmig_outcome_get_type(void);

VmigOutcome vmig_document_get_outcome(JsonNode *document);
gboolean vmig_document_can_migrate(JsonNode *document);
const char *vmig_document_get_job(JsonNode *document);
const char *vmig_document_get_domain(JsonNode *document);
const char *vmig_document_get_source(JsonNode *document);
const char *vmig_document_get_destination(JsonNode *document);
const char *vmig_document_get_state(JsonNode *document);
VmigMerge vmig_document_get_merge(JsonNode *document);
guint64 vmig_document_get_bytes_copied(JsonNode *document);
guint64 vmig_document_get_downtime(JsonNode *document);
guint64 vmig_document_get_duration(JsonNode *document);
GError *vmig_document_get_error(JsonNode *document);

G_END_DECLS
