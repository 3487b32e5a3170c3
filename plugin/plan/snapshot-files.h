/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files that a revert to a snapshot needs to start its machine, and whether a host has them. */
#pragma once

#include "core/job.h"
#include "port/node.h"

/* domain_xml: of the snapshot, with the paths of that host. coming: paths that will exist, or NULL. known: a cache from
 * path to earlier answers, from vmig_snapshot_files_known(). *missing: the first file that does not exist, or NULL if
 * all exist. (transfer full) */
gboolean vmig_snapshot_files_missing(VmigNode *node, const char *domain_xml, GHashTable *coming, GHashTable *known,
                                     char **missing, GError **error);
GHashTable *vmig_snapshot_files_known(void);

/* Checks each of the job's snapshots, and records why it could not be reverted to on the destination. told: a set of
 * paths already reported as missing there, or NULL. */
gboolean vmig_snapshot_files_survey(VmigNode *dest, VmigJob *job, GHashTable *told, GError **error);
