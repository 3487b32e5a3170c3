/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages as JSON, as the two ends of an agent's connection send and receive them.
 *
 * Reading is strict: a member that is missing, of another type or out of range is a PROTOCOL error, never a zero.
 * Members that the message does not define are ignored.
 */
#pragma once

#include <json-glib/json-glib.h>

#include "port/messages.h"

/* The message must be one that vmig_message_check() accepts. (transfer full) */
JsonObject *vmig_codec_encode(const VmigMessage *message, gconstpointer data);
/* Fills data, whose previous content is lost; it owns its members then. After a failure there is nothing to clear.
 * reply_to: as for vmig_message_check(). Errors: also those of vmig_job_from_json() and vmig_hash_key_read(). */
gboolean vmig_codec_decode(const VmigMessage *message, JsonObject *object, gpointer data, const char *reply_to,
                           GError **error);
