/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host that owns the guest, and the same questions asked of either: the commit on the destination and the commit
 * back on the source are one piece of code. */
#pragma once

#include "core/domain-xml.h"
#include "flow/machine.h"

/* The host of that side; CONNECTION where it cannot be reached. */
VmigHost *vmig_side_host(VmigMachine *m, VmigSide side, GError **error);
const char *vmig_side_overlay(const VmigDisk *disk, VmigSide side);
const char *vmig_side_path(const VmigFile *file, VmigSide side);

typedef enum {
    VMIG_CHAIN_OVERLAY, /* the overlay over the base, as while the job works */
    VMIG_CHAIN_BASE,    /* the base alone, as before and after it */
    VMIG_CHAIN_OTHER,   /* anything else: somebody interfered */
    VMIG_CHAIN_OURS,    /* to ask for only: one of the first two */
} VmigChain;

/* One look at the guest's definition: fetched and parsed once, and asked about each disk. A live definition is as old
 * as the look; what a step changes needs another one. */
VmigDomainXml *vmig_side_definition(VmigMachine *m, VmigSide side, VmigXmlKind kind, GError **error);
VmigChain vmig_side_chain_in(const VmigDomainXml *definition, const VmigDisk *disk, VmigSide side);
/* The same for one disk alone. */
gboolean vmig_side_chain(VmigMachine *m, VmigSide side, const VmigDisk *disk, VmigXmlKind kind, VmigChain *ret,
                         GError **error);
/* INTERFERENCE unless every disk's live chain is that one. */
gboolean vmig_side_require_chain(VmigMachine *m, VmigSide side, VmigChain chain, GError **error);
/* INTERFERENCE where an overlay holds an internal snapshot, which would be lost with it; it is named. */
gboolean vmig_side_require_no_snapshot(VmigMachine *m, VmigSide side, GError **error);
/* The same for the persistent definition. */
gboolean vmig_side_require_persistent(VmigMachine *m, VmigSide side, VmigChain chain, GError **error);
/* The guest was seen on its bases although the overlays hold its writes: durable before anything else is decided. */
gboolean vmig_side_note_astray(VmigMachine *m, GError **error);
/* INTERFERENCE where the source's definitions have another disk than the plan looked at. */
gboolean vmig_side_require_planned(VmigMachine *m, GError **error);
/* The persistent definition names no overlay any more. What somebody wrote into it meanwhile is told, and stays. */
gboolean vmig_side_require_next_start(VmigMachine *m, VmigSide side, GError **error);
/* The guest is off, and its definition has the disk on something else: that must not be a layer over the job's files.
 */
gboolean vmig_side_stands_apart(VmigMachine *m, VmigSide side, const VmigDisk *disk, GError **error);
/* Every disk is on its base alone, by the live definition of a guest that runs, and none by the persistent one on an
 * overlay. */
gboolean vmig_side_require_on_bases(VmigMachine *m, VmigSide side, GError **error);
/* libvirt does not refuse them, and a commit goes on over them: it is told, and the disks lose nothing by it. */
void vmig_side_note_checkpoints(VmigMachine *m, VmigSide side);
/* Defines the domain again where somebody undefined it while it runs: it would be gone with its end. */
gboolean vmig_side_require_defined(VmigMachine *m, VmigSide side, GError **error);
gboolean vmig_side_run(VmigMachine *m, VmigSide side, VmigRun *ret, GError **error);
/* snapshot= of the job's disks: "no" while it works (value), or as before (value NULL). Live, and persistent. */
gboolean vmig_side_set_snapshot_attribute(VmigMachine *m, VmigSide side, gboolean hold, GError **error);
