/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two hosts and a guest for tests of the plan. Nothing prevents the guest's migration until a test spoils one fact. The
 * plan queries these hosts through the same function tables as real ones. So a test can do what a refusal's hint says,
 * and make the plan again. */
#pragma once

#include "plan/plan.h"

/* In every text given to the environment, "@I@" stands for the image folder and "@N@" for the guest's name: */
#define PLAN_FOLDER "/img"
#define PLAN_NAME "g"

#define PLAN_UUID "11111111-2222-4333-8444-555555555555"
#define PLAN_JOB "0123456789abcdef"
#define GIB (1024ull * 1024 * 1024)

typedef enum {
    HERE,
    THERE,
} PlanRole;

/* One file or device of a host. Only the path is owned. */
typedef struct {
    char *path;
    const char *format;  /* of an image; NULL: not an image */
    const char *backing; /* may contain "@I@" */
    guint64 size, version, bitmaps;
    gboolean encrypted, data_file, shared, block;
    const char *wwn;
    const char *denied, *read_only; /* why QEMU there cannot use it */
    const char *content;
    const char *owner_job, *owner_state, *kept_job, *kept_domain, *kept_why_not;
} PlanFile;

/* An existing, writable folder. */
typedef struct {
    char *path;
    guint64 filesystem, free;
} PlanFolder;

typedef struct PlanEnv PlanEnv;

typedef struct {
    VmigNode node;
    VmigHypervisor hypervisor;
    PlanEnv *env;
    PlanRole role;
    VmigHypervisorInfo info;
    GPtrArray *files;            /* PlanFile */
    GPtrArray *folders;          /* PlanFolder */
    GPtrArray *roots;            /* char* */
    gboolean has_name, has_uuid; /* a domain with the guest's name or UUID */
} PlanHost;

/* A call that fails. */
typedef struct {
    const char *method; /* NULL: none */
    PlanRole role;
    VmigErrorCode code;
    const char *message, *hint;
} PlanFailure;

struct PlanEnv {
    const char *folder, *name;
    PlanHost hosts[2];
    VmigEnv env;
    VmigClock clock;
    gint64 now; /* microseconds; a wait ends at once */
    VmigDomainInfo guest;
    gboolean guest_gone, busy; /* no such domain; libvirt runs a job on it */
    char *xml[2];              /* live, for the next start */
    GPtrArray *snapshots;      /* char*: XML */
    VmigOptions options;
    GPtrArray *disks, *maps, *map_dirs; /* char*: --disk, --map, --map-dir */
    const char *wanted;                 /* the requested domain, or NULL */
    GError *dest_error;                 /* why there is no connection to the destination */
    PlanFailure failure;
    const char *unknown; /* "<pstore/>": an element as the destination's libvirt does not know it */
    char *journal_dir;
    VmigJournal *journal; /* of this host, or NULL */
    /* The request of the last plan, which the plan uses. */
    VmigPlanRequest request;
    VmigPathMap *map;
};

PlanEnv *plan_env_new(const char *folder, const char *name);
void plan_env_free(PlanEnv *env);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PlanEnv, plan_env_free)
/* Makes the plan for the current facts. Free it before making the next one. */
VmigPlan *plan_env_plan(PlanEnv *env);

/* Replaces "@I@" and "@N@". (transfer full) */
char *plan_env_text(const PlanEnv *env, const char *text);
PlanFile *plan_env_file(PlanEnv *env, PlanRole role, const char *path);
/* Adds a copy of file; its path is a text. */
PlanFile *plan_env_put(PlanEnv *env, PlanRole role, PlanFile file);
void plan_env_remove(PlanEnv *env, PlanRole role, const char *path);
PlanFolder *plan_env_folder(PlanEnv *env, PlanRole role, const char *path);
void plan_env_mkdir(PlanEnv *env, PlanRole role, const char *path, guint64 filesystem, guint64 room);
void plan_env_rmdir(PlanEnv *env, PlanRole role, const char *path);
void plan_env_add_root(PlanEnv *env, PlanRole role, const char *path);

/* Replaces existing text in the live definition, in the one for the next start, or in both. */
void plan_env_edit_live(PlanEnv *env, const char *from, const char *to);
void plan_env_edit_next(PlanEnv *env, const char *from, const char *to);
void plan_env_edit(PlanEnv *env, const char *from, const char *to);
/* Adds a <disk> or another device to both definitions. */
void plan_env_add_device(PlanEnv *env, const char *xml);
/* Removes the disk with this target from the live definition (0), or from the one for the next start (1). */
void plan_env_detach(PlanEnv *env, guint which, const char *target);
void plan_env_option(GPtrArray *list, const PlanEnv *env, const char *text);
/* Adds a job of the guest in this state to this host's journal. */
void plan_env_job(PlanEnv *env, const char *state);
