/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The administrator's configuration. Parsing is strict, so that a misspelled key cannot silently disable a limit. */
#include "os/config.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/amount.h"
#include "core/path-map.h"
#include "os/trusted-file.h"

#define GROUP "vmig-snap"
#define STALL_LIMIT 30
#define STALL_LEAST 2
#define STALL_MOST 3600

static const char *const keys[] = {"image-roots", "state-dir", "run-dir",   "ssh-command", "agent-command",
                                   "stall-limit", "tls-dir",   "nbd-ports", NULL};

void vmig_config_free(VmigConfig *config)
{
    if (config == NULL)
        return;
    g_strfreev(config->image_roots);
    g_free(config->state_dir);
    g_free(config->run_dir);
    g_free(config->ssh_command);
    g_free(config->agent_command);
    g_free(config->tls_dir);
    g_free(config);
}

static VmigConfig *defaults(void)
{
    static const char *const roots[] = {"/var/lib/libvirt/images", "/srv", "/mnt", "/media", "/opt", NULL};
    VmigConfig *config = g_new0(VmigConfig, 1);

    config->image_roots = g_strdupv((char **)roots);
    config->state_dir = g_strdup("/var/lib/vmig-snap");
    config->run_dir = g_strdup("/run/vmig-snap");
    config->ssh_command = g_strdup("ssh");
    config->agent_command = g_strdup("vmig-snap agent");
    config->stall_limit = STALL_LIMIT;
    config->tls_dir = g_strdup("/etc/pki/qemu");
    config->first_port = 49500;
    config->last_port = 49563;
    return config;
}

/* GKeyFile lets the last of two equal keys win, and merges two groups with the same name. */
static gboolean check_repeated(const char *text, const char *path, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; lines[i] != NULL; i++) {
        char *line = g_strstrip(lines[i]);
        char *equals = strchr(line, '=');
        if (*line == '#' || *line == '\0')
            continue;
        if (equals != NULL && *line != '[')
            *equals = '\0';
        if (!g_hash_table_add(seen, g_strchomp(line)))
            return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "%s, line %u: '%s' is given twice", path, i + 1, line);
    }
    return TRUE;
}

static gboolean check_names(GKeyFile *file, const char *path, GError **error)
{
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);

    for (guint i = 0; groups[i] != NULL; i++)
        if (!g_str_equal(groups[i], GROUP))
            return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "%s: unknown group [%s]", path, groups[i]);
    if (groups[0] == NULL)
        return TRUE;
    g_auto(GStrv) names = g_key_file_get_keys(file, GROUP, NULL, NULL);
    for (guint i = 0; names != NULL && names[i] != NULL; i++)
        if (!g_strv_contains(keys, names[i]))
            return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "%s: unknown key '%s'", path, names[i]);
    return TRUE;
}

static gboolean check_value(const char *value, const char *key, gboolean is_path, const char *path, GError **error)
{
    if (is_path && !vmig_path_check(value, error)) {
        g_prefix_error(error, "%s: %s: ", path, key);
        return FALSE;
    }
    if (*value == '\0' || *value == '-')
        return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "%s: '%s' is not a value of %s", path, value, key);
    return TRUE;
}

static gboolean take_text(GKeyFile *file, const char *key, gboolean is_path, char **ret, const char *path,
                          GError **error)
{
    if (!g_key_file_has_key(file, GROUP, key, NULL))
        return TRUE;
    g_autofree char *value = g_key_file_get_string(file, GROUP, key, error);
    if (value == NULL) {
        vmig_error_adopt(error, VMIG_ERROR_USAGE);
        return FALSE;
    }
    if (!check_value(value, key, is_path, path, error))
        return FALSE;
    g_free(*ret);
    *ret = g_steal_pointer(&value);
    return TRUE;
}

static gboolean take_roots(GKeyFile *file, char ***ret, const char *path, GError **error)
{
    if (!g_key_file_has_key(file, GROUP, "image-roots", NULL))
        return TRUE;
    g_auto(GStrv) roots = g_key_file_get_string_list(file, GROUP, "image-roots", NULL, error);
    if (roots == NULL) {
        vmig_error_adopt(error, VMIG_ERROR_USAGE);
        return FALSE;
    }
    for (guint i = 0; roots[i] != NULL; i++)
        if (!check_value(g_strstrip(roots[i]), "image-roots", TRUE, path, error))
            return FALSE;
    if (roots[0] == NULL)
        return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "%s: image-roots is empty", path);
    g_strfreev(*ret);
    *ret = g_steal_pointer(&roots);
    return TRUE;
}

static gboolean take_seconds(GKeyFile *file, const char *key, guint least, guint most, guint *ret, const char *path,
                             GError **error)
{
    g_autofree char *value = g_key_file_get_string(file, GROUP, key, NULL);
    guint64 number = 0;

    if (value == NULL)
        return TRUE;
    if (!g_ascii_string_to_unsigned(value, 10, least, most, &number, NULL))
        return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "%s: %s: '%s' is not a number of seconds from %u to %u", path,
                         key, value, least, most);
    *ret = (guint)number;
    return TRUE;
}

/* "FIRST-LAST", or a single port. */
static gboolean take_ports(GKeyFile *file, VmigConfig *config, const char *path, GError **error)
{
    g_autofree char *value = NULL;
    guint64 first = 0, last = 0;

    if (!take_text(file, "nbd-ports", FALSE, &value, path, error))
        return FALSE;
    if (value == NULL)
        return TRUE;
    g_auto(GStrv) parts = g_strsplit(value, "-", 2);
    if (!vmig_count_parse(parts[0], 1024, 65535, &first, error) ||
        !vmig_count_parse(parts[1] != NULL ? parts[1] : parts[0], first, 65535, &last, error)) {
        g_prefix_error(error, "%s: nbd-ports: ", path);
        return FALSE;
    }
    config->first_port = (guint)first;
    config->last_port = (guint)last;
    return TRUE;
}

static gboolean parse(VmigConfig *config, const char *text, const char *path, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();

    if (!g_key_file_load_from_data(file, text, (gsize)-1, G_KEY_FILE_NONE, error)) {
        vmig_error_adopt(error, VMIG_ERROR_USAGE);
        g_prefix_error(error, "%s: ", path);
        return FALSE;
    }
    return check_repeated(text, path, error) && check_names(file, path, error) &&
           take_roots(file, &config->image_roots, path, error) &&
           take_text(file, "state-dir", TRUE, &config->state_dir, path, error) &&
           take_text(file, "run-dir", TRUE, &config->run_dir, path, error) &&
           take_text(file, "ssh-command", FALSE, &config->ssh_command, path, error) &&
           take_text(file, "agent-command", FALSE, &config->agent_command, path, error) &&
           take_seconds(file, "stall-limit", STALL_LEAST, STALL_MOST, &config->stall_limit, path, error) &&
           take_text(file, "tls-dir", TRUE, &config->tls_dir, path, error) && take_ports(file, config, path, error);
}

VmigConfig *vmig_config_load(const char *path, GError **error)
{
    g_autoptr(VmigConfig) config = defaults();
    const char *name = path != NULL ? path : VMIG_CONFIG_PATH;
    g_autoptr(GError) why = NULL;
    g_autofree char *text = vmig_trusted_read(name, &why);

    if (why != NULL) {
        g_propagate_error(error, g_steal_pointer(&why));
        return NULL;
    }
    return text == NULL || parse(config, text, name, error) ? g_steal_pointer(&config) : NULL;
}

gboolean vmig_config_check_user(const VmigConfig *config, GError **error)
{
    g_autofree char *parent = g_path_get_dirname(config->state_dir);
    struct stat st;
    gboolean exists = stat(config->state_dir, &st) == 0;

    return geteuid() == 0 || (exists ? st.st_uid == geteuid() : access(parent, W_OK) == 0) ||
           vmig_fail(error, VMIG_ERROR_NOT_AUTHORIZED,
                     "Run it as root: sudo vmig-snap ..., or pkexec vmig-snap ... where polkit permits it.",
                     "vmig-snap needs root: it locks, copies and removes the guests' images, and %s is root's",
                     config->state_dir);
}

static char *folder_of(GKeyFile *file, const char *key, const char *otherwise)
{
    g_autofree char *value = g_key_file_get_string(file, GROUP, key, NULL);

    return value != NULL && g_path_is_absolute(value) ? g_steal_pointer(&value) : g_strdup(otherwise);
}

gboolean vmig_config_load_folders(const char *path, char **state_dir, char **run_dir, GError **error)
{
    g_autoptr(VmigConfig) config = defaults();
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) why = NULL;
    g_autofree char *text = vmig_trusted_read(path, &why);

    if (text != NULL && !g_key_file_load_from_data(file, text, (gsize)-1, G_KEY_FILE_NONE, &why)) {
        g_prefix_error(&why, "%s: ", path);
        vmig_error_adopt(&why, VMIG_ERROR_USAGE);
    }
    if (why != NULL) {
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    *state_dir = folder_of(file, "state-dir", config->state_dir);
    *run_dir = folder_of(file, "run-dir", config->run_dir);
    return TRUE;
}
