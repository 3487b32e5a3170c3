/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* There is a command for each state in which a job can be parked, whatever the reason, and none is offered where it
 * would be wrong. The simulation proves that they help. */
#include <string.h>

#include <glib.h>

#include "core/errors.h"
#include "core/parks.h"
#include "flows/migrate/states.h"

static VmigJob *parked(VmigState state, VmigErrorCode code)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);

    job->id = g_strdup("0123456789abcdef");
    vmig_job_set_state(job, VMIG_MIGRATE(PARKED));
    job->parked_state = g_strdup(vmig_state_name(state));
    if (code != VMIG_ERROR_LAST)
        job->error_code = g_strdup(vmig_error_name(code));
    return job;
}

static void test_each(void)
{
    guint states = 0;

    VMIG_EACH_STATE (s, &vmig_states_migrate) {
        if (!vmig_state_may_follow(VMIG_MIGRATE(PARKED), s) || vmig_state_is_final(s))
            continue;
        states++;
        for (int code = 0; code <= VMIG_ERROR_LAST; code++) {
            g_autoptr(VmigJob) job = parked(s, code);
            VmigPark park = vmig_park_of(job);
            g_auto(GStrv) commands = vmig_park_commands(job, VMIG_SOURCE);
            g_assert_true(park.exits & VMIG_EXIT_BY_RESUME);
            g_assert_nonnull(park.what);
            g_assert_true(g_str_has_prefix(commands[0], "vmig-snap resume 0123456789abcdef"));
            /* Before it is decided who has the guest, it cannot be left to either host; going forward it can still roll
             * back. */
            if (vmig_state_phase(s) == VMIG_PHASE_FORWARD)
                g_assert_false(park.exits & VMIG_EXIT_BY_SET_ASIDE);
            else
                g_assert_false(park.exits & (VMIG_EXIT_BY_CANCEL | VMIG_EXIT_BY_FENCED));
            if (code == VMIG_ERROR_INTERFERENCE && vmig_state_phase(s) != VMIG_PHASE_FORWARD)
                g_assert_true(park.exits & VMIG_EXIT_BY_SET_ASIDE);
        }
    }
    g_assert_cmpuint(states, >=, 12);
}

/* The last failure counts more than the reason for the rollback. */
static void test_reason(void)
{
    g_autoptr(VmigJob) job = parked(VMIG_MIGRATE(BACK_PIVOT), VMIG_ERROR_INTERFERENCE);

    g_assert_true(vmig_park_of(job).exits & VMIG_EXIT_BY_SET_ASIDE);
    job->last_code = g_strdup(vmig_error_name(VMIG_ERROR_UNREACHABLE));
    g_assert_cmpuint(vmig_park_of(job).exits, ==, VMIG_EXIT_BY_RESUME);
    vmig_job_set_state(job, VMIG_MIGRATE(SET_ASIDE));
    g_assert_cmpuint(vmig_park_of(job).exits, ==, 0);
    g_auto(GStrv) none = vmig_park_commands(job, VMIG_SOURCE);
    g_assert_null(none[0]);
}

/* A command that does not work on this host names the host where it does. */
static void test_on_which_host(void)
{
    static const struct {
        VmigRole owner;
        VmigRole here;
        const char *command;
    } table[] = {
        {VMIG_SOURCE, VMIG_SOURCE, "vmig-snap resume 0123456789abcdef --set-aside"},
        {VMIG_SOURCE, VMIG_DEST, "vmig-snap resume 0123456789abcdef --set-aside (on the source)"},
        {VMIG_DEST, VMIG_SOURCE, "vmig-snap resume 0123456789abcdef --set-aside (on the destination)"},
        {VMIG_DEST, VMIG_DEST, "vmig-snap resume 0123456789abcdef --set-aside"},
    };

    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(VmigJob) job = parked(VMIG_MIGRATE(BACK_PIVOT), VMIG_ERROR_INTERFERENCE);
        job->owner = table[i].owner;
        g_auto(GStrv) commands = vmig_park_commands(job, table[i].here);
        g_assert_cmpuint(g_strv_length(commands), ==, 2);
        g_assert_cmpstr(commands[1], ==, table[i].command);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/parks/each", test_each);
    g_test_add_func("/parks/reason", test_reason);
    g_test_add_func("/parks/on-which-host", test_on_which_host);
    return g_test_run();
}
