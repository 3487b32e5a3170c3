/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether something that should move does. A frozen peer gives no error: neither QEMU nor libvirt ever ends on it. */
#pragma once

#include "engine/machine.h"

typedef struct {
    guint64 position;
    gint64 since; /* when it was first there; 0: nothing was seen yet */
} VmigStall;

/* STALLED, with what stands still in the message, once the position has been the same for that long. */
gboolean vmig_stall_check(VmigMachine *m, VmigStall *stall, guint64 position, gint64 limit, const char *what,
                          GError **error);
