/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs one process per job and reads its output line by line. */
#include "cli/resume-all.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/interrupt.h"
#include "cli/render/look.h"
#include "cli/outcome.h"
#include "vmig-snap/vmig-snap.h"

/* Between two starts: sshd drops connections if many arrive at once (MaxStartups). */
#define PAUSE_US (200 * 1000)

typedef struct {
    GMutex lock; /* for the members below, and while a line is written */
    GPtrArray *children;
    gboolean interrupted;
} Group;

typedef struct {
    Group *group;
    char *domain;
    pid_t pid;
    int pidfd;
    GThread *out, *err;
} Child;

/* One of a child's two streams. */
typedef struct {
    Group *group;
    const char *domain; /* prefix of each line; NULL: none */
    int fd;
    gboolean error;
} Stream;

int vmig_resume_worse(int a, int b)
{
    static const int order[] = {VMIG_EXIT_FAILED,  VMIG_EXIT_UNFINISHED, VMIG_EXIT_USAGE,
                                VMIG_EXIT_REFUSED, VMIG_EXIT_LOCKED,     VMIG_EXIT_ROLLED_BACK};

    for (guint i = 0; i < G_N_ELEMENTS(order); i++)
        if (a == order[i] || b == order[i])
            return order[i];
    return VMIG_EXIT_DONE;
}

static gpointer hand_on(gpointer data)
{
    Stream *stream = data;
    FILE *lines = fdopen(stream->fd, "r");
    char *line = NULL;

    for (size_t size = 0; lines != NULL && getline(&line, &size, lines) > 0;) {
        /* A line that begins with "vmig-snap: " is an error and must still begin like that. */
        const char *begin = g_str_has_prefix(line, "vmig-snap: ") ? "vmig-snap: " : "";
        const char *rest = line + strlen(begin);
        g_autofree char *named = g_strconcat(begin, stream->domain, ": ", rest, NULL);
        const char *whole = stream->domain != NULL ? named : line;
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&stream->group->lock);
        (stream->error ? vmig_err : vmig_out)(whole);
    }
    free(line);
    if (lines != NULL)
        fclose(lines);
    else
        close(stream->fd);
    g_free(stream);
    return NULL;
}

static GThread *read_stream(Child *child, int fd, gboolean error, const char *domain)
{
    Stream *stream = g_new0(Stream, 1);

    stream->group = child->group;
    stream->domain = domain;
    stream->fd = fd;
    stream->error = error;
    return g_thread_new("vmig-lines", hand_on, stream);
}

/* In the child: a terminal's ^C must reach only the parent, which forwards it once. */
static void of_its_own(gpointer user G_GNUC_UNUSED)
{
    (void)setpgid(0, 0);
}

static void child_free(Child *child)
{
    if (child->pidfd >= 0)
        close(child->pidfd);
    g_free(child->domain);
    g_free(child);
}

/* FALSE: it could not be started; the error was printed. */
static gboolean start(Group *group, const VmigMode *mode, JsonObject *job)
{
    const char *id = vmig_look_text(job, "job");
    const char *argv[] = {"/proc/self/exe", "vmig-snap", "resume", id, mode->json ? "--json" : NULL, NULL, NULL};
    g_autofree char *domain = vmig_look_shown(job, "domain");
    g_autoptr(GError) error = NULL;
    int out, err;

    if (id == NULL)
        return FALSE;
    if (mode->quiet)
        argv[mode->json ? 5 : 4] = "--quiet";
    Child *child = g_new0(Child, 1);
    child->group = group;
    child->domain = g_steal_pointer(&domain);
    if (!g_spawn_async_with_pipes(NULL, (char **)argv, NULL,
                                  G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_FILE_AND_ARGV_ZERO | G_SPAWN_CLOEXEC_PIPES,
                                  of_its_own, NULL, &child->pid, NULL, &out, &err, &error)) {
        child->pidfd = -1;
        child_free(child);
        vmig_end_with_error(mode, error);
        return FALSE;
    }
    child->pidfd = pidfd_open(child->pid, 0);
    child->out = read_stream(child, out, FALSE, mode->json ? NULL : child->domain);
    child->err = read_stream(child, err, TRUE, child->domain);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&group->lock);
    g_ptr_array_add(group->children, child);
    if (group->interrupted && child->pidfd >= 0)
        pidfd_send_signal(child->pidfd, SIGTERM, NULL, 0);
    return TRUE;
}

static int end_of(Child *child)
{
    int status = -1;

    g_thread_join(child->out);
    g_thread_join(child->err);
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    /* The signal came before it was handled, or after the child had reported its end: the journal has the job's state.
     */
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM ? VMIG_EXIT_UNFINISHED : VMIG_EXIT_FAILED;
}

static void on_interrupt(gpointer user)
{
    Group *group = user;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&group->lock);

    group->interrupted = TRUE;
    for (guint i = 0; i < group->children->len; i++) {
        const Child *child = group->children->pdata[i];
        if (child->pidfd >= 0)
            pidfd_send_signal(child->pidfd, SIGTERM, NULL, 0);
    }
}

static gboolean is_interrupted(Group *group)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&group->lock);

    return group->interrupted;
}

int vmig_resume_each(const VmigMode *mode, JsonObject *jobs)
{
    Group group = {.children = g_ptr_array_new_with_free_func((GDestroyNotify)child_free)};
    int code = VMIG_EXIT_DONE;
    guint n = vmig_look_count(jobs, "jobs");

    g_mutex_init(&group.lock);
    VmigInterrupt *interrupt = vmig_interrupt_new(on_interrupt, &group);
    for (guint i = 0; i < n && !is_interrupted(&group); i++) {
        if (i > 0)
            g_usleep(PAUSE_US);
        if (!start(&group, mode, vmig_look_element(jobs, "jobs", i)))
            code = VMIG_EXIT_FAILED;
    }
    if (group.children->len < n && is_interrupted(&group))
        code = vmig_resume_worse(code, VMIG_EXIT_UNFINISHED);
    for (guint i = 0; i < group.children->len; i++)
        code = vmig_resume_worse(code, end_of(group.children->pdata[i]));
    vmig_interrupt_free(interrupt);
    g_ptr_array_unref(group.children);
    g_mutex_clear(&group.lock);
    return code;
}
