/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Faults by name instead of at random: --when STATE/METHOD/HOST[#N]=FAULT[@HOST], for a case that must happen in each
 * run of a test. The numbers of calls change with the code; the meaning of a call in a state does not. */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

/* "revert": an operator reverts to a snapshot. "save": an operator makes a snapshot in the overlays. "copy": another
 * user starts a block copy. */
#define REVERT SIM_FAULT_KINDS
#define SAVE (SIM_FAULT_KINDS + 1)
#define COPY (SIM_FAULT_KINDS + 2)

static gboolean parse_kind(const char *name, guint *ret)
{
    for (guint kind = 0; kind < SIM_FAULT_KINDS; kind++)
        if (strcmp(sim_fault_names[kind], name) == 0) {
            *ret = kind;
            return TRUE;
        }
    *ret = strcmp(name, "save") == 0 ? SAVE : strcmp(name, "copy") == 0 ? COPY : REVERT;
    return *ret != REVERT || strcmp(name, "revert") == 0;
}

gboolean sim_script_add(SimScript *script, const char *text)
{
    SimWhen *when = &script->lines[script->n];
    g_auto(GStrv) halves = g_strsplit(text, "=", 2);
    g_auto(GStrv) where = g_strsplit(halves[0] != NULL ? halves[0] : "", "/", 3);

    if (script->n == SIM_SCRIPT || g_strv_length(halves) != 2 || g_strv_length(where) != 3)
        return FALSE;
    g_auto(GStrv) what = g_strsplit(halves[1], "@", 2);
    if (what[0] == NULL || !parse_kind(what[0], &when->kind))
        return FALSE;
    char *count = strchr(where[2], '#');
    when->nth = count != NULL ? (guint)atoi(count + 1) : 1;
    if (count != NULL)
        *count = '\0';
    when->state = vmig_state_from_name(&vmig_states_migrate, where[0]);
    when->method = g_intern_string(where[1]);
    when->on_dest = strcmp(where[2], "dest") == 0;
    when->hits_dest = what[1] != NULL ? strcmp(what[1], "dest") == 0 : when->on_dest;
    script->n++;
    return when->state != NULL && when->nth > 0 && (when->on_dest || strcmp(where[2], "source") == 0);
}

void sim_script_call(Sim *sim, SimCall *call)
{
    for (guint i = 0; sim->script != NULL && sim->machine != NULL && i < sim->script->n; i++) {
        const SimWhen *when = &sim->script->lines[i];
        if (when->state != sim->state || when->on_dest != call->host->is_dest ||
            strcmp(when->method, call->method) != 0 || ++sim->script_seen[i] != when->nth)
            continue;
        if (when->kind == REVERT && call->host->domain.snapshots->len == 0)
            sim_violate(sim, "the script reverts a guest without snapshots");
        else if (when->kind == REVERT)
            sim_operator_revert(sim, call->host);
        else if (when->kind == SAVE)
            sim_meddle_save(sim);
        else if (when->kind == COPY)
            sim_operator_copy(sim, call->host);
        else
            sim_fault_happen(sim, when->kind, &sim->hosts[when->hits_dest ? 1 : 0], call);
    }
}

void sim_script_check(Sim *sim)
{
    for (guint i = 0; sim->script != NULL && i < sim->script->n; i++)
        if (sim->script_seen[i] < sim->script->lines[i].nth)
            sim_violate(sim, "the script's line %u never came: %s in %s", i + 1, sim->script->lines[i].method,
                        vmig_state_name(sim->script->lines[i].state));
}
