/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks that need no host. */
#include "api/request.h"

#include <string.h>

#include "core/errors.h"
#include "core/names.h"

static gboolean is_one_of(const char *value, const char *const *allowed)
{
    return value == NULL || g_strv_contains(allowed, value);
}

static gboolean check_name(const char *what, const char *name, GError **error)
{
    g_autofree char *shown = name != NULL ? vmig_text_escape(name, -1) : NULL;

    if (name == NULL || *name == '\0')
        return vmig_fail(error, VMIG_ERROR_BAD_NAME, NULL, "the name of the %s is empty", what);
    gboolean plain = g_utf8_validate(name, -1, NULL);
    for (const char *c = name; plain && *c != '\0'; c++)
        plain = !g_ascii_iscntrl(*c);
    if (!plain)
        return vmig_fail(error, VMIG_ERROR_BAD_NAME, NULL, "'%s' is not the name of a %s", shown, what);
    return TRUE;
}

gboolean vmig_request_check(const VmigRequest *request, GError **error)
{
    static const char *const merges[] = {"commit", "mirror", "auto", NULL};
    static const char *const transports[] = {"ssh", "tls", "tcp", NULL};
    static const char *const keeps[] = {"keep", "delete", NULL};

    if (!check_name("domain", request->domain, error))
        return FALSE;
    for (const char *const *disk = request->disks; disk != NULL && *disk != NULL; disk++)
        if (!check_name("disk", *disk, error))
            return FALSE;
    if (!is_one_of(request->merge, merges))
        return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "--merge must be 'commit', 'mirror' or 'auto', not '%s'",
                         request->merge);
    if (!is_one_of(request->transport, transports))
        return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "--transport must be 'ssh', 'tls' or 'tcp', not '%s'",
                         request->transport);
    if (!is_one_of(request->source_images, keeps))
        return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "--source-images must be 'keep' or 'delete', not '%s'",
                         request->source_images);
    return TRUE;
}

void vmig_request_options(const VmigRequest *request, const char *scheme, VmigOptions *options)
{
    options->merge = g_strdup(request->merge != NULL ? request->merge : "commit");
    options->transport = g_strdup(request->transport != NULL ? request->transport : scheme);
    options->policy = g_strdup(request->policy != NULL ? request->policy : "default");
    options->bandwidth = request->bandwidth;
    options->max_downtime = request->max_downtime;
    options->parallel = request->parallel;
    options->timeout = request->timeout;
    options->auto_converge = request->auto_converge;
    options->postcopy = request->postcopy;
    options->verify = request->verify;
    options->no_rehearsal = request->no_rehearsal;
    options->accept_unrevertable = request->accept_unrevertable;
    options->migrate_host = g_strdup(request->migrate_host);
    options->keep_source = g_strcmp0(request->source_images, "delete") != 0;
}

void vmig_request_options_clear(VmigOptions *options)
{
    g_clear_pointer(&options->merge, g_free);
    g_clear_pointer(&options->transport, g_free);
    g_clear_pointer(&options->policy, g_free);
    g_clear_pointer(&options->migrate_host, g_free);
}

VmigPathMap *vmig_request_map(const VmigRequest *request, GError **error)
{
    g_autoptr(VmigPathMap) map = vmig_path_map_new();

    for (const char *const *text = request->maps; text != NULL && *text != NULL; text++)
        if (!vmig_path_map_add_target(map, *text, error))
            return NULL;
    for (const char *const *text = request->map_dirs; text != NULL && *text != NULL; text++)
        if (!vmig_path_map_add_dir(map, *text, error))
            return NULL;
    return g_steal_pointer(&map);
}
