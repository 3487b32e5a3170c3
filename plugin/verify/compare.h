/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What arrived against what left: comparing snapshot tables and trees, and saying every difference. Pure. */
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
#define VMIG_DIFFERS_EXTRA "extra"           /* a snapshot is there that did not leave */
#define VMIG_DIFFERS_ORDER "order"           /* the table has another order */
#define VMIG_DIFFERS_FIELD "field"           /* name, date, sizes or clocks of a snapshot */
#define VMIG_DIFFERS_CONTENT "content"       /* what the disk held */
#define VMIG_DIFFERS_MEMORY "memory"         /* the saved memory */
#define VMIG_DIFFERS_TREE "tree"             /* what libvirt remembers */
#define VMIG_DIFFERS_IMAGE "image"           /* an image is missing, damaged or cannot be read */
#define VMIG_DIFFERS_DEFINITION "definition" /* the guest is not on the image */

void vmig_difference_free(VmigDifference *difference);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigDifference, vmig_difference_free)
GPtrArray *vmig_differences_new(void);
void vmig_differences_add(GPtrArray *differences, const char *kind, const char *disk, const char *file,
                          const char *snapshot, const char *format, ...) G_GNUC_PRINTF(6, 7);

/* The snapshot of that id in an array of VmigContent, or NULL. (transfer none) */
VmigContent *vmig_content_find(GPtrArray *contents, const char *id);

/* Two snapshot tables (VmigContent): which are there, their order, and every field but the hashes. */
void vmig_verify_tables(const char *disk, const char *file, GPtrArray *left, GPtrArray *arrived,
                        GPtrArray *differences);
/* libvirt's snapshots (VmigSnapshot) as the job recorded them and as they are: names, parents, states, creation times,
 * memory, the current one, descriptions. */
void vmig_verify_trees(GPtrArray *recorded, GPtrArray *now, GPtrArray *differences);
