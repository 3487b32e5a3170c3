/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files that a revert to a snapshot starts its machine with, and whether a host has them. */
#pragma once

#include "core/job.h"
#include "port/node.h"

/* domain_xml: of the snapshot, with that host's paths. coming: paths that will be there, or NULL. known: path → what
 * was asked before, made by vmig_snapshot_files_known(). *missing: the first file that is not there, or NULL where all
 * are. (transfer full) */
gboolean vmig_snapshot_files_missing(VmigNode *node, const char *domain_xml, GHashTable *coming, GHashTable *known,
                                     char **missing, GError **error);
GHashTable *vmig_snapshot_files_known(void);

/* Asks of each of the job's snapshots, and notes in its record why it could not be reverted to on the destination.
 * told: paths (a set) of which it is said already that they are not there, or NULL. */
gboolean vmig_snapshot_files_survey(VmigNode *dest, VmigJob *job, GHashTable *told, GError **error);
