/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Proving what arrived: every internal snapshot of every image of a job, on both sides; libvirt's tree; and whether the
 * destination could start what the snapshots with memory hold. Nothing is changed anywhere. docs/verify.md
 *
 * Folder plugin/verify: comparing what arrived with what left. Changes nothing.
 */
#pragma once

#include "verify/compare.h"
#include "engine/machine.h"

/* What the destination was compared with. */
typedef enum {
    VMIG_AGAINST_NOTHING,
    VMIG_AGAINST_IMAGE,  /* the source's image, which is as it was when it was copied */
    VMIG_AGAINST_RECORD, /* the hashes that an earlier verification left in the journal */
} VmigAgainst;

typedef struct {
    const char *target; /* of the disk; the job's */
    const VmigFile *file;
    VmigAgainst against;
    GPtrArray *left, *arrived; /* VmigContent, with the hashes that were computed; NULL where they could not be read */
    char *check;               /* "ok", "leaks", "damaged", "unsure", or NULL where it was not made */
    char *check_text;          /* what more there is to say, or NULL */
} VmigVerifiedFile;

/* Of one snapshot with memory, or that was accepted. */
typedef struct {
    char *snapshot;
    char *reason; /* why it would not start, or NULL */
    gboolean memory;
    gboolean accepted; /* with --accept-unrevertable, when the job was planned */
} VmigRevert;

typedef struct {
    GPtrArray *files;       /* VmigVerifiedFile */
    GPtrArray *reverts;     /* VmigRevert */
    GPtrArray *differences; /* VmigDifference */
    GPtrArray *unproven;    /* VmigDifference: what nobody can say */
    GPtrArray *notes;       /* char * */
    guint snapshots;        /* in libvirt's tree by the record */
    guint64 bytes;          /* of disks and memory, compared */
    VmigHashKey key;        /* of all hashes */
    VmigRun run;            /* of the guest on the destination */
} VmigVerdict;

typedef struct {
    VmigHost source; /* members are NULL where it cannot be reached */
    VmigHost dest;
    const VmigJob *job;
    gboolean one_at_a_time;                                        /* never ask both hosts at once */
    gboolean (*cancelled)(gpointer user);                          /* may be NULL */
    void (*progress)(gpointer user, const VmigProgress *progress); /* never two at once, from any thread; may be NULL */
    gpointer user;
} VmigVerifyRequest;

/* An error only where a host could not be asked, or it was cancelled: what is wrong with the guest is in the verdict.
 */
VmigVerdict *vmig_verify(const VmigVerifyRequest *request, GError **error);
void vmig_verdict_free(VmigVerdict *verdict);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigVerdict, vmig_verdict_free)

/* "equal", "different", "unproven" or "not-revertable": the first that is true of the last three. */
const char *vmig_verdict_outcome(const VmigVerdict *verdict);
/* TRUE: equal. DIFFERS, UNPROVEN, NOT_REVERTABLE. */
gboolean vmig_verdict_to_error(const VmigVerdict *verdict, const VmigJob *job, GError **error);
/* What the source's images held, into the job's record, where it was read from them. */
void vmig_verdict_record(const VmigVerdict *verdict, VmigJob *job);
