/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor: finds what is wrong on this host, and repairs it.
 *
 *   doctor.c            queries this host and its libvirt, applies the rules, and repairs what may be repaired
 *   doctor-facts.c      collects VmigDoctorFacts and changes nothing
 *   doctor-setup.c      rules: tools, folders, libvirt, its hooks, systemd, AppArmor
 *   doctor-jobs.c       rules: the journal, unfinished jobs, and deviations from them
 *   doctor-leftovers.c  rules: leftovers of finished or unknown jobs
 *   doctor-rehearsals.c rule and repair: rehearsals whose process died
 *   doctor-fix.c        the repairs
 * The rules depend only on the facts, so that each of them is tested without a host.
 *
 * A repair deletes only through the gate, and only what the journal already calls redundant: doctor never declares a
 * file redundant. What it cannot prove it explains.
 *
 * Folder plugin/doctor: finds and repairs the problems of this host, and implements purge. The rules are pure; every
 * repair goes through the node.
 */
#pragma once

#include <glib.h>

#include "os/config.h"
#include "port/hypervisor.h"

typedef enum {
    VMIG_SEVERITY_OK,
    VMIG_SEVERITY_NOTE,    /* for information; no action needed */
    VMIG_SEVERITY_PROBLEM, /* action needed */
} VmigSeverity;

typedef enum {
    VMIG_FIX_NONE,
    VMIG_FIX_RELOAD,    /* libvirt's daemon */
    VMIG_FIX_APPARMOR,  /* the rules for guests */
    VMIG_FIX_JOURNAL,   /* set it aside */
    VMIG_FIX_FILE,      /* job, path */
    VMIG_FIX_FOLDER,    /* job */
    VMIG_FIX_GUARD,     /* job, path: its socket */
    VMIG_FIX_METADATA,  /* job, uuid */
    VMIG_FIX_REHEARSAL, /* job: the rehearsal's ID */
    VMIG_FIX_SNAPSHOT,  /* job, uuid, target, value, persistent */
} VmigFix;

typedef struct {
    const char *code; /* stable, see docs/doctor.md */
    VmigSeverity severity;
    char *message; /* safe to print on a terminal */
    char *repair;  /* a command or a sentence, or NULL */
    VmigFix fix;
    gboolean fixed;
    /* Arguments of the repair. */
    char *job, *path, *uuid, *target, *value;
    gboolean persistent;
} VmigFinding;

void vmig_finding_free(VmigFinding *finding);

typedef struct {
    const char *config_path; /* NULL: VMIG_CONFIG_PATH */
    const char *connect_uri;
    VmigHypervisor *hypervisor; /* from vmig_libvirt_new(); NULL if libvirt does not answer */
    const GError *hypervisor_error;
    const char *domain; /* name or UUID: report only what concerns it, and the host itself; or NULL */
    gboolean fix;
} VmigDoctorRequest;

/* VmigFinding, in the order of the files above. NO_DOMAIN if neither libvirt nor the journal knows the domain.
 * (transfer full) */
GPtrArray *vmig_doctor_run(const VmigDoctorRequest *request, GError **error);

/* The number of problems that are not repaired. */
guint vmig_doctor_count_problems(GPtrArray *findings);
const char *vmig_severity_name(VmigSeverity severity);
