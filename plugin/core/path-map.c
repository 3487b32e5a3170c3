/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/path-map.h"

#include <limits.h>
#include <string.h>

#include "core/errors.h"
#include "core/names.h"

#define JOB_ID_LENGTH 16

typedef struct {
    char *from; /* a target, or a directory without a trailing slash ("" is the root) */
    char *to;   /* a file, or a directory in the same form */
} Rule;

struct VmigPathMap {
    GPtrArray *targets; /* Rule */
    GPtrArray *dirs;    /* Rule */
};

static void rule_free(gpointer data)
{
    Rule *rule = data;

    g_free(rule->from);
    g_free(rule->to);
    g_free(rule);
}

VmigPathMap *vmig_path_map_new(void)
{
    VmigPathMap *map = g_new0(VmigPathMap, 1);

    map->targets = g_ptr_array_new_with_free_func(rule_free);
    map->dirs = g_ptr_array_new_with_free_func(rule_free);
    return map;
}

void vmig_path_map_free(VmigPathMap *map)
{
    g_ptr_array_unref(map->targets);
    g_ptr_array_unref(map->dirs);
    g_free(map);
}

/* What is wrong with a path, or NULL. */
static const char *path_fault(const char *path)
{
    if (path == NULL || *path == '\0')
        return "is empty";
    gsize length = strlen(path);
    if (length >= PATH_MAX)
        return "is longer than 4095 bytes";
    if (!g_utf8_validate(path, (gssize)length, NULL))
        return "is not UTF-8";
    if (path[0] != '/')
        return "is not absolute";
    if (path[length - 1] == '/')
        return "ends in a slash";
    for (const char *p = path; *p != '\0'; p = g_utf8_next_char(p))
        if (g_unichar_iscntrl(g_utf8_get_char(p)))
            return "contains a control character";
    g_auto(GStrv) parts = g_strsplit(path + 1, "/", -1);
    for (guint i = 0; parts[i] != NULL; i++) {
        if (*parts[i] == '\0')
            return "contains '//'";
        if (strcmp(parts[i], ".") == 0 || strcmp(parts[i], "..") == 0)
            return "contains '.' or '..'";
        if (strlen(parts[i]) > NAME_MAX)
            return "has a part of more than 255 bytes";
    }
    return NULL;
}

gboolean vmig_path_check(const char *path, GError **error)
{
    const char *fault = path_fault(path);

    if (fault == NULL)
        return TRUE;
    g_autofree char *shown = vmig_text_escape(path, -1);
    return vmig_fail(error, VMIG_ERROR_BAD_PATH, "Use a plain absolute path.", "the path '%s' %s", shown, fault);
}

static Rule *find_rule(GPtrArray *rules, const char *from)
{
    for (guint i = 0; i < rules->len; i++) {
        Rule *rule = rules->pdata[i];
        if (strcmp(rule->from, from) == 0)
            return rule;
    }
    return NULL;
}

static gboolean add_rule(GPtrArray *rules, const char *option, char *from, char *to, GError **error)
{
    Rule *rule = g_new0(Rule, 1);

    rule->from = from;
    rule->to = to;
    if (find_rule(rules, from) != NULL) {
        g_autofree char *shown = vmig_text_escape(from, -1);
        rule_free(rule);
        return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "%s is given twice for '%s'", option, shown);
    }
    g_ptr_array_add(rules, rule);
    return TRUE;
}

static gboolean fail_form(GError **error, const char *option, const char *form, const char *text)
{
    g_autofree char *shown = vmig_text_escape(text, -1);

    return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "%s needs %s, not '%s'", option, form, shown);
}

gboolean vmig_path_map_add_target(VmigPathMap *map, const char *text, GError **error)
{
    const char *equals = strchr(text, '=');

    if (equals == NULL || equals == text)
        return fail_form(error, "--map", "TARGET=PATH", text);
    if (!vmig_path_check(equals + 1, error))
        return FALSE;
    return add_rule(map->targets, "--map", g_strndup(text, (gsize)(equals - text)), g_strdup(equals + 1), error);
}

/* Returns the directory without trailing slashes, "" for the root; NULL with the error set if it is invalid. */
static char *take_dir(const char *text, gsize length, GError **error)
{
    g_autofree char *dir = g_strndup(text, length);

    while (length > 1 && dir[length - 1] == '/')
        dir[--length] = '\0';
    if (strcmp(dir, "/") == 0)
        return g_strdup("");
    return vmig_path_check(dir, error) ? g_steal_pointer(&dir) : NULL;
}

gboolean vmig_path_map_add_dir(VmigPathMap *map, const char *text, GError **error)
{
    const char *equals = strstr(text, "=/");

    /* A directory name may contain '='. The separator is the '=' before a slash. */
    if (equals == NULL)
        equals = strchr(text, '=');
    if (equals == NULL)
        return fail_form(error, "--map-dir", "OLD=NEW", text);
    g_autofree char *from = take_dir(text, (gsize)(equals - text), error);
    if (from == NULL)
        return FALSE;
    g_autofree char *to = take_dir(equals + 1, strlen(equals + 1), error);
    if (to == NULL)
        return FALSE;
    return add_rule(map->dirs, "--map-dir", g_steal_pointer(&from), g_steal_pointer(&to), error);
}

char *vmig_path_map_apply(const VmigPathMap *map, const char *target, const char *path)
{
    const Rule *exact = target == NULL ? NULL : find_rule(map->targets, target);
    const Rule *best = NULL;

    if (exact != NULL)
        return g_strdup(exact->to);
    for (guint i = 0; i < map->dirs->len; i++) {
        const Rule *rule = map->dirs->pdata[i];
        if ((best == NULL || strlen(rule->from) > strlen(best->from)) && vmig_path_is_below(path, rule->from))
            best = rule;
    }
    return best == NULL ? g_strdup(path) : g_strconcat(best->to, path + strlen(best->from), NULL);
}

GPtrArray *vmig_path_map_targets(const VmigPathMap *map)
{
    GPtrArray *targets = g_ptr_array_new();

    for (guint i = 0; i < map->targets->len; i++)
        g_ptr_array_add(targets, ((Rule *)map->targets->pdata[i])->from);
    return targets;
}

gboolean vmig_path_is_below(const char *path, const char *root)
{
    gsize length = strlen(root);

    while (length > 0 && root[length - 1] == '/')
        length--;
    return strncmp(path, root, length) == 0 && path[length] == '/' && path[length + 1] != '\0';
}

gboolean vmig_job_id_is_valid(const char *id)
{
    return id != NULL && strlen(id) == JOB_ID_LENGTH && strspn(id, "0123456789abcdef") == JOB_ID_LENGTH;
}

/* <directory>/<before><name><after>. A name that does not fit is cut and made unique by a hash of the whole name. */
static char *sibling(const char *path, const char *before, const char *name, const char *after)
{
    g_autofree char *folder = g_path_get_dirname(path);
    gsize room = NAME_MAX - strlen(before) - strlen(after);
    g_autofree char *cut = g_strdup(name);

    if (strlen(name) > room) {
        g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, name, -1);
        gsize keep = room - 9;
        /* A byte 10xxxxxx is inside a character: step back to the start of one. */
        while (keep > 0 && ((guchar)cut[keep] & 0xc0) == 0x80)
            keep--;
        g_free(cut);
        cut = g_strdup_printf("%.*s~%.8s", (int)keep, name, hash);
    }
    const char *slash = strcmp(folder, "/") == 0 ? "" : "/";
    return g_strconcat(folder, slash, before, cut, after, NULL);
}

/* Only ".qcow2" is removed: a guest with a.img and a.raw in one directory needs two overlays. */
static char *stem_of(const char *path)
{
    char *name = g_path_get_basename(path);

    if (g_str_has_suffix(name, ".qcow2") && strlen(name) > strlen(".qcow2"))
        name[strlen(name) - strlen(".qcow2")] = '\0';
    return name;
}

char *vmig_overlay_path(const char *base, const char *job_id)
{
    g_autofree char *stem = stem_of(base);
    g_autofree char *after = g_strdup_printf(".vmig-%s.qcow2", job_id);

    return sibling(base, "", stem, after);
}

char *vmig_part_path(const char *dest, const char *job_id)
{
    g_autofree char *name = g_path_get_basename(dest);
    g_autofree char *after = g_strdup_printf(".vmig-%s.part", job_id);

    return sibling(dest, ".", name, after);
}

char *vmig_hold_path(const char *base, const char *job_id)
{
    g_autofree char *stem = stem_of(base);
    g_autofree char *after = g_strdup_printf(".vmig-%s-hold.qcow2", job_id);

    return sibling(base, "", stem, after);
}

gboolean vmig_path_is_ours(const char *path, const char *job_id)
{
    if (path_fault(path) != NULL || !vmig_job_id_is_valid(job_id))
        return FALSE;
    const char *name = strrchr(path, '/') + 1;
    g_autofree char *overlay = g_strdup_printf(".vmig-%s.qcow2", job_id);
    g_autofree char *hold = g_strdup_printf(".vmig-%s-hold.qcow2", job_id);
    g_autofree char *part = g_strdup_printf(".vmig-%s.part", job_id);
    /* A part of the base's name always precedes it. */
    if (g_str_has_suffix(name, overlay) && strlen(name) > strlen(overlay))
        return TRUE;
    if (g_str_has_suffix(name, hold) && strlen(name) > strlen(hold))
        return TRUE;
    return name[0] == '.' && g_str_has_suffix(name, part) && strlen(name) > strlen(part) + 1;
}
