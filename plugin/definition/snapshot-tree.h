/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tree of a guest's snapshots: reading one from XML, sorting parents first, comparing two trees. */
#pragma once

#include <glib.h>

#include "core/job.h"

/* Fills all members except `current`, which is not in the XML. Error: XML. (transfer full) */
VmigSnapshot *vmig_snapshot_from_xml(const char *xml, GError **error);

/* Whether that disk is part of the snapshot. Snapshots of libvirt before 0.9.5 list no disks and include all. */
gboolean vmig_snapshot_has_disk(const VmigSnapshot *snapshot, const char *target);

/* The <domain> that a revert to the snapshot would start, or NULL if its XML has none. (transfer full) */
char *vmig_snapshot_domain_xml(const VmigSnapshot *snapshot);

/* Sorts VmigSnapshot by depth, creation time and name, so that parents come first. Error: XML for a duplicate name, a
 * missing parent, a cycle, or two current snapshots; the array is then unchanged. */
gboolean vmig_snapshot_tree_order(GPtrArray *snapshots, GError **error);

/* Whether names, parents, states, creation times, memory and the current snapshot are equal. The order does not count.
 * ret_difference (may be NULL): the first difference for people, or NULL. */
gboolean vmig_snapshot_tree_equal(GPtrArray *a, GPtrArray *b, char **ret_difference);

/* Compares libvirt's snapshots of that disk with those in its image. names: GBytes, as stored in the image. External
 * snapshots and those without this disk are not expected there. Returns one line for people for each difference, in
 * order; an empty array if there is none. If target is NULL, every snapshot is expected. (transfer full) */
GPtrArray *vmig_snapshot_tree_compare_image(GPtrArray *snapshots, const char *target, GPtrArray *names);
