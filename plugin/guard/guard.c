/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard's own process: one thread per client and one per fenced overlay. */
#include "guard/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guard/guard-private.h"
#include "image/image-locks.h"

#define MOST_CLIENTS 32
#define REQUEST_LIMIT (1024 * 1024)
#define CLIENT_PATIENCE 10 /* seconds for a client to send its request */

typedef struct {
    VmigGuard *guard;
    int fd;
} Client;

/* First the locks, then the check for a writer, as in QEMU (raw_handle_perm_lock): if two processes race, at least one
 * notices the other. */
static gboolean freeze_image(const VmigHeld *held, GError **error)
{
    VmigImageLocks locks;

    if (!vmig_image_lock_shared(held->fd, held->path, VMIG_LOCK_NO_WRITE, error) ||
        !vmig_image_lock_shared(held->fd, held->path, VMIG_LOCK_NO_RESIZE, error) ||
        !vmig_image_locks_probe_fd(held->fd, held->path, &locks, error))
        return FALSE;
    if (locks.writer)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "another process has %s open for writing", held->path);
    return TRUE;
}

/* Freezes all of them or none. Files that were frozen before stay frozen in any case. */
static gboolean do_freeze(VmigGuard *guard, char **paths, GError **error)
{
    g_autoptr(GPtrArray) fresh = g_ptr_array_new_with_free_func(vmig_guard_held_free);

    for (guint i = 0; paths[i] != NULL; i++) {
        VmigHeld *held = vmig_guard_open(guard, paths[i], O_RDONLY, error);
        if (held == NULL)
            return FALSE;
        if (vmig_guard_find(guard->frozen, held) != NULL || vmig_guard_find(fresh, held) != NULL) {
            vmig_guard_held_free(held);
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
        vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "the guard expects an array of absolute paths");
        return NULL;
    }
    return g_strv_builder_end(builder);
}

static void do_quit(VmigGuard *guard)
{
    guint64 one = 1;

    g_ptr_array_set_size(guard->frozen, 0);
    vmig_guard_drop(guard);
    guard->quitting = TRUE;
    (void)unlink(guard->socket); /* before the reply: after it another guard may use the name */
    g_cond_broadcast(&guard->changed);
    if (write(guard->quit_fd, &one, sizeof one) < 0)
        g_warn_if_reached();
}

/* Call with the lock held. Returns the reply, or NULL with the error set. */
static char *handle(VmigGuard *guard, const char *verb, const char *rest, GError **error)
{
    gboolean freeze = g_str_equal(verb, "freeze"), fence = g_str_equal(verb, "fence");

    if (freeze || fence) {
        g_auto(GStrv) paths = parse_paths(rest, error);
        if (paths == NULL || !(freeze ? do_freeze : vmig_guard_arm)(guard, paths, error))
            return NULL;
        return g_strdup("");
    }
    if (g_str_equal(verb, "take"))
        return vmig_guard_take(guard, rest, error);
    if (g_str_equal(verb, "status"))
        return g_strdup_printf("pid %d frozen %u armed %u held %u free %u", (int)getpid(), guard->frozen->len,
                               guard->fences->len, vmig_guard_count_held(guard), vmig_guard_count_free(guard));
    if (g_str_equal(verb, "quick"))
        return vmig_guard_try_quick();
    if (g_str_equal(verb, "thaw"))
        g_ptr_array_set_size(guard->frozen, 0);
    else if (g_str_equal(verb, "unfence"))
        vmig_guard_drop(guard);
    else if (g_str_equal(verb, "quit"))
        do_quit(guard);
    else {
        vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the guard does not understand \"%s\"", verb);
        return NULL;
    }
    return g_strdup("");
}

static char *answer(VmigGuard *guard, const char *line)
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

/* A line without its terminator; NULL if the client disconnects, sends too much, or sends nothing for too long. */
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
    VmigGuard *guard = client->guard;
    g_autofree char *line = vmig_guard_peer_is_us(client->fd) ? read_line(client->fd) : NULL;
    g_autofree char *reply = line != NULL ? answer(guard, line) : NULL;

    if (reply != NULL)
        (void)!send(client->fd, reply, strlen(reply), MSG_NOSIGNAL); /* the client may be gone */
    close(client->fd);
    g_mutex_lock(&guard->lock);
    guard->clients--;
    g_cond_broadcast(&guard->changed);
    g_mutex_unlock(&guard->lock);
    return NULL;
}

static void accept_client(VmigGuard *guard, int listen_fd)
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

static void serve(VmigGuard *guard, int listen_fd)
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
    /* Without SA_RESTART: SIGUSR1 interrupts a fence's thread in its wait. */
    struct sigaction interrupt = {.sa_handler = nothing}, ignore = {.sa_handler = SIG_IGN};

    sigaction(SIGUSR1, &interrupt, NULL);
    sigaction(SIGHUP, &ignore, NULL);
    sigaction(SIGINT, &ignore, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

int vmig_guard_main(const char *socket_path)
{
    VmigGuard guard = {.frozen = g_ptr_array_new_with_free_func(vmig_guard_held_free),
                       .fences = g_ptr_array_new_with_free_func(vmig_guard_held_free),
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
