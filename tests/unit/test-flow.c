/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine runs an operation that it has never heard of: by its rows and steps alone. */
#include <glib/gstdio.h>

#include "core/errors.h"
#include "core/job-facts.h"
#include "engine/machine.h"
#include "node/node-local.h"

typedef enum { ASK, WEIGH, CARRY, UNDO, HOME, BACK_HOME, GIVEN_UP, STUCK, STATES } Index;

#define VMIG_STATE_INDEX(symbol) symbol
#define VMIG_STATE_FLOW vmig_states_toy
static const VmigStates vmig_states_toy;
#include "core/state-table.h"

/* clang-format off */
static const VmigStateRow rows[STATES] = {
    VMIG_STATE_ROW(ASK, FORWARD, FROM_SOURCE, EXPECT(.source = ANY, .dest = ANY, .guest = UNTOUCHED),
                   "asks", "nothing", "nothing", NEXT(WEIGH, BACK_HOME))
    VMIG_STATE_ROW(WEIGH, FORWARD, RETRY | FROM_SOURCE, EXPECT(.source = ANY, .dest = ANY),
                   "weighs", "asked", "nothing", NEXT(CARRY, UNDO, STUCK))
    VMIG_STATE_ROW(CARRY, AFTER, RETRY, EXPECT(.source = ANY, .dest = ANY),
                   "carries", "weighed", "cannot be undone", NEXT(HOME, STUCK))
    VMIG_STATE_ROW(UNDO, BACK, RETRY, EXPECT(.source = ANY, .dest = ANY),
                   "puts it back", "something failed", "nothing", NEXT(BACK_HOME, STUCK))
    VMIG_STATE_ROW(HOME, END, 0, EXPECT(.source = ANY, .dest = ANY, .stage = OVER, .end = MOVED),
                   "there", "carried", "nothing", NEXT_NONE)
    VMIG_STATE_ROW(BACK_HOME, END, 0, EXPECT(.source = ANY, .dest = ANY, .stage = OVER, .end = BACK),
                   "back", "put back", "nothing", NEXT_NONE)
    VMIG_STATE_ROW(GIVEN_UP, END, 0, EXPECT(.source = ANY, .dest = ANY, .stage = OVER, .end = ASIDE),
                   "given up", "an operator", "nothing", NEXT_NONE)
    VMIG_STATE_ROW(STUCK, END, WAITS, EXPECT(.source = ANY, .dest = ANY),
                   "waits", "an operator", "nothing", NEXT(WEIGH, CARRY, UNDO, GIVEN_UP))
};
/* clang-format on */

static const VmigLegalFacts facts[STATES];
static const VmigStates vmig_states_toy = {.name = "toy", .rows = rows, .facts = facts, .n = STATES};

/* --- the steps: they write down that they ran, and fail as often as they are told to --- */

typedef struct {
    char *dir;
    VmigNode *nodes[2];
    VmigEnv env;
    VmigPolicy *policy;
    GString *ran;
    guint fails[STATES];
    gboolean for_good; /* by an error that is not worth another try */
    Index asked_in;    /* the process is asked to end during this step; ASK: never */
} Fixture;

static Fixture *the_fixture;

static gboolean run(VmigMachine *m, Index index, const char *name, GError **error)
{
    Fixture *f = the_fixture;

    if (index == f->asked_in)
        vmig_machine_cancel(m);
    g_string_append_printf(f->ran, "%s ", name);
    if (f->fails[index] == 0)
        return TRUE;
    f->fails[index]--;
    return vmig_fail(error, f->for_good ? VMIG_ERROR_UNSUPPORTED : VMIG_ERROR_TIMEOUT, NULL, "%s failed", name);
}

#define STEP(name, index)                                                                                              \
    static gboolean name(VmigMachine *m, VmigState *next G_GNUC_UNUSED, GError **error)                                \
    {                                                                                                                  \
        return run(m, index, #name, error);                                                                            \
    }
STEP(weigh, WEIGH)
STEP(carry, CARRY)
STEP(undo, UNDO)

static const VmigStep steps[STATES] = {[WEIGH] = {.run = weigh}, [CARRY] = {.run = carry}, [UNDO] = {.run = undo}};

static gboolean may_begin(VmigMachine *m G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    g_string_append(the_fixture->ran, "may-begin ");
    return TRUE;
}

static void begin(VmigMachine *m G_GNUC_UNUSED)
{
    g_string_append(the_fixture->ran, "begin ");
}

static void await_retry(VmigMachine *m G_GNUC_UNUSED, const GError *why G_GNUC_UNUSED, gint64 until G_GNUC_UNUSED)
{
    g_string_append(the_fixture->ran, "wait ");
}

static const VmigFlow toy = {
    .states = &vmig_states_toy, .steps = steps, .may_begin = may_begin, .begin = begin, .await_retry = await_retry};

/* --- the hosts: real journals and locks, no libvirt --- */

static gint64 now(VmigClock *self G_GNUC_UNUSED)
{
    return g_get_monotonic_time();
}

static gint64 wall(VmigClock *self G_GNUC_UNUSED)
{
    return g_get_real_time();
}

static double middle(VmigRandom *self G_GNUC_UNUSED)
{
    return 0.5;
}

static VmigNode *host(const Fixture *f, const char *name, VmigRole role)
{
    g_autofree char *state = g_build_filename(f->dir, name, "state", NULL);
    g_autofree char *run_dir = g_build_filename(f->dir, name, "run", NULL);
    g_autoptr(GError) error = NULL;
    const char *const roots[] = {"/nonexistent", NULL};
    VmigNodeConfig config = {.state_dir = state, .run_dir = run_dir, .roots = roots, .machine_id = "m", .role = role};
    VmigNode *node = vmig_node_local_new(name, &config, &error);

    g_assert_no_error(error);
    return node;
}

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const VmigClockOps clock_ops = {.now = now, .wall = wall};
    static const VmigRandomOps random_ops = {.unit = middle};
    static VmigClock clock = {.ops = &clock_ops};
    static VmigRandom random = {.ops = &random_ops};

    f->dir = g_dir_make_tmp("vmig-flow-XXXXXX", NULL);
    f->nodes[VMIG_SOURCE] = host(f, "source", VMIG_SOURCE);
    f->nodes[VMIG_DEST] = host(f, "dest", VMIG_DEST);
    f->env = (VmigEnv){.source = {.node = f->nodes[VMIG_SOURCE]},
                       .dest = {.node = f->nodes[VMIG_DEST]},
                       .clock = &clock,
                       .random = &random};
    f->policy = vmig_policy_default();
    f->ran = g_string_new(NULL);
    the_fixture = f;
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *command = g_strdup_printf("rm -r '%s'", f->dir);

    vmig_node_free(f->nodes[VMIG_SOURCE]);
    vmig_node_free(f->nodes[VMIG_DEST]);
    vmig_policy_free(f->policy);
    g_string_free(f->ran, TRUE);
    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
    g_free(f->dir);
}

static char *drive(Fixture *f, const char *ran)
{
    g_autoptr(GError) error = NULL;
    VmigJournal *journal = vmig_node_local_journal(f->nodes[VMIG_SOURCE], &error);
    VmigJob *job = vmig_job_new(&vmig_states_toy);

    g_assert_no_error(error);
    job->id = g_strdup("0123456789abcdef");
    job->uuid = g_strdup("11111111-2222-3333-4444-555555555555");
    job->domain = g_strdup("guest");
    job->attempt = 1;
    g_autoptr(VmigMachine) machine = vmig_machine_new(&toy, &f->env, journal, VMIG_SOURCE, f->policy, NULL, job);
    g_assert_true(vmig_machine_run(machine, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(f->ran->str, ==, ran);
    return g_strdup(vmig_state_name(vmig_job_state(machine->job)));
}

static void test_forward(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *end = drive(f, "may-begin begin weigh carry ");

    g_assert_cmpstr(end, ==, "HOME");
}

/* The flag RETRY of the row. */
static void test_again(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->fails[WEIGH] = 2;
    g_autofree char *end = drive(f, "may-begin begin weigh wait weigh wait weigh carry ");

    g_assert_cmpstr(end, ==, "HOME");
}

/* The phases of the rows say where a failure leads. */
static void test_back(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->fails[WEIGH] = 1;
    f->for_good = TRUE;
    g_autofree char *end = drive(f, "may-begin begin weigh undo ");

    g_assert_cmpstr(end, ==, "BACK_HOME");
}

static void test_stuck(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->fails[CARRY] = 1;
    f->for_good = TRUE;
    g_autofree char *end = drive(f, "may-begin begin weigh carry ");

    g_assert_cmpstr(end, ==, "STUCK");
}

/* A process that is asked to end after the switchover goes on, but does not wait for another try. */
static void test_asked_to_end(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->asked_in = CARRY;
    g_autofree char *goes_on = drive(f, "may-begin begin weigh carry ");
    g_assert_cmpstr(goes_on, ==, "HOME");
}

static void test_asked_and_failed(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->asked_in = CARRY;
    f->fails[CARRY] = 1;
    g_autofree char *end = drive(f, "may-begin begin weigh carry ");

    g_assert_cmpstr(end, ==, "STUCK");
}

/* The same on the way back while this host has no libvirt, as at a shutdown. */
static void test_asked_at_a_shutdown(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->asked_in = WEIGH;
    f->fails[WEIGH] = f->fails[UNDO] = 1;
    g_autofree char *end = drive(f, "may-begin begin weigh undo ");

    g_assert_cmpstr(end, ==, "STUCK");
}

/* What a record names must be known before it is read. */
static void test_unknown_flow(void)
{
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_toy);
    g_autoptr(GError) error = NULL;

    job->id = g_strdup("0123456789abcdef");
    job->uuid = g_strdup("11111111-2222-3333-4444-555555555555");
    g_autofree char *text = vmig_job_to_string(job);
    g_assert_null(vmig_job_from_string(text, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_JOURNAL_NEWER);
    g_assert_nonnull(strstr(error->message, "'toy'"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, func) g_test_add("/flow/" name, Fixture, NULL, set_up, func, tear_down)
    ADD("forward", test_forward);
    ADD("again", test_again);
    ADD("back", test_back);
    ADD("stuck", test_stuck);
    ADD("asked-to-end", test_asked_to_end);
    ADD("asked-and-failed", test_asked_and_failed);
    ADD("asked-at-a-shutdown", test_asked_at_a_shutdown);
    g_test_add_func("/flow/unknown", test_unknown_flow);
    return g_test_run();
}
