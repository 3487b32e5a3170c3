/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The meaning of the names inside an image, and how its bytes are shown to people. */
#include <string.h>

#include "core/errors.h"
#include "core/qcow2.h"

/* TRUE if QEMU may take the name as PROTOCOL:... (path_has_protocol() of block.c: a colon before any slash). QEMU
 * itself is narrower and in some places checks only known protocols, but such file names are not needed. */
static gboolean has_protocol(const char *name)
{
    gsize plain = strcspn(name, ":/");
    return name[plain] == ':';
}

gboolean vmig_backing_name_is_plain(const char *name, GError **error)
{
    g_autofree char *shown = vmig_printable(name, strlen(name));

    if (*name == '\0')
        return vmig_fail(error, VMIG_ERROR_CHAIN, NULL, "the backing file's name is empty");
    if (!g_utf8_validate(name, -1, NULL))
        return vmig_fail(error, VMIG_ERROR_CHAIN, NULL, "the backing file's name is not UTF-8: '%s'", shown);
    for (const char *p = name; *p != '\0'; p = g_utf8_next_char(p))
        if (g_unichar_iscntrl(g_utf8_get_char(p)))
            return vmig_fail(error, VMIG_ERROR_CHAIN, NULL, "the backing file's name contains control characters: '%s'",
                             shown);
    if (has_protocol(name))
        return vmig_fail(error, VMIG_ERROR_CHAIN, NULL, "the backing file's name is not a plain path: '%s'", shown);
    return TRUE;
}

char *vmig_backing_resolve(const char *image_path, const char *backing_name)
{
    g_autofree char *folder = g_path_get_dirname(image_path);
    return g_canonicalize_filename(backing_name, folder);
}

char *vmig_printable(gconstpointer data, gsize length)
{
    const char *p = data, *end = p + length;
    GString *text = g_string_sized_new(length);

    while (p < end) {
        gunichar c = g_utf8_get_char_validated(p, end - p);
        /* Both error values of g_utf8_get_char_validated() are above the last valid character. */
        gboolean valid = c <= 0x10ffff && c != 0;
        gsize width = valid ? (gsize)(g_utf8_next_char(p) - p) : 1;
        if (c == '\\')
            g_string_append(text, "\\\\");
        else if (valid && g_unichar_isprint(c))
            g_string_append_len(text, p, (gssize)width);
        else
            for (gsize i = 0; i < width; i++)
                g_string_append_printf(text, "\\x%02x", (guint8)p[i]);
        p += width;
    }
    return g_string_free(text, FALSE);
}
