/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Detects an operation without progress. A frozen peer causes no error: neither QEMU nor libvirt ever gives up. */
#pragma once

#include "engine/machine.h"

typedef struct {
    guint64 position;
    gint64 since; /* when the position was first seen; 0: nothing was seen yet */
} VmigStall;

/* STALLED, with the name of the operation, once the position has not changed for the given time. */
gboolean vmig_stall_check(VmigMachine *m, VmigStall *stall, guint64 position, gint64 limit, const char *what,
                          GError **error);
