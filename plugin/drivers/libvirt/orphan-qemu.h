/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A QEMU that libvirt has lost track of.
 *
 * If libvirtd is killed within about 30 ms of a pivot, it can leave a state file with <mirror job=''>, which the next
 * libvirtd cannot parse (qemuBlockJobEventProcess() sets the mirror's job to UNKNOWN before the file is saved, libvirt
 * 9.0). That libvirtd reports the guest as shut off, while its QEMU is alive and has the disks open.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "port/messages.h"

typedef struct {
    VmigOrphanKind kind;
    gint64 pid;
    char *why; /* UNCLEAR: what cannot be proven */
} VmigOrphan;

void vmig_orphan_clear(VmigOrphan *orphan);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmigOrphan, vmig_orphan_clear)

/* Identifies the process by libvirt's PID file in run_dir ("/run/libvirt/qemu"), "-uuid UUID" in its arguments and, for
 * each element of disks (char **: the files that this disk may be on), one of its files among those that it has open.
 * Then queries its monitor. Changes nothing. IO, BAD_PATH. */
gboolean vmig_orphan_look(const char *run_dir, const char *name, const char *uuid, GPtrArray *disks, VmigOrphan *ret,
                          GError **error);
/* Looks again, kills a SUSPENDED process and waits until it is gone. CONTRADICTION for any other; succeeds if NONE. */
gboolean vmig_orphan_end(const char *run_dir, const char *name, const char *uuid, GPtrArray *disks, GError **error);
