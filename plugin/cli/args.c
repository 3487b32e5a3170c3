/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parses with GOption, and rejects what GOption accepts too generously. */
#include "cli/args.h"

#include <string.h>

#include "cli/outcome.h"
#include "cli/output.h"
#include "cli/fail.h"
#include "vmig-snap/vmig-snap.h"

/* libvirt also uses a domain's name as a file name. */
#define NAME_LIMIT 255

gboolean vmig_args_check_name(const char *what, const char *name, GError **error)
{
    const char *hint = strcmp(what, "disk") == 0 ? "virsh domblklist shows the targets of the disks."
                                                 : "virsh list --all shows the domains, vmig-snap list --all the jobs.";

    if (*name == '\0')
        return vmig_cli_fail(error, VMIG_ERROR_BAD_NAME, hint, "the name of the %s is empty", what);
    g_autofree char *shown = vmig_text_escape(name, (gssize)MIN(strlen(name), 200));
    if (strlen(name) > NAME_LIMIT)
        return vmig_cli_fail(error, VMIG_ERROR_BAD_NAME, hint, "'%s...': the name of a %s must have at most %d bytes",
                             shown, what, NAME_LIMIT);
    if (!g_utf8_validate(name, -1, NULL))
        return vmig_cli_fail(error, VMIG_ERROR_BAD_NAME, hint, "'%s' is not the name of a %s: it is not UTF-8", shown,
                             what);
    for (const char *c = name; *c != '\0'; c = g_utf8_next_char(c))
        if (g_unichar_iscntrl(g_utf8_get_char(c)))
            return vmig_cli_fail(error, VMIG_ERROR_BAD_NAME, hint,
                                 "'%s' is not the name of a %s: it contains control characters", shown, what);
    return TRUE;
}

gboolean vmig_args_check_connect(const char *uri, GError **error)
{
    if (vmig_check_connect_uri(uri, error))
        return TRUE;
    g_prefix_error(error, "--connect: ");
    return FALSE;
}

static const GOptionEntry *find_entry(const GOptionEntry *entries, const char *name, gsize length)
{
    for (; entries->long_name != NULL; entries++)
        if (strlen(entries->long_name) == length && memcmp(entries->long_name, name, length) == 0)
            return entries;
    return NULL;
}

/* Reports the new name to scripts that were written for an older version. */
static gboolean check_renamed(char **argv, GError **error)
{
    static const struct {
        const char *was, *is, *values;
    } renamed[] = {{"--fold", "--merge", "commit, mirror (formerly: direct) or auto"}};

    for (; *argv != NULL && strcmp(*argv, "--") != 0; argv++)
        for (guint i = 0; i < G_N_ELEMENTS(renamed); i++)
            if (g_str_has_prefix(*argv, renamed[i].was) && strchr("=", (*argv)[strlen(renamed[i].was)]) != NULL)
                return vmig_cli_fail(error, VMIG_ERROR_USAGE, NULL, "the option %s is now called %s and takes %s",
                                     renamed[i].was, renamed[i].is, renamed[i].values);
    return TRUE;
}

/* GOption accepts --json=no as --json. */
static gboolean check_flags(const GOptionEntry *entries, char **argv, GError **error)
{
    for (; *argv != NULL && strcmp(*argv, "--") != 0; argv++) {
        const char *equals = g_str_has_prefix(*argv, "--") ? strchr(*argv, '=') : NULL;
        const GOptionEntry *entry = equals != NULL ? find_entry(entries, *argv + 2, (gsize)(equals - *argv - 2)) : NULL;
        if (entry != NULL && entry->arg == G_OPTION_ARG_NONE) {
            g_autofree char *shown = vmig_text_escape(*argv, -1);
            return vmig_cli_fail(error, VMIG_ERROR_USAGE, NULL, "'%s': --%s takes no value", shown, entry->long_name);
        }
    }
    return TRUE;
}

static gboolean check_count(const VmigUsage *usage, char **rest, GError **error)
{
    guint n = g_strv_length(rest);

    if (n < usage->least)
        return vmig_cli_fail(error, VMIG_ERROR_USAGE, NULL, "%s: %s is missing", usage->command, usage->names[n]);
    if (n > usage->most) {
        g_autofree char *shown = vmig_text_escape(rest[usage->most], -1);
        return vmig_cli_fail(error, VMIG_ERROR_USAGE, NULL, "%s: unexpected argument '%s'", usage->command, shown);
    }
    return TRUE;
}

static void show_help(GOptionContext *context, const VmigUsage *usage)
{
    g_autofree char *name = g_strdup_printf("vmig-snap %s", usage->command);

    g_set_prgname(name);
    g_autofree char *help = g_option_context_get_help(context, TRUE, NULL);
    vmig_out(help);
}

static gboolean parse(const VmigUsage *usage, const GOptionEntry *entries, char **argv, char ***rest, gboolean *help,
                      GError **error)
{
    g_autoptr(GOptionContext) context = g_option_context_new(*usage->arguments != '\0' ? usage->arguments : NULL);
    g_auto(GStrv) copy = g_strdupv(argv);
    g_auto(GStrv) found = NULL;
    const GOptionEntry common[] = {
        {"help", 'h', 0, G_OPTION_ARG_NONE, help, "Show this help", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &found, NULL, NULL},
        G_OPTION_ENTRY_NULL,
    };

    g_option_context_set_help_enabled(context, FALSE); /* GOption's own help prints and exits */
    g_option_context_set_summary(context, usage->summary);
    g_option_context_add_main_entries(context, entries, NULL);
    g_option_context_add_main_entries(context, common, NULL);
    if (!check_renamed(argv + 1, error) || !check_flags(entries, argv + 1, error))
        return FALSE;
    g_autoptr(GError) why = NULL;
    if (!g_option_context_parse_strv(context, &copy, &why)) {
        g_autofree char *shown = vmig_text_escape(why->message, -1);
        return vmig_cli_fail(error, VMIG_ERROR_USAGE, NULL, "%s: %s", usage->command, shown);
    }
    if (*help) {
        show_help(context, usage);
        return TRUE;
    }
    *rest = found != NULL ? g_steal_pointer(&found) : g_new0(char *, 1);
    return check_count(usage, *rest, error);
}

VmigArgsResult vmig_args_parse(const VmigUsage *usage, const GOptionEntry *entries, int argc, char **argv,
                               VmigMode *mode, char ***rest, int *code)
{
    g_autoptr(GError) error = NULL;
    gboolean help = FALSE;

    if (find_entry(entries, "json", strlen("json")) != NULL)
        for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
            mode->json |= strcmp(argv[i], "--json") == 0;
    if (!parse(usage, entries, argv, rest, &help, &error)) {
        if (vmig_error_get_hint(error) == NULL)
            vmig_error_set_hint(error, "vmig-snap %s --help shows the arguments and options.", usage->command);
        *code = vmig_end_with_error(mode, error);
        return VMIG_ARGS_END;
    }
    *code = vmig_end(VMIG_EXIT_DONE);
    return help ? VMIG_ARGS_END : VMIG_ARGS_GO_ON;
}
