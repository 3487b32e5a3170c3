/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Facts about the setup of this host: tools, folders, libvirt's daemon and its hooks, systemd. Read-only;
 * doctor/doctor-setup.c decides what is right. */
#pragma once

#include <glib.h>

#include "core/errors.h"

#define VMIG_HOOK_DIR "/etc/libvirt/hooks"
#define VMIG_HOOK_NAME "qemu.d/50-vmig-snap"
/* Files in the run folder. The hook writes the first at each call by libvirt ("PID START TIME OP" of the caller, see
 * hooks/). The second records when this program last made libvirt's daemon look for hooks. */
#define VMIG_HOOK_SEEN "hook-seen"
#define VMIG_HOOK_RELOADED "hook-reloaded"
#define VMIG_RESUME_UNIT "vmig-snap-resume.service"

typedef enum {
    VMIG_FOLDER_GOOD,
    VMIG_FOLDER_MISSING,
    VMIG_FOLDER_OTHER_KIND, /* not a folder */
    VMIG_FOLDER_UNSAFE,     /* belongs to another user, or others can write to it */
    VMIG_FOLDER_UNREADABLE,
} VmigFolderKind;

typedef struct {
    char *path;
    VmigFolderKind kind;
} VmigFolderFacts;

typedef struct {
    char *name;    /* the program as it is run */
    char *version; /* as the program prints it, or NULL */
    GError *error; /* why the version is unknown */
} VmigToolFacts;

/* Times are in microseconds since the epoch; 0: never, or unknown. */
typedef struct {
    GPtrArray *tools; /* VmigToolFacts: qemu-img, qemu-nbd, ssh */
    GPtrArray *roots; /* VmigFolderFacts, the image roots */
    gboolean default_roots;
    VmigFolderFacts *run_dir;
    guint64 files_limit;        /* limit on open files of this process */
    guint64 daemon_files_limit; /* of libvirt's daemon; 0: unknown */

    char *daemon;            /* "libvirtd" or "virtqemud", the one that runs; NULL: none found */
    const char *daemon_unit; /* of the one that is installed: "libvirtd.service" or "virtqemud.service" */
    int daemon_pid;
    guint64 daemon_ticks; /* its start time in /proc's clock ticks; unique together with the PID */
    gint64 daemon_started;
    gint64 daemon_reloaded; /* the last time that systemd or this program made it reload */

    gboolean hook_exists, hook_regular, hook_executable;
    gint64 first_hook; /* since when there has been an executable hook for QEMU */
    gint64 hook_seen;  /* when vmig-snap's hook was last called */
    int seen_pid;      /* the caller; 0: unknown */
    guint64 seen_ticks;
    gboolean seen_as_qemu; /* for a guest, not for the daemon's own start or reload */

    gboolean systemd;
    char *resume_unit; /* "enabled", "disabled", "not-found"...; NULL without systemd */
} VmigHostSetup;

typedef struct {
    const char *const *roots;
    gboolean default_roots;
    const char *run_dir;
    const char *ssh_command;
    const char *hook_dir; /* NULL: VMIG_HOOK_DIR */
    const char *pid_dir;  /* folder of the daemon's PID file; NULL: /run */
} VmigHostSetupPlaces;

/* Cannot fail: what cannot be determined is a fact, too. (transfer full) */
VmigHostSetup *vmig_host_setup_look(const VmigHostSetupPlaces *places);
void vmig_host_setup_free(VmigHostSetup *setup);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigHostSetup, vmig_host_setup_free)

/* Sends SIGHUP to libvirt's daemon, so that it looks for hooks (virHookCall, virhook.c), and records the time. It does
 * not affect the guests. INTERFERENCE if that process is no longer the daemon. */
gboolean vmig_host_setup_reload(const VmigHostSetup *setup, const char *run_dir, GError **error);

/* This host's machine ID; NULL if it has none. (transfer full) */
char *vmig_machine_id(void);
