/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard's own process: a thread for each client, one for each overlay that is waited for. */
#include "host/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/guard-private.h"
#include "host/image-locks.h"

#define MOST_CLIENTS 32
#define REQUEST_LIMIT (1024 * 1024)
#define CLIENT_PATIENCE 10            /* seconds for a client to say what it wants */
#define LONGEST_WAIT (10 * 60 * 1000) /* milliseconds of "take wait" */
#define NUDGE (5 * G_TIME_SPAN_MILLISECOND)
#define LOOK G_TIME_SPAN_MILLISECOND /* between two looks at an image that was let go of */

typedef struct {
    GMutex lock;
    GCond changed;
    GPtrArray *frozen; /* Held */
    GPtrArray *fences; /* Held */
    const char *socket;
    int quit_fd; /* an eventfd */
    gboolean quitting;
    guint clients;
} Guard;

/* One file that is frozen, or one fence. */
typedef struct {
    Guard *guard;
    char *path;
    int fd;
    dev_t dev;
    ino_t ino;
    /* a fence's: */
    GThread *thread;
    pthread_t id;
    gboolean waiting; /* id is known */
    gboolean drop;
    gboolean over;  /* the thread has nothing to wait for any more */
    gboolean free;  /* QEMU let go of the image and has not had it again since */
    gboolean taken; /* it had it again: what was copied before is stale, and the fence can never be got */
    gboolean held;
    int failed; /* errno */
} Held;

typedef struct {
    Guard *guard;
    int fd;
} Client;

static void held_free(gpointer data)
{
    Held *held = data;

    close(held->fd); /* which lets go of its OFD locks */
    g_free(held->path);
    g_free(held);
}

static Held *open_image(Guard *guard, const char *path, int flags, GError **error)
{
    struct stat st;
    int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        vmig_fail_errno(error, fd < 0 ? errno : EINVAL, "Cannot open %s", path);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    Held *held = g_new0(Held, 1);
    held->guard = guard;
    held->path = g_strdup(path);
    held->fd = fd;
    held->dev = st.st_dev;
    held->ino = st.st_ino;
    return held;
}

static Held *find_held(GPtrArray *list, const Held *wanted)
{
    for (guint i = 0; i < list->len; i++) {
        Held *held = list->pdata[i];
        if (held->dev == wanted->dev && held->ino == wanted->ino)
            return held;
    }
    return NULL;
}

/* First the locks, then the look for a writer, as QEMU does it (raw_handle_perm_lock): of two at the same time at least
 * one notices the other. */
static gboolean freeze_image(const Held *held, GError **error)
{
    VmigImageLocks locks;

    if (!vmig_image_lock_shared(held->fd, held->path, VMIG_LOCK_NO_WRITE, error) ||
        !vmig_image_lock_shared(held->fd, held->path, VMIG_LOCK_NO_RESIZE, error) ||
        !vmig_image_locks_probe_fd(held->fd, held->path, &locks, error))
        return FALSE;
    if (locks.writer)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "Somebody has %s open for writing", held->path);
    return TRUE;
}

/* All or none of them; those that were frozen before stay so in any case. */
static gboolean do_freeze(Guard *guard, char **paths, GError **error)
{
    g_autoptr(GPtrArray) fresh = g_ptr_array_new_with_free_func(held_free);

    for (guint i = 0; paths[i] != NULL; i++) {
        Held *held = open_image(guard, paths[i], O_RDONLY, error);
        if (held == NULL)
            return FALSE;
        if (find_held(guard->frozen, held) != NULL || find_held(fresh, held) != NULL) {
            held_free(held);
            continue;
        }
        g_ptr_array_add(fresh, held);
        if (!freeze_image(held, error))
            return FALSE;
    }
    for (guint i = 0; i < fresh->len; i++)
        g_ptr_array_add(guard->frozen, fresh->pdata[i]);
    g_ptr_array_set_free_func(fresh, NULL);
    return TRUE;
}

/* Waits in the kernel until nobody has byte 101. QEMU gives up its read lock on it in bdrv_inactivate(). It is let go
 * of at once: a migration that fails after that takes the images back, and a QEMU that cannot have them dies. */
static int wait_until_free(const Held *fence)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = VMIG_LOCK_WRITE, .l_len = 1};

    if (fcntl(fence->fd, F_OFD_SETLKW, &lock) < 0)
        return errno;
    lock.l_type = F_UNLCK;
    return fcntl(fence->fd, F_OFD_SETLK, &lock) < 0 ? errno : 0;
}

/* TRUE also where that cannot be told: then nobody may count on the fence. */
static gboolean has_writer(const Held *fence)
{
    VmigImageLocks locks;

    return !vmig_image_locks_probe_fd(fence->fd, fence->path, &locks, NULL) || locks.writer;
}

/* With the lock held. The kernel tells when a lock is let go of, not when one is taken, so that is looked for; a guest
 * that has its disks again and has written to them keeps them longer than the time between two looks. */
static void watch_free(Held *fence)
{
    Guard *guard = fence->guard;

    fence->free = TRUE;
    g_cond_broadcast(&guard->changed);
    while (!fence->drop && !fence->held && !fence->taken) {
        g_cond_wait_until(&guard->changed, &guard->lock, g_get_monotonic_time() + LOOK);
        if (!fence->held && has_writer(fence)) {
            fence->taken = TRUE;
            fence->free = FALSE;
        }
    }
}

static gpointer fence_thread(gpointer data)
{
    Held *fence = data;
    int result = EINTR;

    g_mutex_lock(&fence->guard->lock);
    fence->id = pthread_self();
    fence->waiting = TRUE;
    while (result == EINTR && !fence->drop) {
        g_mutex_unlock(&fence->guard->lock);
        result = wait_until_free(fence);
        g_mutex_lock(&fence->guard->lock);
    }
    fence->failed = result != EINTR ? result : 0;
    if (result == 0)
        watch_free(fence);
    fence->over = TRUE;
    g_cond_broadcast(&fence->guard->changed);
    g_mutex_unlock(&fence->guard->lock);
    return NULL;
}

/* With the lock held. A signal that comes between the thread's look at drop and its call is lost, so it is sent until
 * the thread says that it is over. */
static void drop_fences(Guard *guard)
{
    g_autoptr(GPtrArray) fences = g_steal_pointer(&guard->fences);

    guard->fences = g_ptr_array_new_with_free_func(held_free);
    for (guint i = 0; i < fences->len; i++) {
        Held *fence = fences->pdata[i];
        fence->drop = TRUE;
        while (!fence->over) {
            if (fence->waiting)
                pthread_kill(fence->id, SIGUSR1);
            g_cond_wait_until(&guard->changed, &guard->lock, g_get_monotonic_time() + NUDGE);
        }
    }
    g_mutex_unlock(&guard->lock);
    for (guint i = 0; i < fences->len; i++)
        g_thread_join(((Held *)fences->pdata[i])->thread);
    g_mutex_lock(&guard->lock);
}

static gboolean do_fence(Guard *guard, char **paths, GError **error)
{
    g_autoptr(GPtrArray) fresh = g_ptr_array_new_with_free_func(held_free);

    for (guint i = 0; paths[i] != NULL; i++) {
        Held *fence = open_image(guard, paths[i], O_RDWR, error);
        if (fence == NULL)
            return FALSE;
        if (find_held(guard->fences, fence) == NULL && find_held(fresh, fence) == NULL)
            g_ptr_array_add(fresh, fence);
        else
            held_free(fence);
    }
    for (guint i = 0; i < fresh->len; i++) {
        Held *fence = fresh->pdata[i];
        g_ptr_array_add(guard->fences, fence);
        fence->thread = g_thread_new("vmig-fence", fence_thread, fence);
    }
    g_ptr_array_set_free_func(fresh, NULL);
    return TRUE;
}

static guint count(const Guard *guard, gsize member)
{
    guint n = 0;

    for (guint i = 0; i < guard->fences->len; i++)
        n += G_STRUCT_MEMBER(gboolean, guard->fences->pdata[i], member) != FALSE;
    return n;
}

#define COUNT(guard, what) count(guard, G_STRUCT_OFFSET(Held, what))

static gboolean any_failed(const Guard *guard, GError **error)
{
    for (guint i = 0; i < guard->fences->len; i++) {
        const Held *fence = guard->fences->pdata[i];
        if (fence->failed != 0)
            return !vmig_fail_errno(error, fence->failed, "Cannot fence %s", fence->path);
    }
    return FALSE;
}

static void lock_no_write(const Held *fence, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = VMIG_LOCK_NO_WRITE, .l_len = 1};

    (void)fcntl(fence->fd, F_OFD_SETLK, &lock); /* what it did is looked at after it */
}

/* First the locks, then the look for a writer, as QEMU does it: of two at the same time at least one notices the other.
 * All or none: with one disk that is running again the guest is. */
static void take_fences(Guard *guard)
{
    gboolean all = TRUE;

    for (guint i = 0; i < guard->fences->len; i++) {
        Held *fence = guard->fences->pdata[i];
        lock_no_write(fence, F_RDLCK);
        fence->taken = has_writer(fence);
        all = all && !fence->taken;
    }
    for (guint i = 0; i < guard->fences->len; i++) {
        Held *fence = guard->fences->pdata[i];
        fence->held = all;
        if (!all)
            lock_no_write(fence, F_UNLCK);
    }
    g_cond_broadcast(&guard->changed);
}

/* "" or "wait MS". */
static char *do_take(Guard *guard, const char *rest, GError **error)
{
    gint64 deadline = g_get_monotonic_time();
    guint64 wait = 0;

    if (*rest != '\0' &&
        (!g_str_has_prefix(rest, "wait ") || !g_ascii_string_to_unsigned(rest + 5, 10, 0, LONGEST_WAIT, &wait, NULL))) {
        vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "The guard does not understand \"take %s\"", rest);
        return NULL;
    }
    deadline += (gint64)wait * G_TIME_SPAN_MILLISECOND;
    while (COUNT(guard, free) < guard->fences->len && COUNT(guard, taken) == 0 && !guard->quitting &&
           !any_failed(guard, NULL))
        if (!g_cond_wait_until(&guard->changed, &guard->lock, deadline))
            break;
    if (any_failed(guard, error))
        return NULL;
    if (COUNT(guard, free) == guard->fences->len && COUNT(guard, taken) == 0 && COUNT(guard, held) == 0)
        take_fences(guard);
    return g_strdup_printf("armed %u held %u", guard->fences->len, COUNT(guard, held));
}

static char **parse_paths(const char *text, GError **error)
{
    g_autoptr(JsonNode) node = json_from_string(text, NULL);
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    gboolean ok = node != NULL && JSON_NODE_HOLDS_ARRAY(node);
    JsonArray *array = ok ? json_node_get_array(node) : NULL;

    for (guint i = 0; ok && i < json_array_get_length(array); i++) {
        JsonNode *item = json_array_get_element(array, i);
        const char *path = JSON_NODE_HOLDS_VALUE(item) ? json_node_get_string(item) : NULL;
        ok = path != NULL && path[0] == '/';
        if (ok)
            g_strv_builder_add(builder, path);
    }
    if (!ok) {
        vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "The guard wants an array of absolute paths");
        return NULL;
    }
    return g_strv_builder_end(builder);
}

static void do_quit(Guard *guard)
{
    guint64 one = 1;

    g_ptr_array_set_size(guard->frozen, 0);
    drop_fences(guard);
    guard->quitting = TRUE;
    (void)unlink(guard->socket); /* before the answer: after it the name may be another guard's */
    g_cond_broadcast(&guard->changed);
    if (write(guard->quit_fd, &one, sizeof one) < 0)
        g_warn_if_reached();
}

/* With the lock held. The answer, or NULL with the error set. */
static char *handle(Guard *guard, const char *verb, const char *rest, GError **error)
{
    gboolean freeze = g_str_equal(verb, "freeze"), fence = g_str_equal(verb, "fence");

    if (freeze || fence) {
        g_auto(GStrv) paths = parse_paths(rest, error);
        if (paths == NULL || !(freeze ? do_freeze : do_fence)(guard, paths, error))
            return NULL;
        return g_strdup("");
    }
    if (g_str_equal(verb, "take"))
        return do_take(guard, rest, error);
    if (g_str_equal(verb, "status"))
        return g_strdup_printf("pid %d frozen %u armed %u held %u", (int)getpid(), guard->frozen->len,
                               guard->fences->len, COUNT(guard, held));
    if (g_str_equal(verb, "thaw"))
        g_ptr_array_set_size(guard->frozen, 0);
    else if (g_str_equal(verb, "unfence"))
        drop_fences(guard);
    else if (g_str_equal(verb, "quit"))
        do_quit(guard);
    else {
        vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "The guard does not understand \"%s\"", verb);
        return NULL;
    }
    return g_strdup("");
}

static char *answer(Guard *guard, const char *line)
{
    g_auto(GStrv) words = g_strsplit(line, " ", 2);
    g_autoptr(GError) error = NULL;

    g_mutex_lock(&guard->lock);
    g_autofree char *reply =
        handle(guard, words[0] != NULL ? words[0] : "", words[0] != NULL && words[1] != NULL ? words[1] : "", &error);
    g_mutex_unlock(&guard->lock);
    if (reply != NULL)
        return g_strdup_printf("ok %s\n", reply);
    g_autoptr(JsonNode) message = json_node_init_string(json_node_alloc(), error->message);
    g_autofree char *quoted = json_to_string(message, FALSE);
    return g_strdup_printf("error %s %s\n", vmig_error_name_of(error), quoted);
}

/* A line without its end, or NULL for a client that goes away, says too much or nothing for too long. */
static char *read_line(int fd)
{
    g_autoptr(GString) line = g_string_new(NULL);
    char buffer[4096];
    ssize_t got;

    while (line->len < REQUEST_LIMIT) {
        got = recv(fd, buffer, sizeof buffer, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return NULL;
        g_string_append_len(line, buffer, got);
        char *stop = memchr(line->str, '\n', line->len);
        if (stop != NULL)
            return g_strndup(line->str, (gsize)(stop - line->str));
    }
    return NULL;
}

static gpointer client_thread(gpointer data)
{
    g_autofree Client *client = data;
    Guard *guard = client->guard;
    g_autofree char *line = vmig_guard_peer_is_us(client->fd) ? read_line(client->fd) : NULL;
    g_autofree char *reply = line != NULL ? answer(guard, line) : NULL;

    if (reply != NULL)
        (void)!send(client->fd, reply, strlen(reply), MSG_NOSIGNAL); /* gone? What it asked for was done. */
    close(client->fd);
    g_mutex_lock(&guard->lock);
    guard->clients--;
    g_cond_broadcast(&guard->changed);
    g_mutex_unlock(&guard->lock);
    return NULL;
}

static void accept_client(Guard *guard, int listen_fd)
{
    struct timeval patience = {.tv_sec = CLIENT_PATIENCE};
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0)
        return;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    g_mutex_lock(&guard->lock);
    gboolean room = guard->clients < MOST_CLIENTS;
    guard->clients += room;
    g_mutex_unlock(&guard->lock);
    if (!room) {
        close(fd);
        return;
    }
    Client *client = g_new0(Client, 1);
    client->guard = guard;
    client->fd = fd;
    g_thread_unref(g_thread_new("vmig-client", client_thread, client));
}

static void serve(Guard *guard, int listen_fd)
{
    struct pollfd fds[] = {{.fd = listen_fd, .events = POLLIN}, {.fd = guard->quit_fd, .events = POLLIN}};

    for (;;) {
        if (poll(fds, 2, -1) < 0)
            continue; /* EINTR */
        if (fds[1].revents != 0)
            break;
        accept_client(guard, listen_fd);
    }
    g_mutex_lock(&guard->lock);
    while (guard->clients > 0)
        g_cond_wait(&guard->changed, &guard->lock);
    g_mutex_unlock(&guard->lock);
}

static void nothing(int signum)
{
    (void)signum;
}

static void set_signals(void)
{
    /* Without SA_RESTART: SIGUSR1 is what gets a fence's thread out of its wait. */
    struct sigaction interrupt = {.sa_handler = nothing}, ignore = {.sa_handler = SIG_IGN};

    sigaction(SIGUSR1, &interrupt, NULL);
    sigaction(SIGHUP, &ignore, NULL);
    sigaction(SIGINT, &ignore, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

int vmig_guard_main(const char *socket_path)
{
    Guard guard = {.frozen = g_ptr_array_new_with_free_func(held_free),
                   .fences = g_ptr_array_new_with_free_func(held_free),
                   .socket = socket_path,
                   .quit_fd = eventfd(0, EFD_CLOEXEC)};
    int listening = 0, listen_fd = STDIN_FILENO;
    socklen_t length = sizeof listening;
    g_autoptr(GError) error = NULL;

    if (getsockopt(listen_fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) < 0 || !listening)
        listen_fd = vmig_guard_listen(socket_path, &error);
    if (listen_fd >= 0 && guard.quit_fd >= 0) {
        set_signals();
        g_mutex_init(&guard.lock);
        g_cond_init(&guard.changed);
        serve(&guard, listen_fd);
        g_mutex_clear(&guard.lock);
        g_cond_clear(&guard.changed);
        close(listen_fd);
    }
    g_ptr_array_unref(guard.frozen);
    g_ptr_array_unref(guard.fences);
    if (guard.quit_fd >= 0)
        close(guard.quit_fd);
    return listen_fd >= 0 && guard.quit_fd >= 0 ? 0 : 1;
}
