/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "flows/migrate/stall.h"

gboolean vmig_stall_check(VmigMachine *m, VmigStall *stall, guint64 position, gint64 limit, const char *what,
                          GError **error)
{
    gint64 now = vmig_machine_now(m);

    if (stall->since == 0 || stall->position != position) {
        stall->position = position;
        stall->since = MAX(now, 1);
        return TRUE;
    }
    if (now - stall->since <= limit)
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_STALLED, "Check the destination and the network between the hosts.",
                     "%s has made no progress for %.0f s", what, (double)(now - stall->since) / G_USEC_PER_SEC);
}
