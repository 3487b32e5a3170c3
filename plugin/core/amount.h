/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Amounts: parsing user input, formatting for people, and sums that cannot overflow. Nothing here depends on the
 * locale. */
#pragma once

#include <glib.h>

#include "vmig-snap/vmig-text.h"

/* FALSE if the sum does not fit; *sum is then unchanged. */
gboolean vmig_size_add(guint64 *sum, guint64 more);
/* The space that a destination needs for one disk: base + times x overlay + 5 %. Clusters that a snapshot holds need
 * new clusters when they are written. With an overlay there the writes count twice: in the overlay and, once committed,
 * in the base. G_MAXUINT64 if the sum does not fit. */
guint64 vmig_room_needed(guint64 base_allocated, guint64 overlay_forecast, guint times);
