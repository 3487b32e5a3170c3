/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A job with the maximum number of snapshots, each with a large definition, reaches the destination's journal through
 * the real agent: in messages of bounded size, again after the connection broke, and back to a source whose journal was
 * replaced. The amount written at each step stays small. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "definition/snapshot-tree.h"
#include "flows/migrate/migrate-flow.h"
#include "plan/plan.h"
#include "engine/records.h"
#include "engine/texts.h"
#include "node/agent-client.h"
#include "node/agent.h"
#include "os/json-read.h"
#include "node/node-local.h"
#include "port/codec.h"

#define ID "0123456789abcdef"
#define UUID "11111111-2222-3333-4444-555555555555"
#define SNAPSHOTS 1024
#define LARGE (200 * 1000)

/* One host's node and, if it has an agent, counters of its requests. */
typedef struct {
    VmigNode base; /* counts, and forwards */
    VmigNode *local;
    char *dir;
    int fds[2];
    GThread *thread;
    VmigNode *client;
    guint puts;       /* "texts-put" */
    guint break_from; /* from this one on the connection breaks; 0: never */
    gsize largest;    /* message */
} Host;

typedef struct {
    char *dir;
    Host source, dest;
    VmigEnv env;
    VmigMachine *machine;
} Fixture;

static gboolean host_call(VmigNode *self, VmigMethod method, gconstpointer args, gpointer reply, GError **error)
{
    Host *host = (Host *)self;
    g_autoptr(JsonObject) object = vmig_codec_encode(vmig_method_args(method), args);
    g_autofree char *line = vmig_json_line(object);

    host->largest = MAX(host->largest, strlen(line));
    if (method == VMIG_METHOD_TEXTS_PUT && ++host->puts >= host->break_from && host->break_from > 0) {
        shutdown(host->fds[0], SHUT_RDWR);
        return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "cut");
    }
    return host->local->ops->call(host->local, method, args, reply, error);
}

static const VmigNodeOps host_ops = {.call = host_call};

static gpointer serve(gpointer data)
{
    Host *host = data;

    vmig_agent_serve(host->fds[1], host->fds[1], &host->base, NULL);
    shutdown(host->fds[1], SHUT_RDWR);
    return NULL;
}

static void host_open(Host *host, VmigRole role)
{
    g_autofree char *state = g_build_filename(host->dir, "state", NULL);
    g_autofree char *run = g_build_filename(host->dir, "run", NULL);
    g_autoptr(GError) error = NULL;
    const char *const roots[] = {"/nonexistent", NULL};
    VmigNodeConfig config = {.state_dir = state, .run_dir = run, .roots = roots, .machine_id = "m", .role = role};

    host->base = (VmigNode){.ops = &host_ops, .host = (char *)vmig_role_name(role)};
    host->local = vmig_node_local_new(vmig_role_name(role), &config, &error);
    g_assert_no_error(error);
}

static void host_connect(Host *host)
{
    g_autoptr(GError) error = NULL;
    gboolean said = FALSE;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, host->fds), ==, 0);
    host->thread = g_thread_new("agent", serve, host);
    host->client = vmig_agent_client_new(host->fds[0], dup(host->fds[0]), "dest", &said, &error);
    g_assert_no_error(error);
}

static void host_disconnect(Host *host)
{
    vmig_node_free(host->client);
    g_thread_join(host->thread);
    close(host->fds[1]);
}

/* All are different, and contain many characters that are longer in JSON. */
static char *definition(guint i, gsize size)
{
    GString *xml = g_string_sized_new(size + 1024);

    g_string_append_printf(xml, "<domainsnapshot>\n  <name>s%u</name>\n  <state>shutoff</state>\n", i);
    if (i > 0)
        g_string_append_printf(xml, "  <parent><name>s%u</name></parent>\n", i - 1);
    g_string_append_printf(xml, "  <creationTime>%u</creationTime>\n  <description>", 1000 + i);
    while (xml->len < size)
        g_string_append_printf(xml, "the \"%u\" of %u\n", (guint)xml->len, i);
    g_string_append(xml, "</description>\n</domainsnapshot>\n");
    return g_string_free(xml, FALSE);
}

static VmigJob *new_job(guint n, gsize size)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);

    job->id = g_strdup(ID);
    job->uuid = g_strdup(UUID);
    job->domain = g_strdup("guest");
    job->live_xml = g_strdup("<domain/>");
    for (guint i = 0; i < n; i++) {
        g_autofree char *xml = definition(i, size);
        g_autoptr(GError) error = NULL;
        g_ptr_array_add(job->snapshots, vmig_snapshot_from_xml(xml, &error));
        g_assert_no_error(error);
    }
    return job;
}

/* The process on the source, with its job in its own journal. */
static void begin(Fixture *f, VmigJob *job)
{
    static const VmigPolicy policy;
    g_autoptr(GError) error = NULL;
    VmigJournal *journal = vmig_node_local_journal(f->source.local, &error);

    g_assert_no_error(error);
    f->env = (VmigEnv){.source = {.node = f->source.local}, .dest = {.node = f->dest.client}};
    if (vmig_job_state(job) == VMIG_MIGRATE(PLAN))
        vmig_journal_create_job(journal, job, VMIG_SOURCE, &error);
    g_assert_no_error(error);
    vmig_job_forget_xml(job);
    f->machine = vmig_machine_new(&vmig_flow_migrate, &f->env, journal, FALSE, &policy, NULL, job);
}

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->dir = g_dir_make_tmp("vmig-texts-XXXXXX", NULL);
    f->source.dir = g_build_filename(f->dir, "source", NULL);
    f->dest.dir = g_build_filename(f->dir, "dest", NULL);
    host_open(&f->source, VMIG_SOURCE);
    host_open(&f->dest, VMIG_DEST);
    host_connect(&f->dest);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *command = g_strdup_printf("rm -r '%s'", f->dir);

    vmig_machine_free(f->machine);
    host_disconnect(&f->dest);
    vmig_node_free(f->source.local);
    vmig_node_free(f->dest.local);
    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
    g_free(f->source.dir);
    g_free(f->dest.dir);
    g_free(f->dir);
}

static void assert_has_all(VmigJournal *journal, const VmigJob *job)
{
    for (guint i = 0; i < job->snapshots->len; i++) {
        const VmigSnapshot *snapshot = job->snapshots->pdata[i];
        g_autoptr(GError) error = NULL;
        g_autofree char *text = vmig_journal_text(journal, ID, snapshot->text, &error);
        g_assert_no_error(error);
        g_assert_nonnull(strstr(text, snapshot->name));
    }
}

static gsize peak_kib(void)
{
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents("/proc/self/status", &text, NULL, NULL));
    return (gsize)g_ascii_strtoull(strstr(text, "VmHWM:") + 6, NULL, 10);
}

/* The largest possible job. In this test the tool, the agent and both journals share the same memory. */
static void test_largest(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigJob) there = NULL;
    gint64 began = g_get_monotonic_time();

    begin(f, new_job(SNAPSHOTS, LARGE));
    gsize planned = peak_kib();
    f->machine->peer_recorded = TRUE;
    g_assert_true(vmig_machine_save(f->machine, &error));
    g_assert_no_error(error);
    g_test_message("to both journals in %.1f s, %u messages", (double)(g_get_monotonic_time() - began) / 1e6,
                   f->dest.puts);
    g_assert_cmpuint(f->dest.largest, <, VMIG_TEXTS_MESSAGE + 64 * 1024);
    g_test_message("memory: %zu MiB with all of it in the plan, %zu MiB at most", planned / 1024, peak_kib() / 1024);
    /* Everything exists once, in the plan; both ends of the transfer hold a few copies of one message. */
    g_assert_cmpuint(peak_kib() - planned, <, 100 * 1024);

    began = g_get_monotonic_time();
    for (guint i = 0; i < 10; i++)
        g_assert_true(vmig_machine_save(f->machine, &error));
    g_test_message("10 saves on both hosts in %.2f s", (double)(g_get_monotonic_time() - began) / 1e6);
    g_assert_cmpuint(vmig_job_record_size(f->machine->job), <, SNAPSHOTS * 1000);

    g_assert_true(vmig_node_record_get(f->dest.client, ID, &there, &error));
    g_assert_true(vmig_snapshot_tree_equal(f->machine->job->snapshots, there->snapshots, NULL));
    VmigJournal *journal = vmig_node_local_journal(f->dest.local, &error);
    assert_has_all(journal, there);

    began = g_get_monotonic_time();
    g_autoptr(GPtrArray) jobs = vmig_journal_list(journal, TRUE, &error);
    g_autoptr(GPtrArray) heads = vmig_journal_heads(journal, &error);
    g_assert_true(jobs->len == 1 && heads->len == 1);
    g_test_message("read in %.3f s", (double)(g_get_monotonic_time() - began) / 1e6);
    g_assert_true(vmig_journal_check(journal, &error));
    g_assert_no_error(error);
}

/* What arrived before the connection broke is not sent again, and a record never comes before its texts. */
static void test_broken(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigJob) there = NULL;

    begin(f, new_job(60, 1000 * 1000));
    f->machine->peer_recorded = TRUE;
    g_assert_false(vmig_node_record_put(f->dest.client, f->machine->job, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONTRADICTION);
    g_clear_error(&error);
    f->dest.break_from = 10;
    g_assert_false(vmig_machine_save(f->machine, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONNECTION);
    g_clear_error(&error);
    host_disconnect(&f->dest);
    f->dest.break_from = f->dest.puts = 0;
    host_connect(&f->dest);
    f->env.dest.node = f->dest.client;
    g_assert_true(vmig_node_record_get(f->dest.client, ID, &there, &error));
    g_assert_null(there);
    g_assert_true(vmig_machine_save(f->machine, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(f->dest.puts, >, 5);
    g_assert_cmpuint(f->dest.puts, <, 15); /* of about 20 */
    g_assert_true(vmig_node_record_get(f->dest.client, ID, &there, &error));
    assert_has_all(vmig_node_local_journal(f->dest.local, &error), there);
}

/* The source's journal was replaced with one from before the job's texts: they return with the destination's record. */
static void test_fetched(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    VmigJournal *journal = NULL;

    begin(f, new_job(20, 1000 * 1000));
    f->machine->peer_recorded = TRUE;
    g_assert_true(vmig_machine_save(f->machine, &error));
    vmig_node_free(f->source.local);
    g_autofree char *command = g_strdup_printf("rm -r '%s'", f->source.dir);
    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
    host_open(&f->source, VMIG_SOURCE);
    journal = vmig_node_local_journal(f->source.local, &error);
    f->machine->journal = journal;
    g_assert_true(vmig_texts_fetch(f->machine, f->dest.client, f->machine->job, &error));
    g_assert_no_error(error);
    assert_has_all(journal, f->machine->job);
    g_assert_true(vmig_journal_put(journal, f->machine->job, VMIG_SOURCE, &error));
    g_assert_no_error(error);
}

/* They are removed when the job ends, on both hosts; an ended job needs none. */
static void test_ends(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    VmigJob *job = new_job(3, 1000);
    const char *name = ((const VmigSnapshot *)job->snapshots->pdata[0])->text;

    begin(f, job);
    f->machine->peer_recorded = TRUE;
    g_assert_true(vmig_machine_save(f->machine, &error));
    VmigJournal *journal = f->machine->journal;
    VmigJournal *there = vmig_node_local_journal(f->dest.local, &error);
    g_assert_true(vmig_journal_commit_transition(journal, job, VMIG_MIGRATE(ROLLED_BACK), NULL, &error));
    g_assert_true(vmig_node_record_put(f->dest.client, job, &error));
    g_assert_no_error(error);
    g_assert_null(vmig_journal_text(journal, ID, name, NULL));
    g_assert_null(vmig_journal_text(there, ID, name, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_JOURNAL);
    g_clear_error(&error);
    g_assert_true(vmig_node_record_put(f->dest.client, job, &error));
}

/* A peer that sends without end, or requests what it must not. */
static void test_bounded(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    const char *const bad[] = {"x' OR 1", NULL};
    g_autoptr(GPtrArray) many = g_ptr_array_new_with_free_func(g_free);
    VmigJob *job = new_job(1, 1000);

    begin(f, job);
    for (guint i = 0; i <= VMIG_TEXTS_MAX; i++)
        g_ptr_array_add(many, g_strdup_printf("%u", i));
    g_ptr_array_add(many, NULL);
    g_assert_false(vmig_node_texts_put(f->dest.client, job, (const char *const *)many->pdata, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_UNSUPPORTED);
    g_clear_error(&error);
    g_assert_null(vmig_node_texts_get(f->dest.client, job, bad, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
    g_clear_error(&error);
    g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, "0", -1);
    const char *const first[] = {sum, NULL};
    g_auto(GStrv) missing = vmig_node_texts_missing(f->dest.client, job, first, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(missing[0], ==, sum); /* nothing of it was accepted */
}

/* PLAN counts what comes later, and reports what is too large. */
static void test_planned(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    VmigSurvey survey = {.disks = g_ptr_array_new()};
    VmigJob *job = new_job(2, 1000);

    begin(f, job);
    g_autoptr(VmigJob) large = new_job(2, 1000);
    VmigSnapshot *snapshot = large->snapshots->pdata[1];
    g_assert_true(vmig_plan_check_size(large, &survey, &error));
    g_assert_cmpuint(vmig_plan_record_bound(large, &survey), <, 2 * 1024 * 1024);
    vmig_snapshot_take_xml(snapshot, g_strnfill(8 * 1024 * 1024, '"'));
    g_assert_false(vmig_plan_check_size(large, &survey, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, "snapshot 's1'"));
    g_clear_error(&error);
    vmig_snapshot_take_xml(snapshot, g_strdup("<x/>"));
    /* Once before the job, once for the destination: twice each, because libvirt also returns the persistent one. */
    g_free(large->live_xml);
    large->live_xml = g_strnfill(4 * 1024 * 1024, 'x');
    large->persistent_xml = g_strnfill(4 * 1024 * 1024, 'x');
    g_assert_false(vmig_plan_check_size(large, &survey, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, "the job's record may take"));
    g_ptr_array_unref(survey.disks);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, func) g_test_add("/texts/" name, Fixture, NULL, set_up, func, tear_down)
    ADD("largest", test_largest);
    ADD("broken", test_broken);
    ADD("fetched", test_fetched);
    ADD("ends", test_ends);
    ADD("bounded", test_bounded);
    ADD("planned", test_planned);
    return g_test_run();
}
