/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether to try again, and when. Pure: time and chance are arguments. The numbers are data (policy/NAME.conf). */
#pragma once

#include <glib.h>

#include "core/errors.h"

/* A row of the policy; also the order of VmigRetryState.attempts. */
typedef enum {
    VMIG_RETRY_TRANSIENT,
    VMIG_RETRY_NO_SPACE,
    VMIG_RETRY_IO,
    VMIG_RETRY_GONE,
    VMIG_RETRY_UNKNOWN, /* an error that is not of our domain */
    VMIG_RETRY_ROWS,
    VMIG_RETRY_NEVER = VMIG_RETRY_ROWS, /* usage, refusals and fatal errors */
} VmigRetryRow;

/* What happens to the job when the policy gives up. */
typedef enum {
    VMIG_THEN_PARK,
    VMIG_THEN_ROLLBACK, /* after the switchover it is PARK: there is no way back */
} VmigRetryThen;

typedef struct {
    guint attempts; /* retries in a row; 0: none; G_MAXUINT: without end ("unlimited") */
    gint64 first_delay_us;
    double growth;     /* factor from one delay to the next, >= 1 */
    gint64 ceiling_us; /* of the delay before jitter */
    double jitter;     /* 0..1: this share of the delay is left to chance */
} VmigRetryRule;

typedef struct {
    char *name;
    VmigRetryRule rules[VMIG_RETRY_ROWS];
    gint64 deadline_us; /* from the first failure of the state; 0: without */
    VmigRetryThen then;
    char *command; /* to run when it gives up, or NULL */
} VmigPolicy;

/* What happened since the state was entered. Zero it then. */
typedef struct {
    guint attempts[VMIG_RETRY_ROWS]; /* retries that were granted, per row */
    gint64 first_failure_us;         /* monotonic; meaningful once any attempt was counted */
    gboolean failed;                 /* first_failure_us is set */
} VmigRetryState;

typedef enum {
    VMIG_RETRY_AGAIN,
    VMIG_RETRY_GIVE_UP,
} VmigRetryAction;

typedef struct {
    VmigRetryAction action;
    VmigRetryRow row;
    guint attempt; /* which retry this is, from 1; with GIVE_UP how many there were */
    gint64 at_us;  /* when, on the clock of now_us; 0 with GIVE_UP */
    char *reason;  /* one sentence, for people and the journal */
} VmigRetryDecision;

extern const char vmig_policy_default_text[];

/* Strict: an unknown group or key, a repeated one, a number out of range is USAGE with line and key. Groups
 * and keys that are left out are as in the default policy. name is for messages and becomes policy->name. */
VmigPolicy *vmig_policy_parse(const char *text, const char *name, GError **error);
VmigPolicy *vmig_policy_default(void);
void vmig_policy_free(VmigPolicy *policy);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigPolicy, vmig_policy_free)

/* The group's name: "transient", "no-space"...; "never". */
const char *vmig_retry_row_name(VmigRetryRow row);
VmigRetryRow vmig_retry_row(const GError *error);

/* random01 is in [0, 1). Does not change the state: that is vmig_retry_count(). (transfer full) */
VmigRetryDecision *vmig_retry_decide(const VmigPolicy *policy, const GError *error, const VmigRetryState *state,
                                     gint64 now_us, double random01);
/* Counts a failure that was decided on at now_us. */
void vmig_retry_count(VmigRetryState *state, const VmigRetryDecision *decision, gint64 now_us);
void vmig_retry_decision_free(VmigRetryDecision *decision);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigRetryDecision, vmig_retry_decision_free)
