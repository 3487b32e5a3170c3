/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which facts of a record go together: the few laws that hold in every state, and a row of conditions for each state of
 * a flow (VmigStates.facts). No I/O. */
#pragma once

#include "core/job.h"

/* The condition of a row for one fact. Each kind of fact has a type of its own, so that a value in the wrong column
 * does not compile. */
typedef enum {
    VMIG_EITHER_OWNS,
    VMIG_SOURCE_OWNS,
    VMIG_DEST_OWNS,
} VmigOwnerRule;

typedef enum {
    VMIG_FACT_ALLOWED,
    VMIG_FACT_REQUIRED,
    VMIG_FACT_FORBIDDEN,
} VmigFactRule;

/* Sets of levels; an empty one allows all. */
typedef struct {
    guint overlays;
} VmigOverlaySet;

typedef struct {
    guint stages;
} VmigMergeSet;

typedef struct {
    guint copies;
} VmigCopySet;

struct VmigLegalFacts {
    VmigOwnerRule owner;
    VmigOverlaySet overlays;
    VmigMergeSet merge;
    VmigCopySet copies; /* every base copy is one of them */
    VmigFactRule begun; /* migration_begun */
    VmigFactRule revoked;
    VmigFactRule suspended;
    VmigFactRule start_again;
    VmigFactRule verified;
    VmigFactRule source_clean;
};

/* The guest is on the destination. That proves everything without which libvirt was not asked to migrate it: the guest
 * writes to overlays, and every base copy is in place. A record from a journal that is older than the migration,
 * because a host got its disk back from a backup, does not say so. */
void vmig_job_note_arrival(VmigJob *job);
/* FALSE with JOURNAL if the record has a fact that a job in its state cannot have, lacks one that it must have, or has
 * two that exclude each other. For a parked job the state in which it parked counts. */
gboolean vmig_job_facts_are_legal(const VmigJob *job, GError **error);
