/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of the plan's refusals. A row spoils one fact of a guest that nothing speaks against, has the refusal in
 * full, and does what its hint says. Each `follow` is one of the ways that the hint offers; after it the plan has no
 * refusal. A hint that is a command for a host changes the facts as that command would. */
#pragma once

#include "plan-env.h"

typedef struct {
    const char *name;
    void (*spoil)(PlanEnv *w);
    const char *disk; /* or NULL */
    VmigErrorCode code;
    const char *message, *hint; /* without a hint, nothing that the user can do helps */
    void (*follow[3])(PlanEnv *w, const char *hint);
    const char *passes;            /* passed on by vmig_plan_refuse_error(): what it is called with */
    VmigErrorCode also[3];         /* refusals that the same fact makes true as well, up to a 0 */
    VmigErrorCode after;           /* the guest is gone once the hint was followed, or 0 */
    VmigPlan *(*plan)(PlanEnv *w); /* NULL: plan_env_plan() */
} PlanRow;

typedef struct {
    const PlanRow *rows;
    guint length;
} PlanRows;

PlanRows plan_rows_hosts(void);  /* the request and the hosts */
PlanRows plan_rows_guest(void);  /* the guest and its devices */
PlanRows plan_rows_disks(void);  /* which disks are moved, and what they are */
PlanRows plan_rows_images(void); /* their images, and what the two definitions say of them */
PlanRows plan_rows_paths(void);  /* where they go, and whether there is room */
PlanRows plan_rows_stay(void);   /* the disks that are not moved */
PlanRows plan_rows_passed(void); /* what a question, a size or the rehearsal says */

/* The words of a hint's shell command from that text on, up to the end of the hint or "then". */
char **plan_hint_words(const char *hint, const char *begin);
