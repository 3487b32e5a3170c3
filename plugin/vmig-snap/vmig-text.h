/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Amounts and texts for people: parsing what a user typed, and printing. Nothing here depends on the locale. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/**
 * vmig_text_escape:
 * @bytes: (nullable): a text that may be hostile, such as the name of a guest or of a snapshot
 * @length: its length in bytes; -1: it ends with a NUL
 *
 * Makes a text safe for a terminal and a log: control and format characters, line separators and bytes that are not
 * UTF-8 become \xNN. A text of more than 4,096 bytes is cut and ends with "...".
 *
 * Returns: (transfer full): the text; "" for %NULL
 */
char *vmig_text_escape(const char *bytes, gssize length);

/**
 * vmig_amount_parse:
 * @text: digits with an optional suffix K, M, G or T (powers of 1,024), nothing else
 * @allow_zero: whether 0 is valid
 * @bytes: (out): return location for the amount
 * @error: return location for an error, %VMIG_ERROR_USAGE
 *
 * Parses an amount of bytes as --bandwidth does.
 *
 * Returns: %TRUE if the text is valid
 */
gboolean vmig_amount_parse(const char *text, gboolean allow_zero, guint64 *bytes, GError **error);

/**
 * vmig_count_parse:
 * @text: digits, nothing else
 * @min: the smallest valid number
 * @max: the largest valid number
 * @value: (out): return location for the number
 * @error: return location for an error, %VMIG_ERROR_USAGE
 *
 * Parses a number as --parallel does.
 *
 * Returns: %TRUE if the text is valid
 */
gboolean vmig_count_parse(const char *text, guint64 min, guint64 max, guint64 *value, GError **error);

/**
 * vmig_amount_format:
 * @bytes: an amount of bytes
 *
 * Returns: (transfer full): the amount with three digits and units of 1,000: "512 bytes", "2.09 GB"
 */
char *vmig_amount_format(guint64 bytes);

/**
 * vmig_duration_format:
 * @seconds: a duration
 *
 * Returns: (transfer full): the duration in at most two units: "7 s", "2 min 5 s", "1 h 3 min", "2 d 4 h"
 */
char *vmig_duration_format(guint64 seconds);

G_END_DECLS
