/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/names.h"

#include <string.h>

/* GLib counts format characters as not printable (a right-to-left override reverses a line). It counts line and
 * paragraph separators as printable, although a terminal or a log viewer may break the line there. */
static gboolean is_plain(gunichar c)
{
    return g_unichar_isprint(c) && c != 0x2028 && c != 0x2029;
}

char *vmig_text_escape(const char *bytes, gssize length)
{
    static const char more[] = "...";
    GString *out = g_string_new(NULL);
    gsize n = bytes == NULL ? 0 : length < 0 ? strlen(bytes) : (gsize)length;

    for (gsize i = 0; i < n;) {
        gunichar c = bytes[i] == '\0' ? 0 : g_utf8_get_char_validated(bytes + i, (gssize)(n - i));
        gboolean valid = c != (gunichar)-1 && c != (gunichar)-2;
        gsize width = valid && c != 0 ? (gsize)g_utf8_skip[(guchar)bytes[i]] : 1;
        gboolean plain = valid && is_plain(c);
        if (out->len + (plain ? width : 4 * width) > VMIG_TEXT_MAX - strlen(more)) {
            g_string_append(out, more);
            break;
        }
        if (plain)
            g_string_append_len(out, bytes + i, (gssize)width);
        for (gsize k = 0; !plain && k < width; k++)
            g_string_append_printf(out, "\\x%02x", (guchar)bytes[i + k]);
        i += width;
    }
    return g_string_free(out, FALSE);
}

static gboolean is_control(char c)
{
    return (c > 0 && c < ' ') || c == 0x7f;
}

/* $'...' of bash and POSIX 2024: characters that must not reach a terminal are written as numbers. */
static char *quote_controls(const char *text)
{
    GString *out = g_string_new("$'");

    for (const char *p = text; *p != '\0'; p++) {
        if (is_control(*p))
            g_string_append_printf(out, "\\x%02x", (guint)*p);
        else if (*p == '\'' || *p == '\\')
            g_string_append_printf(out, "\\%c", *p);
        else
            g_string_append_c(out, *p);
    }
    g_string_append_c(out, '\'');
    return g_string_free(out, FALSE);
}

char *vmig_shell_word(const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+=,";

    for (const char *p = text; *p != '\0'; p++)
        if (is_control(*p))
            return quote_controls(text);
    return *text != '\0' && strspn(text, plain) == strlen(text) ? g_strdup(text) : g_shell_quote(text);
}

char *vmig_shell_domain(const char *name, const char *uuid)
{
    return vmig_shell_word(*name == '-' ? uuid : name);
}
