/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs qemu-nbd on one snapshot, with libnbd as its client. qemu-nbd gets the listening socket by socket activation;
 * its name is already gone when qemu-nbd starts. */
#include "image/snapshot-server.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <libnbd.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file-id.h"
#include "core/errors.h"
#include "copy/file-hash.h"

#define LISTEN_FD 3
#define MEMORY ((rlim_t)1 << 30)
#define SAID_MAX 2048
#define START_MS (30 * 1000)
/* A disk that returns no data for this long is broken. */
#define READ_MS (120 * 1000)
/* NBD has a 32-bit length. */
#define STATUS_MAX (G_GUINT64_CONSTANT(2) << 30)

typedef struct {
    guint64 end;
    gboolean zero;
} Extent;

struct VmigSnapshotServer {
    GArray *fds; /* int: the listening socket, then the chain, all above the numbers that the child assigns */
    char **argv;
    int said; /* qemu-nbd's standard error */
    pid_t pid;
    struct nbd_handle *nbd;
    guint64 size;
    GArray *extents; /* Extent, starting at status_from */
    guint64 status_from, status_to;
};

static gboolean plain_id(const char *id)
{
    gsize length = strlen(id);

    for (gsize i = 0; i < length; i++)
        if (!g_ascii_isalnum(id[i]) && strchr("-_.", id[i]) == NULL)
            return FALSE;
    return length > 0;
}

/* --- starting --- */

/* Runs in the child: async-signal-safe calls only. */
static void exec_server(const VmigSnapshotServer *server, int said, pid_t parent)
{
    char listen_pid[32] = "LISTEN_PID=", digits[16];
    char *env[] = {(char *)"PATH=/usr/bin:/bin:/usr/sbin:/sbin",
                   (char *)"LC_ALL=C",
                   (char *)"MALLOC_ARENA_MAX=2",
                   (char *)"LISTEN_FDS=1",
                   listen_pid,
                   NULL};
    struct rlimit memory = {MEMORY, MEMORY}, none = {0, 0};
    const int *fds = (const int *)(const void *)server->fds->data;
    gsize count = 0;
    sigset_t empty;

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(126);
    setsid();
    sigemptyset(&empty);
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigprocmask(SIG_SETMASK, &empty, NULL);
    setrlimit(RLIMIT_AS, &memory);
    setrlimit(RLIMIT_CORE, &none);
    (void)unshare(CLONE_NEWNET); /* needs privilege; optional, because no option names a network address */
    for (pid_t pid = getpid(); pid > 0; pid /= 10)
        digits[count++] = (char)('0' + pid % 10);
    for (gsize i = 0, at = strlen("LISTEN_PID="); i < count; i++)
        listen_pid[at + i] = digits[count - 1 - i];
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(said, 2) < 0)
        _exit(126);
    for (guint i = 0; i < server->fds->len; i++)
        if (dup2(fds[i], LISTEN_FD + (int)i) < 0)
            _exit(126);
    if (close_range(LISTEN_FD + server->fds->len, ~0U, 0) < 0)
        _exit(126);
    execve(server->argv[0], server->argv, env);
    _exit(127);
}

/* Takes ownership of the descriptor, even on failure. */
static gboolean keep_fd(VmigSnapshotServer *server, int fd, guint above, GError **error)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, LISTEN_FD + (int)above);

    close(fd);
    if (high < 0)
        return vmig_fail_errno(error, errno, "cannot duplicate a file descriptor");
    g_array_append_val(server->fds, high);
    return TRUE;
}

/* A listening socket and, in *client, one connected to it. Its name no longer exists when this returns. */
static int make_sockets(const char *run_dir, int *client, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_autofree char *folder = g_build_filename(run_dir, "verify-XXXXXX", NULL);

    if (g_mkdtemp_full(folder, 0700) == NULL) {
        vmig_fail_errno(error, errno, "cannot create a directory in %s", run_dir);
        return -1;
    }
    g_autofree char *path = g_build_filename(folder, "nbd", NULL);
    int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    gboolean fits = g_strlcpy(address.sun_path, path, sizeof address.sun_path) < sizeof address.sun_path;
    gboolean ok = listening >= 0 && *client >= 0 && fits &&
                  bind(listening, (struct sockaddr *)&address, sizeof address) == 0 && listen(listening, 1) == 0 &&
                  connect(*client, (struct sockaddr *)&address, sizeof address) == 0;
    int errnum = fits ? errno : ENAMETOOLONG;
    g_unlink(path);
    g_rmdir(folder);
    if (ok)
        return listening;
    if (listening >= 0)
        close(listening);
    if (*client >= 0)
        close(*client);
    vmig_fail_errno(error, errnum, "cannot create a socket in %s", run_dir);
    return -1;
}

static gboolean same_file(int fd, const VmigImage *image, gboolean *direct, GError **error)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return vmig_fail_errno(error, errno, "cannot stat '%s'", image->path);
    if (!vmig_file_id_equal(VMIG_FILE_ID(st), image->id))
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "'%s' was replaced by another file", image->path);
    int past_cache = vmig_open_direct(fd, O_RDONLY);
    *direct = *direct && past_cache >= 0;
    if (past_cache >= 0)
        close(past_cache);
    return TRUE;
}

/* Names the whole chain explicitly, so that qemu-nbd ignores the names in the headers. */
static char *image_options(GPtrArray *chain, gboolean direct)
{
    GString *options = g_string_new(NULL);

    for (guint i = 0; i < chain->len; i++) {
        const VmigImage *image = chain->pdata[i];
        GString *under = g_string_new(NULL);
        for (guint k = 0; k < i; k++)
            g_string_append(under, "backing.");
        g_string_append_printf(options, "%s%sdriver=%s,%sfile.driver=file,%sfile.filename=/dev/fd/%d", i > 0 ? "," : "",
                               under->str, image->format, under->str, under->str, LISTEN_FD + 1 + (int)i);
        g_string_free(under, TRUE);
    }
    g_string_append_printf(options, ",read-only=on,force-share=on,cache.direct=%s", direct ? "on" : "off");
    return g_string_free(options, FALSE);
}

static gboolean open_chain(VmigSnapshotServer *server, GPtrArray *chain, GPtrArray *roots, gboolean *direct,
                           GError **error)
{
    *direct = TRUE;
    for (guint i = 0; i < chain->len; i++) {
        const VmigImage *image = chain->pdata[i];
        int fd = vmig_image_open(image->path, roots, FALSE, error);
        if (fd < 0)
            return FALSE;
        gboolean same = same_file(fd, image, direct, error);
        if (!keep_fd(server, fd, chain->len + 1, same ? error : NULL) || !same)
            return FALSE;
    }
    return TRUE;
}

/* The messages of a qemu-nbd that has exited. */
static char *last_words(VmigSnapshotServer *server)
{
    char buffer[SAID_MAX];
    struct pollfd fds = {.fd = server->said, .events = POLLIN};
    gsize length = 0;

    while (length < sizeof buffer && poll(&fds, 1, 1000) > 0) {
        ssize_t got = read(server->said, buffer + length, sizeof buffer - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        length += (gsize)got;
    }
    while (length > 0 && g_ascii_isspace(buffer[length - 1]))
        length--;
    return vmig_printable(buffer, length);
}

static gboolean fork_server(VmigSnapshotServer *server, GError **error)
{
    int said[2];
    pid_t parent = getpid();

    if (pipe2(said, O_CLOEXEC) < 0)
        return vmig_fail_errno(error, errno, "cannot create a pipe");
    /* Above all numbers that the child assigns. */
    int high = fcntl(said[1], F_DUPFD_CLOEXEC, LISTEN_FD + (int)server->fds->len);
    close(said[1]);
    server->said = said[0];
    if (high < 0)
        return vmig_fail_errno(error, errno, "cannot duplicate a file descriptor");
    server->pid = fork();
    if (server->pid == 0)
        exec_server(server, high, parent);
    int errnum = errno;
    close(high);
    if (server->pid < 0) {
        server->pid = 0;
        return vmig_fail_errno(error, errnum, "cannot start qemu-nbd");
    }
    /* Only the child keeps the socket, so that the client sees when it exits. */
    close(g_array_index(server->fds, int, 0));
    g_array_remove_index(server->fds, 0);
    return TRUE;
}

static gboolean fail_nbd(VmigSnapshotServer *server, const char *what, GError **error)
{
    g_autofree char *text = g_strdup(nbd_get_error());
    int errnum = nbd_get_errno();
    g_autofree char *said = last_words(server);

    if (*said == '\0' && (errnum == EIO || errnum == ENOMEM))
        return vmig_fail(error, VMIG_ERROR_IO, NULL, "%s: %s", what, g_strerror(errnum));
    return vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, NULL, "%s: qemu-nbd: %s", what, *said != '\0' ? said : text);
}

/* Handles the next event of the connection. */
static gboolean turn(VmigSnapshotServer *server, const char *what, gint64 until, GError **error)
{
    gint64 left = until - g_get_monotonic_time() / 1000;
    int got = left > 0 ? nbd_poll(server->nbd, (int)left) : 0;

    if (got < 0)
        return fail_nbd(server, what, error);
    return got > 0 || vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "%s: qemu-nbd did not answer in time", what);
}

static gboolean connect_nbd(VmigSnapshotServer *server, int client, GError **error)
{
    gint64 until = g_get_monotonic_time() / 1000 + START_MS;

    server->nbd = nbd_create();
    if (server->nbd == NULL || nbd_add_meta_context(server->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0) {
        close(client);
        return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "libnbd: %s", nbd_get_error());
    }
    if (nbd_aio_connect_socket(server->nbd, client) < 0) /* takes ownership of it */
        return fail_nbd(server, "cannot read a snapshot", error);
    while (nbd_aio_is_connecting(server->nbd) > 0)
        if (!turn(server, "cannot open a snapshot", until, error))
            return FALSE;
    gint64 size = nbd_aio_is_ready(server->nbd) > 0 ? nbd_get_size(server->nbd) : -1;
    if (size < 0)
        return fail_nbd(server, "cannot open a snapshot", error);
    server->size = (guint64)size;
    return TRUE;
}

static gboolean build_argv(VmigSnapshotServer *server, GPtrArray *chain, const char *id, gboolean direct,
                           GError **error)
{
    g_autofree char *program = g_find_program_in_path("qemu-nbd");
    g_autofree char *options = image_options(chain, direct);
    g_autofree char *snapshot = g_strdup_printf("--load-snapshot=snapshot.id=%s", id);

    if (program == NULL)
        return vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, "Install qemu-utils.", "qemu-nbd is not installed");
    const char *argv[] = {program,          "--read-only",  snapshot, "--shared=1",
                          "--export-name=", "--image-opts", options,  NULL};
    server->argv = g_strdupv((char **)argv);
    return TRUE;
}

VmigSnapshotServer *vmig_snapshot_server_start(GPtrArray *chain, GPtrArray *roots, const char *id, const char *run_dir,
                                               GError **error)
{
    g_autoptr(VmigSnapshotServer) server = g_new0(VmigSnapshotServer, 1);
    gboolean direct;
    int client;

    server->fds = g_array_new(FALSE, FALSE, sizeof(int));
    server->extents = g_array_new(FALSE, FALSE, sizeof(Extent));
    server->said = -1;
    if (!plain_id(id)) {
        g_autofree char *shown = vmig_printable(id, strlen(id));
        vmig_fail(error, VMIG_ERROR_UNSUPPORTED, NULL, "the snapshot's id '%s' is not an id that QEMU gives", shown);
        return NULL;
    }
    int listening = make_sockets(run_dir, &client, error);
    if (listening < 0)
        return NULL;
    if (!keep_fd(server, listening, chain->len + 1, error) || !open_chain(server, chain, roots, &direct, error) ||
        !build_argv(server, chain, id, direct, error) || !fork_server(server, error)) {
        close(client);
        return NULL;
    }
    return connect_nbd(server, client, error) ? g_steal_pointer(&server) : NULL;
}

void vmig_snapshot_server_free(VmigSnapshotServer *server)
{
    if (server == NULL)
        return;
    if (server->nbd != NULL)
        nbd_close(server->nbd);
    /* It writes nothing, so killing it loses nothing. */
    if (server->pid > 0)
        kill(server->pid, SIGKILL);
    while (server->pid > 0 && waitpid(server->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    for (guint i = 0; i < server->fds->len; i++)
        close(g_array_index(server->fds, int, i));
    g_array_unref(server->fds);
    g_array_unref(server->extents);
    if (server->said >= 0)
        close(server->said);
    g_strfreev(server->argv);
    g_free(server);
}

guint64 vmig_snapshot_server_size(const VmigSnapshotServer *server)
{
    return server->size;
}

/* --- reading --- */

static gboolean await(VmigSnapshotServer *server, gint64 cookie, const char *what, GError **error)
{
    gint64 until = g_get_monotonic_time() / 1000 + READ_MS;
    int done;

    if (cookie < 0)
        return fail_nbd(server, what, error);
    while ((done = nbd_aio_command_completed(server->nbd, (guint64)cookie)) == 0)
        if (!turn(server, what, until, error))
            return FALSE;
    return done > 0 || fail_nbd(server, what, error);
}

gboolean vmig_snapshot_server_read(VmigSnapshotServer *server, guint64 offset, gpointer buffer, gsize length,
                                   GError **error)
{
    gint64 cookie = nbd_aio_pread(server->nbd, buffer, length, offset, NBD_NULL_COMPLETION, 0);

    return await(server, cookie, "cannot read a snapshot", error);
}

static int on_extents(void *user, const char *context, guint64 offset, guint32 *entries, size_t n, int *error)
{
    VmigSnapshotServer *server = user;

    (void)error;
    if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
        return 0;
    for (size_t i = 0; i + 1 < n; i += 2) {
        offset += entries[i];
        Extent extent = {offset, (entries[i + 1] & LIBNBD_STATE_ZERO) != 0};
        g_array_append_val(server->extents, extent);
    }
    server->status_to = offset;
    return 0;
}

/* Fetches the extents from offset on. */
static gboolean ask_status(VmigSnapshotServer *server, guint64 offset, GError **error)
{
    nbd_extent_callback callback = {.callback = on_extents, .user_data = server};

    g_array_set_size(server->extents, 0);
    server->status_from = server->status_to = offset;
    gint64 cookie = nbd_aio_block_status(server->nbd, MIN(STATUS_MAX, server->size - offset), offset, callback,
                                         NBD_NULL_COMPLETION, 0);
    if (!await(server, cookie, "cannot find the data of a snapshot", error))
        return FALSE;
    return server->status_to > offset ||
           vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, NULL, "qemu-nbd does not report where the data of a snapshot is");
}

/* The extent that contains offset. */
static gboolean status_at(VmigSnapshotServer *server, guint64 offset, Extent *ret, GError **error)
{
    if ((offset < server->status_from || offset >= server->status_to) && !ask_status(server, offset, error))
        return FALSE;
    *ret = (Extent){.end = offset + 1};
    for (guint i = 0; i < server->extents->len; i++) {
        *ret = g_array_index(server->extents, Extent, i);
        if (ret->end > offset)
            break;
    }
    return TRUE;
}

gboolean vmig_snapshot_server_is_zero(VmigSnapshotServer *server, guint64 offset, guint64 length, gboolean *zero,
                                      GError **error)
{
    guint64 end = offset + length;

    *zero = FALSE;
    if (nbd_can_meta_context(server->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) <= 0)
        return TRUE;
    while (offset < end) {
        Extent extent;
        if (!status_at(server, offset, &extent, error))
            return FALSE;
        if (!extent.zero)
            return TRUE;
        offset = extent.end;
    }
    *zero = TRUE;
    return TRUE;
}
