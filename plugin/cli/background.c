/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two forks and a pipe. The pipe carries lines: first {"pid":N}, then {"event":"detached",...} or a result. */
#include "cli/background.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/render/look.h"
#include "cli/outcome.h"
#include "cli/output.h"
#include "cli/fail.h"
#include "vmig-snap/vmig-snap.h"

struct VmigBackground {
    int fd; /* the pipe's write end, -1 once the old process has its answer */
};

/* For the signal handler of the old process. */
static volatile sig_atomic_t new_process;

static void tell(VmigBackground *background, JsonNode *node)
{
    g_autofree char *text = json_to_string(node, FALSE);
    g_autofree char *line = g_strconcat(text, "\n", NULL);

    if (background->fd < 0)
        return;
    /* The old process may have been killed; errors are ignored then. */
    for (gsize done = 0, length = strlen(line); done < length;) {
        ssize_t n = write(background->fd, line + done, length - done);
        if (n < 0 && errno != EINTR)
            return;
        done += n > 0 ? (gsize)n : 0;
    }
}

static void let_go(VmigBackground *background)
{
    if (background->fd >= 0)
        close(background->fd);
    background->fd = -1;
}

void vmig_background_free(VmigBackground *background)
{
    if (background == NULL)
        return;
    let_go(background);
    g_free(background);
}

/* STATE-DIR/log/JOB.log; NULL if it cannot be written, which does not prevent the migration. */
static char *open_log(const char *job)
{
    g_autofree char *path = vmig_get_log_path(job);
    g_autofree char *folder = path != NULL ? g_path_get_dirname(path) : NULL;

    if (folder == NULL || g_mkdir_with_parents(folder, 0700) != 0)
        return NULL;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return NULL;
    (void)dup2(fd, STDOUT_FILENO);
    (void)dup2(fd, STDERR_FILENO);
    close(fd);
    return g_steal_pointer(&path);
}

void vmig_background_event(VmigBackground *background, JsonObject *event)
{
    const char *state = vmig_look_text(event, "state");
    const char *job = vmig_look_text(event, "job");

    if (background->fd < 0 || g_strcmp0(vmig_look_text(event, "event"), "state") != 0 || g_strcmp0(state, "PLAN") == 0)
        return;
    g_autofree char *log = open_log(job);
    g_autoptr(JsonBuilder) b = json_builder_new();
    json_builder_begin_object(b);
    json_builder_set_member_name(b, "event");
    json_builder_add_string_value(b, "detached");
    json_builder_set_member_name(b, "job");
    json_builder_add_string_value(b, job != NULL ? job : "");
    json_builder_set_member_name(b, "pid");
    json_builder_add_int_value(b, getpid());
    json_builder_set_member_name(b, "log");
    if (log != NULL)
        json_builder_add_string_value(b, log);
    else
        json_builder_add_null_value(b);
    json_builder_end_object(b);
    g_autoptr(JsonNode) node = json_builder_get_root(b);
    tell(background, node);
    let_go(background);
}

void vmig_background_end(VmigBackground *background, JsonNode *result)
{
    tell(background, result);
    let_go(background);
}

/* The old process forwards ^C, because the user wants to interrupt the job. */
static void forward(int signum G_GNUC_UNUSED)
{
    static const char text[] = "vmig-snap: interrupted: asked the background process to roll back.\n";
    int before = errno;

    if (new_process > 0)
        kill((pid_t)new_process, SIGTERM);
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    errno = before;
}

static int show_detached(const VmigMode *mode, JsonNode *node)
{
    JsonObject *event = vmig_look(node);
    g_autofree char *job = vmig_look_shown(event, "job");
    g_autofree char *log = vmig_look_shown(event, "log");
    g_autofree char *text = NULL;

    if (mode->json)
        vmig_out_json(node);
    else if (mode->quiet)
        text = g_strconcat(job, "\n", NULL);
    else
        text = g_strdup_printf("Job %s continues in the background, process %" G_GINT64_FORMAT
                               ".\nvmig-snap status %s shows its progress; its log is %s.\n",
                               job, vmig_look_number(event, "pid"), job, strcmp(log, "?") != 0 ? log : "lost");
    if (text != NULL)
        vmig_out(text);
    return vmig_end(VMIG_EXIT_DONE);
}

static int show_result(const VmigMode *mode, JsonNode *node)
{
    JsonObject *result = vmig_look(node);
    gboolean ok;
    g_autofree char *text = vmig_result_text(result, NULL, &ok);

    if (!ok)
        vmig_err(text);
    else if (!mode->json && !mode->quiet)
        vmig_out(text);
    if (mode->json)
        vmig_out_json(node);
    return vmig_exit_of_result(result);
}

/* Waits until the new process reports how it went. */
static int wait_for_it(const VmigMode *mode, int fd)
{
    g_autofree char *line = NULL;
    g_autoptr(GError) error = NULL;
    FILE *lines = fdopen(fd, "r");
    int code = -1;

    for (size_t size = 0; lines != NULL && code < 0 && getline(&line, &size, lines) > 0;) {
        g_autoptr(JsonNode) node = json_from_string(line, NULL);
        JsonObject *object = vmig_look(node);
        const char *event = vmig_look_text(object, "event");
        if (g_strcmp0(event, "detached") == 0)
            code = show_detached(mode, node);
        else if (g_strcmp0(event, "result") == 0)
            code = show_result(mode, node);
        else
            new_process = (sig_atomic_t)vmig_look_number(object, "pid");
    }
    if (lines != NULL)
        fclose(lines);
    if (code >= 0)
        return code;
    vmig_cli_fail(&error, VMIG_ERROR_INTERNAL, "vmig-snap status shows whether the job exists.",
                  "the background process ended without reporting a result");
    return vmig_end_with_error(mode, error);
}

static int go_on_in_front(const VmigMode *mode, int fd, pid_t middle)
{
    struct sigaction action = {.sa_handler = forward, .sa_flags = SA_RESTART}, before[2];

    sigaction(SIGINT, &action, &before[0]);
    sigaction(SIGTERM, &action, &before[1]);
    while (waitpid(middle, NULL, 0) < 0 && errno == EINTR)
        ;
    int code = wait_for_it(mode, fd);
    sigaction(SIGINT, &before[0], NULL);
    sigaction(SIGTERM, &before[1], NULL);
    return code;
}

/* In the new process: closes everything of the caller's, so that $(vmig-snap ...) returns. */
static VmigBackground *begin(int fd)
{
    VmigBackground *background = g_new0(VmigBackground, 1);
    g_autofree char *line = g_strdup_printf("{\"pid\":%d}", (int)getpid());
    g_autoptr(JsonNode) node = json_from_string(line, NULL);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int i = STDIN_FILENO; null >= 0 && i <= STDERR_FILENO; i++)
        (void)dup2(null, i);
    if (null > STDERR_FILENO)
        close(null);
    (void)!chdir("/");
    background->fd = fd;
    tell(background, node);
    return background;
}

VmigBackground *vmig_background_start(const VmigMode *mode, int *code)
{
    g_autoptr(GError) error = NULL;
    int fds[2];

    if (!g_unix_open_pipe(fds, FD_CLOEXEC, &error)) {
        *code = vmig_end_with_error(mode, error);
        return NULL;
    }
    pid_t middle = fork();
    if (middle < 0) {
        vmig_cli_fail_errno(&error, errno, "fork");
        *code = vmig_end_with_error(mode, error);
        return NULL;
    }
    if (middle > 0) {
        close(fds[1]);
        *code = go_on_in_front(mode, fds[0], middle);
        return NULL;
    }
    setsid();
    /* The second fork, because a session leader gets a terminal by opening one. */
    pid_t last = fork();
    if (last != 0)
        _exit(last < 0 ? 1 : 0);
    close(fds[0]);
    return begin(fds[1]);
}
