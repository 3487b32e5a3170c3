/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One host's libvirt as a function table. drivers/libvirt implements it with libvirt, tests/sim simulates it.
 *
 * Domains are named by UUID. Times are in microseconds, sizes in bytes. A call returns when libvirt has answered. Block
 * jobs and migrations continue after that: the flow polls their state, and VmigClock's wait() returns early on an
 * event. A failed call does not prove that libvirt did nothing, so the flow looks again. Errors: HYPERVISOR with
 * libvirt's own domain and code inside, CONNECTION when the connection is gone, NO_DOMAIN.
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
    VMIG_RUN_PAUSED,    /* paused by its user or by vmig-snap; at the destination: arrived and complete */
    VMIG_RUN_MIGRATING, /* paused by libvirt during a migration: leaving, or still arriving */
    VMIG_RUN_IO_ERROR,  /* paused by QEMU: a disk failed or is full */
    VMIG_RUN_CRASHED,
} VmigRun;

/* Why a domain is shut off. */
typedef enum {
    VMIG_OFF_UNKNOWN, /* libvirtd or the host restarted since then */
    VMIG_OFF_ASKED,   /* shut down by the guest or its operator, or migrated away */
    VMIG_OFF_DIED,    /* its QEMU exited unexpectedly */
} VmigOff;

typedef enum {
    VMIG_DOMAIN_JOB_NONE,
    VMIG_DOMAIN_JOB_MIGRATION, /* to another host */
    VMIG_DOMAIN_JOB_OTHER,
} VmigDomainJob;

typedef enum {
    VMIG_XML_LIVE,       /* the running domain, with backing chains and block jobs */
    VMIG_XML_PERSISTENT, /* as it will start next time */
    VMIG_XML_MIGRATABLE, /* live, in the form that a migration's destination accepts (virsh dumpxml --migratable) */
    VMIG_XML_PERSISTENT_MIGRATABLE,
} VmigXmlKind;

typedef struct {
    char *name;
    char *uuid;
    int id; /* libvirt's ID of this run; -1 while shut off */
    VmigRun run;
    gboolean by_user;   /* PAUSED by its user or by vmig-snap, not by a migration, an error or a restart of libvirtd */
    gboolean cancelled; /* RUNNING because libvirt resumed it after its migration was aborted */
    VmigOff off;        /* valid only if run is SHUTOFF */
    gboolean migrated;  /* SHUTOFF because it was migrated away */
    gboolean persistent;
    gboolean autostart;
    gboolean managed_save;
    guint checkpoints;
} VmigDomainInfo;

typedef struct {
    char *hostname;
    char *uuid;              /* libvirt's host UUID: equal UUIDs mean the same host */
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
    gboolean ready; /* <mirror ready='yes'>; done == total does not prove it */
    char *file;     /* that the job writes, from <mirror>; NULL if libvirt does not say it */
} VmigBlockJob;

static inline void vmig_block_job_clear(VmigBlockJob *job)
{
    g_clear_pointer(&job->file, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmigBlockJob, vmig_block_job_clear)

/* How a commit ended, according to libvirt's event. */
typedef enum {
    VMIG_BLOCK_END_UNKNOWN, /* no event was seen */
    VMIG_BLOCK_END_COMPLETED,
    VMIG_BLOCK_END_FAILED, /* QEMU could not read or write: no space or an I/O error; libvirt does not say which */
    VMIG_BLOCK_END_CANCELLED,
} VmigBlockEnd;

typedef struct {
    const char *peer_uri;    /* the destination's libvirt as the source's libvirtd reaches it */
    const char *migrate_uri; /* where the memory goes; NULL: libvirt chooses */
    const char *disks_uri;   /* where the disk mirrors go, or NULL */
    const char *dest_xml;
    const char *persistent_xml;
    const char *const *disks; /* target names, NULL-terminated */
    guint64 bandwidth;        /* bytes per second for each mirror; 0: unlimited */
    guint64 max_downtime;     /* milliseconds; 0: libvirt's default */
    guint64 parallel;
    gboolean auto_converge;
    gboolean tls;
} VmigMigrateParams;

typedef struct {
    gboolean running;  /* the call has not returned */
    gboolean job_seen; /* libvirt shows the outgoing migration: libvirt's own job lock is held */
    guint64 memory_done, memory_total, memory_rate;
    guint64 disk_done, disk_total, disk_rate;
} VmigMigrateStatus;

typedef struct {
    gboolean (*host_info)(VmigHypervisor *self, VmigHypervisorInfo **ret, GError **error);
    /* Succeeds if this host can run the emulator, machine and type of that domain XML. */
    gboolean (*can_run)(VmigHypervisor *self, const char *domain_xml, GError **error);
    /* Checks whether libvirt and its QEMU would start this machine here, with its CPU and every device. Runs all checks
     * of a start up to the command line, but starts nothing and examines no file. NO_EMULATOR names what was
     * rejected. */
    gboolean (*would_start)(VmigHypervisor *self, const char *domain_xml, GError **error);
    /* From now on only events of this domain end a wait. Does not call libvirt. NULL: no events of other domains
     * arrive. */
    void (*attend)(VmigHypervisor *self, const char *uuid);
    /* Starts a paused domain from this definition. It ends with destroy(), or with this process at the latest. *ret:
     * the definition of the domain that runs (transfer full). */
    gboolean (*rehearse)(VmigHypervisor *self, const char *domain_xml, char **ret, GError **error);
    /* *ret is NULL if there is no such domain. AMBIGUOUS_DOMAIN if one domain's name is another one's UUID. */
    gboolean (*find)(VmigHypervisor *self, const char *name_or_uuid, VmigDomainInfo **ret, GError **error);
    /* Only the run state, in as few calls as possible, because the switchover uses it. NULL: find() is used. */
    gboolean (*run)(VmigHypervisor *self, const char *uuid, VmigRun *ret, GError **error);
    /* Uses the SECURE flag: the XML contains passwords. (transfer full) */
    gboolean (*domain_xml)(VmigHypervisor *self, const char *uuid, VmigXmlKind kind, char **ret, GError **error);
    /* VmigSnapshot in libvirt's order, with SECURE XML and the current snapshot marked. */
    gboolean (*snapshots)(VmigHypervisor *self, const char *uuid, GPtrArray **ret, GError **error);
    gboolean (*snapshot_forget)(VmigHypervisor *self, const char *uuid, const char *name, GError **error);
    gboolean (*snapshot_define)(VmigHypervisor *self, const char *uuid, const char *xml, gboolean current,
                                GError **error);
    /* Creates overlays over several disks atomically (DISK_ONLY | ATOMIC | NO_METADATA). */
    gboolean (*overlay)(VmigHypervisor *self, const char *uuid, const char *xml, GError **error);
    gboolean (*update_disk)(VmigHypervisor *self, const char *uuid, const char *disk_xml, gboolean config,
                            GError **error);
    /* Starts the hold: a block copy with SHALLOW | TRANSIENT_JOB at 1 byte/s. */
    gboolean (*hold)(VmigHypervisor *self, const char *uuid, const char *target, const char *disk_xml, GError **error);
    /* seen: the disk from a live definition that was just fetched, to save a call; NULL: the definition is fetched.
     * *ret is cleared first, so it must be initialized. */
    gboolean (*block_job)(VmigHypervisor *self, const char *uuid, const char *target, const VmigDomainDisk *seen,
                          VmigBlockJob *ret, GError **error);
    gboolean (*block_commit)(VmigHypervisor *self, const char *uuid, const char *target, const char *base,
                             guint64 bandwidth, GError **error);
    /* Cancels the disk's block job and waits until it is gone. Succeeds if there is no job. */
    gboolean (*block_cancel)(VmigHypervisor *self, const char *uuid, const char *target, GError **error);
    gboolean (*block_pivot)(VmigHypervisor *self, const char *uuid, const char *target, GError **error);
    /* The topmost file of the disk according to QEMU itself, whatever libvirt believes. */
    gboolean (*disk_file)(VmigHypervisor *self, const char *uuid, const char *target, char **ret, GError **error);
    /* Sets the speed of a block job or, with target NULL, of a running migration's memory; 0: unlimited. */
    gboolean (*block_speed)(VmigHypervisor *self, const char *uuid, const char *target, guint64 bandwidth,
                            GError **error);
    /* How the last commit of this disk ended, if this process saw the event. Reports it once; does not call libvirt. */
    VmigBlockEnd (*block_end)(VmigHypervisor *self, const char *uuid, const char *target);
    /* For a guest that QEMU paused (IO_ERROR): TRUE in *ret if no space is the only disk error that QEMU remembers. */
    gboolean (*lacks_space)(VmigHypervisor *self, const char *uuid, gboolean *ret, GError **error);
    gboolean (*suspend)(VmigHypervisor *self, const char *uuid, GError **error);
    gboolean (*resume)(VmigHypervisor *self, const char *uuid, GError **error);
    gboolean (*start)(VmigHypervisor *self, const char *uuid, GError **error);
    /* Destroys only this run of the domain (VmigDomainInfo.id). INTERFERENCE if the domain was started anew. */
    gboolean (*destroy)(VmigHypervisor *self, const char *uuid, int id, GError **error);
    gboolean (*define)(VmigHypervisor *self, const char *xml, GError **error);
    gboolean (*undefine)(VmigHypervisor *self, const char *uuid, GError **error);
    gboolean (*set_autostart)(VmigHypervisor *self, const char *uuid, gboolean on, GError **error);
    /* Sets vmig-snap's element in <metadata>, live and persistent as far as each exists; NULL removes it. */
    gboolean (*set_metadata)(VmigHypervisor *self, const char *uuid, const char *xml, GError **error);
    /* Which libvirt job (save, migration, backup, dump) runs on an active domain. */
    gboolean (*domain_job)(VmigHypervisor *self, const char *uuid, VmigDomainJob *ret, GError **error);

    /* Asks libvirt to abort the domain's outgoing migration, which ends some time later. Succeeds if there is no job.
     * INTERFERENCE if the job is another one (backup, dump, save), which is left alone. */
    gboolean (*abort_job)(VmigHypervisor *self, const char *uuid, GError **error);

    /* One migration at a time. begin returns at once; poll reports the progress. end waits until libvirt's call has
     * returned (otherwise TIMEOUT), frees its resources and returns that call's result, which is never trusted alone.
     */
    gboolean (*migrate_begin)(VmigHypervisor *self, const char *uuid, const VmigMigrateParams *params, GError **error);
    gboolean (*migrate_poll)(VmigHypervisor *self, VmigMigrateStatus *ret, GError **error);
    /* Microseconds since libvirt's event that the source's CPUs stopped for this migration; 0: they have not. Does not
     * call libvirt. */
    gint64 (*stopped_for)(VmigHypervisor *self);
    gboolean (*migrate_abort)(VmigHypervisor *self, GError **error);
    gboolean (*migrate_end)(VmigHypervisor *self, GError **error);
    void (*free)(VmigHypervisor *self);
} VmigHypervisorOps;

struct VmigHypervisor {
    const VmigHypervisorOps *ops;
    char *host; /* for messages: "the source", "vmig-b" */
};

/* The hint for a libvirtd that does not end a job that it started. */
#define VMIG_HINT_RESTART_LIBVIRT                                                                                      \
    "Restart libvirtd there (its guests continue to run): systemctl restart libvirtd. Then run vmig-snap resume."

void vmig_domain_info_free(VmigDomainInfo *info);
void vmig_hypervisor_info_free(VmigHypervisorInfo *info);
void vmig_hypervisor_free(VmigHypervisor *hypervisor);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigDomainInfo, vmig_domain_info_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigHypervisorInfo, vmig_hypervisor_info_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigHypervisor, vmig_hypervisor_free)

/* Sets *ret to ABSENT if there is no such domain. */
gboolean vmig_hypervisor_run(VmigHypervisor *hypervisor, const char *uuid, VmigRun *ret, GError **error);
void vmig_hypervisor_attend(VmigHypervisor *hypervisor, const char *uuid);
const char *vmig_run_name(VmigRun run);
