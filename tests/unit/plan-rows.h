/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of the plan's refusals. Nothing prevents the guest's migration until a row spoils one fact. The row
 * contains the complete refusal, and does what its hint says. Each `follow` is one of the ways that the hint offers;
 * after it the plan has no refusal. If a hint is a command for a host, it changes the facts as that command would. */
#pragma once

#include "plan-env.h"

typedef struct {
    const char *name;
    void (*spoil)(PlanEnv *w);
    const char *disk; /* or NULL */
    VmigErrorCode code;
    const char *message, *hint; /* without a hint, the user cannot remedy it */
    void (*follow[3])(PlanEnv *w, const char *hint);
    const char *passes;            /* passed on by vmig_plan_refuse_error(): its argument */
    VmigErrorCode also[3];         /* refusals that the same fact also causes, terminated by 0 */
    VmigErrorCode after;           /* the guest is gone after the hint was followed, or 0 */
    VmigPlan *(*plan)(PlanEnv *w); /* NULL: plan_env_plan() */
} PlanRow;

typedef struct {
    const PlanRow *rows;
    guint length;
} PlanRows;

PlanRows plan_rows_hosts(void);  /* the request and the hosts */
PlanRows plan_rows_guest(void);  /* the guest and its devices */
PlanRows plan_rows_disks(void);  /* which disks are moved, and their properties */
PlanRows plan_rows_images(void); /* their images, and the two definitions of them */
PlanRows plan_rows_paths(void);  /* where they go, and whether there is space */
PlanRows plan_rows_stay(void);   /* the disks that are not moved */
PlanRows plan_rows_passed(void); /* what a call, a size or the rehearsal reports */

/* The words of a hint's shell command, starting with that text, up to the end of the hint or "then". */
char **plan_hint_words(const char *hint, const char *begin);
