/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The source's QEMU after the guest has left it.
 *
 * Once the destination has the token, the source's QEMU must never run the guest again, whatever dies after that. The
 * guard's locks prevent it, but they vanish if the guard is killed. And libvirt resumes that QEMU by itself if it does
 * not get the destination's last reply. libvirt's status file shows whether it has that reply: from phase "confirm3" on
 * libvirt kills the QEMU, even after a restart (qemuProcessRecoverMigrationOut() in libvirt 9.0). Before that phase
 * vmig-snap kills it here. A pending SIGKILL is enough: there is no need to wait for the exit.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"

typedef enum {
    VMIG_LEFT_GONE,   /* there is none */
    VMIG_LEFT_ENDING, /* libvirt ends it */
    VMIG_LEFT_KILLED,
} VmigLeft;

/* folder: where libvirt keeps the status of its running domains, "/run/libvirt/qemu". CONTRADICTION if the guest
 * runs, because it has not left that QEMU. INTERFERENCE if the status is not this guest's. IO, XML. */
gboolean vmig_source_qemu_end(const char *folder, const char *name, const char *uuid, VmigLeft *ret, GError **error);
