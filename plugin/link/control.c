/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One thread that answers requests one after the other. */
#include "link/control.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/json-read.h"
#include "os/lines.h"

#define PATIENCE (5 * G_USEC_PER_SEC) /* for one line from the peer */
#define LINE_LIMIT 4096

struct VmigControl {
    char *path;
    int listen_fd;
    int wake_fd;
    VmigControlSet set;
    gpointer user;
    GThread *thread;
};

static gboolean make_address(const char *path, struct sockaddr_un *ret, GError **error)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof ret->sun_path)
        return vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "the path of the socket %s is too long", path);
    memcpy(ret->sun_path, path, strlen(path) + 1);
    return TRUE;
}

static gboolean read_object(int fd, int wake_fd, JsonObject **ret, GError **error)
{
    g_autoptr(VmigLines) lines = vmig_lines_new(fd, LINE_LIMIT);
    const char *line;
    gsize length;

    switch (vmig_lines_next(lines, wake_fd, g_get_monotonic_time() + PATIENCE, &line, &length, error)) {
    case VMIG_LINE_GOT:
        *ret = vmig_json_parse(line, length, error);
        return *ret != NULL;
    case VMIG_LINE_LATE:
        return vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "it did not answer in time");
    case VMIG_LINE_END:
        return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "it ended without an answer");
    case VMIG_LINE_FAILED:
    default:
        return FALSE;
    }
}

static gboolean act(VmigControl *control, int fd, GError **error)
{
    g_autoptr(JsonObject) request = NULL;

    if (!read_object(fd, control->wake_fd, &request, error))
        return FALSE;
    VmigReader reader = vmig_reader(request);
    guint64 bandwidth = vmig_reader_size(&reader, "bandwidth");
    if (!vmig_reader_end(&reader, error, "a request"))
        return FALSE;
    control->set(control->user, bandwidth);
    return TRUE;
}

static void answer(VmigControl *control, int fd)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(JsonObject) reply = json_object_new();

    if (!act(control, fd, &failure)) {
        JsonObject *problem = json_object_new();
        g_autofree char *message = g_utf8_make_valid(failure->message, -1);
        json_object_set_string_member(problem, "code", vmig_error_name_of(failure));
        json_object_set_string_member(problem, "message", message);
        json_object_set_object_member(reply, "error", problem);
    }
    g_autofree char *line = vmig_json_line(reply);
    vmig_line_write(fd, line, g_get_monotonic_time() + PATIENCE, NULL); /* a peer that does not wait for it is gone */
}

static gpointer serve(gpointer data)
{
    VmigControl *control = data;
    struct pollfd fds[] = {{.fd = control->listen_fd, .events = POLLIN}, {.fd = control->wake_fd, .events = POLLIN}};

    while (poll(fds, G_N_ELEMENTS(fds), -1) >= 0 || errno == EINTR) {
        if (fds[1].revents != 0)
            return NULL;
        int fd = fds[0].revents != 0 ? accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd < 0)
            continue;
        answer(control, fd);
        close(fd);
    }
    return NULL;
}

static gboolean listen_there(VmigControl *control, GError **error)
{
    struct sockaddr_un address;
    struct stat st;

    if (!make_address(control->path, &address, error))
        return FALSE;
    if (lstat(control->path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void)unlink(control->path); /* of a process that died; if this fails, bind() reports it */
    control->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    control->wake_fd = eventfd(0, EFD_CLOEXEC);
    /* fchmod() before bind() gives the socket file its mode at once, so that no other user can ever connect. */
    if (control->listen_fd < 0 || control->wake_fd < 0 || fchmod(control->listen_fd, 0600) < 0 ||
        bind(control->listen_fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(control->listen_fd, 8) < 0)
        return vmig_fail_errno(error, errno, "cannot listen on %s", control->path);
    return TRUE;
}

VmigControl *vmig_control_new(const char *path, VmigControlSet set, gpointer user, GError **error)
{
    g_autoptr(VmigControl) control = g_new0(VmigControl, 1);

    control->path = g_strdup(path);
    control->listen_fd = control->wake_fd = -1;
    control->set = set;
    control->user = user;
    if (!listen_there(control, error))
        return NULL;
    control->thread = g_thread_new("vmig-control", serve, control);
    return g_steal_pointer(&control);
}

void vmig_control_free(VmigControl *control)
{
    if (control == NULL)
        return;
    if (control->thread != NULL) {
        (void)!eventfd_write(control->wake_fd, 1);
        g_thread_join(control->thread);
        (void)unlink(control->path);
    }
    if (control->listen_fd >= 0)
        close(control->listen_fd);
    if (control->wake_fd >= 0)
        close(control->wake_fd);
    g_free(control->path);
    g_free(control);
}

static gboolean read_answer(int fd, GError **error)
{
    g_autoptr(JsonObject) reply = NULL;

    if (!read_object(fd, -1, &reply, error))
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    JsonObject *problem = vmig_reader_maybe_object(&reader, "error");
    if (!vmig_reader_end(&reader, error, "an answer"))
        return FALSE;
    if (problem == NULL)
        return TRUE;
    VmigReader inner = vmig_reader(problem);
    const char *code = vmig_reader_text(&inner, "code");
    const char *message = vmig_reader_text(&inner, "message");
    if (!vmig_reader_end(&inner, error, "an answer"))
        return FALSE;
    VmigErrorCode known = vmig_error_from_name(code);
    return vmig_fail(error, known != VMIG_ERROR_LAST ? known : VMIG_ERROR_INTERNAL, NULL, "%s", message);
}

gboolean vmig_control_ask(const char *path, guint64 bandwidth, gboolean *heard, GError **error)
{
    struct sockaddr_un address;
    g_autofree char *line = g_strdup_printf("{\"bandwidth\":%" G_GUINT64_FORMAT "}", bandwidth);

    *heard = FALSE;
    if (!make_address(path, &address, error))
        return FALSE;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return vmig_fail_errno(error, errno, "cannot create a socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        gboolean nobody = errno == ENOENT || errno == ECONNREFUSED;
        gboolean ok = nobody || vmig_fail_errno(error, errno, "cannot connect to %s", path);
        close(fd);
        return ok;
    }
    *heard = TRUE;
    gboolean ok = vmig_line_write(fd, line, g_get_monotonic_time() + PATIENCE, error) && read_answer(fd, error);
    if (!ok)
        g_prefix_error(error, "the process that works on the job: ");
    close(fd);
    return ok;
}
