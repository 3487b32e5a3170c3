/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Questions about the guest that apply to either host. The commit on the destination and the commit back on the source
 * share this code. */
#pragma once

#include "definition/chain.h"
#include "engine/machine.h"

/* The host with that role. CONNECTION if it cannot be reached. */
VmigHost *vmig_host_at(VmigMachine *m, VmigRole role, GError **error);

/* Fetches and parses the guest's definition once, so that the caller can query each disk. A live definition is a
 * snapshot in time: fetch it again after a step that changes it. */
VmigDomainXml *vmig_host_definition(VmigMachine *m, VmigRole role, VmigXmlKind kind, GError **error);
/* The chain of a single disk. */
gboolean vmig_host_chain(VmigMachine *m, VmigRole role, const VmigDisk *disk, VmigXmlKind kind, VmigChain *ret,
                         GError **error);
/* INTERFERENCE unless every disk's live chain is the given one. */
gboolean vmig_host_require_chain(VmigMachine *m, VmigRole role, VmigChain chain, GError **error);
/* INTERFERENCE if an overlay holds an internal snapshot, which would be lost with the overlay. The error names the
 * snapshot. */
gboolean vmig_host_require_no_snapshot(VmigMachine *m, VmigRole role, GError **error);
/* Like vmig_host_require_chain(), for the persistent definition. */
gboolean vmig_host_require_persistent(VmigMachine *m, VmigRole role, VmigChain chain, GError **error);
/* The guest was seen on its bases although the overlays hold its writes. Makes this durable before anything else is
 * decided. */
gboolean vmig_host_note_diverged(VmigMachine *m, GError **error);
/* INTERFERENCE if a disk in the source's definitions differs from the one that was planned. */
gboolean vmig_host_require_planned(VmigMachine *m, GError **error);
/* Makes sure that the persistent definition names no overlay. A path that the user has written into it meanwhile is
 * reported and kept. */
gboolean vmig_host_require_next_start(VmigMachine *m, VmigRole role, GError **error);
/* For a guest that is off and whose definition names another file for the disk: that file must not be a layer over the
 * job's files. */
gboolean vmig_host_stands_apart(VmigMachine *m, VmigRole role, const VmigDisk *disk, GError **error);
/* Requires that the running guest's live definition has every disk on its base alone, and that the persistent
 * definition names no overlay. */
gboolean vmig_host_require_on_bases(VmigMachine *m, VmigRole role, GError **error);
/* Reports checkpoints that another libvirt client created during the job. libvirt does not refuse them, and a commit
 * continues over them. The disks lose nothing by it, but the checkpoints may be incomplete. */
void vmig_host_note_checkpoints(VmigMachine *m, VmigRole role);
/* Defines the domain again if the user undefined it while it runs. A transient domain would disappear when the guest
 * shuts down. */
gboolean vmig_host_require_defined(VmigMachine *m, VmigRole role, GError **error);
gboolean vmig_host_run(VmigMachine *m, VmigRole role, VmigRun *ret, GError **error);
/* Sets the snapshot= attribute of the job's disks in the live and the persistent definition: to "no" while the job
 * works (hold), or back to the value from before the job. */
gboolean vmig_host_set_snapshot_attribute(VmigMachine *m, VmigRole role, gboolean hold, GError **error);
