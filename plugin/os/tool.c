/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs one tool with a private main context, which handles its output, its exit and the deadline. */
#include "os/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/errors.h"
#include "core/qcow2.h"

#define STDERR_KEPT 2048
/* After SIGKILL only a process stuck in the kernel needs longer, and waiting for that one is useless. */
#define KILL_GRACE_US (5 * G_USEC_PER_SEC)

void vmig_tool_result_free(VmigToolResult *result)
{
    if (result == NULL)
        return;
    g_free(result->out);
    g_free(result->err);
    g_free(result);
}

typedef struct {
    pid_t parent;
    struct rlimit memory, cpu;
} Confinement;

/* Runs between fork and exec: only calls that are safe after a fork of a threaded process. */
static void confine(gpointer user)
{
    const Confinement *c = user;
    struct rlimit none = {0, 0};
    sigset_t empty;

    sigemptyset(&empty);
    sigprocmask(SIG_SETMASK, &empty, NULL);
    /* A ^C must reach only vmig-snap: it must not end qemu-img in the middle of a rollback. */
    setsid();
    setrlimit(RLIMIT_AS, &c->memory);
    setrlimit(RLIMIT_CPU, &c->cpu);
    setrlimit(RLIMIT_CORE, &none);
    /* Needs privilege. Without it the network stays available, but names that would use it were already refused. */
    (void)unshare(CLONE_NEWNET);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* The signal does not come if the parent has already exited. */
    if (getppid() != c->parent)
        _exit(127);
}

typedef struct {
    GString *text;
    gsize max;
    gboolean too_much; /* wrote more than max */
    gboolean open;
    GSource *source;
    int fd;
} Stream;

static void stream_close(Stream *stream)
{
    if (stream->source != NULL)
        g_source_destroy(stream->source);
    g_clear_pointer(&stream->source, g_source_unref);
    if (stream->fd >= 0)
        close(stream->fd);
    stream->fd = -1;
    stream->open = FALSE;
}

static void stream_clear(Stream *stream)
{
    stream_close(stream);
    g_string_free(stream->text, TRUE);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Stream, stream_clear)

static gboolean on_readable(int fd, GIOCondition condition G_GNUC_UNUSED, gpointer user)
{
    Stream *stream = user;
    char buffer[8192];
    ssize_t got = read(fd, buffer, sizeof buffer);

    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return G_SOURCE_CONTINUE;
    if (got <= 0) {
        stream_close(stream);
        return G_SOURCE_REMOVE;
    }
    gsize room = stream->max - stream->text->len;
    g_string_append_len(stream->text, buffer, MIN(got, (gssize)room));
    stream->too_much = stream->too_much || (gsize)got > room;
    return G_SOURCE_CONTINUE;
}

/* Opens a pipe; the write end is for the tool. */
static gboolean stream_open(Stream *stream, gsize max, GMainContext *context, int *ret_write, GError **error)
{
    int fds[2];

    stream->max = max;
    if (!g_unix_open_pipe(fds, FD_CLOEXEC, error)) {
        vmig_error_adopt(error, VMIG_ERROR_IMAGE_TOOL);
        return FALSE;
    }
    stream->fd = fds[0];
    *ret_write = fds[1];
    g_unix_set_fd_nonblocking(fds[0], TRUE, NULL);
    stream->open = TRUE;
    stream->source = g_unix_fd_source_new(fds[0], G_IO_IN | G_IO_HUP | G_IO_ERR);
    g_source_set_callback(stream->source, G_SOURCE_FUNC(on_readable), stream, NULL);
    g_source_attach(stream->source, context);
    return TRUE;
}

static void on_end(GObject *process, GAsyncResult *result, gpointer user)
{
    gboolean *ended = user;

    /* It fails only if cancelled, and it has no GCancellable. */
    g_subprocess_wait_finish(G_SUBPROCESS(process), result, NULL);
    *ended = TRUE;
}

static gboolean on_timeout(gpointer user)
{
    gboolean *late = user;
    *late = TRUE;
    return G_SOURCE_REMOVE;
}

static GSource *timer_start(gint64 until, gboolean *late, GMainContext *context)
{
    gint64 left = MAX(0, until - g_get_monotonic_time());
    GSource *timer = g_timeout_source_new((guint)MIN(left / 1000, G_MAXINT));

    g_source_set_callback(timer, on_timeout, late, NULL);
    g_source_attach(timer, context);
    return timer;
}

static void timer_stop(GSource *timer)
{
    g_source_destroy(timer);
    g_source_unref(timer);
}

/* Waits for output and exit, and kills a tool that is late or writes too much. FALSE if even that did not end it. */
static gboolean await(GSubprocess *process, GMainContext *context, gint64 deadline, Stream *out, const Stream *err,
                      gboolean *ret_late)
{
    /* On the heap: for a process that cannot be killed the callback may run after this function. */
    g_autofree gboolean *ended = g_new0(gboolean, 1);
    gboolean late = FALSE, too_late = FALSE;
    GSource *timer = timer_start(deadline, &late, context);

    g_subprocess_wait_async(process, NULL, on_end, ended);
    while (!late && !out->too_much && !(*ended && !out->open && !err->open))
        g_main_context_iteration(context, TRUE);
    timer_stop(timer);
    *ret_late = late && !*ended;
    g_subprocess_force_exit(process);
    timer = timer_start(g_get_monotonic_time() + KILL_GRACE_US, &too_late, context);
    while (!too_late && !*ended)
        g_main_context_iteration(context, TRUE);
    timer_stop(timer);
    if (*ended)
        return TRUE;
    (void)g_steal_pointer(&ended); /* leaked, together with the process */
    return FALSE;
}

static gboolean hand_over(GSubprocessLauncher *launcher, const VmigToolLimits *limits, const char *tool, GError **error)
{
    const int *fds = limits->fds != NULL ? (const int *)(const void *)limits->fds->data : &limits->fd;
    guint count = limits->fds != NULL ? limits->fds->len : limits->fd >= 0;

    for (guint i = 0; i < count; i++) {
        int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, VMIG_TOOL_FIRST_FD);
        if (copy < 0)
            return vmig_fail_errno(error, errno, "cannot pass a descriptor to %s", tool);
        g_subprocess_launcher_take_fd(launcher, copy, VMIG_TOOL_FIRST_FD + (int)i);
    }
    return TRUE;
}

static GSubprocess *start(const char *const *argv, const VmigToolLimits *limits, gint64 deadline, int out, int err,
                          GError **error)
{
    /* The caller's environment is not inherited: it may be hostile (LD_PRELOAD, PATH), and messages are compared.
     * Arenas use address space, which is limited. */
    static const char *const environment[] = {"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C", "MALLOC_ARENA_MAX=2",
                                              NULL};
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_NONE);
    gint64 seconds = MAX(30, 1 + (deadline - g_get_monotonic_time()) / G_USEC_PER_SEC);
    Confinement confinement = {
        .parent = getpid(),
        .memory = {limits->memory, limits->memory},
        .cpu = {(rlim_t)seconds, (rlim_t)seconds},
    };

    g_subprocess_launcher_set_environ(launcher, (char **)environment);
    g_subprocess_launcher_set_child_setup(launcher, confine, &confinement, NULL);
    g_subprocess_launcher_take_stdout_fd(launcher, out);
    g_subprocess_launcher_take_stderr_fd(launcher, err);
    if (!hand_over(launcher, limits, argv[0], error))
        return NULL;
    GSubprocess *process = g_subprocess_launcher_spawnv(launcher, argv, error);
    /* The write ends must be closed here, or the streams never end. */
    g_subprocess_launcher_close(launcher);
    if (process == NULL)
        vmig_error_adopt(error, VMIG_ERROR_IMAGE_TOOL);
    return process;
}

/* "qemu-img info", for messages. */
static char *tool_name(const char *const *argv)
{
    return argv[1] != NULL ? g_strdup_printf("%s %s", argv[0], argv[1]) : g_strdup(argv[0]);
}

static VmigToolResult *conclude(const char *const *argv, GSubprocess *process, Stream *out, const Stream *err,
                                GError **error)
{
    g_autofree char *name = tool_name(argv);
    g_autoptr(VmigToolResult) result = g_new0(VmigToolResult, 1);
    gsize said = err->text->len;

    while (said > 0 && g_ascii_isspace(err->text->str[said - 1]))
        said--;
    result->err = vmig_printable(err->text->str, said);
    if (out->too_much) {
        vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, NULL, "%s wrote more than %" G_GSIZE_FORMAT " bytes", name, out->max);
        return NULL;
    }
    if (!g_subprocess_get_if_exited(process)) {
        vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, NULL, "%s was killed by signal %d: %s", name,
                  g_subprocess_get_term_sig(process), result->err);
        return NULL;
    }
    result->status = g_subprocess_get_exit_status(process);
    result->out = g_strdup(out->text->str);
    return g_steal_pointer(&result);
}

static VmigToolResult *exec_in(const char *const *argv, const VmigToolLimits *limits, GMainContext *context,
                               GError **error)
{
    gint64 deadline = limits->deadline_us != 0 ? limits->deadline_us : g_get_monotonic_time() + VMIG_TOOL_DEADLINE_US;
    g_auto(Stream) out = {.text = g_string_new(NULL), .fd = -1};
    g_auto(Stream) err = {.text = g_string_new(NULL), .fd = -1};
    int out_write = -1, err_write = -1;
    gboolean late = FALSE;

    if (!stream_open(&out, limits->output, context, &out_write, error))
        return NULL;
    if (!stream_open(&err, STDERR_KEPT, context, &err_write, error)) {
        close(out_write);
        return NULL;
    }
    g_autoptr(GSubprocess) process = start(argv, limits, deadline, out_write, err_write, error);
    if (process == NULL)
        return NULL;
    gboolean ended = await(process, context, deadline, &out, &err, &late);
    if (late || !ended) {
        g_autofree char *name = tool_name(argv);
        vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "%s took too long and was killed%s", name,
                  ended ? "" : ", but is stuck in the kernel");
        return NULL;
    }
    return conclude(argv, process, &out, &err, error);
}

VmigToolResult *vmig_tool_exec(const char *const *argv, const VmigToolLimits *limits, GError **error)
{
    g_autoptr(GMainContext) context = g_main_context_new();

    g_main_context_push_thread_default(context);
    VmigToolResult *result = exec_in(argv, limits != NULL ? limits : &VMIG_TOOL_LIMITS, context, error);
    g_main_context_pop_thread_default(context);
    return result;
}

gboolean vmig_tool_fail(const char *const *argv, const VmigToolResult *result, GError **error)
{
    g_autofree char *name = tool_name(argv);
    gboolean full =
        strstr(result->err, "No space left on device") != NULL || strstr(result->err, "Disk quota exceeded") != NULL;
    gboolean broken = strstr(result->err, "Input/output error") != NULL;

    return vmig_fail(error,
                     full     ? VMIG_ERROR_NO_SPACE
                     : broken ? VMIG_ERROR_IO
                              : VMIG_ERROR_IMAGE_TOOL,
                     NULL, "%s failed (exit status %d): %s", name, result->status, result->err);
}

gboolean vmig_tool_run(const char *const *argv, gint64 deadline_us, char **ret_stdout, GError **error)
{
    VmigToolLimits limits = VMIG_TOOL_LIMITS;

    limits.deadline_us = deadline_us;
    g_autoptr(VmigToolResult) result = vmig_tool_exec(argv, &limits, error);
    if (result == NULL)
        return FALSE;
    if (result->status != 0)
        return vmig_tool_fail(argv, result, error);
    if (ret_stdout != NULL)
        *ret_stdout = g_steal_pointer(&result->out);
    return TRUE;
}
