/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api/hints.h"

#include "core/errors.h"

#define KEPT 64

static GMutex lock;
static GError *kept[KEPT]; /* a ring of the last errors that had a hint */
static guint next;

void vmig_hints_keep(const GError *error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);

    if (error == NULL || vmig_error_hint(error) == NULL)
        return;
    g_clear_error(&kept[next]);
    kept[next] = g_error_copy(error);
    next = (next + 1) % KEPT;
}

gboolean vmig_hints_pass(gboolean ok, GError *why, GError **error)
{
    if (ok)
        return TRUE;
    vmig_hints_keep(why);
    g_propagate_error(error, why);
    return FALSE;
}

void vmig_hints_restore(GError *error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);

    for (guint i = 1; i <= KEPT; i++) {
        const GError *old = kept[(next + KEPT - i) % KEPT];
        if (old == NULL || !g_error_matches(old, error->domain, error->code) ||
            !g_str_equal(old->message, error->message))
            continue;
        vmig_error_set_hint(error, "%s", vmig_error_hint(old));
        return;
    }
}
