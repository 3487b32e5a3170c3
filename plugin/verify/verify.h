/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Verifies the migrated guest: every internal snapshot of every image of a job on both hosts, libvirt's snapshot tree,
 * and whether the destination could start the machines of the snapshots with memory. Changes nothing. See
 * docs/verify.md
 *
 * Folder plugin/verify: compares the snapshots on the destination with those of the source. It changes nothing.
 */
#pragma once

#include "verify/compare.h"
#include "engine/machine.h"

/* The reference that the destination was compared with. */
typedef enum {
    VMIG_AGAINST_NOTHING,
    VMIG_AGAINST_IMAGE,  /* the source's image, unchanged since it was copied */
    VMIG_AGAINST_RECORD, /* the hashes of an earlier verification in the journal */
} VmigAgainst;

typedef struct {
    const char *target; /* of the disk; owned by the job */
    const VmigFile *file;
    VmigAgainst against;
    GPtrArray *left, *arrived; /* VmigContent with the computed hashes; NULL if they could not be read */
    char *check;               /* "ok", "leaks", "damaged", "unsure", or NULL if not checked */
    char *check_text;          /* further explanation, or NULL */
} VmigVerifiedFile;

/* The result for a snapshot with memory, or one that was accepted. */
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
    GPtrArray *unproven;    /* VmigDifference: facts that cannot be determined */
    GPtrArray *notes;       /* char * */
    guint snapshots;        /* in libvirt's tree according to the record */
    guint64 bytes;          /* of disks and memory, compared */
    VmigHashKey key;        /* of all hashes */
    VmigRun run;            /* of the guest on the destination */
} VmigVerdict;

typedef struct {
    VmigHost source; /* members are NULL if it cannot be reached */
    VmigHost dest;
    const VmigJob *job;
    gboolean one_at_a_time;                                        /* never query both hosts at the same time */
    gboolean (*cancelled)(gpointer user);                          /* may be NULL */
    void (*progress)(gpointer user, const VmigProgress *progress); /* may be called from any thread, but never
                                                                    * concurrently; may be NULL */
    gpointer user;
} VmigVerifyRequest;

/* Fails only if a host could not be queried, or if cancelled. Problems of the guest are in the verdict. */
VmigVerdict *vmig_verify(const VmigVerifyRequest *request, GError **error);
void vmig_verdict_free(VmigVerdict *verdict);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigVerdict, vmig_verdict_free)

/* "different", "unproven" or "not-revertable", whichever applies first, otherwise "equal". */
const char *vmig_verdict_outcome(const VmigVerdict *verdict);
/* TRUE if equal. Otherwise DIFFERS, UNPROVEN or NOT_REVERTABLE. */
gboolean vmig_verdict_to_error(const VmigVerdict *verdict, const VmigJob *job, GError **error);
/* Stores the contents that were read from the source's images in the job's record. */
void vmig_verdict_record(const VmigVerdict *verdict, VmigJob *job);
