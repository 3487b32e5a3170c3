/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts the guard and sends it requests. */
#include "guard/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard/guard-private.h"

#define PATIENCE (10 * G_TIME_SPAN_SECOND)
#define REPLY_LIMIT (64 * 1024)
#define ERRNO_FD 3 /* in the daemon until exec */

static gboolean unix_address(const char *path, struct sockaddr_un *ret, GError **error)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof ret->sun_path)
        return vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "the path of the socket %s is too long", path);
    memcpy(ret->sun_path, path, strlen(path) + 1);
    return TRUE;
}

gboolean vmig_guard_peer_is_us(int fd)
{
    struct ucred peer;
    socklen_t length = sizeof peer;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == geteuid();
}

int vmig_guard_listen(const char *socket_path, GError **error)
{
    struct sockaddr_un address;
    struct stat st;

    if (!unix_address(socket_path, &address, error))
        return -1;
    if (lstat(socket_path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void)unlink(socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && fchmod(fd, 0600) == 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        listen(fd, 32) == 0)
        return fd;
    vmig_fail_errno(error, errno, "cannot listen on %s", socket_path);
    if (fd >= 0)
        close(fd);
    return -1;
}

static int connect_guard(const char *socket_path, gint64 timeout_us, GError **error)
{
    struct timeval limit = {.tv_sec = timeout_us / G_USEC_PER_SEC, .tv_usec = timeout_us % G_USEC_PER_SEC};
    struct sockaddr_un address;

    if (!unix_address(socket_path, &address, error))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* The limit applies to connect() too, which waits while the backlog is full. */
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0 &&
        connect(fd, (struct sockaddr *)&address, sizeof address) == 0 && vmig_guard_peer_is_us(fd))
        return fd;
    vmig_fail(error, errno == EAGAIN ? VMIG_ERROR_TIMEOUT : VMIG_ERROR_CONNECTION, NULL,
              "the guard on %s does not answer: %s", socket_path, g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Reads until the guard closes the connection. */
static char *read_reply(int fd, const char *socket_path, gint64 deadline, GError **error)
{
    g_autoptr(GString) reply = g_string_new(NULL);
    char buffer[1024];

    while (reply->len < REPLY_LIMIT) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        gint64 left = MAX(deadline - g_get_monotonic_time(), 0);
        int ready = poll(&wait, 1, (int)MIN((left + 999) / 1000, G_MAXINT));
        if (ready == 0) {
            vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "the guard on %s did not answer in time", socket_path);
            return NULL;
        }
        ssize_t got = ready > 0 ? recv(fd, buffer, sizeof buffer, 0) : -1;
        if (got == 0 || (got < 0 && errno != EINTR))
            break;
        if (got > 0)
            g_string_append_len(reply, buffer, got);
    }
    if (reply->len > 0 && reply->str[reply->len - 1] == '\n')
        return g_strndup(reply->str, reply->len - 1);
    vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "the guard on %s closed the connection without a reply", socket_path);
    return NULL;
}

/* "error NAME MESSAGE" */
static gboolean fail_as_told(const char *reply, GError **error)
{
    g_auto(GStrv) words = g_strsplit(reply, " ", 3);
    gboolean whole = g_strv_length(words) == 3 && g_str_equal(words[0], "error");
    VmigErrorCode code = whole ? vmig_error_from_name(words[1]) : VMIG_ERROR_LAST;
    g_autoptr(JsonNode) message = whole ? json_from_string(words[2], NULL) : NULL;
    const char *text = message != NULL && JSON_NODE_HOLDS_VALUE(message) ? json_node_get_string(message) : NULL;

    if (code == VMIG_ERROR_LAST || text == NULL)
        return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the guard sent an invalid reply: %s", reply);
    return vmig_fail(error, code, NULL, "%s", text);
}

gboolean vmig_guard_call(const char *socket_path, const char *request, gint64 timeout_us, char **reply, GError **error)
{
    gint64 deadline = g_get_monotonic_time() + timeout_us;
    g_autofree char *line = g_strdup_printf("%s\n", request);
    gsize length = strlen(line);
    int fd = connect_guard(socket_path, timeout_us, error);

    if (fd < 0)
        return FALSE;
    if (send(fd, line, length, MSG_NOSIGNAL) != (ssize_t)length) {
        close(fd);
        return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "cannot send a request to the guard on %s", socket_path);
    }
    g_autofree char *answer = read_reply(fd, socket_path, deadline, error);
    close(fd);
    if (answer == NULL)
        return FALSE;
    if (!g_str_has_prefix(answer, "ok "))
        return fail_as_told(answer, error);
    if (reply != NULL)
        *reply = g_strdup(answer + 3);
    return TRUE;
}

/* Runs in the child: async-signal-safe calls only. Does not return. */
static void become_daemon(int listen_fd, int errno_fd, char *const argv[])
{
    char *env[] = {(char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *)"LC_ALL=C.UTF-8", NULL};
    sigset_t none;

    setsid();
    pid_t pid = fork(); /* makes it an orphan that can never get a terminal */
    if (pid != 0)
        _exit(pid < 0 ? 1 : 0);
    sigemptyset(&none);
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(077);
    /* Under memory pressure the kernel should kill anything else first: the fence ends with the guard. */
    int oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (oom >= 0)
        (void)!write(oom, "-900", 4);
    int null = open("/dev/null", O_RDWR);
    if (chdir("/") == 0 && null >= 0 && dup2(listen_fd, 0) == 0 && dup2(null, 1) == 1 && dup2(null, 2) == 2 &&
        dup3(errno_fd, ERRNO_FD, O_CLOEXEC) == ERRNO_FD && close_range(ERRNO_FD + 1, ~0U, 0) == 0)
        execve(argv[0], argv, env);
    int failed = errno;
    (void)!write(ERRNO_FD, &failed, sizeof failed);
    _exit(127);
}

static gboolean spawn(const char *exe_path, const char *socket_path, int listen_fd, GError **error)
{
    char *argv[] = {(char *)exe_path, (char *)"agent", (char *)"--guard", (char *)socket_path, NULL};
    int fds[2], failed = 0;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return vmig_fail_errno(error, errno, "cannot create a pipe");
    /* Both above the numbers that the daemon assigns. */
    int high_listen = fcntl(listen_fd, F_DUPFD_CLOEXEC, ERRNO_FD + 1);
    int high_pipe = fcntl(fds[1], F_DUPFD_CLOEXEC, ERRNO_FD + 1);
    pid_t pid = high_listen >= 0 && high_pipe >= 0 ? fork() : -1;
    if (pid == 0)
        become_daemon(high_listen, high_pipe, argv);
    failed = pid < 0 ? errno : 0;
    close(fds[1]);
    close(high_listen);
    close(high_pipe);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    if (pid > 0 && read(fds[0], &failed, sizeof failed) < (ssize_t)sizeof failed)
        failed = 0; /* end of file: exec succeeded */
    close(fds[0]);
    return failed == 0 ||
           vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "cannot start the guard %s: %s", exe_path, g_strerror(failed));
}

static gboolean start_locked(const char *socket_path, const char *exe_path, GError **error)
{
    g_autoptr(GError) none = NULL;

    if (vmig_guard_call(socket_path, "status", PATIENCE, NULL, &none))
        return TRUE;
    if (!g_error_matches(none, VMIG_ERROR, VMIG_ERROR_CONNECTION)) {
        g_propagate_error(error, g_steal_pointer(&none));
        return FALSE;
    }
    int listen_fd = vmig_guard_listen(socket_path, error);
    if (listen_fd < 0)
        return FALSE;
    gboolean ok = spawn(exe_path, socket_path, listen_fd, error);
    close(listen_fd);
    ok = ok && vmig_guard_call(socket_path, "status", PATIENCE, NULL, error);
    if (!ok)
        (void)unlink(socket_path);
    return ok;
}

gboolean vmig_guard_start(const char *socket_path, const char *exe_path, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(socket_path);
    int lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    /* Two processes that start a guard at the same time must not remove each other's socket as stale. */
    if (lock < 0 || flock(lock, LOCK_EX) < 0) {
        vmig_fail_errno(error, errno, "cannot lock %s", folder);
        if (lock >= 0)
            close(lock);
        return FALSE;
    }
    gboolean ok = start_locked(socket_path, exe_path, error);
    close(lock);
    return ok;
}

static gboolean call_with_paths(const char *socket_path, const char *verb, const char *const *paths, GError **error)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_ARRAY);
    JsonArray *array = json_array_new();

    for (guint i = 0; paths[i] != NULL; i++)
        json_array_add_string_element(array, paths[i]);
    json_node_take_array(node, array);
    g_autofree char *text = json_to_string(node, FALSE);
    g_autofree char *request = g_strdup_printf("%s %s", verb, text);
    return vmig_guard_call(socket_path, request, PATIENCE, NULL, error);
}

gboolean vmig_guard_freeze(const char *socket_path, const char *const *paths, GError **error)
{
    return call_with_paths(socket_path, "freeze", paths, error);
}

gboolean vmig_guard_thaw(const char *socket_path, GError **error)
{
    return vmig_guard_call(socket_path, "thaw", PATIENCE, NULL, error);
}

gboolean vmig_guard_fence_arm(const char *socket_path, const char *const *overlays, GError **error)
{
    return call_with_paths(socket_path, "fence", overlays, error);
}

gboolean vmig_guard_slow(const char *socket_path, char **why, GError **error)
{
    g_autofree char *reply = NULL;

    *why = NULL;
    if (!vmig_guard_call(socket_path, "quick", PATIENCE, &reply, error))
        return FALSE;
    if (g_str_has_prefix(reply, "no "))
        *why = g_strdup(reply + strlen("no "));
    else if (!g_str_equal(reply, "yes"))
        return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the guard sent an invalid reply: %s", reply);
    return TRUE;
}

gboolean vmig_guard_fence_take(const char *socket_path, gint64 wait_us, gboolean *held, GError **error)
{
    guint64 wait = (guint64)MAX(wait_us, 0) / G_TIME_SPAN_MILLISECOND;
    g_autofree char *request = g_strdup_printf("take wait %" G_GUINT64_FORMAT, wait);
    g_autofree char *reply = NULL;
    guint armed, taken;

    if (!vmig_guard_call(socket_path, request, wait_us + PATIENCE, &reply, error))
        return FALSE;
    if (sscanf(reply, "armed %u held %u", &armed, &taken) != 2)
        return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the guard sent an invalid reply: %s", reply);
    *held = armed > 0 && taken == armed;
    return TRUE;
}

gboolean vmig_guard_fence_drop(const char *socket_path, GError **error)
{
    return vmig_guard_call(socket_path, "unfence", PATIENCE, NULL, error);
}

gboolean vmig_guard_stop(const char *socket_path, GError **error)
{
    g_autoptr(GError) gone = NULL;

    if (vmig_guard_call(socket_path, "quit", PATIENCE, NULL, &gone))
        return TRUE;
    if (g_error_matches(gone, VMIG_ERROR, VMIG_ERROR_CONNECTION))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&gone));
    return FALSE;
}
