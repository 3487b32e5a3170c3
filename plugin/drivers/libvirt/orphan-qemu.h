/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A QEMU that libvirt has forgotten.
 *
 * libvirtd that is killed within some 30 ms of a pivot can leave a state file with <mirror job=''>, which the next one
 * cannot read (qemuBlockJobEventProcess() sets the mirror's job to UNKNOWN before the file is saved, libvirt 9.0). It
 * then says that the guest is shut off, while its QEMU lives and has the disks open.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"

typedef enum {
    VMIG_ORPHAN_NONE,      /* no process of that guest lives */
    VMIG_ORPHAN_SUSPENDED, /* it lives, nobody is connected to its monitor, and it says that its CPUs stand still */
    VMIG_ORPHAN_RUNNING,   /* the same, and its CPUs run */
    VMIG_ORPHAN_UNCLEAR,   /* it lives, and one of these cannot be proven */
} VmigOrphanKind;

typedef struct {
    VmigOrphanKind kind;
    gint64 pid;
    char *why; /* UNCLEAR: what cannot be proven */
} VmigOrphan;

void vmig_orphan_clear(VmigOrphan *orphan);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmigOrphan, vmig_orphan_clear)

/* By libvirt's pid file in run_dir ("/run/libvirt/qemu"), "-uuid UUID" in the process's arguments and, for each element
 * of disks (char **: the files that this disk may be on), one of its files among the process's open ones; then by its
 * monitor. Changes nothing. IO, BAD_PATH. */
gboolean vmig_orphan_look(const char *run_dir, const char *name, const char *uuid, GPtrArray *disks, VmigOrphan *ret,
                          GError **error);
/* Looks again, kills a SUSPENDED one and waits until it is gone. STATE for any other one; NONE is success. */
gboolean vmig_orphan_end(const char *run_dir, const char *name, const char *uuid, GPtrArray *disks, GError **error);
