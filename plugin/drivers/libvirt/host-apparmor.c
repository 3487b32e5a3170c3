/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads AppArmor's files as apparmor_parser does, as far as this needs it: one rule or include on a line. */
#include "drivers/libvirt/host-apparmor.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core/errors.h"
#include "drivers/libvirt/qemu-user.h"

#define ABSTRACTION "abstractions/libvirt-qemu"

static const char *or_else(const char *place, const char *usual)
{
    return place != NULL ? place : usual;
}

static char *read_in(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? text : g_strdup("");
}

/* A line that begins with '#' is a comment. */
static gboolean has_rule(const char *text, const char *run_dir)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree char *rule = g_strconcat(run_dir, "/*/ram.sock rw", NULL);

    for (char **line = lines; *line != NULL; line++)
        if (g_str_has_prefix(g_strstrip(*line), rule))
            return TRUE;
    return FALSE;
}

/* "include <x>", "include if exists <x>", and the old form "#include <x>". */
static gboolean includes_rules(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (char **line = lines; *line != NULL; line++) {
        const char *at = g_strstrip(*line);
        if (!g_str_has_prefix(at, "include ") && !g_str_has_prefix(at, "#include "))
            continue;
        if (strstr(at, "<" VMIG_APPARMOR_RULES ">") != NULL || strstr(at, "<abstractions/libvirt-qemu.d>") != NULL)
            return TRUE;
    }
    return FALSE;
}

VmigAppArmor vmig_apparmor_look(const VmigAppArmorPlaces *places, const char *run_dir)
{
    const char *dir = or_else(places->dir, VMIG_APPARMOR_DIR);
    g_autofree char *enabled = NULL;
    g_autofree char *driver =
        vmig_qemu_conf_value(or_else(places->qemu_conf, "/etc/libvirt/qemu.conf"), "security_driver");

    if (!g_file_get_contents(or_else(places->enabled, "/sys/module/apparmor/parameters/enabled"), &enabled, NULL,
                             NULL) ||
        *enabled != 'Y' || g_strcmp0(driver, "none") == 0)
        return VMIG_APPARMOR_OFF;
    g_autofree char *abstraction = read_in(dir, ABSTRACTION);
    g_autofree char *local = read_in(dir, VMIG_APPARMOR_LOCAL);
    g_autofree char *rules = read_in(dir, VMIG_APPARMOR_RULES);
    if (*abstraction == '\0')
        return VMIG_APPARMOR_OFF;
    if (has_rule(local, run_dir))
        return VMIG_APPARMOR_ALLOWS;
    if (!has_rule(rules, run_dir))
        return VMIG_APPARMOR_NO_RULES;
    return includes_rules(abstraction) || includes_rules(local) ? VMIG_APPARMOR_ALLOWS : VMIG_APPARMOR_NOT_INCLUDED;
}

gboolean vmig_apparmor_include(const VmigAppArmorPlaces *places, GError **error)
{
    const char *dir = or_else(places->dir, VMIG_APPARMOR_DIR);
    g_autofree char *path = g_build_filename(dir, VMIG_APPARMOR_LOCAL, NULL);
    g_autofree char *folder = g_path_get_dirname(path);
    g_autofree char *before = read_in(dir, VMIG_APPARMOR_LOCAL);
    gboolean open_line = *before != '\0' && !g_str_has_suffix(before, "\n");
    g_autofree char *line = g_strconcat(open_line ? "\n" : "", VMIG_APPARMOR_LINE "\n", NULL);

    if (g_mkdir_with_parents(folder, 0755) != 0)
        return vmig_fail_errno(error, errno, "cannot create %s", folder);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    gboolean ok = fd >= 0 && write(fd, line, strlen(line)) == (gssize)strlen(line);
    int errnum = errno;
    if (fd >= 0)
        close(fd);
    return ok || vmig_fail_errno(error, errnum, "cannot write %s", path);
}
