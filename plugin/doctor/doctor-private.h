/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by doctor's files: the facts, and the rules over them. */
#pragma once

#include "definition/domain-xml.h"
#include "doctor/doctor.h"
#include "drivers/libvirt/host-setup.h"
#include "node/leftovers.h"
#include "port/node.h"
#include "store/journal.h"

/* An existing file that the journal lists for a finished job. */
typedef struct {
    char *path;
    char *kind;
    char *state;
} VmigDoctorFile;

typedef struct {
    VmigJob *job;
    VmigRole role;
    gboolean finished;
    gboolean busy;    /* it ended while facts were collected: report nothing about it */
    char *holder;     /* the process that works on it, for messages; NULL: none */
    GPtrArray *files; /* VmigDoctorFile; for a finished job */

    /* For an unfinished job: */
    VmigRole token_before, token_after; /* read before and after the guest was examined */
    gboolean run_known;
    VmigRun run;
    GPtrArray *has_snapshot; /* char*: overlays here that contain an internal snapshot */
} VmigDoctorJob;

typedef struct {
    char *uuid;
    char *name;
    VmigDomainXml *live;       /* NULL: not running */
    VmigDomainXml *persistent; /* NULL: the domain is transient */
    GError *error;             /* why its definitions are unknown */
} VmigDoctorDomain;

typedef struct {
    GError *config_error;
    const char *connect_uri; /* not owned */
    VmigHypervisorInfo *libvirt;
    GError *libvirt_error;
    VmigHostSetup *setup;

    char *journal_path;
    GError *journal_error;   /* why its jobs are unknown; NO_JOB: there is no journal */
    VmigJournal *journal;    /* if it is intact */
    GHashTable *open_before; /* IDs of the jobs that were unfinished at the start */
    guint n_jobs;            /* in the journal */
    GPtrArray *jobs; /* VmigDoctorJob: unfinished jobs, jobs with leftovers here and the newest of each guest here, last
                      * changed first; then those loaded on demand. NULL with journal_error */
    const VmigDoctorRequest *request; /* not owned */
    const VmigConfig *config;         /* not owned */

    GPtrArray *domains; /* VmigDoctorDomain; NULL: libvirt cannot be queried */
    GPtrArray *files;   /* VmigOurFile that still existed after the journal was read */
    gboolean files_whole;
    GPtrArray *folders; /* VmigRunFolder */
    GPtrArray *guards;  /* VmigGuardFacts */

    const char *only; /* name or UUID, not owned; NULL: everything */
} VmigDoctorFacts;

VmigDoctorFacts *vmig_doctor_facts_new(void);
void vmig_doctor_facts_free(VmigDoctorFacts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigDoctorFacts, vmig_doctor_facts_free)
void vmig_doctor_job_free(VmigDoctorJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigDoctorJob, vmig_doctor_job_free)
VmigDoctorDomain *vmig_doctor_domain_new(const char *uuid, const char *name);
void vmig_doctor_domain_free(VmigDoctorDomain *domain);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigDoctorDomain, vmig_doctor_domain_free)

/* Collects the facts. config is NULL if it is invalid. */
void vmig_doctor_look(VmigDoctorFacts *facts, const VmigDoctorRequest *request, const VmigConfig *config);

/* The job with this ID, or NULL. (transfer none) */
const VmigDoctorJob *vmig_doctor_find_job(const VmigDoctorFacts *facts, const char *id);
/* TRUE if it concerns the requested domain. */
gboolean vmig_doctor_wants_job(const VmigDoctorFacts *facts, const VmigJob *job);
gboolean vmig_doctor_wants_domain(const VmigDoctorFacts *facts, const VmigDoctorDomain *domain);
/* NULL: it is unknown or, with *busy set, unfinished or ended meanwhile. */
const VmigDoctorJob *vmig_doctor_ended_job(const VmigDoctorFacts *facts, const char *id, gboolean *busy);
/* The domain that has the file in a chain, live or persistent, or as the target of a copy. (transfer none) */
const VmigDoctorDomain *vmig_doctor_user_of(const VmigDoctorFacts *facts, const char *path);

VmigFinding *vmig_finding_add(GPtrArray *findings, const char *code, VmigSeverity severity, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
void vmig_finding_repair(VmigFinding *finding, const char *format, ...) G_GNUC_PRINTF(2, 3);

void vmig_doctor_setup_rules(const VmigDoctorFacts *facts, GPtrArray *findings);
void vmig_doctor_job_rules(const VmigDoctorFacts *facts, GPtrArray *findings);
void vmig_doctor_leftover_rules(const VmigDoctorFacts *facts, GPtrArray *findings);
void vmig_doctor_rehearsal_rules(const VmigDoctorFacts *facts, GPtrArray *findings);
gboolean vmig_doctor_fix_rehearsal(VmigHypervisor *hypervisor, VmigNode *node, const char *id, GError **error);

typedef enum {
    VMIG_HOOK_NOT_THERE,
    VMIG_HOOK_NOT_EXECUTABLE,
    VMIG_HOOK_NO_DAEMON,  /* no daemon found that could load it */
    VMIG_HOOK_LOADED,     /* proven */
    VMIG_HOOK_NOT_PROVEN, /* libvirt's daemon may not have looked since the first hook appeared */
} VmigHookState;
VmigHookState vmig_doctor_hook_state(const VmigHostSetup *setup);

/* Repairs one finding after checking it again, under the operation lock if it concerns a domain. */
gboolean vmig_doctor_repair(const VmigDoctorFacts *facts, const VmigDoctorRequest *request, const VmigConfig *config,
                            VmigFinding *finding, GError **error);
