/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* verify: finds the job, opens both hosts, takes the locks, and returns the verdict as a document. */
#include <string.h>

#include "api/json-members.h"
#include "api/session-private.h"
#include "core/names.h"
#include "verify/verify.h"
#include "api/env-real.h"

/* --- the document --- */

/* Compares two hashes, one of which may be unknown. */
static const char *word(const char *left, const char *arrived)
{
    return left == NULL || arrived == NULL ? "unproven" : strcmp(left, arrived) == 0 ? "equal" : "different";
}

static void snapshot_object(JsonBuilder *b, const VmigContent *left, const VmigContent *arrived)
{
    const VmigContent *one = left != NULL ? left : arrived;
    gboolean memory = one->vm_state_size > 0;
    const char *lone = left == NULL ? "extra" : arrived == NULL ? "missing" : NULL;

    json_builder_begin_object(b);
    vmig_json_text(b, "id", one->id);
    vmig_json_text(b, "name", one->name);
    vmig_json_number(b, "date", one->date_sec);
    vmig_json_number(b, "vm_clock_ns", one->vm_clock);
    vmig_json_number(b, "disk_size", one->disk_size);
    vmig_json_number(b, "vm_state_size", one->vm_state_size);
    vmig_json_text(b, "content", lone != NULL ? lone : word(left->disk_hash, arrived->disk_hash));
    vmig_json_text(b, "memory", !memory ? "none" : lone != NULL ? lone : word(left->memory_hash, arrived->memory_hash));
    vmig_json_text(b, "source_content_hash", left != NULL ? left->disk_hash : NULL);
    vmig_json_text(b, "destination_content_hash", arrived != NULL ? arrived->disk_hash : NULL);
    vmig_json_text(b, "source_memory_hash", left != NULL ? left->memory_hash : NULL);
    vmig_json_text(b, "destination_memory_hash", arrived != NULL ? arrived->memory_hash : NULL);
    json_builder_end_object(b);
}

static void snapshots_member(JsonBuilder *b, const VmigVerifiedFile *file)
{
    vmig_json_begin_list(b, "snapshots");
    for (guint i = 0; file->left != NULL && file->arrived != NULL && i < file->left->len; i++) {
        const VmigContent *left = file->left->pdata[i];
        snapshot_object(b, left, vmig_content_find(file->arrived, left->id));
    }
    for (guint i = 0; file->left != NULL && file->arrived != NULL && i < file->arrived->len; i++) {
        const VmigContent *arrived = file->arrived->pdata[i];
        if (vmig_content_find(file->left, arrived->id) == NULL)
            snapshot_object(b, NULL, arrived);
    }
    json_builder_end_array(b);
}

static void file_object(JsonBuilder *b, const VmigVerifiedFile *file)
{
    static const char *const against[] = {
        [VMIG_AGAINST_NOTHING] = "nothing", [VMIG_AGAINST_IMAGE] = "image", [VMIG_AGAINST_RECORD] = "record"};

    json_builder_begin_object(b);
    vmig_json_text(b, "disk", file->target);
    vmig_json_text(b, "source_path", file->file->path[VMIG_SOURCE]);
    vmig_json_text(b, "destination_path", file->file->path[VMIG_DEST]);
    vmig_json_text(b, "against", against[file->against]);
    vmig_json_text(b, "check", file->check);
    vmig_json_text(b, "check_message", file->check_text);
    snapshots_member(b, file);
    json_builder_end_object(b);
}

static void differences_member(JsonBuilder *b, const char *name, GPtrArray *differences)
{
    vmig_json_begin_list(b, name);
    for (guint i = 0; i < differences->len; i++) {
        const VmigDifference *d = differences->pdata[i];
        json_builder_begin_object(b);
        vmig_json_text(b, "kind", d->kind);
        vmig_json_text(b, "disk", d->disk);
        vmig_json_text(b, "path", d->file);
        vmig_json_text(b, "snapshot", d->snapshot);
        vmig_json_text(b, "message", d->message);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

static void reverts_member(JsonBuilder *b, GPtrArray *reverts)
{
    vmig_json_begin_list(b, "reverts");
    for (guint i = 0; i < reverts->len; i++) {
        const VmigRevert *revert = reverts->pdata[i];
        json_builder_begin_object(b);
        vmig_json_text(b, "snapshot", revert->snapshot);
        vmig_json_flag(b, "would_start", revert->reason == NULL);
        vmig_json_text(b, "reason", revert->reason);
        vmig_json_flag(b, "memory", revert->memory);
        vmig_json_flag(b, "accepted", revert->accepted);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

static JsonNode *document(const VmigJob *job, const VmigVerdict *verdict, gint64 began)
{
    g_autoptr(JsonBuilder) b = json_builder_new_immutable();
    g_autoptr(GError) error = NULL;

    (void)vmig_verdict_to_error(verdict, job, &error);
    json_builder_begin_object(b);
    vmig_json_text(b, "job", job->id);
    vmig_json_text(b, "domain", job->domain);
    vmig_json_text(b, "uuid", job->uuid);
    vmig_json_text(b, "source", job->host[VMIG_SOURCE]);
    vmig_json_text(b, "destination", job->host[VMIG_DEST]);
    vmig_json_text(b, "outcome", vmig_verdict_outcome(verdict));
    vmig_json_text(b, "guest", vmig_run_name(verdict->run));
    vmig_json_number(b, "time", (guint64)(g_get_real_time() / G_USEC_PER_SEC));
    vmig_json_begin_list(b, "files");
    for (guint i = 0; i < verdict->files->len; i++)
        file_object(b, verdict->files->pdata[i]);
    json_builder_end_array(b);
    vmig_json_number(b, "tree_snapshots", verdict->snapshots);
    reverts_member(b, verdict->reverts);
    differences_member(b, "differences", verdict->differences);
    differences_member(b, "unproven", verdict->unproven);
    vmig_json_begin_list(b, "notes");
    for (guint i = 0; i < verdict->notes->len; i++)
        json_builder_add_string_value(b, verdict->notes->pdata[i]);
    json_builder_end_array(b);
    vmig_json_number(b, "bytes", verdict->bytes);
    vmig_json_number(b, "duration_s", (guint64)(g_get_monotonic_time() - began) / G_USEC_PER_SEC);
    vmig_json_error(b, "error", error != NULL ? vmig_error_name_of(error) : NULL, error != NULL ? error->message : NULL,
                    error != NULL ? vmig_error_hint(error) : NULL);
    json_builder_end_object(b);
    return json_builder_get_root(b);
}

/* --- which job --- */

/* TRUE if the data on the destination is complete and no further step of the job writes to it. */
static gboolean has_arrived(const VmigJob *job)
{
    return (vmig_job_waits(job) || vmig_state_is_final(vmig_job_state(job))) &&
           vmig_state_is(vmig_job_work_state(job), VMIG_STATE_COMPLETE);
}

static gboolean check_job(const VmigJob *job, GError **error)
{
    if (has_arrived(job))
        return TRUE;
    if (vmig_job_end(job) == VMIG_END_BACK)
        return vmig_fail(error, VMIG_ERROR_UNSUPPORTED, NULL, "job %s was rolled back: '%s' did not arrive", job->id,
                         job->domain);
    return vmig_fail(error, VMIG_ERROR_LOCKED, "vmig-snap status shows the job; vmig-snap resume continues it.",
                     "job %s of '%s' is not finished (state %s)", job->id, job->domain, job->state);
}

/* The newest job that moved the domain. */
static VmigJob *find_by_domain(VmigJournal *journal, const char *domain, GError **error)
{
    g_autoptr(GPtrArray) heads = vmig_journal_heads(journal, error);

    for (guint i = 0; heads != NULL && i < heads->len; i++) {
        const VmigJournalHead *head = heads->pdata[i];
        if (g_strcmp0(head->domain, domain) != 0 && g_strcmp0(head->uuid, domain) != 0)
            continue;
        g_autoptr(VmigJob) job = vmig_journal_load(journal, head->id, error);
        if (job == NULL)
            return NULL;
        if (vmig_job_end(job) != VMIG_END_BACK)
            return g_steal_pointer(&job);
    }
    if (heads != NULL) {
        g_autofree char *shown = vmig_text_escape(domain, -1);
        vmig_fail(error, VMIG_ERROR_NO_JOB, "vmig-snap list --all shows the jobs.", "no job of this host moved '%s'",
                  shown);
    }
    return NULL;
}

static VmigJob *find_job(VmigJournal *journal, const char *domain, const char *id, GError **error)
{
    g_autoptr(VmigJob) job =
        id != NULL ? vmig_journal_load(journal, id, error) : find_by_domain(journal, domain, error);
    g_autoptr(VmigJob) open = NULL;

    if (job == NULL || !check_job(job, error) || !vmig_journal_find_open(journal, job->uuid, &open, error))
        return NULL;
    if (open != NULL && g_strcmp0(open->id, job->id) != 0) {
        vmig_fail(error, VMIG_ERROR_LOCKED, "vmig-snap status shows the job.", "job %s has started on '%s'", open->id,
                  open->domain);
        return NULL;
    }
    return g_steal_pointer(&job);
}

/* --- the verification --- */

typedef struct {
    VmigSession *session;
    const VmigJob *job;
} Teller;

static void on_progress(gpointer user, const VmigProgress *progress)
{
    const Teller *teller = user;

    vmig_session_tell_progress(teller->session, teller->job, progress);
}

static gboolean teller_interrupted(gpointer user)
{
    return vmig_session_is_interrupted(((const Teller *)user)->session);
}

/* Keeps other operations off the guest meanwhile: the copy of a migration would be read while it is written. */
static gboolean lock_both(VmigEnv *env, const VmigJob *job, GError **error)
{
    return (env->source.node == NULL || vmig_node_lock(env->source.node, job, NULL, error)) &&
           (env->dest.node == NULL || vmig_node_lock(env->dest.node, job, NULL, error));
}

static VmigEnv *open_env(VmigSession *self, const VmigJob *job, VmigRole here, GError **error)
{
    g_autofree char *peer = NULL;
    g_autoptr(GError) why = NULL;
    VmigEnvConfig config = vmig_session_env_of(self, job, here, &peer);
    g_autoptr(VmigEnv) env = vmig_env_open_here(&config, self->waker, error);

    if (env == NULL)
        return NULL;
    if (vmig_env_open_peer(env, &config, self->waker, &why))
        return g_steal_pointer(&env);
    if (here == VMIG_SOURCE) {
        g_propagate_error(error, g_steal_pointer(&why));
        return NULL;
    }
    /* The record may contain the source's hashes. */
    g_autofree char *note = g_strdup_printf("cannot reach the source: %s", why->message);
    vmig_session_note(self, job, note);
    return g_steal_pointer(&env);
}

static VmigVerdict *verify_job(VmigSession *self, VmigEnv *env, const VmigJob *job, GError **error)
{
    Teller teller = {self, job};
    VmigVerifyRequest request = {
        .source = env->source,
        .dest = env->dest,
        .job = job,
        .cancelled = teller_interrupted,
        .progress = on_progress,
        .user = &teller,
    };

    return lock_both(env, job, error) ? vmig_verify(&request, error) : NULL;
}

static JsonNode *run(VmigSession *self, VmigJob *job, VmigRole here, GError **error)
{
    gint64 began = g_get_monotonic_time();
    g_autoptr(VmigEnv) env = open_env(self, job, here, error);

    if (env == NULL)
        return NULL;
    g_autoptr(VmigVerdict) verdict = verify_job(self, env, job, error);
    /* An unfinished job still needs its run folder. */
    if (vmig_job_end(job) == VMIG_END_MOVED) {
        VmigNode *own = env->host[here].node;
        vmig_node_rundir_remove(own, job, NULL);
    }
    return verdict != NULL ? document(job, verdict, began) : NULL;
}

JsonNode *vmig_work_verify(const VmigCall *call, GError **error)
{
    VmigSession *self = call->session;

    if ((call->domain == NULL) == (call->job == NULL)) {
        vmig_fail(error, VMIG_ERROR_USAGE, NULL, "verify: either a domain or a job must be given");
        return NULL;
    }
    g_autoptr(VmigJournal) reader = vmig_session_open_reader(self, error);
    g_autoptr(VmigJob) job = reader != NULL ? find_job(reader, call->domain, call->job, error) : NULL;
    VmigRole role;

    if (job == NULL || !vmig_journal_role(reader, job->id, &role, error))
        return NULL;
    return run(self, job, role, error);
}
