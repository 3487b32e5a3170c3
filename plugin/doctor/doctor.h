/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor: what is wrong on this host, and its repair.
 *
 *   doctor.c            asks this host and its libvirt, calls the rules, and repairs what may be repaired
 *   doctor-facts.c      the asking: it fills VmigDoctorFacts and changes nothing
 *   doctor-setup.c      rules: tools, folders, libvirt, its hooks, systemd
 *   doctor-jobs.c       rules: the journal, unfinished jobs, and what disagrees with them
 *   doctor-leftovers.c  rules: what finished or unknown jobs left behind
 *   doctor-rehearsals.c rule and repair: rehearsals whose process died
 *   doctor-fix.c        the repairs
 * The rules look at nothing but the facts, so that every one of them is tested without a host.
 *
 * A repair deletes nothing but through the gate, and only what the journal calls redundant already: doctor itself never
 * says that a file is. What it cannot prove it explains.
 *
 * Folder plugin/doctor: what is wrong on this host and how it is repaired, and purge. The rules are pure; every repair
 * goes through the node.
 */
#pragma once

#include <glib.h>

#include "os/config.h"
#include "port/hypervisor.h"

typedef enum {
    VMIG_SEVERITY_OK,
    VMIG_SEVERITY_NOTE,    /* to know; nothing has to be done */
    VMIG_SEVERITY_PROBLEM, /* something has to be done */
} VmigSeverity;

typedef enum {
    VMIG_FIX_NONE,
    VMIG_FIX_RELOAD,    /* libvirt's daemon */
    VMIG_FIX_JOURNAL,   /* set it aside */
    VMIG_FIX_FILE,      /* job, path */
    VMIG_FIX_FOLDER,    /* job */
    VMIG_FIX_GUARD,     /* job, path: its socket */
    VMIG_FIX_METADATA,  /* job, uuid */
    VMIG_FIX_REHEARSAL, /* job: its id */
    VMIG_FIX_SNAPSHOT,  /* job, uuid, target, value, persistent */
} VmigFix;

typedef struct {
    const char *code; /* stable, docs/doctor.md */
    VmigSeverity severity;
    char *message; /* fit for a terminal */
    char *repair;  /* a command or a sentence, or NULL */
    VmigFix fix;
    gboolean fixed;
    /* For the repair. */
    char *job, *path, *uuid, *target, *value;
    gboolean persistent;
} VmigFinding;

void vmig_finding_free(VmigFinding *finding);

typedef struct {
    const char *config_path; /* NULL: VMIG_CONFIG_PATH */
    const char *connect_uri;
    VmigHypervisor *hypervisor; /* of vmig_libvirt_new(); NULL where libvirt does not answer */
    const GError *hypervisor_error;
    const char *domain; /* name or UUID: only what concerns it, beside the host itself; or NULL */
    gboolean fix;
} VmigDoctorRequest;

/* VmigFinding, in the order of the files above. Error: NO_DOMAIN where neither libvirt nor the journal knows the
 * domain. (transfer full) */
GPtrArray *vmig_doctor_run(const VmigDoctorRequest *request, GError **error);

/* Problems that are not repaired. */
guint vmig_doctor_count_problems(GPtrArray *findings);
const char *vmig_severity_name(VmigSeverity severity);
