/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* AppArmor confines each QEMU to what libvirt's profile allows. With qemu+ssh:// QEMU connects to sockets in the run
 * folder, and creates them on the destination: rules for these must be part of the profile. */
#pragma once

#include <glib.h>

#define VMIG_APPARMOR_DIR "/etc/apparmor.d"
/* libvirt's abstraction for guests includes the folder of the second from Debian 13 on, and always the first. */
#define VMIG_APPARMOR_LOCAL "local/abstractions/libvirt-qemu"
#define VMIG_APPARMOR_RULES "abstractions/libvirt-qemu.d/vmig-snap"
#define VMIG_APPARMOR_LINE "include if exists <" VMIG_APPARMOR_RULES ">"

typedef enum {
    VMIG_APPARMOR_OFF,          /* not in this kernel, not for this libvirt, or switched off */
    VMIG_APPARMOR_ALLOWS,       /* the rules are part of the profile */
    VMIG_APPARMOR_NOT_INCLUDED, /* the rules are installed but not part of the profile */
    VMIG_APPARMOR_NO_RULES,     /* no rules for this run folder */
} VmigAppArmor;

typedef struct {
    const char *dir;       /* NULL: VMIG_APPARMOR_DIR */
    const char *enabled;   /* NULL: the kernel's parameter */
    const char *qemu_conf; /* NULL: /etc/libvirt/qemu.conf */
} VmigAppArmorPlaces;

/* Cannot fail: what cannot be read does not exist. */
VmigAppArmor vmig_apparmor_look(const VmigAppArmorPlaces *places, const char *run_dir);

/* Makes the installed rules part of the profile of guests that start later. */
gboolean vmig_apparmor_include(const VmigAppArmorPlaces *places, GError **error);
