/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Amounts: parsing user input, formatting for people, and sums that cannot overflow. Nothing here depends on the
 * locale. */
#pragma once

#include <glib.h>

/* Digits with an optional suffix K, M, G or T (powers of 1,024), nothing else. Error: USAGE. */
gboolean vmig_amount_parse(const char *text, gboolean allow_zero, guint64 *bytes, GError **error);
/* Digits, from min to max. Error: USAGE. */
gboolean vmig_count_parse(const char *text, guint64 min, guint64 max, guint64 *value, GError **error);

/* "512 bytes", "2.09 GB": three digits, units of 1,000. (transfer full) */
char *vmig_amount_format(guint64 bytes);
/* "7 s", "2 min 5 s", "1 h 3 min", "2 d 4 h". (transfer full) */
char *vmig_duration_format(guint64 seconds);

/* FALSE if the sum does not fit; *sum is then unchanged. */
gboolean vmig_size_add(guint64 *sum, guint64 more);
/* The space that a destination needs for one disk: base + times x overlay + 5 %. Clusters that a snapshot holds need
 * new clusters when they are written. With an overlay there the writes count twice: in the overlay and, once committed,
 * in the base. G_MAXUINT64 if the sum does not fit. */
guint64 vmig_room_needed(guint64 base_allocated, guint64 overlay_forecast, guint times);
