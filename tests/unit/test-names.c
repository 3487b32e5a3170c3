/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names in a command shown to users: a shell takes each as a single word, whatever it contains. */
#include <string.h>

#include "core/names.h"

static void test_plain(void)
{
    static const char *const words[] = {"web1", "/srv/a-b_c.qcow2", "vda", "first:x@y"};

    for (guint i = 0; i < G_N_ELEMENTS(words); i++) {
        g_autofree char *word = vmig_shell_word(words[i]);
        g_assert_cmpstr(word, ==, words[i]);
    }
}

/* The word as bash expands it, between two markers. */
static char *through_shell(const char *word)
{
    g_autofree char *script = g_strdup_printf("printf '%%s|' a %s b", word);
    const char *argv[] = {"bash", "-c", script, NULL};
    g_autoptr(GError) error = NULL;
    char *out = NULL;
    int status = -1;

    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, NULL, &status, &error);
    g_assert_no_error(error);
    g_assert_cmpint(status, ==, 0);
    return out;
}

static void test_nasty(void)
{
    static const char *const words[] = {"",      "a b",         "$(touch /tmp/x)", "`id`",    "a;b", "it's",
                                        "\"q\"", "back\\slash", "new\nline",       "\033[2J", "*",   "~root",
                                        "#hash", "!event",      "a'\nb\\",         "ü & ö",   "-rf", "x\x7fy"};

    for (guint i = 0; i < G_N_ELEMENTS(words); i++) {
        g_autofree char *word = vmig_shell_word(words[i]);
        g_autofree char *out = through_shell(word);
        g_autofree char *expected = g_strdup_printf("a|%s|b|", words[i]);
        g_assert_cmpstr(out, ==, expected);
        for (const char *p = word; *p != '\0'; p++)
            g_assert_false((*p > 0 && *p < ' ') || *p == 0x7f);
    }
}

static void test_domain(void)
{
    g_autofree char *plain = vmig_shell_domain("web1", "11111111-2222-4333-8444-555555555555");
    g_autofree char *quoted = vmig_shell_domain("a b", "11111111-2222-4333-8444-555555555555");
    g_autofree char *option = vmig_shell_domain("-rf", "11111111-2222-4333-8444-555555555555");

    g_assert_cmpstr(plain, ==, "web1");
    g_assert_cmpstr(quoted, ==, "'a b'");
    g_assert_cmpstr(option, ==, "11111111-2222-4333-8444-555555555555");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/names/shell-word/plain", test_plain);
    g_test_add_func("/names/shell-word/nasty", test_nasty);
    g_test_add_func("/names/shell-domain", test_domain);
    return g_test_run();
}
