/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* qemu-storage-daemon: the disks opened as libvirt has QEMU open them (qemu_block.c), an NBD export on each top. */
#include "block.h"

#include <json-glib/json-glib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/errors.h"

char *block_path(const Block *block, const char *kind, guint disk)
{
    /* The job's id is in the name of an overlay: the gate wants it so. */
    if (strcmp(kind, "overlay") == 0)
        return g_strdup_printf("%s/images/disk-%u.vmig-%016" G_GINT64_MODIFIER "x.qcow2", block->folder, disk,
                               block->seed);
    return g_strdup_printf("%s/images/disk-%u.qcow2", block->folder, disk);
}

static struct sockaddr_un address_of(const Block *block, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    g_snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", block->folder, name);
    return address;
}

/* Listens already when the daemon gets it: whoever connects waits for the daemon, and nobody has to look whether it is
 * there yet. */
static int listen_on(const Block *block, const char *name)
{
    struct sockaddr_un address = address_of(block, name);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    unlink(address.sun_path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4) != 0)
        g_error("listening on %s failed", address.sun_path);
    return fd;
}

static void add(GPtrArray *argv, const char *option, const char *format, ...) G_GNUC_PRINTF(3, 4);
static void add(GPtrArray *argv, const char *option, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_ptr_array_add(argv, g_strdup(option));
    g_ptr_array_add(argv, g_strdup_vprintf(format, args));
    va_end(args);
}

static void add_file(GPtrArray *argv, const Block *block, guint disk, const char *kind)
{
    g_autofree char *path = block_path(block, kind, disk);

    if (block->log_folder == NULL) {
        add(argv, "--blockdev", "driver=file,node-name=%s-%u-storage,filename=%s,auto-read-only=on,discard=unmap", kind,
            disk, path);
        return;
    }
    add(argv, "--blockdev", "driver=file,node-name=%s-%u-file,filename=%s", kind, disk, path);
    add(argv, "--blockdev", "driver=file,node-name=%s-%u-log,filename=%s/%s-%u.log", kind, disk, block->log_folder,
        kind, disk);
    add(argv, "--blockdev",
        "driver=blklogwrites,node-name=%s-%u-storage,file=%s-%u-file,log=%s-%u-log,log-sector-size=512,"
        "log-super-update-interval=1",
        kind, disk, kind, disk, kind, disk);
}

static void add_disk(GPtrArray *argv, const Block *block, guint disk, gboolean overlays)
{
    g_autofree char *target = block_target(disk);

    add_file(argv, block, disk, "base");
    add(argv, "--blockdev", "driver=qcow2,node-name=base-%u,file=base-%u-storage,read-only=%s", disk, disk,
        overlays ? "on" : "off");
    if (overlays) {
        add_file(argv, block, disk, "overlay");
        add(argv, "--blockdev", "driver=qcow2,node-name=overlay-%u,file=overlay-%u-storage,backing=base-%u", disk, disk,
            disk);
    }
    add(argv, "--export", "type=nbd,id=export-%u,node-name=%s-%u,name=%s,writable=on", disk,
        overlays ? "overlay" : "base", disk, target);
}

pid_t block_daemon(const Block *block, gboolean overlays)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    int qmp = listen_on(block, "qmp.sock");
    int nbd = listen_on(block, "nbd.sock");
    g_autofree char *log = g_build_filename(block->folder, "daemon.log", NULL);

    g_ptr_array_add(argv, g_strdup("qemu-storage-daemon"));
    add(argv, "--chardev", "socket,id=qmp,fd=%d,server=on,wait=off", qmp);
    add(argv, "--monitor", "chardev=qmp");
    add(argv, "--nbd-server", "addr.type=fd,addr.str=%d,max-connections=0", nbd);
    for (guint i = 0; i < block->n_disks; i++)
        add_disk(argv, block, i, overlays);
    g_ptr_array_add(argv, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (freopen(log, "a", stderr) == NULL)
            _exit(126);
        execvp("qemu-storage-daemon", (char **)argv->pdata);
        _exit(127);
    }
    close(qmp);
    close(nbd);
    return pid;
}

/* One line; NULL where the daemon is gone. */
static char *read_line(int fd)
{
    g_autoptr(GString) line = g_string_new(NULL);
    char c;

    while (read(fd, &c, 1) == 1) {
        if (c == '\n')
            return g_string_free(g_steal_pointer(&line), FALSE);
        g_string_append_c(line, c);
    }
    return NULL;
}

static int qmp_connect(const Block *block)
{
    struct sockaddr_un address = address_of(block, "qmp.sock");
    struct timeval limit = {.tv_sec = 20};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    g_autofree char *greeting = read_line(fd);
    static const char hello[] = "{\"execute\":\"qmp_capabilities\"}\n";
    g_autofree char *answer =
        greeting != NULL && send(fd, hello, strlen(hello), MSG_NOSIGNAL) > 0 ? read_line(fd) : NULL;
    if (answer != NULL)
        return fd;
    close(fd);
    return -1;
}

static gboolean gone(int *fd, GError **error)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    return vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL, "Requested operation is not valid: domain is not running");
}

/* The answer, past events. */
static JsonObject *read_answer(int *fd, JsonParser *parser, GError **error)
{
    for (;;) {
        g_autofree char *line = read_line(*fd);
        if (line == NULL) {
            gone(fd, error);
            return NULL;
        }
        if (!json_parser_load_from_data(parser, line, -1, error))
            return NULL;
        JsonObject *object = json_node_get_object(json_parser_get_root(parser));
        if (!json_object_has_member(object, "event"))
            return object;
    }
}

JsonNode *block_qmp(int *fd, const Block *block, const char *command, GError **error)
{
    g_autofree char *line = g_strconcat(command, "\n", NULL);
    g_autoptr(JsonParser) parser = json_parser_new();

    if (*fd < 0)
        *fd = qmp_connect(block);
    if (*fd < 0 || send(*fd, line, strlen(line), MSG_NOSIGNAL) < 0) {
        gone(fd, error);
        return NULL;
    }
    JsonObject *answer = read_answer(fd, parser, error);
    if (answer == NULL)
        return NULL;
    if (json_object_has_member(answer, "return"))
        return json_node_copy(json_object_get_member(answer, "return"));
    JsonObject *why = json_object_get_object_member(answer, "error");
    vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL, "%s: %s", command, json_object_get_string_member(why, "desc"));
    return NULL;
}
