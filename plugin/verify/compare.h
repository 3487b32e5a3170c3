/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compares snapshot tables and trees from before and after the migration, and reports every difference. Pure. */
#pragma once

#include "core/job.h"

typedef struct {
    const char *kind; /* one of those below */
    char *disk;       /* target, or NULL */
    char *file;       /* on the destination, or NULL */
    char *snapshot;   /* its name, printable, or NULL */
    char *message;    /* a sentence for people */
} VmigDifference;

#define VMIG_DIFFERS_MISSING "missing"       /* a snapshot did not arrive, or is gone */
#define VMIG_DIFFERS_EXTRA "extra"           /* a snapshot exists that the source did not have */
#define VMIG_DIFFERS_ORDER "order"           /* the order of the table differs */
#define VMIG_DIFFERS_FIELD "field"           /* name, date, sizes or clocks of a snapshot */
#define VMIG_DIFFERS_CONTENT "content"       /* the disk content of a snapshot */
#define VMIG_DIFFERS_MEMORY "memory"         /* the saved memory */
#define VMIG_DIFFERS_TREE "tree"             /* libvirt's metadata */
#define VMIG_DIFFERS_IMAGE "image"           /* an image is missing, damaged or unreadable */
#define VMIG_DIFFERS_DEFINITION "definition" /* the guest does not use the image */

void vmig_difference_free(VmigDifference *difference);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigDifference, vmig_difference_free)
GPtrArray *vmig_differences_new(void);
void vmig_differences_add(GPtrArray *differences, const char *kind, const char *disk, const char *file,
                          const char *snapshot, const char *format, ...) G_GNUC_PRINTF(6, 7);

/* The snapshot of that id in an array of VmigContent, or NULL. (transfer none) */
VmigContent *vmig_content_find(GPtrArray *contents, const char *id);

/* Compares two snapshot tables (VmigContent): their snapshots, their order, and every field except the hashes. */
void vmig_verify_tables(const char *disk, const char *file, GPtrArray *left, GPtrArray *arrived,
                        GPtrArray *differences);
/* Compares libvirt's snapshots (VmigSnapshot) recorded by the job with the current ones: names, parents, states,
 * creation times, memory, the current one, descriptions. */
void vmig_verify_trees(GPtrArray *recorded, GPtrArray *now, GPtrArray *differences);
