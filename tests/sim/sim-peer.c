/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The agent's checks of node/node-peer.c, as far as the state machine itself could violate them. Lies of the other host
 * are tested in tests/unit/test-hostile.c. */
#include "sim.h"

#include <string.h>

#include "store/gate.h"
#include "flows/migrate/states.h"

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

static gboolean check_record(SimHost *host, const VmigJob *told, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(VmigJob) own = vmig_journal_load(host->journal, told->id, &failure);
    if (own == NULL && g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_JOB))
        return check_new(host, told, !host->is_dest, error);
    if (!host->is_dest && vmig_job_state(told) == VMIG_MIGRATE(DONE) && host->domain.qemu != NULL)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "%s: its guest still runs here", host->name);
    return TRUE;
}

static gboolean check_file(SimHost *host, const char *job, const char *path, const char *kind, GError **error)
{
    g_autoptr(VmigJournalFile) row = NULL;

    if (!vmig_journal_file_get(host->journal, job, path, &row, error))
        return FALSE;
    return (row != NULL && strcmp(row->kind, kind) == 0 && strcmp(row->state, "removed") != 0) ||
           vmig_fail(error, VMIG_ERROR_GATE, NULL, "%s: '%s' is no %s of the job", host->name, path, kind);
}

static gboolean check_files(SimHost *host, VmigMethod method, gconstpointer args, GError **error)
{
    const VmigOverlayArgs *created = args;
    const VmigJobPathArgs *committed = args;

    if (method == VMIG_METHOD_CREATE_OVERLAY)
        return check_file(host, created->job, created->backing, "copy", error);
    return method != VMIG_METHOD_COMMIT_OFFLINE || check_file(host, committed->job, committed->path, "overlay", error);
}

gboolean sim_peer_may(SimHost *host, VmigMethod method, gconstpointer args, GError **error)
{
    const VmigJob *record = vmig_message_record(vmig_method_args(method), args);

    if (vmig_method_peer(method) == VMIG_PEER_LOOKS || vmig_method_peer(method) == VMIG_PEER_LOCKS)
        return TRUE;
    const char *job = vmig_message_job(vmig_method_args(method), args);
    if (g_strcmp0(host->oplock, job) != 0)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "%s: '%s' without the lock of job %s", host->name,
                         vmig_method_name(method), job);
    return record != NULL ? check_record(host, record, error) : check_files(host, method, args, error);
}
