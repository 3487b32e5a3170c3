/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One ssh process with an agent at its other end. */
#include "link/ssh-link.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/names.h"
#include "node/agent-client.h"
#include "os/cipher.h"
#include "drivers/libvirt/qemu-user.h"

/* The last bytes of ssh's standard error: even escaped they stay below VMIG_TEXT_MAX. */
#define WORDS_MAX 1000
/* How long ssh may take to exit by itself, and after a signal. */
#define END_US (2 * G_USEC_PER_SEC)
/* An additional connection is optional, so this waits less long for it than ssh would try. */
#define FORWARD_US (10 * G_USEC_PER_SEC)
#define LOOK_MS 100

struct VmigSshLink {
    char *host;
    char **argv;
    gboolean only_forwards;
    VmigNode *node; /* until the caller takes it */
    GThread *thread;
    GMutex lock; /* for the members below */
    GCond changed;
    gboolean started; /* or failed to start */
    gboolean ended;   /* pid is no longer valid */
    GError *spawn_error;
    GPid pid;
    int in_fd, out_fd; /* the agent's output and input; -1 once the client has them */
    int err_fd;
    int status;
    GString *words; /* the end of ssh's standard error */
};

static const char *const fixed_options[] = {
    "-T",
    "-oBatchMode=yes",
    "-oExitOnForwardFailure=yes",
    "-oStreamLocalBindUnlink=yes",
    "-oStreamLocalBindMask=0177",
    "-oServerAliveInterval=5", /* ssh exits after 15 s without network */
    "-oServerAliveCountMax=3",
    "-oConnectTimeout=10",
    "-oCompression=no",
    "-oControlMaster=no", /* not shared: a shared connection ends with its first user and takes no other forwards */
    "-oControlPath=none",
    "-oForwardAgent=no",
    "-oForwardX11=no",
    "-oRemoteCommand=none",
    "-oPermitLocalCommand=no",
};

/* ssh splits -L at colons and expands '%', '~' and ${}. */
static gboolean check_socket_path(const char *path, GError **error)
{
    struct sockaddr_un address;

    if (*path == '/' && strlen(path) < sizeof address.sun_path &&
        path[strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-")] == '\0')
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "'%s' cannot be the path of a socket for ssh", path);
}

static gboolean add_forward(GPtrArray *argv, const char *here, const char *there, GError **error)
{
    if (!check_socket_path(here, error) || !check_socket_path(there, error))
        return FALSE;
    g_ptr_array_add(argv, g_strdup("-L"));
    g_ptr_array_add(argv, g_strconcat(here, ":", there, NULL));
    return TRUE;
}

static gboolean add_forwards(GPtrArray *argv, const VmigSshLinkOptions *options, GError **error)
{
    for (guint i = 0; options->sockets != NULL && options->sockets[i] != NULL; i++) {
        g_autofree char *path = g_build_filename(options->run_dir, options->sockets[i], NULL);
        g_autofree char *here = g_strconcat(path, options->suffix, NULL);
        if (!add_forward(argv, here, path, error))
            return FALSE;
    }
    if (!options->libvirt)
        return TRUE;
    g_autofree char *libvirt = g_build_filename(options->run_dir, VMIG_LIBVIRT_SOCKET, NULL);
    g_autofree char *relay = g_build_filename(options->run_dir, VMIG_RELAY_SOCKET, NULL);
    return add_forward(argv, libvirt, relay, error);
}

char **vmig_ssh_link_argv(const VmigSshLinkOptions *options, GError **error)
{
    const VmigDestination *to = options->destination;
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);

    g_ptr_array_add(argv, g_strdup(options->ssh_command != NULL ? options->ssh_command : "ssh"));
    for (guint i = 0; i < G_N_ELEMENTS(fixed_options); i++)
        g_ptr_array_add(argv, g_strdup(fixed_options[i]));
    const char *ciphers = options->ciphers != NULL ? options->ciphers : vmig_cipher_preferred(vmig_cipher_has_aes());
    g_ptr_array_add(argv, g_strconcat("-oCiphers=", ciphers, NULL));
    /* The port of another scheme is libvirt's. */
    if (to->port != 0 && g_str_equal(to->scheme, "ssh"))
        g_ptr_array_add(argv, g_strdup_printf("-p%u", to->port));
    if (to->keyfile != NULL) {
        g_ptr_array_add(argv, g_strdup("-i"));
        g_ptr_array_add(argv, g_strdup(to->keyfile));
    }
    if (!add_forwards(argv, options, error))
        return NULL;
    if (to->user != NULL) {
        g_ptr_array_add(argv, g_strdup("-l"));
        g_ptr_array_add(argv, g_strdup(to->user));
    }
    if (options->only_forwards)
        g_ptr_array_add(argv, g_strdup("-N"));
    g_ptr_array_add(argv, g_strdup("--"));
    g_ptr_array_add(argv, g_strdup(to->host));
    if (!options->only_forwards)
        g_ptr_array_add(argv, g_strdup(options->agent_command != NULL ? options->agent_command : "vmig-snap agent"));
    g_ptr_array_add(argv, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&argv), FALSE);
}

/* Runs in the child before exec: only calls that are safe after a fork of a threaded process. */
static void child_setup(gpointer parent)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid(); /* a terminal's ^C must not end ssh: the rollback uses this connection */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != GPOINTER_TO_INT(parent))
        _exit(126);
}

static void collect(VmigSshLink *link, const char *bytes, gsize length)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&link->lock);

    g_string_append_len(link->words, bytes, (gssize)length);
    if (link->words->len > WORDS_MAX)
        g_string_erase(link->words, 0, (gssize)(link->words->len - WORDS_MAX));
}

/* Reads until ssh exits: its children (a ProxyCommand) may keep its standard error open for longer. */
static void read_words(VmigSshLink *link, int pidfd)
{
    struct pollfd fds[] = {{.fd = link->err_fd, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
    char buffer[1024];

    while (poll(fds, G_N_ELEMENTS(fds), -1) >= 0 || errno == EINTR) {
        gssize got = fds[0].revents != 0 ? read(link->err_fd, buffer, sizeof buffer) : 0;
        if (got > 0)
            collect(link, buffer, (gsize)got);
        else if (fds[0].revents != 0)
            fds[0].fd = -1; /* closed: only the exit is left to wait for */
        if (fds[0].revents == 0 && fds[1].revents != 0)
            return;
        if (fds[0].fd < 0 && pidfd < 0)
            return;
        fds[0].revents = fds[1].revents = 0;
    }
}

static void reap(VmigSshLink *link)
{
    siginfo_t info;

    /* WNOWAIT: until ended is set the PID cannot be reused, so that a signal reaches the right process. */
    while (waitid(P_PID, (id_t)link->pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        continue;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&link->lock);
    while (waitpid(link->pid, &link->status, 0) < 0 && errno == EINTR)
        continue;
    link->ended = TRUE;
    g_cond_broadcast(&link->changed);
}

static gboolean start(VmigSshLink *link)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&link->lock);
    gboolean ok = g_spawn_async_with_pipes(
        NULL, link->argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_CLOEXEC_PIPES, child_setup,
        GINT_TO_POINTER(getpid()), &link->pid, &link->out_fd, &link->in_fd, &link->err_fd, &link->spawn_error);

    link->started = TRUE;
    link->ended = !ok;
    g_cond_broadcast(&link->changed);
    return ok;
}

/* Runs in its own thread as long as ssh lives: PR_SET_PDEATHSIG fires when the forking thread ends (prctl(2)). */
static gpointer tend(gpointer data)
{
    VmigSshLink *link = data;

    if (!start(link))
        return NULL;
    int pidfd = (int)syscall(SYS_pidfd_open, link->pid, 0);
    read_words(link, pidfd);
    if (pidfd >= 0)
        close(pidfd);
    reap(link);
    return NULL;
}

static gboolean wait_for_end(VmigSshLink *link, gint64 microseconds)
{
    gint64 until = g_get_monotonic_time() + microseconds;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&link->lock);

    while (!link->ended)
        if (!g_cond_wait_until(&link->changed, &link->lock, until))
            return FALSE;
    return TRUE;
}

static void send_signal(VmigSshLink *link, int signum)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&link->lock);

    if (!link->ended)
        kill(link->pid, signum);
}

/* Closing its input ends the agent and then ssh. Without an agent, ssh does not read its input and gets a signal. */
static void stop(VmigSshLink *link)
{
    if (link->thread == NULL)
        return;
    if (link->only_forwards)
        send_signal(link, SIGTERM);
    if (!wait_for_end(link, END_US)) {
        send_signal(link, SIGTERM);
        if (!wait_for_end(link, END_US))
            send_signal(link, SIGKILL);
    }
    g_thread_join(g_steal_pointer(&link->thread));
}

void vmig_ssh_link_kill(VmigSshLink *link)
{
    send_signal(link, SIGKILL);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void vmig_ssh_link_close(VmigSshLink *link)
{
    if (link == NULL)
        return;
    g_clear_pointer(&link->node, vmig_node_free);
    close_fd(&link->in_fd);
    close_fd(&link->out_fd);
    stop(link);
    close_fd(&link->err_fd);
    g_clear_error(&link->spawn_error);
    g_string_free(link->words, TRUE);
    g_strfreev(link->argv);
    g_free(link->host);
    g_mutex_clear(&link->lock);
    g_cond_clear(&link->changed);
    g_free(link);
}

VmigNode *vmig_ssh_link_node(VmigSshLink *link)
{
    return g_steal_pointer(&link->node);
}

gboolean vmig_ssh_link_alive(VmigSshLink *link)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&link->lock);
    return link->started && !link->ended;
}

char *vmig_ssh_link_words(VmigSshLink *link)
{
    g_autoptr(GString) text = g_string_new(NULL);

    {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&link->lock);
        g_string_append_len(text, link->words->str, (gssize)link->words->len);
    }
    g_string_replace(text, "\r", "", 0);
    while (g_str_has_suffix(text->str, "\n"))
        g_string_truncate(text, text->len - 1);
    g_string_replace(text, "\n", "; ", 0);
    if (text->len > WORDS_MAX)
        g_string_erase(text, 0, (gssize)(text->len - WORDS_MAX));
    return vmig_text_escape(text->str, (gssize)text->len);
}

/* Explains why no hello arrived, from ssh's messages and exit status (ssh(1): 255 is ssh's own failure, anything else
 * the remote command's; a shell returns 127 for a command that it does not find). */
static void explain(VmigSshLink *link, GError *failure, gboolean said, GError **error)
{
    g_autoptr(GError) owned = failure;

    if (said || failure->code == VMIG_ERROR_PROTOCOL) {
        g_propagate_error(error, g_steal_pointer(&owned));
        return;
    }
    stop(link);
    g_autofree char *words = vmig_ssh_link_words(link);
    gboolean silent = *words == '\0';
    gboolean exited = WIFEXITED(link->status);
    /* This process ended it, or ssh failed: either way nothing is known about an agent. */
    if (failure->code != VMIG_ERROR_NO_AGENT || !exited || WEXITSTATUS(link->status) == 255)
        vmig_fail(error, VMIG_ERROR_UNREACHABLE,
                  "Check that `ssh` to that host works for this user without a password.", "%s: %s%s", link->host,
                  g_str_has_prefix(words, "ssh: ") ? "" : "ssh: ", silent ? failure->message : words);
    else if (strstr(words, "sudo: ") != NULL)
        vmig_fail(error, VMIG_ERROR_NOT_AUTHORIZED, VMIG_AGENT_ROOT_HINT, "%s: the agent cannot run as root: %s",
                  link->host, words);
    else
        vmig_fail(error, VMIG_ERROR_NO_AGENT, "Install vmig-snap there, in the PATH of a non-interactive shell.",
                  "%s: no vmig-snap agent was found (status %d)%s%s", link->host, WEXITSTATUS(link->status),
                  silent ? "" : ": ", words);
}

static gboolean wait_for_start(VmigSshLink *link, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&link->lock);

    while (!link->started)
        g_cond_wait(&link->changed, &link->lock);
    return link->spawn_error == NULL || vmig_fail(error, VMIG_ERROR_UNREACHABLE, NULL, "%s: cannot start ssh: %s",
                                                  link->host, link->spawn_error->message);
}

static gboolean say_hello(VmigSshLink *link, GError **error)
{
    int in_fd = link->in_fd, out_fd = link->out_fd;
    GError *failure = NULL;
    gboolean said;

    link->in_fd = link->out_fd = -1;
    link->node = vmig_agent_client_new(in_fd, out_fd, link->host, &said, &failure);
    if (link->node == NULL)
        explain(link, failure, said, error);
    return link->node != NULL;
}

/* The last socket that ssh creates: it creates them in order once it is connected. */
static char *last_socket(const VmigSshLinkOptions *options)
{
    guint count = options->sockets != NULL ? g_strv_length((char **)options->sockets) : 0;

    if (count == 0)
        return NULL;
    g_autofree char *path = g_build_filename(options->run_dir, options->sockets[count - 1], NULL);
    return g_strconcat(path, options->suffix, NULL);
}

/* Waits for a change in the folder; regularly checks that ssh still runs. */
static gboolean wait_for_news(VmigSshLink *link, int watch_fd, gint64 until)
{
    struct pollfd fd = {.fd = watch_fd, .events = POLLIN};
    char events[4096];

    if (poll(&fd, 1, LOOK_MS) > 0 && read(watch_fd, events, sizeof events) < 0)
        return FALSE;
    return vmig_ssh_link_alive(link) && g_get_monotonic_time() < until;
}

/* There is no hello: the connection is established when its last socket exists. */
static gboolean wait_for_socket(VmigSshLink *link, const char *last, int watch_fd, GError **error)
{
    gint64 until = g_get_monotonic_time() + FORWARD_US;

    while (access(last, F_OK) != 0)
        if (!wait_for_news(link, watch_fd, until)) {
            stop(link);
            g_autofree char *words = vmig_ssh_link_words(link);
            return vmig_fail(error, VMIG_ERROR_UNREACHABLE, NULL, "%s: ssh: %s", link->host,
                             *words != '\0' ? words : "no connection");
        }
    return TRUE;
}

/* libvirt itself gives a socket that QEMU connects to to QEMU's user, but not with dynamic_ownership off. */
static gboolean hand_over_sockets(const VmigSshLinkOptions *options, GError **error)
{
    uid_t uid;
    gid_t gid;

    if (!vmig_qemu_user(options->qemu_conf != NULL ? options->qemu_conf : "/etc/libvirt/qemu.conf", &uid, &gid, error))
        return FALSE;
    for (guint i = 0; options->sockets != NULL && options->sockets[i] != NULL; i++) {
        g_autofree char *path = g_build_filename(options->run_dir, options->sockets[i], NULL);
        if (uid == geteuid() || g_str_has_prefix(options->sockets[i], VMIG_PRIVATE_SOCKET))
            continue;
        if (lchown(path, uid, (gid_t)-1) != 0)
            return vmig_fail_errno(error, errno, "cannot give %s to QEMU's user", path);
    }
    return TRUE;
}

static VmigSshLink *start_link(const VmigSshLinkOptions *options, GError **error)
{
    g_auto(GStrv) argv = vmig_ssh_link_argv(options, error);

    if (argv == NULL)
        return NULL;
    g_autoptr(VmigSshLink) link = g_new0(VmigSshLink, 1);
    link->host = g_strdup(options->host != NULL ? options->host : options->destination->host);
    link->argv = g_steal_pointer(&argv);
    link->only_forwards = options->only_forwards;
    link->in_fd = link->out_fd = link->err_fd = -1;
    link->words = g_string_new(NULL);
    g_mutex_init(&link->lock);
    g_cond_init(&link->changed);
    link->thread = g_thread_new("vmig-ssh", tend, link);
    return wait_for_start(link, error) ? g_steal_pointer(&link) : NULL;
}

static VmigSshLink *open_watched(const VmigSshLinkOptions *options, const char *last, int watch_fd, GError **error)
{
    if (watch_fd < 0 || inotify_add_watch(watch_fd, options->run_dir, IN_CREATE | IN_MOVED_TO) < 0) {
        vmig_fail_errno(error, errno, "cannot watch %s", options->run_dir);
        return NULL;
    }
    g_autoptr(VmigSshLink) link = start_link(options, error);
    if (link == NULL || !wait_for_socket(link, last, watch_fd, error))
        return NULL;
    return g_steal_pointer(&link);
}

static VmigSshLink *open_forwards(const VmigSshLinkOptions *options, GError **error)
{
    g_autofree char *last = last_socket(options);

    if (last == NULL) {
        vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "a connection without forwarding");
        return NULL;
    }
    (void)unlink(last); /* of a broken connection */
    int watch_fd = inotify_init1(IN_CLOEXEC);
    VmigSshLink *link = open_watched(options, last, watch_fd, error);
    close_fd(&watch_fd);
    return link;
}

static void on_cancelled(GCancellable *cancellable G_GNUC_UNUSED, gpointer user)
{
    vmig_ssh_link_kill(user);
}

/* Killing ssh ends the wait for the agent's hello. */
static gboolean say_hello_unless_cancelled(VmigSshLink *link, GCancellable *cancellable, GError **error)
{
    g_autoptr(GError) why = NULL;
    gulong handler = cancellable != NULL ? g_cancellable_connect(cancellable, G_CALLBACK(on_cancelled), link, NULL) : 0;
    gboolean good = say_hello(link, &why);

    g_cancellable_disconnect(cancellable, handler);
    if (g_cancellable_is_cancelled(cancellable))
        return vmig_fail(error, VMIG_ERROR_CANCELLED, NULL, "%s: the connection was cancelled", link->host);
    if (!good)
        g_propagate_error(error, g_steal_pointer(&why));
    return good;
}

VmigSshLink *vmig_ssh_link_open(const VmigSshLinkOptions *options, GError **error)
{
    if (options->only_forwards)
        return open_forwards(options, error);
    g_autoptr(VmigSshLink) link = start_link(options, error);
    if (link == NULL || !say_hello_unless_cancelled(link, options->cancellable, error) ||
        !hand_over_sockets(options, error))
        return NULL;
    return g_steal_pointer(&link);
}
