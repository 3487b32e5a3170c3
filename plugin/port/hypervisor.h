/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the flow asks of one host's libvirt, as a function table: libvirt.c is the real one,
 * tests/sim the simulated.
 *
 * Domains are named by UUID. Times are microseconds, sizes bytes. Calls return when libvirt has
 * answered; what goes on by itself afterwards (block jobs, a migration) is asked for by its state,
 * and VmigClock's wait() ends early when an event came in. An answer that says "failed" proves
 * nothing about what libvirt did: the flow looks again. Errors: HYPERVISOR with libvirt's own
 * domain and code inside, CONNECTION when the connection is gone, NO_DOMAIN.
 */
#pragma once

#include <glib.h>

#include "definition/domain-xml.h"
#include "core/errors.h"
#include "core/job.h"

typedef struct VmigHypervisor VmigHypervisor;

typedef enum {
    VMIG_RUN_ABSENT,  /* libvirt has no such domain */
    VMIG_RUN_SHUTOFF, /* defined, not running */
    VMIG_RUN_RUNNING,
    VMIG_RUN_PAUSED,    /* by its user or by us; at the destination: arrived and complete */
    VMIG_RUN_MIGRATING, /* paused by libvirt inside a migration: leaving, or still arriving */
    VMIG_RUN_IO_ERROR,  /* paused by QEMU: a disk failed or is full */
    VMIG_RUN_CRASHED,
} VmigRun;

/* Why a domain is off. */
typedef enum {
    VMIG_OFF_UNKNOWN, /* libvirtd was started since, or the host was */
    VMIG_OFF_ASKED,   /* by the guest itself or by its operator; or it was migrated away */
    VMIG_OFF_DIED,    /* its QEMU ended without a word */
} VmigOff;

typedef enum {
    VMIG_DOMAIN_JOB_NONE,
    VMIG_DOMAIN_JOB_MIGRATION, /* to another host */
    VMIG_DOMAIN_JOB_OTHER,
} VmigDomainJob;

/* Which definition of a domain. */
typedef enum {
    VMIG_XML_LIVE,       /* as it runs, with backing chains and block jobs */
    VMIG_XML_PERSISTENT, /* as it would start */
    VMIG_XML_MIGRATABLE, /* live, in the form that a migration's destination accepts (virsh dumpxml --migratable) */
    VMIG_XML_PERSISTENT_MIGRATABLE,
} VmigXmlKind;

typedef struct {
    char *name;
    char *uuid;
    int id; /* libvirt's number of this run; -1 while it is off */
    VmigRun run;
    gboolean by_user;   /* PAUSED by its user (or by us), not by a migration, an error or a restart of libvirtd */
    gboolean cancelled; /* RUNNING because libvirt let it run on when its migration was given up */
    VmigOff off;        /* meaningful where run is SHUTOFF */
    gboolean migrated;  /* SHUTOFF because it was migrated away */
    gboolean persistent;
    gboolean autostart;
    gboolean managed_save;
    guint checkpoints;
} VmigDomainInfo;

typedef struct {
    char *hostname;
    char *uuid;              /* libvirt's host UUID: two equal ones are one host */
    guint64 libvirt_version; /* major * 1,000,000 + minor * 1,000 + release */
    guint64 qemu_version;
} VmigHypervisorInfo;

typedef enum {
    VMIG_BLOCK_JOB_NONE,
    VMIG_BLOCK_JOB_COPY,
    VMIG_BLOCK_JOB_COMMIT, /* of the active layer */
    VMIG_BLOCK_JOB_OTHER,
} VmigBlockJobKind;

typedef struct {
    VmigBlockJobKind kind;
    guint64 done;
    guint64 total;
    gboolean ready; /* <mirror ready='yes'>, never done == total */
} VmigBlockJob;

/* How a commit ended, as an event said it. */
typedef enum {
    VMIG_BLOCK_END_UNKNOWN, /* no event was seen */
    VMIG_BLOCK_END_COMPLETED,
    VMIG_BLOCK_END_FAILED, /* QEMU could not read or write: no room, or an I/O error; libvirt does not say which */
    VMIG_BLOCK_END_CANCELLED,
} VmigBlockEnd;

typedef struct {
    const char *peer_uri;    /* the destination's libvirt as the source's libvirtd reaches it */
    const char *migrate_uri; /* where the memory goes, or NULL for libvirt's choice */
    const char *disks_uri;   /* where the mirrors go, or NULL */
    const char *dest_xml;
    const char *persistent_xml;
    const char *const *disks; /* target names, NULL-terminated */
    guint64 bandwidth;        /* bytes a second for each mirror; 0 is without limit */
    guint64 max_downtime;     /* milliseconds; 0 is libvirt's default */
    guint64 parallel;
    gboolean auto_converge;
    gboolean tls;
} VmigMigrateParams;

typedef struct {
    gboolean running;  /* the call has not returned */
    gboolean job_seen; /* libvirt shows the outgoing migration: its own lock holds */
    guint64 memory_done, memory_total, memory_rate;
    guint64 disk_done, disk_total, disk_rate;
} VmigMigrateStatus;

typedef struct {
    gboolean (*host_info)(VmigHypervisor *self, VmigHypervisorInfo **ret, GError **error);
    /* Succeeds where this host can run the emulator, machine and type of that domain XML. */
    gboolean (*can_run)(VmigHypervisor *self, const char *domain_xml, GError **error);
    /* Would libvirt and its QEMU take that machine, with its processor and every device, if it were started here? All
     * is checked that a start checks, up to the command line; nothing is started and no file is looked at.
     * NO_EMULATOR says what it would not take. */
    gboolean (*would_start)(VmigHypervisor *self, const char *domain_xml, GError **error);
    /* Only events of that domain end a wait from now on. Asks nobody. NULL: there are no events of others. */
    void (*attend)(VmigHypervisor *self, const char *uuid);
    /* Starts a paused domain of that definition, which ends with this process at the latest, or by destroy(). */
    gboolean (*rehearse)(VmigHypervisor *self, const char *domain_xml, GError **error);
    /* *ret is NULL where there is none. AMBIGUOUS_DOMAIN where one's name is the other's UUID. */
    gboolean (*find)(VmigHypervisor *self, const char *name_or_uuid, VmigDomainInfo **ret, GError **error);
    /* Only how it runs, in as few calls as can be: the switchover asks for it. NULL: find() is used. */
    gboolean (*run)(VmigHypervisor *self, const char *uuid, VmigRun *ret, GError **error);
    /* With SECURE: passwords are in it. (transfer full) */
    gboolean (*domain_xml)(VmigHypervisor *self, const char *uuid, VmigXmlKind kind, char **ret, GError **error);
    /* VmigSnapshot in libvirt's order, with SECURE XML and the current one marked. */
    gboolean (*snapshots)(VmigHypervisor *self, const char *uuid, GPtrArray **ret, GError **error);
    gboolean (*snapshot_forget)(VmigHypervisor *self, const char *uuid, const char *name, GError **error);
    gboolean (*snapshot_define)(VmigHypervisor *self, const char *uuid, const char *xml, gboolean current,
                                GError **error);
    /* The atomic overlay over several disks (DISK_ONLY | ATOMIC | NO_METADATA). */
    gboolean (*overlay)(VmigHypervisor *self, const char *uuid, const char *xml, GError **error);
    gboolean (*update_disk)(VmigHypervisor *self, const char *uuid, const char *disk_xml, gboolean config,
                            GError **error);
    /* The hold: SHALLOW | TRANSIENT_JOB at 1 byte/s. */
    gboolean (*hold)(VmigHypervisor *self, const char *uuid, const char *target, const char *disk_xml, GError **error);
    /* seen: the disk in a live definition that was just fetched, which is not fetched again; NULL: it is fetched. */
    gboolean (*block_job)(VmigHypervisor *self, const char *uuid, const char *target, const VmigDomainDisk *seen,
                          VmigBlockJob *ret, GError **error);
    gboolean (*block_commit)(VmigHypervisor *self, const char *uuid, const char *target, const char *base,
                             guint64 bandwidth, GError **error);
    /* Ends the job of that disk and waits until it is gone; a disk without one is success. */
    gboolean (*block_cancel)(VmigHypervisor *self, const char *uuid, const char *target, GError **error);
    gboolean (*block_pivot)(VmigHypervisor *self, const char *uuid, const char *target, GError **error);
    /* The file that QEMU itself has on top of that disk, whatever libvirt believes. */
    gboolean (*disk_file)(VmigHypervisor *self, const char *uuid, const char *target, char **ret, GError **error);
    /* Sets a block job's speed or, with target NULL, that of a running migration's memory; 0 is without limit. */
    gboolean (*block_speed)(VmigHypervisor *self, const char *uuid, const char *target, guint64 bandwidth,
                            GError **error);
    /* How the last commit of that disk ended, if this process saw it; tells it once, and asks nobody. */
    VmigBlockEnd (*block_end)(VmigHypervisor *self, const char *uuid, const char *target);
    /* Is want of room the only error that QEMU remembers of the disks? Of a guest that it paused (IO_ERROR). */
    gboolean (*lacks_space)(VmigHypervisor *self, const char *uuid, gboolean *ret, GError **error);
    gboolean (*suspend)(VmigHypervisor *self, const char *uuid, GError **error);
    gboolean (*resume)(VmigHypervisor *self, const char *uuid, GError **error);
    gboolean (*start)(VmigHypervisor *self, const char *uuid, GError **error);
    /* Only that run of the domain (VmigDomainInfo.id): INTERFERENCE where another one has begun. */
    gboolean (*destroy)(VmigHypervisor *self, const char *uuid, int id, GError **error);
    gboolean (*define)(VmigHypervisor *self, const char *xml, GError **error);
    gboolean (*undefine)(VmigHypervisor *self, const char *uuid, GError **error);
    gboolean (*set_autostart)(VmigHypervisor *self, const char *uuid, gboolean on, GError **error);
    /* Our element in <metadata>, live and persistent as far as each exists; NULL removes it. */
    gboolean (*set_metadata)(VmigHypervisor *self, const char *uuid, const char *xml, GError **error);
    /* Which job of libvirt's own (save, migration, backup, dump) runs on a domain that is not off? */
    gboolean (*domain_job)(VmigHypervisor *self, const char *uuid, VmigDomainJob *ret, GError **error);

    /* Asks libvirt to abort the domain's migration to another host; it ends some time later. No job at all is success.
     * INTERFERENCE where the job is another one (a backup, a dump, a save): that is not touched. */
    gboolean (*abort_job)(VmigHypervisor *self, const char *uuid, GError **error);

    /* One migration at a time: begin returns at once; poll says how it is; end waits for the call's return
     * (TIMEOUT if that does not come), frees what belongs to it and gives the call's own verdict, which is never
     * trusted alone. */
    gboolean (*migrate_begin)(VmigHypervisor *self, const char *uuid, const VmigMigrateParams *params, GError **error);
    gboolean (*migrate_poll)(VmigHypervisor *self, VmigMigrateStatus *ret, GError **error);
    /* Microseconds since the source's CPUs stopped for this migration, by libvirt's event; 0: they have not. Asks
     * nobody. */
    gint64 (*stopped_for)(VmigHypervisor *self);
    gboolean (*migrate_abort)(VmigHypervisor *self, GError **error);
    gboolean (*migrate_end)(VmigHypervisor *self, GError **error);
    void (*free)(VmigHypervisor *self);
} VmigHypervisorOps;

struct VmigHypervisor {
    const VmigHypervisorOps *ops;
    char *host; /* for messages: "the source", "vmig-b" */
};

/* What to do about a libvirtd that does not end what it began. */
#define VMIG_HINT_RESTART_LIBVIRT                                                                                      \
    "Restart libvirtd there (its guests run on): systemctl restart libvirtd. Then vmig-snap resume."

void vmig_domain_info_free(VmigDomainInfo *info);
void vmig_hypervisor_info_free(VmigHypervisorInfo *info);
void vmig_hypervisor_free(VmigHypervisor *hypervisor);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigDomainInfo, vmig_domain_info_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigHypervisorInfo, vmig_hypervisor_info_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigHypervisor, vmig_hypervisor_free)

/* ABSENT where there is no such domain. */
gboolean vmig_hypervisor_run(VmigHypervisor *hypervisor, const char *uuid, VmigRun *ret, GError **error);
void vmig_hypervisor_attend(VmigHypervisor *hypervisor, const char *uuid);
const char *vmig_run_name(VmigRun run);
