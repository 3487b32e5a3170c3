/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user that QEMU runs as, and access to a folder for its sockets. */
#include "drivers/libvirt/qemu-user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/acl.h"

/* Like libvirt's own parser (virconf.c): one assignment per line, the last one wins. */
char *vmig_qemu_conf_value(const char *path, const char *key)
{
    g_autofree char *text = NULL;
    g_autofree char *value = NULL;
    g_autofree char *pattern = g_strdup_printf("^\\s*%s\\s*=\\s*(?:[\"']([^\"']*)[\"']|(\\d+))\\s*(#.*)?$", key);

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return NULL;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(GRegex) regex = g_regex_new(pattern, 0, 0, NULL);
    for (guint i = 0; lines[i] != NULL; i++) {
        g_autoptr(GMatchInfo) match = NULL;
        if (!g_regex_match(regex, lines[i], 0, &match))
            continue;
        g_autofree char *quoted = g_match_info_fetch(match, 1);
        g_free(value);
        value = quoted != NULL && *quoted != '\0' ? g_steal_pointer(&quoted) : g_match_info_fetch(match, 2);
    }
    return g_steal_pointer(&value);
}

static gboolean look_up(const char *name, uid_t *uid, gid_t *gid)
{
    char buffer[16384];
    struct passwd entry, *found = NULL;
    guint64 number = 0;

    /* "+0" is always a UID for libvirt, whatever user names exist (virGetUserID). */
    if (*name == '+') {
        if (!g_ascii_string_to_unsigned(name + 1, 10, 0, G_MAXUINT32 - 1, &number, NULL))
            return FALSE;
        *uid = (uid_t)number;
        *gid = getpwuid_r(*uid, &entry, buffer, sizeof buffer, &found) == 0 && found != NULL ? entry.pw_gid : 0;
        return TRUE;
    }
    if (getpwnam_r(name, &entry, buffer, sizeof buffer, &found) != 0 || found == NULL)
        return FALSE;
    *uid = entry.pw_uid;
    *gid = entry.pw_gid;
    return TRUE;
}

gboolean vmig_qemu_user(const char *conf_path, uid_t *uid, gid_t *gid, GError **error)
{
    g_autofree char *user = vmig_qemu_conf_value(conf_path, "user");

    *uid = 0;
    *gid = 0;
    if (user != NULL && *user != '\0')
        return look_up(user, uid, gid) ||
               vmig_fail(error, VMIG_ERROR_UNSUPPORTED, NULL, "%s: there is no user '%s'", conf_path, user);
    if (!look_up("libvirt-qemu", uid, gid))
        (void)look_up("qemu", uid, gid);
    return TRUE;
}

static gboolean look_up_group(const char *name, gid_t *gid)
{
    char buffer[16384];
    struct group entry, *found = NULL;

    if (getgrnam_r(name, &entry, buffer, sizeof buffer, &found) != 0 || found == NULL)
        return FALSE;
    *gid = entry.gr_gid;
    return TRUE;
}

gboolean vmig_qemu_group(const char *conf_path, gid_t *gid)
{
    g_autofree char *name = vmig_qemu_conf_value(conf_path, "group");
    guint64 number = 0;

    if (name == NULL || *name == '\0') {
        if (!look_up_group("libvirt-qemu", gid))
            (void)look_up_group("qemu", gid);
        return TRUE;
    }
    if (*name != '+' && look_up_group(name, gid))
        return TRUE;
    if (!g_ascii_string_to_unsigned(name + (*name == '+'), 10, 0, G_MAXUINT32 - 1, &number, NULL))
        return FALSE;
    *gid = (gid_t)number;
    return TRUE;
}

gboolean vmig_qemu_user_give(const char *conf_path, int fd, const char *path, guint mode, GError **error)
{
    g_autofree char *dynamic = vmig_qemu_conf_value(conf_path, "dynamic_ownership");
    uid_t uid = 0;
    gid_t gid = 0;

    if (fchmod(fd, (mode & 0664) | 0600) != 0)
        return vmig_fail_errno(error, errno, "cannot set the mode of '%s'", path);
    if (g_strcmp0(dynamic, "0") != 0)
        return TRUE;
    if (!vmig_qemu_user(conf_path, &uid, &gid, error))
        return FALSE;
    if (!vmig_qemu_group(conf_path, &gid))
        return vmig_fail(error, VMIG_ERROR_UNSUPPORTED, NULL, "%s names a group that does not exist", conf_path);
    return fchown(fd, uid, gid) == 0 || vmig_fail_errno(error, errno, "cannot give '%s' to QEMU's user", path);
}

gboolean vmig_qemu_user_admit(int folder_fd, uid_t uid, gid_t gid, GError **error)
{
    g_autofree char *folder = g_strdup_printf("/proc/self/fd/%d", folder_fd);

    if (fchmod(folder_fd, 01711) != 0)
        return vmig_fail_errno(error, errno, "cannot set the mode of a directory for sockets");
    if (uid == geteuid() || uid == 0 ||
        vmig_acl_set(folder, &(VmigAcl){.user = uid, .owner = 7, .its = 7, .others = 1}) == 0)
        return TRUE;
    if (errno != EOPNOTSUPP)
        return vmig_fail_errno(error, errno, "cannot give user %u access to a directory for sockets", (guint)uid);
    if (fchown(folder_fd, (uid_t)-1, gid) != 0 || fchmod(folder_fd, 01731) != 0)
        return vmig_fail_errno(error, errno, "cannot give group %u access to a directory for sockets", (guint)gid);
    return TRUE;
}
