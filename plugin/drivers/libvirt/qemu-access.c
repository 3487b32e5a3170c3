/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A child process switches to QEMU's user and checks each folder of the path. So the kernel decides, including ACLs and
 * network file systems. libvirt starts QEMU as that user, without capabilities (clear_emulator_capabilities,
 * virCommandHook). */
#include "drivers/libvirt/qemu-access.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <pwd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drivers/libvirt/qemu-user.h"

#define MAX_GROUPS 256
#define MAX_PARTS 200
#define ALL_WELL 255
#define NOT_KNOWN 254

typedef struct {
    uid_t uid;
    gid_t gid;
    gid_t groups[MAX_GROUPS];
    int n_groups;
    gboolean drop;    /* for root without capabilities */
    GPtrArray *parts; /* "/", "/a", "/a/b": the path and all folders above it */
} Question;

static gboolean read_user(const char *conf_path, Question *q)
{
    g_autofree char *clear = vmig_qemu_conf_value(conf_path, "clear_emulator_capabilities");
    char buffer[16384];
    struct passwd entry, *found = NULL;

    if (!vmig_qemu_user(conf_path, &q->uid, &q->gid, NULL))
        return FALSE;
    (void)vmig_qemu_group(conf_path, &q->gid);
    q->drop = g_strcmp0(clear, "0") != 0;
    q->groups[0] = q->gid;
    q->n_groups = 1;
    if (getpwuid_r(q->uid, &entry, buffer, sizeof buffer, &found) != 0 || found == NULL)
        return TRUE;
    q->n_groups = MAX_GROUPS;
    return getgrouplist(entry.pw_name, q->gid, q->groups, &q->n_groups) >= 0;
}

static GPtrArray *parts_of(const char *path)
{
    GPtrArray *parts = g_ptr_array_new_with_free_func(g_free);

    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/'))
        g_ptr_array_add(parts, g_strndup(path, (gsize)(slash - path)));
    g_ptr_array_add(parts, g_strdup(path));
    return parts;
}

/* Runs in the child of a threaded process: raw system calls only, because glibc's setuid() and the like act on all
 * threads. */
static int look(const Question *q)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    struct stat st;

    if (syscall(SYS_setgroups, q->n_groups, q->groups) != 0 || syscall(SYS_setresgid, q->gid, q->gid, q->gid) != 0 ||
        syscall(SYS_setresuid, q->uid, q->uid, q->uid) != 0)
        return NOT_KNOWN;
    if (q->drop && syscall(SYS_capset, &header, none) != 0)
        return NOT_KNOWN;
    for (guint i = 0; i < q->parts->len; i++)
        if (stat(q->parts->pdata[i], &st) != 0)
            return errno == EACCES ? (int)i : NOT_KNOWN;
    return ALL_WELL;
}

static int ask_child(const Question *q)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0)
        _exit(look(q));
    if (child < 0)
        return NOT_KNOWN;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return NOT_KNOWN;
    return WIFEXITED(status) ? WEXITSTATUS(status) : NOT_KNOWN;
}

char *vmig_qemu_access_denied(const char *conf_path, const char *path)
{
    Question q = {0};

    if (*path != '/' || geteuid() != 0 || !read_user(conf_path, &q))
        return NULL;
    g_autoptr(GPtrArray) parts = parts_of(path);
    q.parts = parts;
    int answer = parts->len <= MAX_PARTS ? ask_child(&q) : NOT_KNOWN;
    if (answer == ALL_WELL || answer == NOT_KNOWN || (guint)answer >= parts->len)
        return NULL;
    g_autofree char *folder = g_path_get_dirname(parts->pdata[answer]);
    return g_strdup_printf("QEMU's user (uid %u) has no access to the directory %s there", (guint)q.uid, folder);
}

static gboolean takes_no_writes(int fd)
{
    struct stat st;
    struct statvfs fs;
    int read_only = 0;

    if (fstat(fd, &st) != 0)
        return FALSE;
    if (S_ISBLK(st.st_mode))
        return ioctl(fd, BLKROGET, &read_only) == 0 && read_only != 0;
    return S_ISREG(st.st_mode) && fstatvfs(fd, &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0;
}

gboolean vmig_qemu_access_read_only(const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    gboolean answer = fd >= 0 && takes_no_writes(fd);

    if (fd >= 0)
        close(fd);
    return answer;
}
