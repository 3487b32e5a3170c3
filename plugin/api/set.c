/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes settings of an unfinished job: in the process that works on it, or in the record for the next process. */
#include "api/documents.h"
#include "api/session-private.h"
#include "link/control.h"
#include "node/node-local.h"
#include "api/env-real.h"

static gboolean check_open(const VmigJob *job, GError **error)
{
    if (!vmig_state_is_final(vmig_job_state(job)))
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_NO_JOB, NULL, "job %s of '%s' is over (%s)", job->id, job->domain, job->state);
}

/* The operation lock ensures that no other process writes the record. */
static gboolean change_record(VmigSession *self, const char *id, guint64 bandwidth, GError **error)
{
    VmigNodeConfig config = {
        .state_dir = self->config->state_dir,
        .run_dir = self->config->run_dir,
        .roots = (const char *const *)self->config->image_roots,
        .role = VMIG_SOURCE,
    };
    g_autoptr(VmigNode) node = vmig_node_local_new("this host", &config, error);
    VmigJournal *journal = node != NULL ? vmig_node_local_journal(node, error) : NULL;
    g_autoptr(VmigJob) before = journal != NULL ? vmig_journal_load(journal, id, error) : NULL;

    if (before == NULL || !vmig_node_lock(node, before, NULL, error))
        return FALSE;
    g_autoptr(VmigJob) job = vmig_journal_load(journal, id, error);
    if (job == NULL || !check_open(job, error))
        return FALSE;
    job->options.bandwidth = bandwidth;
    return vmig_journal_save(journal, job, error);
}

JsonNode *vmig_work_set_bandwidth(const VmigCall *call, GError **error)
{
    VmigSession *self = call->session;
    guint64 bandwidth = call->number;
    const VmigConfig *config = vmig_session_config(self, error);
    g_autofree char *path = config != NULL ? g_build_filename(config->state_dir, "journal.db", NULL) : NULL;
    g_autoptr(VmigJournal) reader = path != NULL ? vmig_journal_open_read_only(path, NULL, error) : NULL;
    g_autoptr(VmigJob) job = reader != NULL ? vmig_session_find_job(reader, call->job, error) : NULL;
    gboolean running = FALSE;

    if (job == NULL || !check_open(job, error))
        return NULL;
    g_autofree char *socket = g_build_filename(self->config->run_dir, job->id, VMIG_CONTROL_SOCKET, NULL);
    if (!vmig_control_ask(socket, bandwidth, &running, error) ||
        (!running && !change_record(self, job->id, bandwidth, error)))
        return NULL;
    return vmig_document_setting(job, bandwidth, running);
}
