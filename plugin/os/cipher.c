/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks the flags of the first CPU: "flags" on x86, "Features" on ARM. */
#include "os/cipher.h"

#include <string.h>

gboolean vmig_cipher_text_has_aes(const char *cpuinfo)
{
    g_auto(GStrv) lines = g_strsplit(cpuinfo, "\n", -1);

    for (guint i = 0; lines[i] != NULL; i++) {
        const char *colon = strchr(lines[i], ':');
        if (colon == NULL || !(g_str_has_prefix(lines[i], "flags") || g_str_has_prefix(lines[i], "Features")))
            continue;
        g_auto(GStrv) words = g_strsplit(colon + 1, " ", -1);
        return g_strv_contains((const char *const *)words, "aes");
    }
    return FALSE;
}

gboolean vmig_cipher_has_aes(void)
{
    g_autofree char *text = NULL;

    return g_file_get_contents("/proc/cpuinfo", &text, NULL, NULL) && vmig_cipher_text_has_aes(text);
}

const char *vmig_cipher_preferred(gboolean both_have_aes)
{
    return both_have_aes ? "^aes128-gcm@openssh.com,aes256-gcm@openssh.com" : "^chacha20-poly1305@openssh.com";
}
