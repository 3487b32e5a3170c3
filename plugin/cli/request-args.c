/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parses and checks the arguments of plan and migrate. */
#include "cli/request-args.h"

#include <string.h>

#include "cli/outcome.h"
#include "core/amount.h"
#include "core/errors.h"
#include "core/names.h"
#include "core/path-map.h"
#include "link/destination.h"

/* QEMU's own limits: MAX_MIGRATE_DOWNTIME of migration/options.c; multifd-channels is a uint8. */
#define MAX_DOWNTIME_MS (2000 * 1000)
#define MAX_PARALLEL 255
#define MAX_TIMEOUT_S (365 * 24 * 3600)
#define POLICY_CHARS "abcdefghijklmnopqrstuvwxyz0123456789-"

void vmig_request_args_free(VmigRequestArgs *args)
{
    if (args == NULL)
        return;
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

static gboolean check_word(const char *option, const char *value, const char *const *allowed, GError **error)
{
    if (value == NULL || g_strv_contains(allowed, value))
        return TRUE;
    g_autofree char *shown = vmig_text_escape(value, -1);
    g_autofree char *words = g_strjoinv(" or ", (char **)allowed);
    return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "--%s: '%s' is not %s", option, shown, words);
}

static gboolean check_words(const VmigRequestArgs *args, GError **error)
{
    static const char *const merges[] = {"commit", "mirror", "auto", NULL};
    static const char *const transports[] = {"ssh", "tls", "tcp", NULL};
    static const char *const images[] = {"keep", "delete", NULL};

    return check_word("merge", args->merge, merges, error) &&
           check_word("transport", args->transport, transports, error) &&
           check_word("source-images", args->source_images, images, error);
}

/* It becomes the name of a file in /etc/vmig-snap/policy.d. */
static gboolean check_policy(const char *policy, GError **error)
{
    if (policy == NULL)
        return TRUE;
    gsize length = strlen(policy);
    if (length > 0 && length <= 64 && *policy != '-' && strspn(policy, POLICY_CHARS) == length)
        return TRUE;
    g_autofree char *shown = vmig_text_escape(policy, -1);
    return vmig_fail(
        error, VMIG_ERROR_BAD_NAME,
        "The name consists of small letters, digits and '-', like that of its file in /etc/vmig-snap/policy.d.",
        "--policy: '%s' is not the name of a policy", shown);
}

/* It becomes part of a URI. */
static gboolean check_migrate_host(const char *host, GError **error)
{
    if (host == NULL || vmig_destination_is_host(host))
        return TRUE;
    g_autofree char *shown = vmig_text_escape(host, -1);
    return vmig_fail(error, VMIG_ERROR_BAD_NAME, NULL, "--migrate-host: '%s' is not the name or address of a host",
                     shown);
}

static gboolean check_disks(char **disks, GError **error)
{
    for (guint i = 0; disks != NULL && disks[i] != NULL; i++) {
        if (!vmig_args_check_name("disk", disks[i], error)) {
            g_prefix_error(error, "--disk: ");
            return FALSE;
        }
        for (guint k = 0; k < i; k++)
            if (strcmp(disks[k], disks[i]) == 0)
                return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "--disk: '%s' is given twice", disks[i]);
    }
    return TRUE;
}

static gboolean check_maps(const VmigRequestArgs *args, GError **error)
{
    g_autoptr(VmigPathMap) map = vmig_path_map_new();

    for (guint i = 0; args->maps != NULL && args->maps[i] != NULL; i++)
        if (!vmig_path_map_add_target(map, args->maps[i], error)) {
            g_prefix_error(error, "--map: ");
            return FALSE;
        }
    for (guint i = 0; args->map_dirs != NULL && args->map_dirs[i] != NULL; i++)
        if (!vmig_path_map_add_dir(map, args->map_dirs[i], error)) {
            g_prefix_error(error, "--map-dir: ");
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
    VmigRequest *r = &args->request;

    if (args->bandwidth != NULL && !vmig_amount_parse(args->bandwidth, FALSE, &r->bandwidth, error)) {
        g_prefix_error(error, "--bandwidth: ");
        return FALSE;
    }
    if (r->bandwidth > G_MAXINT64)
        return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "--bandwidth: '%s' is 2^63 or more", args->bandwidth);
    return read_count("max-downtime", args->max_downtime, MAX_DOWNTIME_MS, &r->max_downtime, error) &&
           read_count("parallel", args->parallel, MAX_PARALLEL, &r->parallel, error) &&
           read_count("timeout", args->timeout, MAX_TIMEOUT_S, &r->timeout, error);
}

static gboolean check(VmigRequestArgs *args, GError **error)
{
    VmigRequest *r = &args->request;
    g_autoptr(VmigDestination) destination = NULL;

    r->domain = args->arguments[0];
    r->destination = args->arguments[1];
    r->disks = (const char *const *)args->disks;
    r->maps = (const char *const *)args->maps;
    r->map_dirs = (const char *const *)args->map_dirs;
    r->merge = args->merge;
    r->transport = args->transport;
    r->source_images = args->source_images;
    r->policy = args->policy;
    r->migrate_host = args->migrate_host;
    if (!vmig_args_check_name("domain", r->domain, error))
        return FALSE;
    destination = vmig_destination_parse(r->destination, error);
    if (destination == NULL) {
        g_prefix_error(error, "DEST: ");
        return FALSE;
    }
    return (args->connect == NULL || vmig_args_check_connect(args->connect, error)) &&
           check_disks(args->disks, error) && check_maps(args, error) && check_words(args, error) &&
           check_policy(args->policy, error) && check_migrate_host(args->migrate_host, error) &&
           read_numbers(args, error);
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
        {"auto-converge", 0, 0, G_OPTION_ARG_NONE, &a->request.auto_converge, "Slow down a guest that is too busy",
         NULL},
        {"postcopy", 0, 0, G_OPTION_ARG_NONE, &a->request.postcopy, "Send the memory after the switchover", NULL},
        {"parallel", 0, 0, G_OPTION_ARG_FILENAME, &a->parallel, "Connections for the memory", "N"},
        {"timeout", 0, 0, G_OPTION_ARG_FILENAME, &a->timeout, "Give up the migration after this time", "S"},
        {"source-images", 0, 0, G_OPTION_ARG_FILENAME, &a->source_images, "The images on the source (keep)",
         "keep|delete"},
        {"verify", 0, 0, G_OPTION_ARG_NONE, &a->request.verify, "Compare every snapshot before the job is done", NULL},
        {"no-rehearsal", 0, 0, G_OPTION_ARG_NONE, &a->request.no_rehearsal,
         "Do not try to start the guest on DEST first", NULL},
        {"accept-unrevertable", 0, 0, G_OPTION_ARG_NONE, &a->request.accept_unrevertable,
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
        if (vmig_error_hint(error) == NULL)
            vmig_error_set_hint(error, "vmig-snap %s --help lists the options.", command);
        *code = vmig_end_with_error(&args->mode, error);
        return NULL;
    }
    return g_steal_pointer(&args);
}
