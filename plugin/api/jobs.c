/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations on jobs in the journal: resume, cancel, status. */
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/documents.h"
#include "api/requests.h"
#include "api/session-private.h"
#include "core/errors.h"
#include "engine/records.h"
#include "os/flag-file.h"
#include "drivers/libvirt/host-setup.h"
#include "os/worker.h"
#include "api/env-real.h"
#include "store/oplock.h"

#define ASK_LIMIT (5 * G_USEC_PER_SEC)
#define NAP_MS 200

/* The most jobs listed: each record is read completely, and there may be years of them. */
#define MOST_LISTED 1000

/* A journal that was cloned from another host describes that host's jobs: it is refused even for reading. */
VmigJournal *vmig_session_open_reader(VmigSession *self, GError **error)
{
    const VmigConfig *config = vmig_session_config(self, error);

    if (config == NULL)
        return NULL;
    g_autofree char *path = g_build_filename(config->state_dir, "journal.db", NULL);
    g_autofree char *machine_id = vmig_machine_id();

    return vmig_journal_open_read_only(path, machine_id, error);
}

VmigJob *vmig_session_find_job(VmigJournal *journal, const char *job_or_domain, GError **error)
{
    VmigJob *job = NULL;

    if (!vmig_journal_find_open(journal, job_or_domain, &job, error))
        return NULL;
    return job != NULL ? job : vmig_journal_load(journal, job_or_domain, error);
}

/* Accepts the operator's statement only for the right host, given in full, and only on the destination. */
static gboolean may_be_fenced(const VmigJob *job, VmigRole here, const char *host, GError **error)
{
    if (here == VMIG_SOURCE)
        return vmig_fail(error, VMIG_ERROR_UNSUPPORTED, "Run the command on the destination.",
                         "this host is the source of job %s: it cannot state that it is fenced itself", job->id);
    if (g_strcmp0(host, job->host[VMIG_SOURCE]) != 0)
        return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "the source of job %s is '%s', not '%s'", job->id,
                         job->host[VMIG_SOURCE], host);
    return TRUE;
}

/* The process that works on the job waits for its next attempt and deletes the flag when it sees it. */
static gboolean ask_to_try(VmigSession *self, const VmigJob *job)
{
    g_autofree char *folder = g_build_filename(self->config->run_dir, job->id, NULL);
    gint64 until = g_get_monotonic_time() + ASK_LIMIT;
    gboolean seen = FALSE;

    if (!vmig_flag_set(folder, VMIG_FLAG_TRY_NOW, NULL))
        return FALSE;
    while (!seen && g_get_monotonic_time() < until) {
        g_usleep(ASK_LIMIT / 100);
        seen = !vmig_flag_is_set(folder, VMIG_FLAG_TRY_NOW);
    }
    if (!seen)
        vmig_flag_clear(folder, VMIG_FLAG_TRY_NOW);
    return seen;
}

/* A job that a process works on is left to that process, before anything is opened: the sockets of the connection to
 * the other host have the same names. *ret is NULL if no process does. */
static gboolean leave_to_holder(VmigSession *self, const VmigJob *job, gboolean cancel, JsonNode **ret, GError **error)
{
    g_autofree char *locks = g_build_filename(self->config->run_dir, "lock", NULL);
    g_autofree char *holder = NULL;
    g_autoptr(GError) why = NULL;

    *ret = NULL;
    if (!vmig_oplock_holder(locks, job->uuid, &holder, error))
        return FALSE;
    if (holder == NULL)
        return TRUE;
    if (!cancel && job->next_try != NULL && ask_to_try(self, job))
        vmig_fail(&why, VMIG_ERROR_LOCKED, "vmig-snap status shows its progress.",
                  "job %s of '%s' is held by %s; it waited for its next try and retries now", job->id, job->domain,
                  holder);
    else
        vmig_fail(&why, VMIG_ERROR_LOCKED,
                  cancel ? "Interrupt that process (Ctrl-C, SIGTERM), or wait." : "vmig-snap status shows the job.",
                  "job %s of '%s' is held by %s", job->id, job->domain, holder);
    *ret = vmig_document_result("locked", job, why, NULL, 0);
    return TRUE;
}

/* fenced: the source's name by the operator's word, or NULL. */
static JsonNode *carry_on(VmigSession *self, const char *job_or_domain, const VmigDrive *wish, const char *fenced,
                          GError **error)
{
    g_autoptr(VmigJournal) reader = vmig_session_open_reader(self, error);
    g_autoptr(VmigJob) job = reader != NULL ? vmig_session_find_job(reader, job_or_domain, error) : NULL;
    g_autoptr(GError) peer_error = NULL;
    VmigRole here;

    if (job == NULL || !vmig_journal_role(reader, job->id, &here, error))
        return NULL;
    if (vmig_state_is_final(vmig_job_state(job)))
        return vmig_document_result(vmig_session_outcome(job), job, NULL, NULL, 0);
    if (wish->cancel && !vmig_records_may_go_back(job, error))
        return NULL;
    JsonNode *held = NULL;
    if (!leave_to_holder(self, job, wish->cancel, &held, error) || held != NULL)
        return held;
    if (fenced != NULL && !may_be_fenced(job, here, fenced, error))
        return NULL;
    g_autofree char *peer = NULL;
    VmigEnvConfig config = vmig_session_env_of(self, job, here, &peer);
    for (guint i = 0; i < job->artifacts->len; i++)
        config.copies += ((const VmigArtifact *)job->artifacts->pdata[i])->files->len;
    g_autoptr(VmigEnv) env = vmig_env_open_here(&config, self->waker, error);
    VmigJournal *journal = env != NULL ? vmig_env_journal(env, here, error) : NULL;
    if (journal == NULL)
        return NULL;
    vmig_env_open_peer(env, &config, self->waker, &peer_error);
    if (fenced != NULL && peer_error == NULL) {
        vmig_fail(error, VMIG_ERROR_UNSUPPORTED, "Run vmig-snap resume without --source-is-fenced.",
                  "the source '%s' answers: it is not fenced", fenced);
        return NULL;
    }
    if (peer_error != NULL)
        vmig_session_emit(self, vmig_event_note(job, peer_error->message));
    return vmig_session_drive(self, env, journal, here, g_steal_pointer(&job), wish, error);
}

/* Waits until the process that was asked has exited, or the user interrupts the wait. */
static gboolean wait_for_worker(VmigSession *self, const VmigJob *job, int pidfd, int pid, GError **error)
{
    g_autofree char *text = g_strdup_printf("process %d works on the job and was asked to roll back", pid);

    vmig_session_emit(self, vmig_event_note(job, text));
    while (!vmig_worker_ended(pidfd, NAP_MS))
        if (vmig_session_is_interrupted(self))
            return vmig_fail(error, VMIG_ERROR_LOCKED, "`vmig-snap status` shows its progress.",
                             "process %d still works on job %s; it was asked to roll back", pid, job->id);
    return TRUE;
}

/* Ends a process that waits for the very host that the operator declares fenced; this parks the job. */
static gboolean end_waiting(VmigSession *self, const VmigJob *job, GError **error)
{
    int pidfd, pid;

    if (!vmig_state_is(vmig_job_state(job), VMIG_STATE_DECIDES))
        return TRUE;
    if (!vmig_worker_ask_back(self->config->run_dir, job->uuid, &pidfd, &pid, error))
        return FALSE;
    gboolean ended = pidfd < 0 || wait_for_worker(self, job, pidfd, pid, error);
    if (pidfd >= 0)
        close(pidfd);
    return ended;
}

static JsonNode *resume_fenced(VmigSession *self, const VmigResumeRequest *request, GError **error)
{
    const VmigDrive wish = {.fenced = TRUE};
    const char *host = request->fenced_source;
    g_autoptr(VmigJournal) reader = vmig_session_open_reader(self, error);
    g_autoptr(VmigJob) job = reader != NULL ? vmig_session_find_job(reader, request->job, error) : NULL;
    VmigRole here;

    if (job == NULL || !vmig_journal_role(reader, job->id, &here, error) ||
        (!vmig_state_is_final(vmig_job_state(job)) &&
         (!may_be_fenced(job, here, host, error) || !end_waiting(self, job, error))))
        return NULL;
    return carry_on(self, job->id, &wish, host, error);
}

JsonNode *vmig_work_resume(const VmigCall *call, GError **error)
{
    VmigResumeRequest *request = call->request;
    const VmigDrive wish = {.without_verify = request->without_verify, .set_aside = request->set_aside};

    if (!vmig_resume_request_check(request, error))
        return NULL;
    return request->fenced_source != NULL ? resume_fenced(call->session, request, error)
                                          : carry_on(call->session, request->job, &wish, NULL, error);
}

/* A process that works on the job rolls it back by itself, as after ^C; otherwise this process takes the job over. */
JsonNode *vmig_work_cancel(const VmigCall *call, GError **error)
{
    const VmigDrive wish = {.cancel = TRUE};
    VmigSession *self = call->session;
    g_autoptr(VmigJournal) reader = vmig_session_open_reader(self, error);
    g_autoptr(VmigJob) job = reader != NULL ? vmig_session_find_job(reader, call->job, error) : NULL;
    int pidfd, pid;

    if (job == NULL)
        return NULL;
    if (!vmig_state_is_final(vmig_job_state(job))) {
        if (!vmig_records_may_go_back(job, error) ||
            !vmig_worker_ask_back(self->config->run_dir, job->uuid, &pidfd, &pid, error))
            return NULL;
        gboolean ended = pidfd < 0 || wait_for_worker(self, job, pidfd, pid, error);
        if (pidfd >= 0)
            close(pidfd);
        if (!ended)
            return NULL;
    }
    return carry_on(self, job->id, &wish, NULL, error);
}

/* Describes the process on this host that works on an unfinished job; NULL if there is none. */
static gboolean find_holder(VmigSession *self, const VmigJob *job, char **holder, GError **error)
{
    g_autofree char *locks = g_build_filename(self->config->run_dir, "lock", NULL);

    *holder = NULL;
    return vmig_state_is_final(vmig_job_state(job)) || vmig_oplock_holder(locks, job->uuid, holder, error);
}

static JsonNode *jobs_document(VmigSession *self, VmigJournal *journal, GPtrArray *jobs, guint left_out, GError **error)
{
    g_autoptr(GArray) roles = g_array_new(FALSE, FALSE, sizeof(VmigRole));
    g_autoptr(GPtrArray) holders = g_ptr_array_new_with_free_func(g_free);

    for (guint i = 0; i < jobs->len; i++) {
        const VmigJob *job = jobs->pdata[i];
        VmigRole role;
        char *holder;
        if (!vmig_journal_role(journal, job->id, &role, error))
            return NULL;
        g_array_append_val(roles, role);
        if (!find_holder(self, job, &holder, error))
            return NULL;
        g_ptr_array_add(holders, holder);
    }
    return vmig_document_jobs(jobs, roles, holders, left_out);
}

/* Prefers an unfinished job; otherwise the named job, otherwise the last one of the named domain. */
static VmigJob *find_job_to_show(VmigJournal *journal, const char *job_or_domain, GError **error)
{
    g_autoptr(GError) why = NULL;
    VmigJob *job = vmig_session_find_job(journal, job_or_domain, &why);
    gboolean unknown = g_error_matches(why, VMIG_ERROR, VMIG_ERROR_NO_JOB);

    if (job == NULL && unknown && !vmig_journal_find_ended(journal, job_or_domain, &job, error))
        return NULL;
    if (job == NULL)
        g_propagate_error(error, g_steal_pointer(&why));
    return job;
}

/* A host that was never used has no journal and no jobs. */
static JsonNode *no_jobs(GError **error, GError *why)
{
    if (!g_error_matches(why, VMIG_ERROR, VMIG_ERROR_NO_JOB)) {
        g_propagate_error(error, why);
        return NULL;
    }
    g_error_free(why);
    g_autoptr(GPtrArray) none = g_ptr_array_new();
    g_autoptr(GArray) no_roles = g_array_new(FALSE, FALSE, sizeof(VmigRole));
    return vmig_document_jobs(none, no_roles, none, 0);
}

static JsonNode *list_jobs(VmigSession *self, gboolean all, GError **error)
{
    GError *why = NULL;
    g_autoptr(VmigJournal) journal = vmig_session_open_reader(self, &why);
    guint left_out = 0;

    if (journal == NULL)
        return no_jobs(error, why);
    g_autoptr(GPtrArray) jobs =
        all ? vmig_journal_newest(journal, MOST_LISTED, &left_out, error) : vmig_journal_list(journal, FALSE, error);
    return jobs != NULL ? jobs_document(self, journal, jobs, left_out, error) : NULL;
}

JsonNode *vmig_work_list(const VmigCall *call, GError **error)
{
    return list_jobs(call->session, (call->flags & VMIG_LIST_ALL) != 0, error);
}

JsonNode *vmig_work_status(const VmigCall *call, GError **error)
{
    VmigSession *self = call->session;

    if (call->job == NULL)
        return list_jobs(self, FALSE, error);
    g_autoptr(VmigJournal) journal = vmig_session_open_reader(self, error);
    g_autoptr(VmigJob) job = journal != NULL ? find_job_to_show(journal, call->job, error) : NULL;
    if (job == NULL)
        return NULL;
    g_autoptr(GPtrArray) jobs = g_ptr_array_new();
    g_ptr_array_add(jobs, job);
    return jobs_document(self, journal, jobs, 0, error);
}
