/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU's log says whether it refused the state that was sent to it: only QEMU's own words count, and only new ones. */
#include <string.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "drivers/libvirt/qemu-log.h"

#define START "2026-12-01 10:00:00.000+0000: starting up libvirt version: 9.0.0, qemu version: 7.2.22\n"
#define WHY                                                                                                            \
    "2026-12-01T10:00:05.100000Z qemu-system-x86_64: Machine type received is 'pc-q35-7.2' and local is "              \
    "'pc-q35-7.1'\n"
#define REFUSED "2026-12-01T10:00:05.200000Z qemu-system-x86_64: load of migration failed: Invalid argument\n"
#define END "2026-12-01 10:00:05.300+0000: shutting down, reason=failed\n"

static gint64 at(const char *text)
{
    g_autoptr(GDateTime) when = g_date_time_new_from_iso8601(text, NULL);

    return g_date_time_to_unix(when) * G_USEC_PER_SEC;
}

/* What is read from a log with this text. */
static char *refusal(const char *text, const char *domain, const char *since)
{
    g_autofree char *folder = g_dir_make_tmp("vmig-log-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "g h.log", NULL);

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    char *found = vmig_qemu_log_refusal(folder, domain, at(since));
    g_assert_cmpint(g_unlink(path), ==, 0);
    g_assert_cmpint(g_rmdir(folder), ==, 0);
    return found;
}

static void test_refused(void)
{
    g_autofree char *found = refusal(START WHY REFUSED END, "g h", "2026-12-01T10:00:04Z");

    g_assert_cmpstr(
        found, ==,
        "Machine type received is 'pc-q35-7.2' and local is 'pc-q35-7.1'; load of migration failed: Invalid "
        "argument");
}

/* An older refusal, a stream that broke off, words of the guest's console or of another program: none is a refusal. */
static void test_not_refused(void)
{
    static const char *const others[] = {
        START END,
        START "2026-12-01T10:00:05.2Z qemu-system-x86_64: load of migration failed: Input/output error\n",
        START "load of migration failed: Invalid argument\n",
        START "2026-12-01T10:00:05.2Z a guest writes: load of migration failed: Invalid argument\n",
        "",
    };

    for (guint i = 0; i < G_N_ELEMENTS(others); i++)
        g_assert_null(refusal(others[i], "g h", "2026-12-01T10:00:04Z"));
    g_assert_null(refusal(START WHY REFUSED END, "g h", "2026-12-01T10:00:06Z"));
    g_assert_null(refusal(START WHY REFUSED END, "g", "2026-12-01T10:00:04Z"));
    g_assert_null(refusal(START WHY REFUSED END, "../g h", "2026-12-01T10:00:04Z"));
}

/* Only the end of a long log is read, and few of QEMU's words are returned. */
static void test_long(void)
{
    g_autoptr(GString) text = g_string_new(START REFUSED);

    for (guint i = 0; i < 2000; i++)
        g_string_append(text, "2026-12-01T10:00:07.2Z qemu-system-x86_64: warning: something that is said often\n");
    g_assert_null(refusal(text->str, "g h", "2026-12-01T10:00:04Z"));
    g_string_append(text, "2026-12-01T10:00:08.2Z qemu-system-x86_64: load of migration failed: Invalid argument\n");
    g_autofree char *found = refusal(text->str, "g h", "2026-12-01T10:00:04Z");
    g_assert_true(g_str_has_suffix(found, "; load of migration failed: Invalid argument"));
    g_assert_cmpuint(strlen(found), <, 400);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qemu-log/refused", test_refused);
    g_test_add_func("/qemu-log/not-refused", test_not_refused);
    g_test_add_func("/qemu-log/long", test_long);
    return g_test_run();
}
