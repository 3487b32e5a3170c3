/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The operation lock: an OFD write lock on a file of its own. A POSIX lock would end when the process closes any
 * descriptor of the file, and a child would not inherit it. */
#include "store/oplock.h"

#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/process.h"

struct VmigOpLock {
    int fd;
};

/* The UUID becomes part of a path: only 36 hex digits and dashes are accepted. */
static gboolean check_uuid(const char *uuid, GError **error)
{
    return g_uuid_string_is_valid(uuid) || vmig_fail(error, VMIG_ERROR_BAD_NAME, NULL, "'%s' is not a UUID", uuid);
}

static int open_lock(const char *dir, const char *uuid, gboolean create, GError **error)
{
    /* A single spelling, otherwise two processes would lock two files. */
    g_autofree char *lower = g_ascii_strdown(uuid, -1);
    g_autofree char *name = g_strconcat(lower, ".lock", NULL);
    struct stat st;

    if (create && g_mkdir_with_parents(dir, 0700) < 0) {
        vmig_fail_errno(error, errno, "cannot create the lock directory %s", dir);
        return -1;
    }
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int fd = dir_fd < 0
                 ? -1
                 : openat(dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (create ? O_CREAT : 0), 0600);
    int errnum = errno;
    if (dir_fd >= 0)
        close(dir_fd);
    if (fd < 0) {
        if (create || errnum != ENOENT)
            vmig_fail_errno(error, errnum, "cannot open the lock %s/%s", dir, name);
        return -1;
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1) {
        close(fd);
        vmig_fail(error, VMIG_ERROR_IO, "Find out who created it.", "the lock %s/%s is not a plain file of vmig-snap",
                  dir, name);
        return -1;
    }
    return fd;
}

static JsonObject *read_content(int fd)
{
    char text[1024] = {0};
    gssize n = pread(fd, text, sizeof text - 1, 0);
    g_autoptr(JsonNode) node = n > 0 && g_utf8_validate(text, -1, NULL) ? json_from_string(text, NULL) : NULL;

    return node != NULL && JSON_NODE_HOLDS_OBJECT(node) ? json_node_dup_object(node) : NULL;
}

/* The contents of the file are only for people and may be incomplete: the kernel holds the lock. */
static const char *text_of(JsonObject *content, const char *member)
{
    JsonNode *node = content != NULL ? json_object_get_member(content, member) : NULL;

    return node != NULL && json_node_get_value_type(node) == G_TYPE_STRING ? json_node_get_string(node) : "?";
}

static gint64 number_of(JsonObject *content, const char *member)
{
    JsonNode *node = content != NULL ? json_object_get_member(content, member) : NULL;

    return node != NULL && json_node_get_value_type(node) == G_TYPE_INT64 ? json_node_get_int(node) : 0;
}

static char *describe(int fd)
{
    g_autoptr(JsonObject) content = read_content(fd);
    gint64 since = number_of(content, "since");
    gint64 age = g_get_real_time() / G_USEC_PER_SEC - since;
    g_autoptr(GDateTime) time = since > 0 ? g_date_time_new_from_unix_local(since) : NULL;

    if (time == NULL)
        return g_strdup("an unknown process");
    g_autofree char *when = g_date_time_format(time, "%F %T");
    return g_strdup_printf("job %s as the %s, process %" G_GINT64_FORMAT ", since %s (%" G_GINT64_FORMAT " s ago)",
                           text_of(content, "job"), text_of(content, "role"), number_of(content, "pid"), when,
                           MAX(age, 0));
}

static gboolean write_content(int fd, const char *job_id, const char *role, const char *tool, GError **error)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    g_autoptr(JsonObject) content = json_object_new();

    json_object_set_int_member(content, "pid", getpid());
    json_object_set_string_member(content, "role", role);
    json_object_set_string_member(content, "job", job_id);
    if (tool != NULL)
        json_object_set_string_member(content, "tool", tool);
    json_object_set_int_member(content, "since", g_get_real_time() / G_USEC_PER_SEC);
    json_node_set_object(node, content);
    g_autofree char *text = json_to_string(node, FALSE);
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    gssize length = (gssize)strlen(line);
    if (ftruncate(fd, 0) == 0 && pwrite(fd, line, (gsize)length, 0) == length)
        return TRUE;
    return vmig_fail_errno(error, errno, "cannot write the operation lock of job %s", job_id);
}

VmigOpLock *vmig_oplock_take(const char *dir, const char *uuid, const char *job_id, const char *role, GError **error)
{
    return vmig_oplock_take_for(dir, uuid, job_id, role, NULL, error);
}

VmigOpLock *vmig_oplock_take_for(const char *dir, const char *uuid, const char *job_id, const char *role,
                                 const char *tool, GError **error)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (!check_uuid(uuid, error))
        return NULL;
    int fd = open_lock(dir, uuid, TRUE, error);
    if (fd < 0)
        return NULL;
    g_autoptr(VmigOpLock) lock = g_new0(VmigOpLock, 1);
    lock->fd = fd;
    if (fcntl(fd, F_OFD_SETLK, &whole) == 0)
        return write_content(fd, job_id, role, tool, error) ? g_steal_pointer(&lock) : NULL;
    if (errno != EAGAIN && errno != EACCES) {
        vmig_fail_errno(error, errno, "cannot lock domain %s", uuid);
        return NULL;
    }
    g_autofree char *holder = describe(fd);
    vmig_fail(error, VMIG_ERROR_LOCKED, "`vmig-snap status` shows it.", "domain %s is held by %s", uuid, holder);
    return NULL;
}

void vmig_oplock_release(VmigOpLock *lock)
{
    /* No unlink: another process may have the file open and be about to lock it. */
    close(lock->fd);
    g_free(lock);
}

int vmig_oplock_fd(const VmigOpLock *lock)
{
    return lock->fd;
}

/* *fd of the lock file, -1 if no process holds the lock. */
static gboolean open_held(const char *dir, const char *uuid, int *fd, GError **error)
{
    struct flock probe = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    g_autoptr(GError) failure = NULL;

    *fd = -1;
    if (!check_uuid(uuid, error))
        return FALSE;
    int opened = open_lock(dir, uuid, FALSE, &failure);
    if (opened < 0 && failure == NULL)
        return TRUE;
    if (opened < 0) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    gboolean ok =
        fcntl(opened, F_OFD_GETLK, &probe) == 0 || vmig_fail_errno(error, errno, "cannot query the lock of %s", uuid);
    if (ok && probe.l_type != F_UNLCK)
        *fd = opened;
    else
        close(opened);
    return ok;
}

gboolean vmig_oplock_holder_process(const char *dir, const char *uuid, int *pidfd, int *pid, char **holder,
                                    GError **error)
{
    struct stat st;
    int fd;

    *pidfd = -1;
    *pid = 0;
    *holder = NULL;
    if (!open_held(dir, uuid, &fd, error))
        return FALSE;
    if (fd < 0)
        return TRUE;
    g_autoptr(JsonObject) content = read_content(fd);
    *pid = (int)CLAMP(number_of(content, "pid"), 0, G_MAXINT);
    *pidfd = fstat(fd, &st) == 0 ? vmig_process_that_has(*pid, &st) : -1;
    g_autofree char *who = describe(fd);
    close(fd);
    if (*pidfd < 0)
        return vmig_fail(error, VMIG_ERROR_LOCKED, "Try again.", "domain %s is held by %s, which cannot be found", uuid,
                         who);
    *holder = g_steal_pointer(&who);
    return TRUE;
}

int vmig_oplock_pid_for(const char *dir, const char *uuid, const char *job_id, const char *tool)
{
    int fd;

    if (!open_held(dir, uuid, &fd, NULL) || fd < 0)
        return 0;
    g_autoptr(JsonObject) content = read_content(fd);
    close(fd);
    gboolean same = content != NULL && json_object_has_member(content, "tool") &&
                    g_str_equal(text_of(content, "job"), job_id) && g_str_equal(text_of(content, "tool"), tool);
    return same ? (int)CLAMP(number_of(content, "pid"), 0, G_MAXINT) : 0;
}

gboolean vmig_oplock_holder(const char *dir, const char *uuid, char **holder, GError **error)
{
    int fd;

    *holder = NULL;
    if (!open_held(dir, uuid, &fd, error))
        return FALSE;
    if (fd < 0)
        return TRUE;
    *holder = describe(fd);
    close(fd);
    return TRUE;
}
