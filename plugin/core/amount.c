/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Amounts, without strtoull(), which skips spaces, accepts a sign and wraps negative numbers around. */
#include "core/amount.h"

#include <string.h>

#include "core/errors.h"
#include "core/names.h"

/* Parses the digits at *text and advances it. FALSE if there is no digit or the value does not fit. */
static gboolean take_digits(const char **text, guint64 *value)
{
    const char *p = *text;

    *value = 0;
    for (; g_ascii_isdigit(*p); p++) {
        guint64 tens;
        if (!g_uint64_checked_mul(&tens, *value, 10) || !g_uint64_checked_add(value, tens, (guint64)(*p - '0')))
            return FALSE;
    }
    gboolean any = p != *text;
    *text = p;
    return any;
}

static gboolean fail_amount(GError **error, const char *text, const char *expected)
{
    g_autofree char *shown = vmig_text_escape(text, -1);

    return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "'%s' is not %s", shown, expected);
}

gboolean vmig_amount_parse(const char *text, gboolean allow_zero, guint64 *bytes, GError **error)
{
    static const char suffixes[] = "KMGT";
    static const char expected[] = "an amount of bytes such as 1048576, 1024K or 1M";
    const char *p = text == NULL ? "" : text;
    guint64 value;

    if (!take_digits(&p, &value))
        return fail_amount(error, text, expected);
    const char *suffix = *p == '\0' ? NULL : strchr(suffixes, g_ascii_toupper(*p));
    if (*p != '\0' && (suffix == NULL || p[1] != '\0'))
        return fail_amount(error, text, expected);
    guint64 unit = suffix == NULL ? 1 : G_GUINT64_CONSTANT(1) << (10 * (suffix - suffixes + 1));
    if (!g_uint64_checked_mul(&value, value, unit))
        return fail_amount(error, text, "an amount that fits into 64 bits");
    if (value == 0 && !allow_zero)
        return fail_amount(error, text, "more than zero");
    *bytes = value;
    return TRUE;
}

gboolean vmig_count_parse(const char *text, guint64 min, guint64 max, guint64 *value, GError **error)
{
    const char *p = text == NULL ? "" : text;
    guint64 parsed;

    if (take_digits(&p, &parsed) && *p == '\0' && parsed >= min && parsed <= max) {
        *value = parsed;
        return TRUE;
    }
    g_autofree char *expected =
        g_strdup_printf("a whole number from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, min, max);
    return fail_amount(error, text, expected);
}

/* value / unit rounded to the nearest, halves up; unit must not be 0. Avoids value + unit / 2, which may overflow. */
static guint64 divide_round(guint64 value, guint64 unit)
{
    guint64 rest = value % unit;

    return value / unit + (rest >= unit - rest ? 1 : 0);
}

char *vmig_amount_format(guint64 bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
    guint64 unit = 1;
    guint i = 0;

    /* 999.5 of a unit would be rounded to 1000, so it becomes 1.00 of the next unit. */
    while (i + 1 < G_N_ELEMENTS(units) && divide_round(bytes, unit) >= 1000) {
        unit *= 1000;
        i++;
    }
    if (i == 0)
        return g_strdup_printf("%u byte%s", (guint)bytes, bytes == 1 ? "" : "s");
    guint64 hundredths = divide_round(bytes, unit / 100);
    if (hundredths < 1000)
        return g_strdup_printf("%u.%02u %s", (guint)hundredths / 100, (guint)hundredths % 100, units[i]);
    guint64 tenths = divide_round(bytes, unit / 10);
    if (tenths < 1000)
        return g_strdup_printf("%u.%u %s", (guint)tenths / 10, (guint)tenths % 10, units[i]);
    return g_strdup_printf("%u %s", (guint)divide_round(bytes, unit), units[i]);
}

char *vmig_duration_format(guint64 seconds)
{
    static const struct {
        guint64 length;
        const char *name;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    guint i = 0;

    while (i + 1 < G_N_ELEMENTS(units) && seconds < units[i].length)
        i++;
    guint64 whole = seconds / units[i].length;
    guint64 rest = i + 1 < G_N_ELEMENTS(units) ? seconds % units[i].length / units[i + 1].length : 0;
    if (rest == 0)
        return g_strdup_printf("%" G_GUINT64_FORMAT " %s", whole, units[i].name);
    return g_strdup_printf("%" G_GUINT64_FORMAT " %s %u %s", whole, units[i].name, (guint)rest, units[i + 1].name);
}

gboolean vmig_size_add(guint64 *sum, guint64 more)
{
    guint64 total;

    if (!g_uint64_checked_add(&total, *sum, more))
        return FALSE;
    *sum = total;
    return TRUE;
}

guint64 vmig_room_needed(guint64 base_allocated, guint64 overlay_forecast, guint times)
{
    guint64 room = base_allocated;

    for (guint i = 0; i < times; i++)
        if (!vmig_size_add(&room, overlay_forecast))
            return G_MAXUINT64;
    return vmig_size_add(&room, room / 20 + (room % 20 != 0 ? 1 : 0)) ? room : G_MAXUINT64;
}
