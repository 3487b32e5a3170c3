/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/libvirt/orphan-qemu.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/file-id.h"
#include "definition/xml.h"
#include "os/json-read.h"

#define ARGUMENTS_LIMIT (1024 * 1024)
/* QEMU sends a greeting at once to the only client of its monitor, and nothing to a second one. */
#define MONITOR_LIMIT_MS 5000
#define REPLY_LIMIT (64 * 1024)
#define END_LIMIT_MS 20000

typedef int Fd;

static void fd_close(Fd fd)
{
    close(fd);
}
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(Fd, fd_close, -1)

void vmig_orphan_clear(VmigOrphan *orphan)
{
    g_clear_pointer(&orphan->why, g_free);
}

static gboolean unclear(VmigOrphan *ret, const char *why)
{
    ret->kind = VMIG_ORPHAN_UNCLEAR;
    g_free(ret->why);
    ret->why = g_strdup(why);
    return TRUE;
}

/* --- the process --- */

/* 0: libvirt has no such file. */
static gint64 read_pid(const char *run_dir, const char *name)
{
    g_autofree char *file = g_strconcat(name, ".pid", NULL);
    g_autofree char *path = g_build_filename(run_dir, file, NULL);
    g_autofree char *text = NULL;
    gint64 pid = 0;

    if (!g_file_get_contents(path, &text, NULL, NULL) ||
        !g_ascii_string_to_signed(g_strstrip(text), 10, 2, G_MAXINT, &pid, NULL))
        return 0;
    return pid;
}

/* TRUE if "-uuid" and this UUID are consecutive arguments of the process. */
static gboolean is_of_guest(gint64 pid, const char *uuid)
{
    g_autofree char *path = g_strdup_printf("/proc/%" G_GINT64_FORMAT "/cmdline", pid);
    g_autofree char *line = NULL;
    gboolean after = FALSE;
    gsize length = 0;

    if (!g_file_get_contents(path, &line, &length, NULL) || length > ARGUMENTS_LIMIT)
        return FALSE;
    for (gsize at = 0; at < length; at += strlen(line + at) + 1) {
        if (after && g_ascii_strcasecmp(line + at, uuid) == 0)
            return TRUE;
        after = strcmp(line + at, "-uuid") == 0;
    }
    return FALSE;
}

/* TRUE if the process has one of these files open. */
static gboolean has_open(gint64 pid, char *const *files)
{
    g_autofree char *folder = g_strdup_printf("/proc/%" G_GINT64_FORMAT "/fd", pid);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *link = g_build_filename(folder, name, NULL);
        struct stat open, wanted;
        for (guint i = 0; stat(link, &open) == 0 && files[i] != NULL; i++)
            if (stat(files[i], &wanted) == 0 && vmig_file_id_equal(VMIG_FILE_ID(wanted), VMIG_FILE_ID(open)))
                return TRUE;
    }
    return FALSE;
}

static gboolean has_all_open(gint64 pid, GPtrArray *disks)
{
    for (guint i = 0; i < disks->len; i++)
        if (!has_open(pid, disks->pdata[i]))
            return FALSE;
    return disks->len > 0;
}

/* --- its monitor --- */

/* The monitor's path from libvirt's state file, which this can parse although libvirt cannot; NULL if the PID differs.
 */
static char *find_monitor(const char *run_dir, const char *name, const char *uuid, gint64 pid)
{
    g_autofree char *file = g_strconcat(name, ".xml", NULL);
    g_autofree char *path = g_build_filename(run_dir, file, NULL);
    g_autofree char *text = NULL;

    g_autoptr(VmigXml) xml = g_file_get_contents(path, &text, NULL, NULL) ? vmig_xml_parse(text, path, NULL) : NULL;
    if (xml == NULL)
        return NULL;
    xmlNode *root = xmlDocGetRootElement(xml->doc);
    g_autofree char *whose = vmig_xml_child_text(vmig_xml_child(root, "domain"), "uuid");
    g_autofree char *number = vmig_xml_attr(root, "pid");
    g_autofree char *right = g_strdup_printf("%" G_GINT64_FORMAT, pid);
    if (!vmig_xml_is(root, "domstatus") || whose == NULL || g_ascii_strcasecmp(whose, uuid) != 0 ||
        g_strcmp0(number, right) != 0)
        return NULL;
    return vmig_xml_child_attr(root, "monitor", "path");
}

static Fd connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    Fd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || g_strlcpy(address.sun_path, path, sizeof address.sun_path) >= sizeof address.sun_path ||
        connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

/* The next line, or NULL on timeout. */
static JsonObject *read_line(Fd fd, GString *buffer, gint64 until)
{
    for (;;) {
        const char *end = memchr(buffer->str, '\n', buffer->len);
        if (end != NULL) {
            gsize length = (gsize)(end - buffer->str);
            JsonObject *object = vmig_json_parse(buffer->str, length > 0 ? length - (end[-1] == '\r') : 0, NULL);
            g_string_erase(buffer, 0, (gssize)length + 1);
            return object;
        }
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        gint64 left = (until - g_get_monotonic_time()) / 1000;
        char part[4096];
        if (left <= 0 || buffer->len > REPLY_LIMIT || poll(&wait, 1, (int)left + 1) <= 0)
            return NULL;
        gssize got = read(fd, part, sizeof part);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return NULL;
        if (got > 0)
            g_string_append_len(buffer, part, got);
    }
}

/* The reply to one command; skips events that arrive before it. */
static JsonObject *execute(Fd fd, GString *buffer, const char *command, gint64 until)
{
    g_autofree char *text = g_strdup_printf("{\"execute\":\"%s\"}\n", command);
    gsize length = strlen(text);

    if (send(fd, text, length, MSG_NOSIGNAL) != (gssize)length)
        return NULL;
    for (;;) {
        g_autoptr(JsonObject) line = read_line(fd, buffer, until);
        if (line == NULL)
            return NULL;
        if (json_object_has_member(line, "return") || json_object_has_member(line, "error"))
            return g_steal_pointer(&line);
    }
}

/* Returns what is unclear, or NULL with *running set. */
static const char *ask_monitor(const char *path, gboolean *running)
{
    g_auto(Fd) fd = connect_to(path);
    g_autoptr(GString) buffer = g_string_new(NULL);
    gint64 until = g_get_monotonic_time() + MONITOR_LIMIT_MS * G_GINT64_CONSTANT(1000);

    if (fd < 0)
        return "its monitor cannot be reached";
    g_autoptr(JsonObject) greeting = read_line(fd, buffer, until);
    if (greeting == NULL || !json_object_has_member(greeting, "QMP"))
        return "its monitor does not answer: another program is connected to it";
    g_autoptr(JsonObject) able = execute(fd, buffer, "qmp_capabilities", until);
    g_autoptr(JsonObject) status = able != NULL ? execute(fd, buffer, "query-status", until) : NULL;
    if (status == NULL)
        return "its monitor does not answer";
    VmigReader reader = vmig_reader(status);
    VmigReader told = vmig_reader(vmig_reader_object(&reader, "return"));
    if (!vmig_reader_end(&reader, NULL, "query-status"))
        return "it does not report whether its CPUs run";
    *running = vmig_reader_flag(&told, "running");
    return vmig_reader_end(&told, NULL, "query-status") ? NULL : "it does not report whether its CPUs run";
}

/* --- both --- */

/* Call with the pidfd open, so that the PID cannot be reused. */
static gboolean look(const char *run_dir, const char *name, const char *uuid, GPtrArray *disks, gint64 pid,
                     VmigOrphan *ret)
{
    gboolean running = TRUE;

    ret->pid = pid;
    if (!is_of_guest(pid, uuid))
        return TRUE;
    if (!has_all_open(pid, disks))
        return unclear(ret, "it does not have all disks of the job open");
    g_autofree char *monitor = find_monitor(run_dir, name, uuid, pid);
    if (monitor == NULL)
        return unclear(ret, "libvirt's state file does not name its monitor");
    const char *why = ask_monitor(monitor, &running);
    if (why != NULL)
        return unclear(ret, why);
    ret->kind = running ? VMIG_ORPHAN_RUNNING : VMIG_ORPHAN_SUSPENDED;
    return TRUE;
}

/* *fd: the pidfd, -1 if there is no process. */
static gboolean find(const char *run_dir, const char *name, const char *uuid, GPtrArray *disks, Fd *fd, VmigOrphan *ret,
                     GError **error)
{
    *fd = -1;
    *ret = (VmigOrphan){.kind = VMIG_ORPHAN_NONE};
    if (strchr(name, '/') != NULL)
        return vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "the name of a domain must not contain \"/\"");
    gint64 pid = read_pid(run_dir, name);
    if (pid == 0)
        return TRUE;
    *fd = pidfd_open((pid_t)pid, 0);
    if (*fd < 0)
        return errno == ESRCH || vmig_fail_errno(error, errno, "cannot query process %" G_GINT64_FORMAT, pid);
    return look(run_dir, name, uuid, disks, pid, ret);
}

gboolean vmig_orphan_look(const char *run_dir, const char *name, const char *uuid, GPtrArray *disks, VmigOrphan *ret,
                          GError **error)
{
    g_auto(Fd) fd = -1;

    return find(run_dir, name, uuid, disks, &fd, ret, error);
}

gboolean vmig_orphan_end(const char *run_dir, const char *name, const char *uuid, GPtrArray *disks, GError **error)
{
    g_auto(VmigOrphan) orphan = {0};
    g_auto(Fd) fd = -1;

    if (!find(run_dir, name, uuid, disks, &fd, &orphan, error))
        return FALSE;
    if (orphan.kind == VMIG_ORPHAN_NONE)
        return TRUE;
    if (orphan.kind != VMIG_ORPHAN_SUSPENDED)
        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL,
                         "cannot end QEMU process %" G_GINT64_FORMAT " of '%s': %s", orphan.pid, name,
                         orphan.why != NULL ? orphan.why : "its CPUs run");
    if (pidfd_send_signal(fd, SIGKILL, NULL, 0) != 0 && errno != ESRCH)
        return vmig_fail_errno(error, errno, "cannot end QEMU process %" G_GINT64_FORMAT, orphan.pid);
    /* Its image locks are released with it. */
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, END_LIMIT_MS) > 0)
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "QEMU process %" G_GINT64_FORMAT " of '%s' does not end",
                     orphan.pid, name);
}
