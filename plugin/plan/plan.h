/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PLAN: describes what a migration would do, and lists every reason to refuse it at once. Changes nothing.
 *
 * survey.c queries both hosts and fills VmigSurvey. plan-rules.c examines only the survey and lists the refusals.
 *
 * Folder plugin/plan: the survey of both hosts, the rules that refuse a migration, and the rehearsal. It changes
 * nothing on the source; on the destination the rehearsal removes everything that it created.
 */
#pragma once

#include "definition/domain-xml.h"
#include "core/path-map.h"
#include "engine/machine.h"
#include "plan/rehearsal.h"
#include "port/identity.h"

typedef struct {
    const char *domain;       /* name or UUID */
    const char *const *disks; /* --disk, NULL-terminated, or NULL for all */
    const VmigPathMap *map;
    const VmigOptions *options;
    const char *connect_uri;
    const char *dest_uri;
    const char *job_id;
    const GError *dest_error; /* why the destination cannot be queried, or NULL */
    VmigStop stop;
} VmigPlanRequest;

typedef struct {
    VmigErrorCode code;
    char *disk; /* or NULL */
    char *message;
    char *hint; /* or NULL */
} VmigRefusal;

/* One file or device of a disk that is not moved. */
typedef struct {
    char *path;
    gboolean written; /* the guest may write to it */
    VmigIdentity *here, *there;
    char *why_not;      /* why it is not proven to be the same storage on both hosts, for people; NULL: it is proven */
    VmigErrorCode code; /* of the query that failed, or NOT_SHARED */
} VmigStayFile;

/* One disk of the domain, moved or not. */
typedef struct {
    const VmigDomainDisk *disk; /* of the live definition; not owned */
    gboolean named;             /* with --disk */
    gboolean moved;
    gboolean next_start;          /* only the definition for the next start has it */
    char *why_not;                /* why it is not moved, for people */
    GPtrArray *chain;             /* VmigImageFacts, the top first, or NULL */
    GError *chain_error;          /* why there is no chain */
    GPtrArray *dest_paths;        /* char *, one for each file of the chain */
    GPtrArray *dest_facts;        /* VmigPathFacts for each, empty while the destination does not answer */
    VmigPathFacts *overlay_facts; /* where the source's overlay will be */
    GPtrArray *stay;              /* VmigStayFile, the top first; NULL if not queried */
    VmigPathFacts *same_path;     /* the same path on the destination, for a disk that may be shared */
    guint64 to_copy;              /* bytes of data */
    guint64 overlay_forecast;     /* bytes that the guest may write meanwhile */
} VmigPlanDisk;

typedef struct {
    const VmigPlanRequest *request;
    VmigDomainInfo *domain; /* NULL: no such domain */
    GError *domain_error;
    VmigDomainXml *live;
    VmigDomainXml *persistent;
    char *live_xml;
    char *persistent_xml;
    gboolean has_job;
    GPtrArray *snapshots; /* VmigSnapshot, parents first */
    GError *snapshots_error;
    GPtrArray *disks;      /* VmigPlanDisk */
    GPtrArray *next_disks; /* VmigPlanDisk: disks that only the definition for the next start has */
    VmigHypervisorInfo *source_info;
    VmigHypervisorInfo *dest_info;
    VmigNodeFacts *source_facts;
    VmigNodeFacts *dest_facts;
    VmigJob *open_job;   /* an unfinished job of that domain on this host */
    gboolean name_there; /* the destination has a domain of that name */
    gboolean uuid_there;
    char *migrate_name;       /* by which the source's libvirt reaches the destination; NULL: not by a name */
    GError *unresolved;       /* why that name does not resolve on the source, or NULL */
    GError *cannot_run;       /* emulator or machine type */
    GPtrArray *media_missing; /* char *: files that the guest needs on the destination and that are missing there */
    GPtrArray *dest_errors;   /* GError: queries to the destination that failed */
    GPtrArray *staying;       /* char *: images that --source-images delete will not remove, and why */
} VmigSurvey;

typedef struct {
    VmigSurvey *survey;
    VmigJob *job;        /* ready to run; NULL if the plan is refused */
    GPtrArray *refusals; /* VmigRefusal */
    GPtrArray *notes;    /* char *: information for the user that is no refusal */
    guint64 bytes_to_copy;
    guint64 dest_needs; /* sum over all file systems */
    const char *merge;  /* "commit" or "mirror" */
    char *merge_why;    /* for people */
    guint64 estimate_s; /* of the copy, at an assumed rate or --bandwidth */
} VmigPlan;

void vmig_plan_free(VmigPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigPlan, vmig_plan_free)

/* An error is set only if no plan is possible (the source's libvirt does not answer, the journal is damaged). A refusal
 * is no error. CANCELLED if the request's stop asks for it: within the time of one query. journal may be NULL if none
 * exists yet. */
VmigPlan *vmig_plan_make(VmigEnv *env, VmigJournal *journal, const VmigPlanRequest *request, GError **error);
/* Turns the refusals into an error. A single refusal keeps its code; several become REFUSED with all messages. LOCKED
 * takes precedence. */
gboolean vmig_plan_to_error(const VmigPlan *plan, GError **error);

/* survey.c */
VmigSurvey *vmig_survey_make(VmigEnv *env, VmigJournal *journal, const VmigPlanRequest *request, GError **error);
void vmig_survey_free(VmigSurvey *survey);
/* Whether an earlier disk that is moved uses the same file of the chain. The file is then counted for that disk. */
gboolean vmig_survey_is_counted(const VmigSurvey *survey, const VmigPlanDisk *disk, guint index);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigSurvey, vmig_survey_free)

/* plan-merge.c, pure: sets merge and merge_why. Returns the reason against the requested merge, or NULL. For "auto" it
 * is always NULL. (transfer full) */
char *vmig_plan_choose_merge(VmigPlan *plan);

/* plan-size.c, pure: UNSUPPORTED if the job's record, or the definitions of its snapshots, may become too large to send
 * to the destination. The snapshots must have their XML. */
gboolean vmig_plan_check_size(const VmigJob *job, const VmigSurvey *survey, GError **error);
/* The maximum size of the record during the job. */
guint64 vmig_plan_record_bound(const VmigJob *job, const VmigSurvey *survey);

/* plan-hosts.c */
void vmig_plan_ask_name(VmigSurvey *survey, VmigEnv *env);
void vmig_plan_host_rules(VmigPlan *plan); /* pure */

/* plan-hints.c */
#define VMIG_PLAN_HINT_PATH                                                                                            \
    "Shut the guest down, give the file a plain absolute path, and use that path in the definition (virsh edit) and "  \
    "in the headers of "                                                                                               \
    "the "                                                                                                             \
    "images that have it as their backing file (qemu-img rebase -u)."
#define VMIG_PLAN_HINT_DATA_FILE                                                                                       \
    "Shut the guest down, convert the image into one file (qemu-img convert), and use that file instead."
/* The hint for a destination file that is in the way of this file of the chain. (transfer full) */
char *vmig_plan_hint_exists(const VmigPlan *plan, const VmigPlanDisk *disk, guint index);
/* The guest does not run, but is in that state. */
const char *vmig_plan_hint_run(VmigRun run);
/* The guest has a managed save image. */
const char *vmig_plan_hint_saved(VmigRun run);
/* The destination has a domain with the guest's name, its UUID, or both. */
const char *vmig_plan_hint_there(gboolean name, gboolean uuid);
/* The path of this file of a chain would be outside the destination's image roots, or clash with another file's. */
const char *vmig_plan_hint_outside(guint index);
const char *vmig_plan_hint_clash(guint index);
/* No disk is moved. */
const char *vmig_plan_hint_no_disk(gboolean some_were_named);

/* plan-rules.c, pure */
void vmig_plan_refuse_error(VmigPlan *plan, const char *disk, const GError *error);
void vmig_plan_apply_rules(VmigPlan *plan);
/* Adds a refusal once, even if it is reported repeatedly. disk and hint may be NULL. */
void vmig_plan_refuse(VmigPlan *plan, VmigErrorCode code, const char *disk, const char *hint, const char *text);
/* Whether this text in a definition refers to this image. */
gboolean vmig_plan_names_image(const char *name, const VmigImageFacts *image);
void vmig_plan_note(VmigPlan *plan, const char *text);

/* plan-stay.c, pure: a disk that is not moved must be the same storage on both hosts. */
void vmig_plan_rule_stay(VmigPlan *plan, const VmigPlanDisk *disk);

/* plan-definitions.c, pure: compares the running definition with the one for the next start. */
void vmig_plan_rule_definitions(VmigPlan *plan);

/* survey-stay.c: fills disk->stay if both hosts can be queried. */
void vmig_survey_ask_stay(VmigEnv *env, VmigPlanDisk *disk);
/* Every file that the disk uses is proven to be the same on both hosts. */
gboolean vmig_survey_is_shared(const VmigPlanDisk *disk);

/* plan-prove.c: asks the destination for the facts that only it can prove, and adds the refusals and notes. After other
 * refusals it proves only what is still possible, and the job lacks the refused disks. */
void vmig_plan_prove(VmigPlan *plan, VmigEnv *env, VmigJob *job);
/* The parts that the rehearsal must leave out because of the refusals so far. */
VmigTwinLack vmig_plan_lack(const VmigPlan *plan);
/* FALSE: the code is not that of a refusal but of a failed query. */
gboolean vmig_plan_twin_lack(VmigErrorCode code, VmigTwinLack *lack);
/* Removes the disks that are refused a place in the twin. */
void vmig_plan_drop_disks(const VmigPlan *plan, VmigJob *job);
