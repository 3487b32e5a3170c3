/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How this host is set up, as facts: the tools, the folders, libvirt's daemon and its hooks, systemd. Looks only; what
 * is right and what is not doctor/doctor-setup.c decides.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"

#define VMIG_HOOK_DIR "/etc/libvirt/hooks"
#define VMIG_HOOK_NAME "qemu.d/50-vmig-snap"
/* In the run folder. The hook writes the first at each call of libvirt's ("PID START TIME OP" of who called, hooks/);
 * the second is when this program made libvirt's daemon look for hooks. */
#define VMIG_HOOK_SEEN "hook-seen"
#define VMIG_HOOK_RELOADED "hook-reloaded"
#define VMIG_RESUME_UNIT "vmig-snap-resume.service"

typedef enum {
    VMIG_FOLDER_GOOD,
    VMIG_FOLDER_MISSING,
    VMIG_FOLDER_OTHER_KIND, /* there is something else */
    VMIG_FOLDER_UNSAFE,     /* of another user, or others can write to it */
    VMIG_FOLDER_UNREADABLE,
} VmigFolderKind;

typedef struct {
    char *path;
    VmigFolderKind kind;
} VmigFolderFacts;

typedef struct {
    char *name;    /* the program as it is started */
    char *version; /* its own word for it, or NULL */
    GError *error; /* why not */
} VmigToolFacts;

/* Times are microseconds since the epoch; 0: never, or not known. */
typedef struct {
    GPtrArray *tools; /* VmigToolFacts: qemu-img, qemu-nbd, ssh */
    GPtrArray *roots; /* VmigFolderFacts, the image roots */
    gboolean default_roots;
    VmigFolderFacts *run_dir;
    guint64 files_limit;        /* open files that this process may have */
    guint64 daemon_files_limit; /* and libvirt's daemon; 0: not known */

    char *daemon; /* "libvirtd" or "virtqemud"; NULL: none was found */
    int daemon_pid;
    guint64 daemon_ticks; /* when it was started, as /proc counts: with the number it is one process for ever */
    gint64 daemon_started;
    gint64 daemon_reloaded; /* the last time that systemd or this program told it to reload */

    gboolean hook_exists, hook_regular, hook_executable;
    gint64 first_hook; /* since when there has been any hook for QEMU that can be executed */
    gint64 hook_seen;  /* when ours was called the last time */
    int seen_pid;      /* by whom; 0: it does not say */
    guint64 seen_ticks;
    gboolean seen_as_qemu; /* for a guest, and not for the daemon's own start or reload */

    gboolean systemd;
    char *resume_unit; /* "enabled", "disabled", "not-found"...; NULL without systemd */
} VmigHostSetup;

typedef struct {
    const char *const *roots;
    gboolean default_roots;
    const char *run_dir;
    const char *ssh_command;
    const char *hook_dir; /* NULL: VMIG_HOOK_DIR */
    const char *pid_dir;  /* of the daemon's pid file; NULL: /run */
} VmigHostSetupPlaces;

/* Cannot fail: what cannot be found out is a fact too. (transfer full) */
VmigHostSetup *vmig_host_setup_look(const VmigHostSetupPlaces *places);
void vmig_host_setup_free(VmigHostSetup *setup);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigHostSetup, vmig_host_setup_free)

/* SIGHUP to libvirt's daemon, so that it looks for hooks (virHookCall, virhook.c), and a note of when. It changes
 * nothing of the guests. Error: STATE if that process is not the daemon any more. */
gboolean vmig_host_setup_reload(const VmigHostSetup *setup, const char *run_dir, GError **error);

/* The id of this machine; NULL where it has none. (transfer full) */
char *vmig_machine_id(void);
