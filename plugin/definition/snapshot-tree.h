/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tree of a guest's snapshots: reading one from XML, putting parents first, comparing two trees. */
#pragma once

#include <glib.h>

#include "core/job.h"

/* Fills all but `current`, which is not in the XML. Error: XML. (transfer full) */
VmigSnapshot *vmig_snapshot_from_xml(const char *xml, GError **error);

/* Is that disk part of the snapshot? Snapshots of libvirt before 0.9.5 have no list of disks: all are. */
gboolean vmig_snapshot_has_disk(const VmigSnapshot *snapshot, const char *target);

/* The <domain> that a snapshot with memory would start, or NULL where its XML has none. (transfer full) */
char *vmig_snapshot_domain_xml(const VmigSnapshot *snapshot);

/* Sorts VmigSnapshot by depth, creation time and name, so that parents come first. Error: XML for a double name, a
 * parent that is not there, a cycle, or two that are current; the array is as before then. */
gboolean vmig_snapshot_tree_order(GPtrArray *snapshots, GError **error);

/* Are names, parents, states, creation times, memory and the current one the same? The order does not count.
 * ret_difference (may be NULL): the first difference for people, NULL where there is none. */
gboolean vmig_snapshot_tree_equal(GPtrArray *a, GPtrArray *b, char **ret_difference);

/* What libvirt says is in that disk's image against what is: names is GBytes, as the image has them. External
 * snapshots and those without this disk are not expected in it. A line for people for each difference, in order; an
 * empty array where all is well. target may be NULL: every snapshot is expected. (transfer full) */
GPtrArray *vmig_snapshot_tree_compare_image(GPtrArray *snapshots, const char *target, GPtrArray *names);
