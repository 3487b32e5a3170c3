/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The agent's checks of node/node-peer.c, as far as the state machine itself could violate them. Lies of the other host
 * are tested in tests/unit/test-hostile.c. */
#include "sim.h"

#include <string.h>

#include "store/gate.h"

static gboolean is_marked(const SimDef *def, const char *job)
{
    return def->metadata != NULL && strstr(def->metadata, job) != NULL;
}

static gboolean check_new(SimHost *host, const VmigJob *told, gboolean source, GError **error)
{
    const SimDomain *d = &host->domain;
    gboolean marked = d->exists && (is_marked(&d->live, told->id) || is_marked(&d->config, told->id));

    if (source ? (d->exists ? marked : host->given) : (!d->exists || marked || host->given))
        return TRUE;
    return vmig_fail(error, source && d->exists ? VMIG_ERROR_GATE : VMIG_ERROR_FORGOTTEN, NULL,
                     "%s: nothing here says that it had to do with job %s", host->name, told->id);
}

static gboolean check_record(SimHost *host, JsonObject *record, GError **error)
{
    g_autoptr(VmigJob) told = vmig_job_from_json(record, error);
    g_autoptr(GError) failure = NULL;

    if (told == NULL)
        return FALSE;
    g_autoptr(VmigJob) own = vmig_journal_load(host->journal, told->id, &failure);
    if (own == NULL && g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_JOB))
        return check_new(host, told, !host->is_dest, error);
    if (!host->is_dest && vmig_job_state(told) == VMIG_STATE_DONE && host->domain.qemu != NULL)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "%s: its guest still runs here", host->name);
    return TRUE;
}

static gboolean check_files(SimHost *host, const char *method, JsonObject *args, GError **error)
{
    gboolean creates = strcmp(method, "create-overlay") == 0, commits = strcmp(method, "commit-offline") == 0;
    g_autoptr(VmigJournalFile) row = NULL;

    if (!creates && !commits)
        return TRUE;
    const char *job = json_object_get_string_member(args, "job");
    const char *path = json_object_get_string_member(args, creates ? "backing" : "path");
    if (!vmig_journal_file_get(host->journal, job, path, &row, error))
        return FALSE;
    return (row != NULL && strcmp(row->kind, creates ? "copy" : "overlay") == 0 &&
            strcmp(row->state, "removed") != 0) ||
           vmig_fail(error, VMIG_ERROR_GATE, NULL, "%s: '%s' is no %s of the job", host->name, path,
                     creates ? "copy" : "overlay");
}

gboolean sim_peer_may(SimHost *host, VmigMethod method, JsonObject *args, GError **error)
{
    JsonObject *record = json_object_has_member(args, "record") ? json_object_get_object_member(args, "record") : NULL;
    const char *job = record != NULL                        ? json_object_get_string_member(record, "id")
                      : json_object_has_member(args, "job") ? json_object_get_string_member(args, "job")
                                                            : NULL;

    if (host != sim_peer(host->sim) || vmig_method_peer(method) == VMIG_PEER_LOOKS ||
        vmig_method_peer(method) == VMIG_PEER_LOCKS)
        return TRUE;
    if (g_strcmp0(host->oplock, job) != 0)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "%s: '%s' without the lock of job %s", host->name,
                         vmig_method_name(method), job);
    return record != NULL ? check_record(host, record, error)
                          : check_files(host, vmig_method_name(method), args, error);
}
