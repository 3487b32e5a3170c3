/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Uses a handler that writes to a pipe instead of blocked signals: child processes would inherit the blocked signals,
 * and could not be ended. */
#include "cli/interrupt.h"

#include <errno.h>
#include <glib-unix.h>
#include <signal.h>
#include <unistd.h>

struct VmigInterrupt {
    void (*callback)(gpointer user);
    gpointer user;
    int pipe[2];
    GThread *thread;
    struct sigaction before[3];
};

static const int signals[3] = {SIGINT, SIGTERM, SIGHUP};
static volatile sig_atomic_t pipe_fd = -1;

static void on_signal(int signum G_GNUC_UNUSED)
{
    int before = errno;

    (void)!write(pipe_fd, "s", 1);
    errno = before;
}

static gpointer run(gpointer data)
{
    VmigInterrupt *interrupt = data;
    char what;

    for (;;) {
        ssize_t got = read(interrupt->pipe[0], &what, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || what != 's')
            return NULL;
        interrupt->callback(interrupt->user);
    }
}

VmigInterrupt *vmig_interrupt_new(void (*callback)(gpointer user), gpointer user)
{
    VmigInterrupt *interrupt = g_new0(VmigInterrupt, 1);
    struct sigaction handle = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    interrupt->callback = callback;
    interrupt->user = user;
    if (!g_unix_open_pipe(interrupt->pipe, FD_CLOEXEC, NULL)) {
        g_free(interrupt); /* without free descriptors nothing else works either */
        return NULL;
    }
    g_unix_set_fd_nonblocking(interrupt->pipe[1], TRUE, NULL); /* a full pipe already holds enough signals */
    pipe_fd = interrupt->pipe[1];
    interrupt->thread = g_thread_new("vmig-signals", run, interrupt);
    for (guint i = 0; i < G_N_ELEMENTS(signals); i++) {
        sigaction(signals[i], signals[i] == SIGHUP ? &ignore : &handle, &interrupt->before[i]);
        /* A shell's background job or nohup ignores ^C: leave it ignored. */
        if (interrupt->before[i].sa_handler == SIG_IGN)
            sigaction(signals[i], &ignore, NULL);
    }
    return interrupt;
}

void vmig_interrupt_free(VmigInterrupt *interrupt)
{
    if (interrupt == NULL)
        return;
    for (guint i = 0; i < G_N_ELEMENTS(signals); i++)
        sigaction(signals[i], &interrupt->before[i], NULL);
    (void)!write(interrupt->pipe[1], "q", 1);
    close(interrupt->pipe[1]); /* ends the thread even if the pipe was full */
    g_thread_join(interrupt->thread);
    close(interrupt->pipe[0]);
    pipe_fd = -1;
    g_free(interrupt);
}
