/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The retry decision and the policy's text. */
#include <gio/gio.h>
#include <string.h>

#include "core/retry.h"

#define SECOND G_USEC_PER_SEC

static GError *error_of(VmigErrorCode code)
{
    return g_error_new(VMIG_ERROR, (int)code, "x");
}

static VmigPolicy *parse_ok(const char *text)
{
    g_autoptr(GError) error = NULL;
    VmigPolicy *policy = vmig_policy_parse(text, "test", &error);

    g_assert_no_error(error);
    return policy;
}

static void test_default(void)
{
    g_autoptr(VmigPolicy) policy = vmig_policy_default();
    g_autoptr(VmigPolicy) text = parse_ok(vmig_policy_default_text);

    g_assert_nonnull(policy);
    g_assert_cmpstr(policy->name, ==, "default");
    g_assert_cmpmem(policy->rules, sizeof policy->rules, text->rules, sizeof text->rules);
    g_assert_cmpuint(policy->rules[VMIG_RETRY_TRANSIENT].attempts, ==, 20);
    g_assert_cmpint(policy->rules[VMIG_RETRY_TRANSIENT].first_delay_us, ==, SECOND);
    g_assert_cmpint(policy->deadline_us, ==, 3600 * (gint64)SECOND);
    g_assert_cmpint(policy->then, ==, VMIG_THEN_ROLLBACK);
    g_assert_null(policy->command);
}

/* The shipped policies parse, and default.conf equals the built-in one. */
static void test_shipped(void)
{
    const char *names[] = {"default", "patient", "quick"};
    g_autoptr(VmigPolicy) built_in = vmig_policy_default();

    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *file = g_strconcat(names[i], ".conf", NULL);
        const char *root = g_getenv("VMIG_SOURCE_ROOT");
        g_autofree char *path = g_build_filename(root != NULL ? root : ".", "policy", file, NULL);
        g_autofree char *text = NULL;
        if (!g_file_get_contents(path, &text, NULL, NULL)) {
            g_test_skip("run it in the source folder, or set VMIG_SOURCE_ROOT");
            return;
        }
        g_autoptr(VmigPolicy) policy = parse_ok(text);
        if (i == 0) {
            g_assert_cmpmem(policy->rules, sizeof policy->rules, built_in->rules, sizeof built_in->rules);
            g_assert_cmpint(policy->deadline_us, ==, built_in->deadline_us);
            g_assert_cmpint(policy->then, ==, built_in->then);
        }
    }
}

static void test_parse(void)
{
    g_autoptr(VmigPolicy) policy = parse_ok("# comment\n\n [io] \n attempts = unlimited \r\nfirst-delay=0.25\n"
                                            "growth=1.5\nceiling=9\njitter=1\n[overall]\ndeadline=0\nthen=rollback\n"
                                            "command=/usr/bin/page me\n[gone]\nattempts=0");

    g_assert_cmpuint(policy->rules[VMIG_RETRY_IO].attempts, ==, G_MAXUINT);
    g_assert_cmpint(policy->rules[VMIG_RETRY_IO].first_delay_us, ==, 250000);
    g_assert_cmpfloat(policy->rules[VMIG_RETRY_IO].growth, ==, 1.5);
    g_assert_cmpint(policy->rules[VMIG_RETRY_IO].ceiling_us, ==, 9 * SECOND);
    g_assert_cmpfloat(policy->rules[VMIG_RETRY_IO].jitter, ==, 1);
    g_assert_cmpint(policy->deadline_us, ==, 0);
    g_assert_cmpint(policy->then, ==, VMIG_THEN_ROLLBACK);
    g_assert_cmpstr(policy->command, ==, "/usr/bin/page me");
    g_assert_cmpuint(policy->rules[VMIG_RETRY_GONE].attempts, ==, 0);
    g_assert_cmpuint(policy->rules[VMIG_RETRY_TRANSIENT].attempts, ==, 20);
}

static void test_refused(void)
{
    struct {
        const char *text;
        const char *says;
    } cases[] = {
        {"attempts=1", "line 1: the key 'attempts' is in no group"},
        {"\n[nope]", "line 2: unknown group [nope]"},
        {"[never]", "unknown group [never]"},
        {"[io", "is not a group"},
        {"[", "is not a group"},
        {"[]", "unknown group []"},
        {"[io]\n[io]", "line 2: the group occurs twice"},
        {"[io]\nattempts=1\nattempts=2", "line 3: the key 'attempts' occurs twice"},
        {"[io]\nattempt=1", "line 2: unknown key 'attempt' in [io]"},
        {"[io]\ndeadline=1", "unknown key 'deadline' in [io]"},
        {"[overall]\nattempts=1", "unknown key 'attempts' in [overall]"},
        {"[io]\nattempts", "neither a group nor key=value"},
        {"[io]\n=1", "unknown key ''"},
        {"[io]\nattempts=", "attempts: '' is not a number"},
        {"[io]\nattempts=1.5", "not a whole number"},
        {"[io]\nattempts=-1", "not a number"},
        {"[io]\nattempts=0x10", "not a number"},
        {"[io]\nattempts=1000001", "not between 0 and 1e+06"},
        {"[io]\nattempts=99999999999999999999", "not a number"},
        {"[io]\nfirst-delay=1s", "first-delay: '1s' is not a number"},
        {"[io]\nfirst-delay=1e3", "not a number"},
        {"[io]\nfirst-delay=inf", "not a number"},
        {"[io]\nfirst-delay=nan", "not a number"},
        {"[io]\nfirst-delay=1..2", "not a number"},
        {"[io]\nfirst-delay=1.2.3", "not a number"},
        {"[io]\nfirst-delay=.5", "not a number"},
        {"[io]\nfirst-delay=5.", "not a number"},
        {"[io]\nfirst-delay=1,5", "not a number"},
        {"[io]\nfirst-delay=2592001", "not between"},
        {"[io]\ngrowth=0.5", "growth: 0.5 is not between 1 and 100"},
        {"[io]\ngrowth=x", "not a number"},
        {"[io]\nceiling=x", "not a number"},
        {"[io]\nceiling=1", "[io]: ceiling is below first-delay"},
        {"[io]\njitter=1.01", "not between 0 and 1"},
        {"[overall]\ndeadline=soon", "not a number"},
        {"[overall]\nthen=panic", "neither park nor rollback"},
        {"[overall]\ncommand=reboot", "not an absolute path"},
        {"[io]\n# \xff\xfe", "not UTF-8"},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(vmig_policy_parse(cases[i].text, "mine", &error));
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_USAGE);
        g_assert_true(g_str_has_prefix(error->message, "policy mine"));
        if (strstr(error->message, cases[i].says) == NULL)
            g_error("'%s' is not in '%s'", cases[i].says, error->message);
    }
    g_assert_null(vmig_policy_parse("x", "mine", NULL));
}

static void test_rows(void)
{
    g_autoptr(GError) foreign = g_error_new(G_IO_ERROR, G_IO_ERROR_FAILED, "x");

    g_assert_cmpint(vmig_retry_row(foreign), ==, VMIG_RETRY_UNKNOWN);
    for (int c = 0; c < VMIG_ERROR_LAST; c++) {
        g_autoptr(GError) error = error_of(c);
        VmigErrorClass cls = vmig_error_class(c);
        gboolean never = cls == VMIG_CLASS_USAGE || cls == VMIG_CLASS_REFUSAL || cls == VMIG_CLASS_FATAL;
        g_assert_cmpint(vmig_retry_row(error) == VMIG_RETRY_NEVER, ==, never);
    }
    for (int r = 0; r <= VMIG_RETRY_NEVER; r++)
        g_assert_cmpuint(strlen(vmig_retry_row_name(r)), >, 1);
    g_assert_cmpstr(vmig_retry_row_name(VMIG_RETRY_NEVER + 1), ==, "?");
}

/* The ways in which a commit can end: each is distinguished and retried by its own line. */
static void test_commit_ends(void)
{
    static const struct {
        VmigErrorCode code;
        VmigRetryRow row;
    } ends[] = {
        {VMIG_ERROR_NO_SPACE, VMIG_RETRY_NO_SPACE},  {VMIG_ERROR_IO, VMIG_RETRY_IO},
        {VMIG_ERROR_JOB_LOST, VMIG_RETRY_TRANSIENT}, {VMIG_ERROR_JOB_CANCELLED, VMIG_RETRY_TRANSIENT},
        {VMIG_ERROR_STALLED, VMIG_RETRY_TRANSIENT},  {VMIG_ERROR_CONNECTION, VMIG_RETRY_TRANSIENT},
        {VMIG_ERROR_GUEST_GONE, VMIG_RETRY_GONE},    {VMIG_ERROR_INTERFERENCE, VMIG_RETRY_NEVER},
    };

    for (guint i = 0; i < G_N_ELEMENTS(ends); i++) {
        g_autoptr(GError) error = error_of(ends[i].code);
        g_assert_cmpint(vmig_retry_row(error), ==, ends[i].row);
    }
}

static void test_delays(void)
{
    g_autoptr(VmigPolicy) policy = parse_ok("[io]\nattempts=6\nfirst-delay=1\ngrowth=3\nceiling=20\njitter=0\n");
    g_autoptr(GError) error = error_of(VMIG_ERROR_IO);
    VmigRetryState state = {0};
    gint64 expected[] = {1, 3, 9, 20, 20, 20};

    for (guint i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_autoptr(VmigRetryDecision) d = vmig_retry_decide(policy, error, &state, 100, 0.99);
        g_assert_cmpint(d->action, ==, VMIG_RETRY_AGAIN);
        g_assert_cmpint(d->at_us, ==, 100 + expected[i] * SECOND);
        g_assert_cmpuint(d->attempt, ==, i + 1);
        g_assert_nonnull(strstr(d->reason, "of 6 of class io"));
        vmig_retry_count(&state, d, 100);
        g_assert_cmpuint(state.attempts[VMIG_RETRY_IO], ==, i + 1);
    }
    g_autoptr(VmigRetryDecision) last = vmig_retry_decide(policy, error, &state, 100, 0);
    g_assert_cmpint(last->action, ==, VMIG_RETRY_GIVE_UP);
    g_assert_cmpint(last->at_us, ==, 0);
    g_assert_cmpuint(last->attempt, ==, 6);
    g_assert_nonnull(strstr(last->reason, "6 of 6"));
    vmig_retry_count(&state, last, 200);
    g_assert_cmpuint(state.attempts[VMIG_RETRY_IO], ==, 6);
    g_assert_cmpint(state.first_failure_us, ==, 100);
    /* Another class has its own count. */
    g_autoptr(GError) gone = error_of(VMIG_ERROR_GUEST_GONE);
    g_autoptr(VmigRetryDecision) other = vmig_retry_decide(policy, gone, &state, 100, 0);
    g_assert_cmpint(other->action, ==, VMIG_RETRY_AGAIN);
    g_assert_cmpuint(other->attempt, ==, 1);
}

static void test_jitter(void)
{
    g_autoptr(VmigPolicy) policy = parse_ok("[io]\nfirst-delay=10\nceiling=10\njitter=0.5\n");
    g_autoptr(GError) error = error_of(VMIG_ERROR_IO);
    VmigRetryState state = {0};

    for (double r = -1; r < 2; r += 0.01) {
        g_autoptr(VmigRetryDecision) d = vmig_retry_decide(policy, error, &state, 0, r);
        g_assert_cmpint(d->at_us, <=, 10 * SECOND);
        g_assert_cmpint(d->at_us, >=, 5 * SECOND);
    }
    g_autoptr(VmigRetryDecision) none = vmig_retry_decide(policy, error, &state, 0, 0);
    g_autoptr(VmigRetryDecision) half = vmig_retry_decide(policy, error, &state, 0, 0.5);
    g_assert_cmpint(none->at_us, ==, 10 * SECOND);
    g_assert_cmpint(half->at_us, ==, 7500000);
}

static void test_deadline(void)
{
    g_autoptr(VmigPolicy) policy = parse_ok("[io]\nattempts=unlimited\nfirst-delay=10\ngrowth=1\njitter=0\n"
                                            "[overall]\ndeadline=100\n");
    g_autoptr(VmigPolicy) endless = parse_ok("[io]\nattempts=unlimited\nfirst-delay=10\ngrowth=100\nceiling=60\n"
                                             "jitter=0\n[overall]\ndeadline=0\n");
    g_autoptr(GError) error = error_of(VMIG_ERROR_IO);
    VmigRetryState state = {.attempts = {[VMIG_RETRY_IO] = 5}, .first_failure_us = 0, .failed = TRUE};

    g_autoptr(VmigRetryDecision) in_time = vmig_retry_decide(policy, error, &state, 89 * SECOND, 0);
    g_autoptr(VmigRetryDecision) too_late = vmig_retry_decide(policy, error, &state, 90 * SECOND, 0);
    g_assert_cmpint(in_time->action, ==, VMIG_RETRY_AGAIN);
    g_assert_null(strstr(in_time->reason, " of 4294967295"));
    g_assert_cmpint(too_late->action, ==, VMIG_RETRY_GIVE_UP);
    g_assert_nonnull(strstr(too_late->reason, "deadline of 100 s"));
    /* The first failure is never too late, whatever the clock says. */
    VmigRetryState fresh = {0};
    g_autoptr(VmigRetryDecision) first = vmig_retry_decide(policy, error, &fresh, G_MAXINT64 / 2, 0);
    g_assert_cmpint(first->action, ==, VMIG_RETRY_AGAIN);
    /* No number of attempts overflows. */
    state.attempts[VMIG_RETRY_IO] = G_MAXUINT;
    g_autoptr(VmigRetryDecision) many = vmig_retry_decide(endless, error, &state, 1000000 * (gint64)SECOND, 0);
    g_assert_cmpint(many->action, ==, VMIG_RETRY_AGAIN);
    g_assert_cmpint(many->at_us, ==, 1000060 * (gint64)SECOND);
    vmig_retry_count(&state, many, 0);
    g_assert_cmpuint(state.attempts[VMIG_RETRY_IO], ==, G_MAXUINT);
}

static void test_never(void)
{
    g_autoptr(VmigPolicy) policy = parse_ok("[transient]\nattempts=unlimited\n[unknown]\nattempts=0\n");
    VmigErrorCode codes[] = {VMIG_ERROR_USAGE, VMIG_ERROR_CHAIN, VMIG_ERROR_CANCELLED, VMIG_ERROR_GATE};
    g_autoptr(GError) foreign = g_error_new(G_IO_ERROR, G_IO_ERROR_FAILED, "x");
    VmigRetryState state = {0};

    for (guint i = 0; i < G_N_ELEMENTS(codes); i++) {
        g_autoptr(GError) error = error_of(codes[i]);
        g_autoptr(VmigRetryDecision) d = vmig_retry_decide(policy, error, &state, 0, 0);
        g_assert_cmpint(d->action, ==, VMIG_RETRY_GIVE_UP);
        g_assert_cmpint(d->row, ==, VMIG_RETRY_NEVER);
        g_assert_nonnull(strstr(d->reason, vmig_error_name(codes[i])));
        vmig_retry_count(&state, d, 7);
        g_assert_true(state.failed);
    }
    g_autoptr(VmigRetryDecision) none = vmig_retry_decide(policy, foreign, &state, 0, 0);
    g_assert_cmpint(none->action, ==, VMIG_RETRY_GIVE_UP);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/retry/default", test_default);
    g_test_add_func("/retry/shipped", test_shipped);
    g_test_add_func("/retry/parse", test_parse);
    g_test_add_func("/retry/refused", test_refused);
    g_test_add_func("/retry/rows", test_rows);
    g_test_add_func("/retry/commit-ends", test_commit_ends);
    g_test_add_func("/retry/delays", test_delays);
    g_test_add_func("/retry/jitter", test_jitter);
    g_test_add_func("/retry/deadline", test_deadline);
    g_test_add_func("/retry/never", test_never);
    return g_test_run();
}
