/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plans and migrations: everything that one needs, in the order in which it is made; and how a job is driven. */
#include <string.h>

#include "api/clock.h"
#include "api/documents.h"
#include "api/env-real.h"
#include "api/requests.h"
#include "api/session-private.h"
#include "api/watcher.h"
#include "core/names.h"
#include "flows/migrate/migrate-flow.h"
#include "link/control.h"
#include "link/destination.h"
#include "os/policy.h"
#include "os/trusted-file.h"
#include "plan/plan.h"

static void on_recorded(gpointer user G_GNUC_UNUSED, const VmigJob *job)
{
    vmig_watcher_start(job->id);
}

static void on_state(gpointer user, const VmigJob *job)
{
    vmig_session_emit(user, vmig_event_state(job));
}

static void on_progress(gpointer user, const VmigJob *job, const VmigProgress *progress)
{
    vmig_session_tell_progress(user, job, progress);
}

static void on_retry(gpointer user, const VmigJob *job, const GError *why, gint64 delay_us)
{
    vmig_session_emit(user, vmig_event_retry(job, why, delay_us));
}

static void on_note(gpointer user, const VmigJob *job, const char *text)
{
    vmig_session_note(user, job, text);
}

static char *new_job_id(VmigRandom *random)
{
    guint8 bytes[8];
    GString *id = g_string_new(NULL);

    random->ops->bytes(random, bytes, sizeof bytes);
    for (guint i = 0; i < sizeof bytes; i++)
        g_string_append_printf(id, "%02x", bytes[i]);
    return g_string_free(id, FALSE);
}

/* The number of files of the guest's disks, for the sockets, which are forwarded before the plan is made. */
static guint count_files(VmigEnv *env, const char *domain)
{
    VmigHypervisor *hv = env->source.hypervisor;
    g_autoptr(VmigDomainInfo) info = NULL;
    g_autofree char *xml = NULL;
    guint n = 0;

    if (!hv->ops->find(hv, domain, &info, NULL) || info == NULL ||
        !hv->ops->domain_xml(hv, info->uuid, VMIG_XML_LIVE, &xml, NULL))
        return 0;
    g_autoptr(VmigDomainXml) doc = vmig_domain_xml_parse(xml, NULL);
    GPtrArray *disks = doc != NULL ? vmig_domain_xml_facts(doc)->disks : NULL;
    for (guint i = 0; disks != NULL && i < disks->len; i++)
        n += 1 + ((const VmigDomainDisk *)disks->pdata[i])->backing->len;
    return n;
}

/* Everything that one request needs, in the order in which it is created. */
typedef struct {
    VmigEnv *env;
    VmigJournal *journal; /* the environment's */
    VmigPathMap *map;
    VmigOptions options;
    GError *dest_error;
    char *job_id;
    VmigPlanRequest request;
    VmigPlan *plan;
} Operation;

VmigEnvConfig vmig_session_env_of(VmigSession *self, const VmigJob *job, VmigRole here, char **peer)
{
    *peer =
        here == VMIG_DEST ? g_strdup_printf("qemu+ssh://%s/system", job->host[VMIG_SOURCE]) : g_strdup(job->dest_uri);
    return (VmigEnvConfig){
        .config = self->config,
        .connect_uri = here == VMIG_DEST ? "qemu:///system" : self->connect_uri,
        .peer_uri = *peer,
        .job_id = job->id,
        .transport = here == VMIG_DEST ? NULL : job->options.transport,
        .migrate_host = here == VMIG_DEST ? NULL : job->options.migrate_host,
        .here = here,
        .bandwidth = job->options.bandwidth,
    };
}

static void operation_free(Operation *op)
{
    g_clear_pointer(&op->plan, vmig_plan_free);
    g_clear_pointer(&op->env, vmig_env_free);
    g_clear_pointer(&op->map, vmig_path_map_free);
    g_clear_error(&op->dest_error);
    vmig_migrate_request_options_clear(&op->options);
    g_free(op->job_id);
    g_free(op);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Operation, operation_free)

static void connect_peer(VmigSession *self, Operation *op, VmigMigrateRequest *request, const VmigStop *stop)
{
    VmigEnvConfig config = {
        .config = self->config,
        .connect_uri = self->connect_uri,
        .peer_uri = request->destination,
        .job_id = op->job_id,
        .transport = op->options.transport,
        .migrate_host = op->options.migrate_host,
        .copies = count_files(op->env, request->domain),
        .bandwidth = op->options.bandwidth,
        .cancellable = stop->wanted != NULL ? self->cancellable : NULL,
    };

    vmig_env_open_peer(op->env, &config, self->waker, &op->dest_error);
}

static gboolean open_here(VmigSession *self, Operation *op, GError **error)
{
    VmigEnvConfig config = {
        .config = self->config,
        .connect_uri = self->connect_uri,
        .job_id = op->job_id,
        .bandwidth = op->options.bandwidth,
    };

    op->env = vmig_env_open_here(&config, self->waker, error);
    if (op->env == NULL)
        return FALSE;
    op->journal = vmig_env_journal(op->env, FALSE, error);
    return op->journal != NULL;
}

/* Removes the run folder of a plan, or of a job that never began. */
static void remove_rundir(Operation *op)
{
    g_autoptr(VmigJob) job = vmig_job_only_id(op->job_id);

    vmig_node_rundir_remove(op->env->source.node, job, NULL);
}

/* stop: of a plan alone. A migration that is cancelled while it is planned gets a job, which goes back. */
static Operation *plan_operation(VmigSession *self, VmigMigrateRequest *request, VmigStop stop, GError **error)
{
    g_autoptr(Operation) op = g_new0(Operation, 1);
    gboolean good = vmig_migrate_request_check(request, error);
    g_autoptr(VmigDestination) dest = good ? vmig_destination_parse(request->destination, error) : NULL;
    g_autoptr(VmigRandom) random = NULL;
    g_autoptr(VmigJob) held = NULL;

    if (dest == NULL || vmig_session_config(self, error) == NULL)
        return NULL;
    vmig_migrate_request_options(request, dest->scheme, &op->options);
    op->map = vmig_migrate_request_map(request, error);
    if (op->map == NULL)
        return NULL;
    /* Report an invalid policy now, not in the middle of a migration. */
    g_autoptr(VmigPolicy) policy = vmig_policy_load(op->options.policy, error);
    if (policy == NULL)
        return NULL;
    random = vmig_random_new();
    op->job_id = new_job_id(random);
    if (!open_here(self, op, error))
        return NULL;
    /* Refuse a guest that a job holds without contacting the other host, which may be slow or unreachable. */
    if (!vmig_journal_find_open(op->journal, request->domain, &held, error))
        return NULL;
    if (held == NULL)
        connect_peer(self, op, request, &stop);
    else
        vmig_fail(&op->dest_error, VMIG_ERROR_LOCKED, "See vmig-snap status.", "'%s' is held by job %s", held->domain,
                  held->id);
    op->request = (VmigPlanRequest){
        .domain = request->domain,
        .disks = (const char *const *)request->disks,
        .map = op->map,
        .options = &op->options,
        .connect_uri = self->connect_uri,
        .dest_uri = request->destination,
        .job_id = op->job_id,
        .dest_error = op->dest_error,
        .stop = stop,
    };
    op->plan = vmig_plan_make(op->env, op->journal, &op->request, error);
    if (op->plan == NULL) {
        remove_rundir(op);
        return NULL;
    }
    return g_steal_pointer(&op);
}

static gboolean is_cancelled(gpointer user)
{
    return vmig_session_is_interrupted(user);
}

JsonNode *vmig_work_plan(const VmigCall *call, GError **error)
{
    const VmigStop stop = {is_cancelled, call->session};
    g_autoptr(Operation) op = plan_operation(call->session, call->request, stop, error);

    if (op == NULL)
        return NULL;
    JsonNode *document = vmig_document_plan(op->plan);
    remove_rundir(op);
    return document;
}

/* A job that cannot continue now stays unfinished without loss: the next resume tries again. */
static gboolean may_go_on_later(const GError *error)
{
    return error->domain == VMIG_ERROR && vmig_error_class((VmigErrorCode)error->code) == VMIG_CLASS_TRANSIENT;
}

static const char *outcome_of_error(const GError *error)
{
    if (g_error_matches(error, VMIG_ERROR, VMIG_ERROR_LOCKED))
        return "locked";
    VmigErrorClass cls = error->domain == VMIG_ERROR ? vmig_error_class((VmigErrorCode)error->code) : VMIG_CLASS_FATAL;
    return cls == VMIG_CLASS_REFUSAL || cls == VMIG_CLASS_USAGE ? "refused" : "failed";
}

const char *vmig_session_outcome(const VmigJob *job)
{
    static const char *const names[] = {
        [VMIG_END_NONE] = "parked",
        [VMIG_END_MOVED] = "done",
        [VMIG_END_BACK] = "rolled-back",
        [VMIG_END_ASIDE] = "set-aside",
    };

    return names[vmig_job_end(job)];
}

static JsonNode *refused(const VmigPlan *plan, guint64 duration_s)
{
    g_autoptr(GError) why = NULL;

    vmig_plan_to_error(plan, &why);
    /* Whatever the reason: nothing was changed. */
    gboolean locked = g_error_matches(why, VMIG_ERROR, VMIG_ERROR_LOCKED);
    return vmig_document_result(locked ? "locked" : "refused", NULL, why, plan, duration_s);
}

/* Runs the policy's command with the parked job's data. Does not wait for it; a failure becomes a note. */
static void run_command(VmigSession *self, const VmigPolicy *policy, const VmigJob *job)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) argv = NULL;
    g_auto(GStrv) env = g_get_environ();

    if (policy->command == NULL || *policy->command == '\0')
        return;
    env = g_environ_setenv(env, "VMIG_JOB", job->id, TRUE);
    env = g_environ_setenv(env, "VMIG_DOMAIN", job->domain, TRUE);
    env = g_environ_setenv(env, "VMIG_STATE", job->parked_state != NULL ? job->parked_state : "", TRUE);
    env = g_environ_setenv(env, "VMIG_ERROR", job->error_code != NULL ? job->error_code : "", TRUE);
    env = g_environ_setenv(env, "VMIG_MESSAGE", job->error_message != NULL ? job->error_message : "", TRUE);
    if (!g_shell_parse_argv(policy->command, NULL, &argv, &error) || !vmig_trusted_program(argv[0], &error) ||
        !g_spawn_async("/", argv, env, G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, &error))
        vmig_session_emit(self, vmig_event_note(job, error->message));
}

static void on_set(gpointer user, guint64 bandwidth)
{
    VmigSession *self = user;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&self->mutex);

    if (self->machine != NULL)
        vmig_machine_set_bandwidth(self->machine, bandwidth);
    vmig_waker_wake(self->waker);
}

/* If this fails, the migration continues with its settings. */
static VmigControl *listen_for_settings(VmigSession *self, const VmigEnv *env, const VmigMachine *machine)
{
    g_autofree char *path = vmig_env_socket(env, VMIG_CONTROL_SOCKET);
    g_autoptr(GError) error = NULL;
    VmigControl *control = vmig_control_new(path, on_set, self, &error);

    if (control == NULL) {
        g_autofree char *text = g_strdup_printf("vmig-snap set cannot reach this process: %s", error->message);
        vmig_session_emit(self, vmig_event_note(machine->job, text));
    }
    return control;
}

static const VmigFlow *flow_of(const VmigJob *job)
{
    static const VmigFlow *const flows[] = {&vmig_flow_migrate};

    for (guint i = 0; i < G_N_ELEMENTS(flows); i++)
        if (flows[i]->states == job->flow)
            return flows[i];
    g_assert_not_reached(); /* the reader of the record knows the same flows */
}

JsonNode *vmig_session_drive(VmigSession *self, VmigEnv *env, VmigJournal *journal, VmigRole here, VmigJob *job,
                             const VmigDrive *wish, GError **error)
{
    VmigReporter reporter = {
        .recorded = on_recorded,
        .state = on_state,
        .progress = on_progress,
        .retry = on_retry,
        .note = on_note,
        .user = self,
    };
    gint64 began = g_get_monotonic_time();
    g_autoptr(GError) why = NULL;
    g_autoptr(VmigPolicy) policy = vmig_policy_load(job->options.policy, error);

    if (policy == NULL) {
        vmig_job_free(job);
        return NULL;
    }
    g_autoptr(VmigMachine) machine = vmig_machine_new(flow_of(job), env, journal, here, policy, &reporter, job);
    machine->source_fenced = wish->fenced;
    machine->without_verify = wish->without_verify;
    machine->set_aside = wish->set_aside;
    machine->only_back = wish->cancel;
    if (wish->fenced)
        vmig_journal_note(journal, job->id, "the operator states that the source is fenced", NULL);
    if (wish->cancel)
        vmig_machine_cancel(machine);
    vmig_session_set_machine(self, machine);
    VmigControl *control = listen_for_settings(self, env, machine);
    gboolean ended = vmig_machine_run(machine, &why);
    vmig_control_free(control);
    vmig_session_set_machine(self, NULL);
    guint64 seconds = (guint64)(g_get_monotonic_time() - began) / G_USEC_PER_SEC;
    const char *outcome = ended                                       ? vmig_session_outcome(machine->job)
                          : machine->recorded && may_go_on_later(why) ? "parked"
                                                                      : outcome_of_error(why);
    if (ended && vmig_job_waits(machine->job))
        run_command(self, policy, machine->job);
    return vmig_document_result(outcome, machine->job, why, NULL, seconds);
}

JsonNode *vmig_work_migrate(const VmigCall *call, GError **error)
{
    static const VmigDrive plain = {FALSE, FALSE, FALSE, FALSE};
    VmigSession *self = call->session;
    gint64 began = g_get_monotonic_time();
    g_autoptr(Operation) op = plan_operation(self, call->request, (VmigStop){NULL, NULL}, error);

    if (op == NULL)
        return NULL;
    if (op->plan->refusals->len > 0) {
        remove_rundir(op);
        return refused(op->plan, (guint64)(g_get_monotonic_time() - began) / G_USEC_PER_SEC);
    }
    for (guint i = 0; i < op->plan->notes->len; i++)
        vmig_session_emit(self, vmig_event_note(op->plan->job, op->plan->notes->pdata[i]));
    JsonNode *result =
        vmig_session_drive(self, op->env, op->journal, FALSE, g_steal_pointer(&op->plan->job), &plain, error);
    remove_rundir(op);
    return result;
}
