/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looks up parks.def by the state in which a job parked and the reason. */
#include "core/parks.h"

#include "core/errors.h"

typedef enum {
    AT_FORWARD,
    AT_AFTER,
    AT_BACK,
    AT_DECIDES,
    AT_COMPLETE,
} Where;

#define VMIG_ERROR_ANY VMIG_ERROR_LAST

#define RESUME VMIG_EXIT_BY_RESUME
#define CANCEL VMIG_EXIT_BY_CANCEL
#define FENCED VMIG_EXIT_BY_FENCED
#define WITHOUT_VERIFY VMIG_EXIT_BY_WITHOUT_VERIFY
#define SET_ASIDE VMIG_EXIT_BY_SET_ASIDE
#define EXITS_1(a) a
#define EXITS_2(a, b) a | b
#define EXITS_3(a, b, c) a | b | c
#define EXITS_OF(a, b, c, name, ...) name
#define EXITS(...) EXITS_OF(__VA_ARGS__, EXITS_3, EXITS_2, EXITS_1, )(__VA_ARGS__)

static const struct {
    Where where;
    VmigErrorCode code;
    guint exits;
    const char *what;
} table[] = {
#define VMIG_PARK(where, code, exits, what) {AT_##where, VMIG_ERROR_##code, exits, what},
#include "core/parks.def"
#undef VMIG_PARK
};

static gboolean is_at(Where where, VmigState state)
{
    switch (where) {
    case AT_FORWARD:
        return vmig_state_phase(state) == VMIG_PHASE_FORWARD;
    case AT_AFTER:
        return vmig_state_phase(state) == VMIG_PHASE_AFTER;
    case AT_BACK:
        return vmig_state_phase(state) == VMIG_PHASE_BACK;
    case AT_DECIDES:
        return vmig_state_is(state, VMIG_STATE_DECIDES);
    case AT_COMPLETE:
        return vmig_state_is(state, VMIG_STATE_COMPLETE);
    }
    return FALSE;
}

VmigPark vmig_park_of(const VmigJob *job)
{
    VmigState state = vmig_job_work_state(job);
    const char *name = job->last_code != NULL ? job->last_code : job->error_code;
    VmigErrorCode code = name != NULL ? vmig_error_from_name(name) : VMIG_ERROR_LAST;

    if (!vmig_job_waits(job) || state == NULL)
        return (VmigPark){0, NULL};
    for (guint i = 0; i < G_N_ELEMENTS(table); i++)
        if (is_at(table[i].where, state) && (table[i].code == VMIG_ERROR_ANY || table[i].code == code))
            return (VmigPark){table[i].exits, table[i].what};
    return (VmigPark){0, NULL};
}

char **vmig_park_commands(const VmigJob *job, VmigRole here)
{
    VmigPark park = vmig_park_of(job);
    GPtrArray *commands = g_ptr_array_new();

    if (park.exits & RESUME)
        g_ptr_array_add(commands, g_strdup_printf("vmig-snap resume %s", job->id));
    if (park.exits & CANCEL)
        g_ptr_array_add(commands, g_strdup_printf("vmig-snap cancel %s", job->id));
    if (park.exits & WITHOUT_VERIFY)
        g_ptr_array_add(commands, g_strdup_printf("vmig-snap resume %s --without-verify", job->id));
    if (park.exits & FENCED)
        g_ptr_array_add(commands, g_strdup_printf("vmig-snap resume %s --source-is-fenced HOST%s", job->id,
                                                  here == VMIG_DEST ? "" : " (on the destination)"));
    if (park.exits & SET_ASIDE)
        g_ptr_array_add(commands, g_strdup_printf("vmig-snap resume %s --set-aside%s", job->id,
                                                  job->owner == here        ? ""
                                                  : job->owner == VMIG_DEST ? " (on the destination)"
                                                                            : " (on the source)"));
    g_ptr_array_add(commands, NULL);
    return (char **)g_ptr_array_free(commands, FALSE);
}
