/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hook's own small marker files in the run directory. They do not survive a reboot. */
#include "hooks/hook-facts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* In seconds. Between libvirt's calls of `migrate` and `prepare` it only checks XML and runs other hooks. */
#define INCOMING_LIMIT 300

static int open_run_dir(const VmigHookPaths *paths)
{
    /* tmpfiles.d creates it at boot. Without systemd the first process that needs it does. */
    if (mkdir(paths->run_dir, 0700) != 0 && errno != EEXIST)
        return -1;
    return open(paths->run_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static gboolean write_small(const VmigHookPaths *paths, const char *name, const char *text)
{
    gsize length = strlen(text);
    int dir = open_run_dir(paths);
    int fd = dir < 0 ? -1 : openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    gboolean ok = fd >= 0 && write(fd, text, length) == (gssize)length;
    int before = errno;

    if (fd >= 0)
        close(fd);
    if (dir >= 0)
        close(dir);
    errno = before;
    return ok;
}

static gint64 boot_time(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec;
}

static char *incoming_name(const char *uuid)
{
    return g_strconcat("incoming-", uuid, NULL);
}

gboolean vmig_hook_mark_incoming(const VmigHookPaths *paths, const char *uuid, const char *job, GError **error)
{
    g_autofree char *name = incoming_name(uuid);
    g_autofree char *text = g_strdup_printf("%s %" G_GINT64_FORMAT "\n", job, boot_time());

    return write_small(paths, name, text) || vmig_fail_errno(error, errno, "cannot write %s/%s", paths->run_dir, name);
}

gboolean vmig_hook_take_incoming(const VmigHookPaths *paths, const char *uuid, const char *job)
{
    g_autofree char *name = incoming_name(uuid);
    g_autofree char *path = g_build_filename(paths->run_dir, name, NULL);
    char text[64] = {0};
    char id[17] = {0};
    long long when = 0;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return FALSE;
    gboolean ok = read(fd, text, sizeof text - 1) > 0 && sscanf(text, "%16s %lld", id, &when) == 2;
    close(fd);
    gint64 age = boot_time() - when;
    return unlink(path) == 0 && ok && strcmp(id, job) == 0 && age >= 0 && age <= INCOMING_LIMIT;
}

/* The start time of the process (field 22 of proc(5)'s stat), which reveals a reused process number. */
static unsigned long long start_of(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
    g_autofree char *text = NULL;
    unsigned long long start = 0;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return 0;
    const char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at != NULL && sscanf(at, " %llu", &start) == 1 ? start : 0;
}

/* libvirt's other daemons (virtproxyd, virtnetworkd) call the hooks of a daemon too, when they start and end. They run
 * no guests, and the mark is the proof that the one that does has found the hook. */
static gboolean runs_guests(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)pid);
    g_autofree char *name = NULL;

    return !g_file_get_contents(path, &name, NULL, NULL) || !g_str_has_prefix(name, "virt") ||
           g_str_equal(g_strchomp(name), "virtqemud");
}

void vmig_hook_note_seen(const VmigHookPaths *paths, const char *op)
{
    pid_t parent = getppid();
    if (!runs_guests(parent))
        return;
    g_autofree char *line = g_strdup_printf("%d %llu %" G_GINT64_FORMAT " %s\n", (int)parent, start_of(parent),
                                            g_get_real_time() / G_USEC_PER_SEC, op);

    write_small(paths, "hook-seen", line);
}
