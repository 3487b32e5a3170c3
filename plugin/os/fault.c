/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fault points: at the entry and end of every state, and around side effects that cannot be undone. */
#include "os/fault.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/errors.h"
#include "core/states.h"

static const char *const named[] = {
#define VMIG_POINT(name, meaning) name,
#include "os/faults.def"
#undef VMIG_POINT
};

/* Begin and end of each state of each flow, and the named ones. */
static gpointer list_points(gpointer data G_GNUC_UNUSED)
{
    GPtrArray *points = g_ptr_array_new();
    const VmigStates *states;

    for (guint i = 0; (states = vmig_states_nth(i)) != NULL; i++)
        VMIG_EACH_STATE (state, states) {
            g_ptr_array_add(points, g_strconcat(vmig_state_name(state), ".enter", NULL));
            g_ptr_array_add(points, g_strconcat(vmig_state_name(state), ".leave", NULL));
        }
    for (guint i = 0; i < G_N_ELEMENTS(named); i++)
        g_ptr_array_add(points, g_strdup(named[i]));
    g_ptr_array_add(points, NULL);
    return g_ptr_array_free(points, FALSE);
}

const char *const *vmig_fault_points(void)
{
    static GOnce once = G_ONCE_INIT;

    return g_once(&once, list_points, NULL);
}

#ifdef VMIG_FAULTS
gboolean vmig_fault_compiled_in(void)
{
    return TRUE;
}

/* Counts how often each point was reached, for POINT@N. */
static guint reached(const char *point)
{
    static GMutex mutex;
    static GHashTable *counts;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex);

    if (counts == NULL)
        counts = g_hash_table_new(g_str_hash, g_str_equal);
    guint n = GPOINTER_TO_UINT(g_hash_table_lookup(counts, point)) + 1;
    g_hash_table_insert(counts, (gpointer)point, GUINT_TO_POINTER(n));
    return n;
}

static gboolean act(char **fields, const char *point, GError **error)
{
    const char *what = fields[1] != NULL ? fields[1] : "";
    const char *arg = fields[1] != NULL && fields[2] != NULL ? fields[2] : "";

    if (strcmp(what, "kill") == 0) {
        kill(getpid(), SIGKILL);
        pause();
    } else if (strcmp(what, "stop") == 0) {
        raise(SIGSTOP);
    } else if (strcmp(what, "delay") == 0) {
        g_usleep(1000 * strtoul(arg, NULL, 10));
    } else if (strcmp(what, "error") == 0) {
        VmigErrorCode code = vmig_error_from_name(arg);
        return vmig_fail(error, code == VMIG_ERROR_LAST ? VMIG_ERROR_INJECTED : code, NULL,
                         "the fault point %s was set to fail", point);
    }
    return TRUE;
}

gboolean vmig_fault(const char *point, GError **error)
{
    const char *spec = getenv(VMIG_FAULT_VARIABLE);

    if (spec == NULL || *spec == '\0')
        return TRUE;
    guint n = reached(point);
    g_auto(GStrv) faults = g_strsplit(spec, ",", -1);
    for (char **fault = faults; *fault != NULL; fault++) {
        g_auto(GStrv) fields = g_strsplit(*fault, ":", 3);
        g_auto(GStrv) where = g_strsplit(fields[0] != NULL ? fields[0] : "", "@", 2);
        if (g_strcmp0(where[0], point) != 0)
            continue;
        if (where[1] != NULL && strtoul(where[1], NULL, 10) != n)
            continue;
        if (!act(fields, point, error))
            return FALSE;
    }
    return TRUE;
}
#else
gboolean vmig_fault_compiled_in(void)
{
    return FALSE;
}
#endif
