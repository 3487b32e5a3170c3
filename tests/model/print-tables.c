/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prints the state table and the decision table as Promela, for tests/model/ownership.pml.
 *
 * The model takes both from the code that runs, so that it cannot drift away from it: a row of uncertain.c that changes
 * changes the model, and a transition that states.def does not have is an error in the model too. */
#include <stdio.h>

#include "core/states.h"
#include "core/uncertain.h"
#include "flows/migrate/states.h"

static const char *const seen_names[] = {
    [VMIG_SEEN_UNREACHABLE] = "SEEN_UNREACHABLE", [VMIG_SEEN_ABSENT] = "SEEN_ABSENT",
    [VMIG_SEEN_RUNNING] = "SEEN_RUNNING",         [VMIG_SEEN_STOPPED] = "SEEN_STOPPED",
    [VMIG_SEEN_MIGRATING] = "SEEN_MIGRATING",
};
static const char *const token_names[] = {
    [VMIG_TOKEN_NONE] = "TOKEN_NONE",
    [VMIG_TOKEN_SOURCE_ONLY] = "TOKEN_SOURCE_ONLY",
    [VMIG_TOKEN_DEST] = "TOKEN_DEST",
};
static const VmigDecision decisions[] = {VMIG_DECIDE_ADOPT, VMIG_DECIDE_BACK, VMIG_DECIDE_FORWARD,
                                         VMIG_DECIDE_WAIT,  VMIG_DECIDE_DOWN, VMIG_DECIDE_ALARM};

static void print_states(void)
{
    VMIG_EACH_STATE (state, &vmig_states_migrate)
        printf("#define ST_%s %u\n", vmig_state_name(state), state->index);
    printf("#define MAY_FOLLOW(a, b) (0");
    VMIG_EACH_STATE (from, &vmig_states_migrate)
        VMIG_EACH_STATE (to, &vmig_states_migrate)
            if (vmig_state_may_follow(from, to))
                printf(" \\\n  || ((a) == %u && (b) == %u)", from->index, to->index);
    printf(")\n#define IS_AFTER(a) (0");
    VMIG_EACH_STATE (state, &vmig_states_migrate)
        if (vmig_state_phase(state) == VMIG_PHASE_AFTER || state == VMIG_MIGRATE(DONE))
            printf(" || (a) == %u", state->index);
    printf(")\n");
}

/* FACTS() packs what was seen into one number; each decision is the set of the numbers that lead to it. */
static void print_decisions(void)
{
    const guint seen = G_N_ELEMENTS(seen_names), tokens = G_N_ELEMENTS(token_names);

    printf("#define FACTS(source, dest, token, proven, revoked) \\\n"
           "  (((((source) * %u + (dest)) * %u + (token)) * 2 + (proven)) * 2 + (revoked))\n",
           seen, tokens);
    for (guint d = 0; d < G_N_ELEMENTS(decisions); d++) {
        g_autofree char *name = g_ascii_strup(vmig_decision_name(decisions[d]), -1);
        printf("#define DECIDE_%s %u\n", name, d);
    }
    printf("inline decide(facts, result)\n{\n  d_step {\n    if\n");
    for (guint d = 0; d < G_N_ELEMENTS(decisions); d++) {
        printf("    :: (0");
        for (guint n = 0; n < seen * seen * tokens * 4; n++) {
            VmigFacts facts = {.source = n / 4 / tokens / seen,
                               .dest = n / 4 / tokens % seen,
                               .token = n / 4 % tokens,
                               .fenced = n / 2 % 2,
                               .revoked = n % 2};
            if (vmig_uncertain_decide(&facts) == decisions[d])
                printf(" || facts == %u", n);
        }
        printf(") -> result = %u\n", d);
    }
    printf("    fi\n  }\n}\n");
}

int main(void)
{
    printf("/* Made by print-tables.c from states.def and uncertain.c. */\n");
    for (guint i = 0; i < G_N_ELEMENTS(seen_names); i++)
        printf("#define %s %u\n", seen_names[i], i);
    for (guint i = 0; i < G_N_ELEMENTS(token_names); i++)
        printf("#define %s %u\n", token_names[i], i);
    print_states();
    print_decisions();
    return 0;
}
