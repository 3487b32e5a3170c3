/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A part file and the qemu-nbd that serves it.
 *
 * This process opens the listening socket and passes it by socket activation (qemu-nbd's util/systemd.c), and passes
 * the file as a descriptor. So there is no race with the file's name and no name to quote, and a client that connects
 * early waits in the backlog.
 */
#include "copy/receiver.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "copy/file-hash.h"
#include "copy/hash-behind.h"
#include "copy/known-blocks.h"
#include "copy/receiver-argv.h"
#include "store/beneath.h"

#define SECTOR 4096 /* direct I/O needs a file length that is a multiple of the device's sector size */
#define STDERR_LIMIT 4096
#define START_LIMIT (10 * G_TIME_SPAN_SECOND)
#define STOP_LIMIT (60 * G_TIME_SPAN_SECOND) /* qemu-nbd flushes before it exits */
#define LISTEN_FD 3                          /* the first descriptor of socket activation */
#define FILE_FD 4

struct VmigReceiver {
    char *part;
    char *socket;
    guint64 size;
    guint port; /* 0 with a unix socket */
    char export[33];
    gboolean exclusive; /* only the sender can write */
    int fd;
    gboolean direct;
    gboolean fresh; /* it was empty when this receiver opened it */
    VmigTreeHash *hash;
    VmigHashBehind *behind; /* or NULL */
    guint8 *told;           /* a bit for each block that had data when it was reported to the sender; under lock */

    char **argv;
    int listen_fd;
    int stderr_fds[2];
    int end_fds[2]; /* the thread closes its end when the server is reaped: poll() reports it */
    GThread *thread;
    GMutex lock;
    GCond changed;
    GPid pid; /* 0 before the fork and after it was reaped */
    guint holds;
    gboolean forked;
    gboolean reaped;
    int fork_errno;
    int status;
    GString *said;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Runs in the child: async-signal-safe calls only. Returns only on failure. */
static void exec_server(const VmigReceiver *receiver, pid_t parent)
{
    char listen_pid[32] = "LISTEN_PID=", digits[16];
    char *env[] = {(char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *)"LC_ALL=C", (char *)"LISTEN_FDS=1", listen_pid,
                   NULL};
    gsize count = 0;
    sigset_t none;

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(126);
    setsid(); /* a terminal's ^C must reach only the tool, which then ends this server in order */
    sigemptyset(&none);
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (pid_t pid = getpid(); pid > 0; pid /= 10)
        digits[count++] = (char)('0' + pid % 10);
    for (gsize i = 0, at = strlen("LISTEN_PID="); i < count; i++)
        listen_pid[at + i] = digits[count - 1 - i];
    /* All these descriptors are above FILE_FD (see lift()), so none is overwritten before it is used. */
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(receiver->stderr_fds[1], 2) < 0 ||
        dup2(receiver->listen_fd, LISTEN_FD) < 0 || dup2(receiver->fd, FILE_FD) < 0 ||
        close_range(FILE_FD + 1, ~0U, 0) < 0)
        _exit(126);
    execve(receiver->argv[0], receiver->argv, env);
    perror(receiver->argv[0]);
    _exit(127);
}

/* Forks the server, reads its messages, reaps it. In its own thread, because PR_SET_PDEATHSIG fires when the forking
 * thread ends, not the process (prctl(2)). */
static gpointer server_thread(gpointer data)
{
    VmigReceiver *receiver = data;
    pid_t parent = getpid(), pid = fork();
    char buffer[1024];
    ssize_t got;
    int status = 0;

    if (pid == 0)
        exec_server(receiver, parent);
    g_mutex_lock(&receiver->lock);
    receiver->fork_errno = pid < 0 ? errno : 0;
    receiver->pid = MAX(pid, 0);
    receiver->forked = TRUE;
    g_cond_broadcast(&receiver->changed);
    g_mutex_unlock(&receiver->lock);
    close_fd(&receiver->stderr_fds[1]);
    while ((got = read(receiver->stderr_fds[0], buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR)) {
        g_mutex_lock(&receiver->lock);
        if (got > 0 && receiver->said->len < STDERR_LIMIT)
            g_string_append_len(receiver->said, buffer, MIN(got, (ssize_t)(STDERR_LIMIT - receiver->said->len)));
        g_mutex_unlock(&receiver->lock);
    }
    /* WNOWAIT first: the PID stays reserved until receiver->pid is cleared, so that no other process gets a signal
     * meant for the server. */
    siginfo_t info;
    while (pid > 0 && waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        continue;
    g_mutex_lock(&receiver->lock);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    receiver->pid = 0;
    receiver->status = status;
    receiver->reaped = TRUE;
    g_cond_broadcast(&receiver->changed);
    g_mutex_unlock(&receiver->lock);
    close_fd(&receiver->end_fds[1]);
    return NULL;
}

/* Moves a descriptor above the numbers that the child assigns. */
static gboolean lift(int *fd, GError **error)
{
    int high = fcntl(*fd, F_DUPFD_CLOEXEC, FILE_FD + 1);

    if (high < 0)
        return vmig_fail_errno(error, errno, "cannot duplicate a file descriptor");
    close(*fd);
    *fd = high;
    return TRUE;
}

static gboolean make_pipe(int fds[2], GError **error)
{
    if (pipe2(fds, O_CLOEXEC) < 0)
        return vmig_fail_errno(error, errno, "cannot create a pipe");
    return lift(&fds[0], error) && lift(&fds[1], error);
}

static gboolean open_part(VmigReceiver *receiver, int folder, GError **error)
{
    guint64 rounded = MAX((receiver->size + SECTOR - 1) / SECTOR, 1) * SECTOR;
    g_autofree char *name = g_path_get_basename(receiver->part);
    struct stat st;

    receiver->fd = openat(folder, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (receiver->fd < 0)
        return vmig_fail_errno(error, errno, "cannot create %s", receiver->part);
    if (!lift(&receiver->fd, error))
        return FALSE;
    if (fstat(receiver->fd, &st) < 0)
        return vmig_fail_errno(error, errno, "cannot stat %s", receiver->part);
    if (!S_ISREG(st.st_mode))
        return vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "%s is not a regular file", receiver->part);
    /* The folder's owner may have linked some other file to this name. */
    if (st.st_nlink != 1)
        return vmig_fail(error, VMIG_ERROR_OUTSIDE_ROOTS, NULL, "%s has a second name (a hard link)", receiver->part);
    receiver->fresh = lseek(receiver->fd, 0, SEEK_DATA) < 0 && errno == ENXIO; /* at most reserved space */
    if (ftruncate(receiver->fd, (off_t)rounded) < 0)
        return vmig_fail_errno(error, errno, "cannot set the length of %s", receiver->part);
    int direct = vmig_open_direct(receiver->fd, O_RDWR);
    receiver->direct = direct >= 0;
    close_fd(&direct);
    return TRUE;
}

static gboolean start_listening(VmigReceiver *receiver, const VmigListen *to, GError **error)
{
    receiver->listen_fd = vmig_listen_open(to, &receiver->port, error);
    return receiver->listen_fd >= 0 && lift(&receiver->listen_fd, error);
}

/* Refuses clients that want another file's receiver, or an unknown one. On a port without TLS the name is no secret,
 * because the server lists its exports to any client. */
static gboolean name_export(VmigReceiver *receiver, const VmigListen *to, GError **error)
{
    guint8 random[16];

    receiver->exclusive = to->socket != NULL || (to->tls_dir != NULL && to->identity != NULL);
    if (to->socket != NULL)
        return TRUE;
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return vmig_fail_errno(error, errno, "cannot create a random name for the export of %s", receiver->part);
    for (guint i = 0; i < sizeof random; i++)
        g_snprintf(receiver->export + 2 * i, 3, "%02x", random[i]);
    return TRUE;
}

/* The server greets each client ("NBDMAGIC") once it has opened the file. */
static gboolean wait_for_greeting(VmigReceiver *receiver, GError **error)
{
    char greeting[8];
    gint64 deadline = g_get_monotonic_time() + START_LIMIT;
    int fd = vmig_listen_connect(receiver->listen_fd, error);

    if (fd < 0)
        return FALSE;
    /* From here on only the server has the socket, so that clients notice when it exits. */
    close_fd(&receiver->listen_fd);
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = receiver->end_fds[0], .events = POLLIN}};
    int ready;
    do
        ready = poll(fds, 2, (int)MAX((deadline - g_get_monotonic_time()) / 1000, 0));
    while (ready < 0 && errno == EINTR);
    gboolean greeted = ready > 0 && recv(fd, greeting, sizeof greeting, MSG_DONTWAIT) == sizeof greeting;
    close_fd(&fd);
    if (greeted)
        return TRUE;
    if (ready == 0)
        return vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "qemu-nbd for %s did not answer in time", receiver->part);
    /* It exited: wait for all its output. */
    g_thread_join(g_steal_pointer(&receiver->thread));
    return vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, NULL, "qemu-nbd cannot serve %s: %s", receiver->part,
                     receiver->said->len > 0 ? g_strchomp(receiver->said->str) : "it ended immediately");
}

static gboolean start_server(VmigReceiver *receiver, GError **error)
{
    if (!make_pipe(receiver->stderr_fds, error) || !make_pipe(receiver->end_fds, error))
        return FALSE;
    receiver->thread = g_thread_new("vmig-receiver", server_thread, receiver);
    g_mutex_lock(&receiver->lock);
    while (!receiver->forked)
        g_cond_wait(&receiver->changed, &receiver->lock);
    g_mutex_unlock(&receiver->lock);
    if (receiver->fork_errno != 0)
        return vmig_fail_errno(error, receiver->fork_errno, "cannot start qemu-nbd");
    return wait_for_greeting(receiver, error);
}

static void begin_hashing(VmigReceiver *receiver, int folder, const VmigHashKey *key)
{
    receiver->hash = vmig_tree_hash_new(receiver->size, key);
    guint64 blocks = vmig_tree_hash_blocks(receiver->hash);
    receiver->told = g_malloc0(vmig_block_set_bytes(blocks) + 1);
    if (receiver->direct && receiver->exclusive)
        receiver->behind =
            vmig_hash_behind_new(receiver->hash, folder, receiver->fd, receiver->size, receiver->fresh ? blocks : 0);
}

VmigReceiver *vmig_receiver_start(const char *part_path, guint64 size, const char *socket_path, const VmigHashKey *key,
                                  GError **error)
{
    return vmig_receiver_start_on(part_path, size, &(VmigListen){.socket = socket_path}, key, error);
}

VmigReceiver *vmig_receiver_start_on(const char *part_path, guint64 size, const VmigListen *to, const VmigHashKey *key,
                                     GError **error)
{
    int folder = vmig_beneath_folder(NULL, part_path);

    if (folder < 0) {
        vmig_beneath_fail(error, errno, part_path);
        return NULL;
    }
    VmigReceiver *receiver = vmig_receiver_start_in(folder, part_path, size, to, key, error);
    close_fd(&folder);
    return receiver;
}

VmigReceiver *vmig_receiver_start_in(int folder, const char *part_path, guint64 size, const VmigListen *to,
                                     const VmigHashKey *key, GError **error)
{
    g_autoptr(VmigReceiver) receiver = g_new0(VmigReceiver, 1);

    receiver->part = g_strdup(part_path);
    receiver->socket = g_strdup(to->socket);
    receiver->size = size;
    receiver->fd = receiver->listen_fd = -1;
    receiver->stderr_fds[0] = receiver->stderr_fds[1] = receiver->end_fds[0] = receiver->end_fds[1] = -1;
    receiver->said = g_string_new(NULL);
    g_mutex_init(&receiver->lock);
    g_cond_init(&receiver->changed);
    if (!open_part(receiver, folder, error) || !name_export(receiver, to, error) ||
        (receiver->argv = vmig_receiver_argv(FILE_FD, receiver->direct, receiver->export, to, error)) == NULL ||
        !start_listening(receiver, to, error) || !start_server(receiver, error))
        return NULL;
    begin_hashing(receiver, folder, key);
    return g_steal_pointer(&receiver);
}

/* FALSE if the server had to be killed. */
static gboolean stop_server(VmigReceiver *receiver, int signum, gint64 limit)
{
    gint64 deadline = g_get_monotonic_time() + limit;
    gboolean ended = TRUE;

    if (receiver->thread == NULL)
        return TRUE;
    g_mutex_lock(&receiver->lock);
    if (receiver->pid > 0)
        kill(receiver->pid, signum);
    while (!receiver->reaped && ended)
        ended = g_cond_wait_until(&receiver->changed, &receiver->lock, deadline);
    if (receiver->pid > 0)
        kill(receiver->pid, SIGKILL);
    g_mutex_unlock(&receiver->lock);
    g_thread_join(g_steal_pointer(&receiver->thread));
    return ended;
}

void vmig_receiver_hold(VmigReceiver *receiver)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&receiver->lock);

    receiver->holds++;
}

void vmig_receiver_release(VmigReceiver *receiver)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&receiver->lock);

    receiver->holds--;
    g_cond_broadcast(&receiver->changed);
}

static void wait_for_holders(VmigReceiver *receiver)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&receiver->lock);

    while (receiver->holds > 0)
        g_cond_wait(&receiver->changed, &receiver->lock);
}

static void forget_socket(VmigReceiver *receiver)
{
    if (receiver->socket != NULL)
        (void)unlink(receiver->socket);
    g_clear_pointer(&receiver->socket, g_free);
}

static gboolean end_in_order(VmigReceiver *receiver, GError **error)
{
    gboolean in_time = stop_server(receiver, SIGTERM, STOP_LIMIT);

    forget_socket(receiver);
    if (!in_time)
        return vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "qemu-nbd for %s did not end in time and was killed",
                         receiver->part);
    if (!WIFEXITED(receiver->status) || WEXITSTATUS(receiver->status) != 0)
        return vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, NULL, "qemu-nbd for %s failed (wait status %d): %s",
                         receiver->part, receiver->status, g_strchomp(receiver->said->str));
    return TRUE;
}

gboolean vmig_receiver_known(VmigReceiver *receiver, guint64 first, GBytes **page, GError **error)
{
    guint64 next = 0;
    guint8 digest[VMIG_HASH_BYTES];

    if (receiver->fd < 0 || first >= vmig_tree_hash_blocks(receiver->hash))
        return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "%s has no block %" G_GUINT64_FORMAT, receiver->part, first);
    if (!vmig_page_make(receiver->hash, receiver->fd, receiver->size, first, page, &next, error)) {
        g_prefix_error(error, "%s: ", receiver->part);
        return FALSE;
    }
    g_mutex_lock(&receiver->lock);
    for (guint64 i = first; i < next; i++)
        if (vmig_tree_hash_get_digest(receiver->hash, i, digest))
            receiver->told[i / 8] |= (guint8)(1 << i % 8);
    g_mutex_unlock(&receiver->lock);
    if (receiver->behind != NULL)
        vmig_hash_behind_allow(receiver->behind, next);
    return TRUE;
}

/* Discards what was reported of blocks that were then rewritten, and everything if clients other than the sender could
 * write. */
static gboolean forget_rewritten(VmigReceiver *receiver, const char *rewritten, GError **error)
{
    guint64 blocks = vmig_tree_hash_blocks(receiver->hash);
    g_autofree guint8 *set = rewritten != NULL ? vmig_block_set_read(rewritten, blocks, error) : NULL;

    if (rewritten != NULL && set == NULL)
        return FALSE;
    for (guint64 i = 0; i < blocks; i++)
        if (!receiver->exclusive)
            vmig_tree_hash_clear(receiver->hash, i);
        else if ((receiver->told[i / 8] & 1 << i % 8) && (set == NULL || (set[i / 8] & 1 << i % 8)))
            vmig_tree_hash_clear(receiver->hash, i);
    return TRUE;
}

gboolean vmig_receiver_finish(VmigReceiver *receiver, const char *rewritten, char **hash, GError **error)
{
    if (receiver->fd < 0)
        return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "the receiver of %s has ended", receiver->part);
    wait_for_holders(receiver);
    if (!forget_rewritten(receiver, rewritten, error))
        return FALSE;
    int fd = receiver->fd;
    receiver->fd = -1;
    gboolean ok = end_in_order(receiver, error);
    g_clear_pointer(&receiver->behind, vmig_hash_behind_free);
    if (ok && ftruncate(fd, (off_t)receiver->size) < 0)
        ok = vmig_fail_errno(error, errno, "cannot set the length of %s", receiver->part);
    if (ok && fsync(fd) < 0)
        ok = vmig_fail(error, VMIG_ERROR_IO, NULL, "cannot sync %s: %s", receiver->part, g_strerror(errno));
    if (ok) {
        char *result = NULL;
        ok = vmig_file_hash_fill(receiver->hash, fd, receiver->size, 0, NULL, NULL, NULL, error) &&
             (result = vmig_tree_hash_finish(receiver->hash, error)) != NULL;
        if (ok)
            *hash = result;
        else
            g_prefix_error(error, "%s: ", receiver->part);
    }
    close(fd);
    return ok;
}

void vmig_receiver_abort(VmigReceiver *receiver)
{
    stop_server(receiver, SIGKILL, STOP_LIMIT);
    wait_for_holders(receiver);
    forget_socket(receiver);
    g_clear_pointer(&receiver->behind, vmig_hash_behind_free);
    close_fd(&receiver->fd);
}

void vmig_receiver_free(VmigReceiver *receiver)
{
    if (receiver == NULL)
        return;
    vmig_receiver_abort(receiver);
    close_fd(&receiver->listen_fd);
    close_fd(&receiver->stderr_fds[0]);
    close_fd(&receiver->stderr_fds[1]);
    close_fd(&receiver->end_fds[0]);
    close_fd(&receiver->end_fds[1]);
    g_mutex_clear(&receiver->lock);
    g_cond_clear(&receiver->changed);
    vmig_tree_hash_free(receiver->hash);
    g_free(receiver->told);
    g_string_free(receiver->said, TRUE);
    g_strfreev(receiver->argv);
    g_free(receiver->part);
    g_free(receiver);
}

GPid vmig_receiver_get_pid(VmigReceiver *receiver)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&receiver->lock);

    return receiver->pid;
}

gboolean vmig_receiver_is_fresh(VmigReceiver *receiver)
{
    return receiver->fresh;
}

const char *vmig_receiver_get_export(VmigReceiver *receiver)
{
    return receiver->export;
}

guint vmig_receiver_get_port(VmigReceiver *receiver)
{
    return receiver->port;
}

gboolean vmig_receiver_is_direct(VmigReceiver *receiver)
{
    return receiver->direct;
}
