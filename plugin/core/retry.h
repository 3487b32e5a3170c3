/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decides whether and when to try again. Pure: time and random numbers are arguments. The parameters are data
 * (policy/NAME.conf). */
#pragma once

#include <glib.h>

#include "core/errors.h"

/* A row of the policy, and the index into VmigRetryState.attempts. */
typedef enum {
    VMIG_RETRY_TRANSIENT,
    VMIG_RETRY_NO_SPACE,
    VMIG_RETRY_IO,
    VMIG_RETRY_GONE,
    VMIG_RETRY_UNKNOWN, /* an error of a foreign domain */
    VMIG_RETRY_ROWS,
    VMIG_RETRY_NEVER = VMIG_RETRY_ROWS, /* usage, refusals and fatal errors */
} VmigRetryRow;

/* What happens to the job when the policy gives up. */
typedef enum {
    VMIG_THEN_PARK,
    VMIG_THEN_ROLLBACK, /* PARK after the switchover, because there is no way back */
} VmigRetryThen;

typedef struct {
    guint attempts; /* retries in a row; 0: none; G_MAXUINT: "unlimited" */
    gint64 first_delay_us;
    double growth;     /* factor from one delay to the next, >= 1 */
    gint64 ceiling_us; /* upper limit of the delay before jitter */
    double jitter;     /* 0..1: the random share of the delay */
} VmigRetryRule;

typedef struct {
    char *name;
    VmigRetryRule rules[VMIG_RETRY_ROWS];
    gint64 deadline_us; /* from the first failure of the state; 0: none */
    VmigRetryThen then;
    char *command; /* to run when the policy gives up, or NULL */
} VmigPolicy;

/* The failures since the state was entered. Reset to zero when a state is entered. */
typedef struct {
    guint attempts[VMIG_RETRY_ROWS]; /* granted retries, per row */
    gint64 first_failure_us;         /* monotonic; valid once any attempt was counted */
    gboolean failed;                 /* first_failure_us is set */
} VmigRetryState;

typedef enum {
    VMIG_RETRY_AGAIN,
    VMIG_RETRY_GIVE_UP,
} VmigRetryAction;

typedef struct {
    VmigRetryAction action;
    VmigRetryRow row;
    guint attempt; /* number of this retry, from 1; with GIVE_UP the number of earlier ones */
    gint64 at_us;  /* time on the clock of now_us; 0 with GIVE_UP */
    char *reason;  /* one sentence, for people and the journal */
} VmigRetryDecision;

extern const char vmig_policy_default_text[];

/* Strict: an unknown or repeated group or key, or a number out of range, is USAGE with line and key. Missing groups and
 * keys have the values of the default policy. name is used in messages and becomes policy->name. */
VmigPolicy *vmig_policy_parse(const char *text, const char *name, GError **error);
VmigPolicy *vmig_policy_default(void);
void vmig_policy_free(VmigPolicy *policy);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigPolicy, vmig_policy_free)

/* The group's name: "transient", "no-space"...; "never". */
const char *vmig_retry_row_name(VmigRetryRow row);
VmigRetryRow vmig_retry_row(const GError *error);

/* random01 is in [0, 1). Does not change the state: vmig_retry_count() does. (transfer full) */
VmigRetryDecision *vmig_retry_decide(const VmigPolicy *policy, const GError *error, const VmigRetryState *state,
                                     gint64 now_us, double random01);
/* Counts a failure that was decided at now_us. */
void vmig_retry_count(VmigRetryState *state, const VmigRetryDecision *decision, gint64 now_us);
void vmig_retry_decision_free(VmigRetryDecision *decision);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigRetryDecision, vmig_retry_decision_free)
