/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host that owns the guest, and the same questions asked of either: the commit on the destination and the commit
 * back on the source are one piece of code. */
#pragma once

#include "definition/domain-xml.h"
#include "engine/machine.h"

/* The host of that side; CONNECTION where it cannot be reached. */
VmigHost *vmig_host_at(VmigMachine *m, VmigRole role, GError **error);
const char *vmig_disk_overlay(const VmigDisk *disk, VmigRole role);
const char *vmig_file_path(const VmigFile *file, VmigRole role);

typedef enum {
    VMIG_CHAIN_OVERLAY, /* the overlay over the base, as while the job works */
    VMIG_CHAIN_BASE,    /* the base alone, as before and after it */
    VMIG_CHAIN_OTHER,   /* anything else: somebody interfered */
    VMIG_CHAIN_OURS,    /* to ask for only: one of the first two */
} VmigChain;

/* One look at the guest's definition: fetched and parsed once, and asked about each disk. A live definition is as old
 * as the look; what a step changes needs another one. */
VmigDomainXml *vmig_host_definition(VmigMachine *m, VmigRole role, VmigXmlKind kind, GError **error);
VmigChain vmig_host_chain_in(const VmigDomainXml *definition, const VmigDisk *disk, VmigRole role);
/* The same for one disk alone. */
gboolean vmig_host_chain(VmigMachine *m, VmigRole role, const VmigDisk *disk, VmigXmlKind kind, VmigChain *ret,
                         GError **error);
/* INTERFERENCE unless every disk's live chain is that one. */
gboolean vmig_host_require_chain(VmigMachine *m, VmigRole role, VmigChain chain, GError **error);
/* INTERFERENCE where an overlay holds an internal snapshot, which would be lost with it; it is named. */
gboolean vmig_host_require_no_snapshot(VmigMachine *m, VmigRole role, GError **error);
/* The same for the persistent definition. */
gboolean vmig_host_require_persistent(VmigMachine *m, VmigRole role, VmigChain chain, GError **error);
/* The guest was seen on its bases although the overlays hold its writes: durable before anything else is decided. */
gboolean vmig_host_note_diverged(VmigMachine *m, GError **error);
/* INTERFERENCE where the source's definitions have another disk than the plan looked at. */
gboolean vmig_host_require_planned(VmigMachine *m, GError **error);
/* The persistent definition names no overlay any more. What somebody wrote into it meanwhile is told, and stays. */
gboolean vmig_host_require_next_start(VmigMachine *m, VmigRole role, GError **error);
/* The guest is off, and its definition has the disk on something else: that must not be a layer over the job's files.
 */
gboolean vmig_host_stands_apart(VmigMachine *m, VmigRole role, const VmigDisk *disk, GError **error);
/* Every disk is on its base alone, by the live definition of a guest that runs, and none by the persistent one on an
 * overlay. */
gboolean vmig_host_require_on_bases(VmigMachine *m, VmigRole role, GError **error);
/* libvirt does not refuse them, and a commit goes on over them: it is told, and the disks lose nothing by it. */
void vmig_host_note_checkpoints(VmigMachine *m, VmigRole role);
/* Defines the domain again where somebody undefined it while it runs: it would be gone with its end. */
gboolean vmig_host_require_defined(VmigMachine *m, VmigRole role, GError **error);
gboolean vmig_host_run(VmigMachine *m, VmigRole role, VmigRun *ret, GError **error);
/* snapshot= of the job's disks: "no" while it works (value), or as before (value NULL). Live, and persistent. */
gboolean vmig_host_set_snapshot_attribute(VmigMachine *m, VmigRole role, gboolean hold, GError **error);
