/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "node/source-qemu.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "definition/xml.h"

#define COMMAND_LIMIT (1024 * 1024)

typedef struct {
    gint64 pid;
    gboolean paused;
    gboolean confirmed;
} Status;

static xmlNode *find_job(xmlNode *root)
{
    xmlNode *job = vmig_xml_child(root, "job");

    while (job != NULL && !vmig_xml_attr_is(job, "async", "migration out"))
        job = vmig_xml_next(job);
    return job;
}

/* FALSE with no error: libvirt runs no such guest. */
static gboolean read_status(const char *folder, const char *name, const char *uuid, Status *ret, GError **error)
{
    g_autofree char *file = g_strconcat(name, ".xml", NULL);
    g_autofree char *path = g_build_filename(folder, file, NULL);
    g_autofree char *text = NULL;
    g_autoptr(GError) failure = NULL;

    if (strchr(name, '/') != NULL)
        return vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "the name of a domain must not contain \"/\"");
    if (!g_file_get_contents(path, &text, NULL, &failure)) {
        if (g_error_matches(failure, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return FALSE;
        return vmig_fail(error, VMIG_ERROR_IO, NULL, "%s", failure->message);
    }
    g_autoptr(VmigXml) xml = vmig_xml_parse(text, path, error);
    if (xml == NULL)
        return FALSE;
    xmlNode *root = xmlDocGetRootElement(xml->doc);
    xmlNode *job = find_job(root);
    g_autofree char *whose = vmig_xml_child_text(vmig_xml_child(root, "domain"), "uuid");
    g_autofree char *pid = vmig_xml_attr(root, "pid");
    if (!vmig_xml_is(root, "domstatus") || g_strcmp0(whose, uuid) != 0 || pid == NULL ||
        !g_ascii_string_to_signed(pid, 10, 2, G_MAXINT, &ret->pid, NULL))
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "%s does not belong to the guest %s", path, uuid);
    ret->paused = vmig_xml_attr_is(root, "state", "paused");
    ret->confirmed = job != NULL && vmig_xml_attr_is(job, "phase", "confirm3");
    return TRUE;
}

/* The PID may belong to another process by now. A process with the guest's UUID in its arguments is its QEMU. */
static gboolean is_qemu_of(gint64 pid, const char *uuid)
{
    g_autofree char *path = g_strdup_printf("/proc/%" G_GINT64_FORMAT "/cmdline", pid);
    g_autofree char *line = NULL;
    gsize length = 0;

    return g_file_get_contents(path, &line, &length, NULL) && length < COMMAND_LIMIT &&
           memmem(line, length, uuid, strlen(uuid)) != NULL;
}

/* FALSE without an error: it is gone. */
static gboolean kill_qemu(gint64 pid, const char *uuid, GError **error)
{
    int fd = pidfd_open((pid_t)pid, 0);
    gboolean ok = FALSE;

    if (fd < 0 && errno == ESRCH)
        return FALSE;
    if (fd < 0)
        return vmig_fail_errno(error, errno, "cannot query process %" G_GINT64_FORMAT, pid);
    /* Checked after the pidfd was opened: from then on it cannot refer to another process. */
    if (is_qemu_of(pid, uuid)) {
        ok = pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0;
        if (!ok && errno != ESRCH)
            vmig_fail_errno(error, errno, "cannot end the QEMU that the guest left on the source");
    }
    close(fd);
    return ok;
}

gboolean vmig_source_qemu_end(const char *folder, const char *name, const char *uuid, VmigLeft *ret, GError **error)
{
    g_autoptr(GError) failure = NULL;
    Status status = {0};

    *ret = VMIG_LEFT_GONE;
    if (read_status(folder, name, uuid, &status, &failure)) {
        if (status.confirmed) {
            *ret = VMIG_LEFT_ENDING;
            return TRUE;
        }
        if (!status.paused)
            return vmig_fail(error, VMIG_ERROR_CONTRADICTION,
                             "Do not start or resume the guest on any host; check both hosts (virsh list).",
                             "'%s' runs on this host although it was given to the other host", name);
        if (kill_qemu(status.pid, uuid, &failure))
            *ret = VMIG_LEFT_KILLED;
    }
    if (failure == NULL)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
}
