/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The QEMU that a guest has left.
 *
 * Once the token is the destination's, the source's QEMU must never run the guest again, whatever dies after that. The
 * guard's locks keep it from it, but they are gone when the guard is killed; and libvirt lets it go on by itself when
 * it does not get the destination's last reply. libvirt's own record says whether it has that reply: from phase
 * "confirm3" on it ends the QEMU, and does so after a restart too (qemuProcessRecoverMigrationOut() in libvirt 9.0).
 * Before that phase the QEMU is killed here: a signal that is pending is enough, its end need not be awaited.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"

typedef enum {
    VMIG_LEFT_GONE,   /* there is none */
    VMIG_LEFT_ENDING, /* libvirt ends it */
    VMIG_LEFT_KILLED,
} VmigLeft;

/* folder: where libvirt has the state of its running domains, "/run/libvirt/qemu". STATE where the guest is not paused
 * for a migration: that one is not left. IO, XML. */
gboolean vmig_source_qemu_end(const char *folder, const char *name, const char *uuid, VmigLeft *ret, GError **error);
