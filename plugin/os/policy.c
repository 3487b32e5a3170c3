/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds and reads a policy file. */
#include "os/policy.h"

#include <string.h>

#include "os/trusted-file.h"

#ifndef VMIG_POLICY_DIR
#define VMIG_POLICY_DIR "/usr/share/vmig-snap/policy.d"
#endif
#define ADMIN_DIR "/etc/vmig-snap/policy.d"

static gboolean is_name(const char *name)
{
    return *name != '\0' && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(name);
}

static int by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The default needs no file. */
static char *tell_names(const char *const *folders)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

    g_ptr_array_add(names, g_strdup("default"));
    for (guint i = 0; folders[i] != NULL; i++) {
        g_autoptr(GDir) dir = g_dir_open(folders[i], 0, NULL);
        const char *file;
        while (dir != NULL && (file = g_dir_read_name(dir)) != NULL) {
            g_autofree char *name = g_strndup(file, strlen(file) - (g_str_has_suffix(file, ".conf") ? 5 : 0));
            if (g_str_has_suffix(file, ".conf") && is_name(name) &&
                !g_ptr_array_find_with_equal_func(names, name, g_str_equal, NULL))
                g_ptr_array_add(names, g_steal_pointer(&name));
        }
    }
    g_ptr_array_sort(names, by_name);
    g_ptr_array_add(names, NULL);
    g_autofree char *all = g_strjoinv(", ", (char **)names->pdata);
    g_autofree char *where = g_strjoinv(" and ", (char **)folders);
    return g_strdup_printf("Available policies: %s. They are files in %s.", all, where);
}

VmigPolicy *vmig_policy_load_from(const char *const *folders, const char *name, GError **error)
{
    if (name == NULL)
        name = "default";
    if (!is_name(name)) {
        vmig_fail(error, VMIG_ERROR_USAGE, "The name of a policy consists of small letters, digits and '-'.",
                  "the name of the policy is invalid");
        return NULL;
    }
    g_autofree char *file = g_strconcat(name, ".conf", NULL);
    for (guint i = 0; folders[i] != NULL; i++) {
        g_autoptr(GError) why = NULL;
        g_autofree char *text = vmig_trusted_read_in(folders[i], file, &why);
        if (text != NULL)
            return vmig_policy_parse(text, name, error);
        if (why != NULL) {
            g_propagate_prefixed_error(error, g_steal_pointer(&why), "cannot use the policy '%s': ", name);
            return NULL;
        }
    }
    if (strcmp(name, "default") == 0)
        return vmig_policy_default();
    g_autofree char *hint = tell_names(folders);
    vmig_fail(error, VMIG_ERROR_USAGE, hint, "the policy '%s' does not exist", name);
    return NULL;
}

VmigPolicy *vmig_policy_load(const char *name, GError **error)
{
    static const char *const folders[] = {ADMIN_DIR, VMIG_POLICY_DIR, NULL};

    return vmig_policy_load_from(folders, name, error);
}
