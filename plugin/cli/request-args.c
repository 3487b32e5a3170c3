/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parses and checks the arguments of plan and migrate. */
#include "cli/request-args.h"

#include <string.h>

#include "cli/outcome.h"
#include "cli/fail.h"
#include "vmig-snap/vmig-snap.h"

/* QEMU's own limits: MAX_MIGRATE_DOWNTIME of migration/options.c; multifd-channels is a uint8. */
#define MAX_DOWNTIME_MS (2000 * 1000)
#define MAX_PARALLEL 255
#define MAX_TIMEOUT_S (365 * 24 * 3600)

void vmig_request_args_free(VmigRequestArgs *args)
{
    if (args == NULL)
        return;
    g_clear_object(&args->request);
    g_strfreev(args->arguments);
    g_strfreev(args->disks);
    g_strfreev(args->maps);
    g_strfreev(args->map_dirs);
    g_free(args->connect);
    g_free(args->merge);
    g_free(args->transport);
    g_free(args->source_images);
    g_free(args->policy);
    g_free(args->migrate_host);
    g_free(args->bandwidth);
    g_free(args->max_downtime);
    g_free(args->parallel);
    g_free(args->timeout);
    g_free(args);
}

/* Reads an option whose value is the nick of an enumeration. "default" means that the option is not given. */
static gboolean read_word(const char *option, const char *value, GType type, int *number, GError **error)
{
    g_autoptr(GEnumClass) klass = g_type_class_ref(type);
    g_autoptr(GString) words = g_string_new(NULL);
    gboolean found = FALSE;

    for (guint i = 0; value != NULL && i < klass->n_values; i++) {
        const GEnumValue *word = &klass->values[i];
        if (strcmp(word->value_nick, "default") == 0)
            continue;
        g_string_append_printf(words, "%s%s", words->len > 0 ? " or " : "", word->value_nick);
        if (strcmp(word->value_nick, value) == 0) {
            *number = word->value;
            found = TRUE;
        }
    }
    if (value == NULL || found)
        return TRUE;
    g_autofree char *shown = vmig_text_escape(value, -1);
    return vmig_cli_fail(error, VMIG_ERROR_USAGE, NULL, "--%s: '%s' is not %s", option, shown, words->str);
}

static gboolean read_words(VmigRequestArgs *args, GError **error)
{
    int merge = VMIG_MERGE_COMMIT, transport = VMIG_TRANSPORT_DEFAULT, images = VMIG_SOURCE_IMAGES_KEEP;

    if (!read_word("merge", args->merge, VMIG_TYPE_MERGE, &merge, error) ||
        !read_word("transport", args->transport, VMIG_TYPE_TRANSPORT, &transport, error) ||
        !read_word("source-images", args->source_images, VMIG_TYPE_SOURCE_IMAGES, &images, error))
        return FALSE;
    g_object_set(args->request, "merge", merge, "transport", transport, "source-images", images, NULL);
    return TRUE;
}

static gboolean check_disks(char **disks, GError **error)
{
    for (guint i = 0; disks != NULL && disks[i] != NULL; i++)
        if (!vmig_args_check_name("disk", disks[i], error)) {
            g_prefix_error(error, "--disk: ");
            return FALSE;
        }
    return TRUE;
}

static gboolean read_count(const char *option, const char *text, guint64 max, guint64 *value, GError **error)
{
    if (text == NULL || vmig_count_parse(text, 1, max, value, error))
        return TRUE;
    g_prefix_error(error, "--%s: ", option);
    return FALSE;
}

static gboolean read_numbers(VmigRequestArgs *args, GError **error)
{
    guint64 bandwidth = 0, max_downtime = 0, parallel = 0, timeout = 0;

    if (args->bandwidth != NULL && !vmig_amount_parse(args->bandwidth, FALSE, &bandwidth, error)) {
        g_prefix_error(error, "--bandwidth: ");
        return FALSE;
    }
    if (bandwidth > G_MAXINT64)
        return vmig_cli_fail(error, VMIG_ERROR_USAGE, NULL, "--bandwidth: '%s' is 2^63 or more", args->bandwidth);
    if (!read_count("max-downtime", args->max_downtime, MAX_DOWNTIME_MS, &max_downtime, error) ||
        !read_count("parallel", args->parallel, MAX_PARALLEL, &parallel, error) ||
        !read_count("timeout", args->timeout, MAX_TIMEOUT_S, &timeout, error))
        return FALSE;
    g_object_set(args->request, "bandwidth", bandwidth, "max-downtime", max_downtime, "parallel", parallel, "timeout",
                 timeout, NULL);
    return TRUE;
}

/* The library's messages begin with the name of a property. The command's begin with the option. */
static gboolean check_request(VmigMigrateRequest *request, GError **error)
{
    static const struct {
        const char *property, *option;
    } table[] = {{"destination", "DEST"},   {"disks", "--disk"},    {"maps", "--map"},
                 {"map-dirs", "--map-dir"}, {"policy", "--policy"}, {"migrate-host", "--migrate-host"}};
    g_autoptr(GError) why = NULL;

    if (vmig_migrate_request_check(request, &why))
        return TRUE;
    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autofree char *head = g_strconcat(table[i].property, ": ", NULL);
        if (!g_str_has_prefix(why->message, head))
            continue;
        g_autofree char *message = g_strconcat(table[i].option, ": ", why->message + strlen(head), NULL);
        g_free(why->message);
        why->message = g_steal_pointer(&message);
        break;
    }
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

static gboolean check(VmigRequestArgs *args, GError **error)
{
    if (!vmig_args_check_name("domain", args->arguments[0], error) || !check_disks(args->disks, error) ||
        (args->connect != NULL && !vmig_args_check_connect(args->connect, error)))
        return FALSE;
    args->request = vmig_migrate_request_new(args->arguments[0], args->arguments[1]);
    g_object_set(args->request, "disks", args->disks, "maps", args->maps, "map-dirs", args->map_dirs, "policy",
                 args->policy, "migrate-host", args->migrate_host, "auto-converge", args->auto_converge, "postcopy",
                 args->postcopy, "verify", args->verify, "rehearse", !args->no_rehearsal, "accept-unrevertable",
                 args->accept_unrevertable, NULL);
    return check_request(args->request, error) && read_words(args, error) && read_numbers(args, error);
}

static VmigArgsResult parse(VmigRequestArgs *a, const char *command, int argc, char **argv, int *code)
{
    static const char *const names[] = {"DOMAIN", "DEST", NULL};
    gboolean plan = strcmp(command, "plan") == 0;
    const VmigUsage usage = {
        .command = command,
        .arguments = "DOMAIN DEST",
        .summary = plan ? "Shows what migrate would do, and every reason to refuse it. Changes nothing."
                        : "Migrates the running guest DOMAIN, with all its internal snapshots, to DEST:\n"
                          "qemu+ssh://HOST/system, qemu+tls://HOST/system or qemu+tcp://HOST/system.",
        .least = 2,
        .most = 2,
        .names = names,
    };
    const GOptionEntry entries[] = {
        {"connect", 0, 0, G_OPTION_ARG_FILENAME, &a->connect, "The libvirt of this host (qemu:///system)", "URI"},
        {"disk", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->disks, "Move only this disk; repeatable", "TARGET"},
        {"map", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->maps, "Put a disk there; repeatable", "TARGET=PATH"},
        {"map-dir", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->map_dirs, "Put a directory's files there; repeatable",
         "OLD=NEW"},
        {"merge", 0, 0, G_OPTION_ARG_FILENAME, &a->merge, "How later writes get into the copy", "commit|mirror|auto"},
        {"transport", 0, 0, G_OPTION_ARG_FILENAME, &a->transport, "How data travels (as DEST)", "ssh|tls|tcp"},
        {"bandwidth", 0, 0, G_OPTION_ARG_FILENAME, &a->bandwidth, "Limit of all storage traffic, with K, M or G",
         "BYTES/s"},
        {"max-downtime", 0, 0, G_OPTION_ARG_FILENAME, &a->max_downtime, "Longest downtime", "MS"},
        {"auto-converge", 0, 0, G_OPTION_ARG_NONE, &a->auto_converge, "Slow down a guest that is too busy", NULL},
        {"postcopy", 0, 0, G_OPTION_ARG_NONE, &a->postcopy, "Send the memory after the switchover", NULL},
        {"parallel", 0, 0, G_OPTION_ARG_FILENAME, &a->parallel, "Connections for the memory", "N"},
        {"timeout", 0, 0, G_OPTION_ARG_FILENAME, &a->timeout, "Give up the migration after this time", "S"},
        {"source-images", 0, 0, G_OPTION_ARG_FILENAME, &a->source_images, "The images on the source (keep)",
         "keep|delete"},
        {"verify", 0, 0, G_OPTION_ARG_NONE, &a->verify, "Compare every snapshot before the job is done", NULL},
        {"no-rehearsal", 0, 0, G_OPTION_ARG_NONE, &a->no_rehearsal, "Do not try to start the guest on DEST first",
         NULL},
        {"accept-unrevertable", 0, 0, G_OPTION_ARG_NONE, &a->accept_unrevertable,
         "Accept snapshots that DEST could not revert to", NULL},
        {"migrate-host", 0, 0, G_OPTION_ARG_FILENAME, &a->migrate_host, "DEST's name for libvirt here (tls, tcp)",
         "NAME"},
        {"policy", 0, 0, G_OPTION_ARG_FILENAME, &a->policy, "When to retry: policy.d/NAME.conf", "NAME"},
        {"detach", 0, 0, G_OPTION_ARG_NONE, &a->detach,
         plan ? "Ignored: for the options of migrate" : "Continue in the background, print the job", NULL},
        {"json", 0, 0, G_OPTION_ARG_NONE, &a->mode.json, "Print JSON", NULL},
        {"quiet", 0, 0, G_OPTION_ARG_NONE, &a->mode.quiet, "Print only errors", NULL},
        /* Last, so that plan can omit it. */
        {plan ? NULL : "dry-run", 0, 0, G_OPTION_ARG_NONE, &a->dry_run, "The same as vmig-snap plan", NULL},
        G_OPTION_ENTRY_NULL,
    };

    return vmig_args_parse(&usage, entries, argc, argv, &a->mode, &a->arguments, code);
}

VmigRequestArgs *vmig_request_args_parse(const char *command, int argc, char **argv, int *code)
{
    g_autoptr(VmigRequestArgs) args = g_new0(VmigRequestArgs, 1);
    g_autoptr(GError) error = NULL;

    if (parse(args, command, argc, argv, code) == VMIG_ARGS_END)
        return NULL;
    if (!check(args, &error)) {
        if (vmig_error_get_hint(error) == NULL)
            vmig_error_set_hint(error, "vmig-snap %s --help lists the options.", command);
        *code = vmig_end_with_error(&args->mode, error);
        return NULL;
    }
    return g_steal_pointer(&args);
}
