/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client side of the agent's protocol. Data from the agent is not trusted. */
#include "node/agent-client.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "node/agent-hello.h"
#include "os/json-read.h"
#include "os/lines.h"
#include "port/codec.h"

/* With more timed-out calls than this, the agent answers nothing but pings. */
#define MAX_ABANDONED 256

/* The whole reply is handed over, because json-glib's reference counts are not atomic: no two threads may share parts
 * of a tree. */
typedef struct {
    JsonObject *reply;
    GError *failure;
    gboolean done;
} Call;

typedef struct {
    VmigNode base;
    VmigAgentTimes times;
    int in_fd, out_fd;
    int wake_fd; /* readable once the reader must end */
    VmigLines *lines;
    GThread *reader;
    GMutex writing; /* protects out_fd */
    GMutex lock;    /* for the members below */
    GCond answered;
    GHashTable *pending;   /* id → Call, on its caller's stack */
    GHashTable *abandoned; /* IDs of calls whose caller has given up, and of pings */
    gint64 next_id;
    gint64 ping_id; /* of the ping in progress, or 0 */
    gint64 ping_sent;
    gboolean hurried;
    gint64 heard; /* when data last arrived */
    GError *broken;
} Client;

static gint64 deadline_of(const Client *client, VmigMethod method)
{
    static const gint64 factors[] = {[VMIG_TIME_SHORT] = 1, [VMIG_TIME_DISK] = 20};
    VmigMethodTime time = vmig_method_time(method);

    return time == VMIG_TIME_WORK ? G_MAXINT64 : g_get_monotonic_time() + factors[time] * client->times.call * 1000;
}

/* Call with the lock held. Keeps the first reason. */
static void set_broken(Client *client, const GError *reason)
{
    if (client->broken == NULL)
        client->broken = g_error_copy(reason);
    g_cond_broadcast(&client->answered);
}

static void break_connection(Client *client, const GError *reason)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&client->lock);

    set_broken(client, reason);
}

/* Passes a reply, or the failure in it, to its caller; takes ownership of both. */
static gboolean deliver(Client *client, gint64 id, JsonObject *reply, GError *failure, GError **error)
{
    g_autoptr(JsonObject) owned = reply;
    g_autoptr(GError) owned_failure = failure;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&client->lock);
    Call *call = g_hash_table_lookup(client->pending, &id);

    client->heard = g_get_monotonic_time();
    if (call != NULL) {
        call->reply = failure == NULL ? g_steal_pointer(&owned) : NULL;
        call->failure = g_steal_pointer(&owned_failure);
        call->done = TRUE;
        g_hash_table_remove(client->pending, &id);
        g_cond_broadcast(&client->answered);
        return TRUE;
    }
    if (id == client->ping_id)
        client->ping_id = 0;
    if (g_hash_table_remove(client->abandoned, &id))
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the agent sent a reply to a request that was not made");
}

static gboolean handle_reply(Client *client, const char *line, gsize length, GError **error)
{
    g_autoptr(JsonObject) object = vmig_json_parse(line, length, error);

    if (object == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(object);
    gint64 id = vmig_reader_number(&reader, "id");
    JsonObject *result = vmig_reader_maybe_object(&reader, "result");
    JsonObject *problem = vmig_reader_maybe_object(&reader, "error");
    g_autoptr(GError) failure = problem != NULL ? vmig_agent_failure(&reader, problem) : NULL;
    if ((result == NULL) == (problem == NULL))
        vmig_reader_mistake(&reader, "result", "alone");
    if (!vmig_reader_end(&reader, error, "a reply"))
        return FALSE;
    return deliver(client, id, g_steal_pointer(&object), g_steal_pointer(&failure), error);
}

/* A write in progress is also a sign of life for the agent. Waiting for it here would stop the reading, without which
 * the agent may not continue to read either. */
static gboolean send_ping(Client *client, GError **error)
{
    g_autofree char *line = NULL;

    if (!g_mutex_trylock(&client->writing))
        return TRUE;
    {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&client->lock);
        client->ping_id = client->next_id++;
        client->ping_sent = g_get_monotonic_time();
        gint64 *key = g_memdup2(&client->ping_id, sizeof client->ping_id);
        g_hash_table_add(client->abandoned, key);
        line = g_strdup_printf("{\"id\":%" G_GINT64_FORMAT ",\"method\":\"ping\",\"args\":{}}", client->ping_id);
    }
    gboolean ok = vmig_line_write(client->out_fd, line, g_get_monotonic_time() + client->times.silence * 1000, error);
    g_mutex_unlock(&client->writing);
    return ok;
}

/* No data arrived for a while: sends a ping, or decides that the agent is dead. */
static gboolean check_pulse(Client *client, GError **error)
{
    gint64 now = g_get_monotonic_time();

    if (client->ping_id == 0 && now - client->ping_sent >= client->times.ping * 1000)
        return send_ping(client, error);
    if (client->ping_id != 0 && now - client->ping_sent >= client->times.silence * 1000)
        return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "the agent has not answered for %" G_GINT64_FORMAT " s",
                         client->times.silence / 1000);
    return TRUE;
}

static gboolean read_once(Client *client, GError **error)
{
    const char *line;
    gsize length;
    /* Pings are sent even if data arrives, because the agent needs signs of life, too. */
    gint64 pause = client->ping_id != 0 ? client->times.silence : client->times.ping;
    gint64 until = MAX(client->ping_sent + pause * 1000, g_get_monotonic_time() + 10000);

    switch (vmig_lines_next(client->lines, client->wake_fd, until, &line, &length, error)) {
    case VMIG_LINE_GOT:
        return handle_reply(client, line, length, error) && check_pulse(client, error);
    case VMIG_LINE_LATE:
        return check_pulse(client, error);
    case VMIG_LINE_END:
        return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "the agent closed the connection");
    case VMIG_LINE_FAILED:
    default:
        return FALSE;
    }
}

static gboolean is_broken(Client *client)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&client->lock);
    return client->broken != NULL;
}

/* The reader thread: only it uses lines, and only it accesses ping_id and ping_sent without the lock. */
static gpointer read_replies(gpointer data)
{
    Client *client = data;
    g_autoptr(GError) error = NULL;

    client->ping_sent = g_get_monotonic_time();
    while (!is_broken(client) && read_once(client, &error))
        ;
    if (error != NULL) {
        /* For any error: this connection is unusable, but a new one may work. */
        if (error->code != VMIG_ERROR_PROTOCOL && error->code != VMIG_ERROR_CONNECTION)
            error->code = VMIG_ERROR_CONNECTION;
        break_connection(client, error);
    }
    return NULL;
}

static gboolean send_request(Client *client, gint64 id, VmigMethod method, JsonObject *args, GError **error)
{
    g_autoptr(JsonObject) object = json_object_new();

    json_object_set_int_member(object, "id", id);
    json_object_set_string_member(object, "method", vmig_method_name(method));
    json_object_set_object_member(object, "args", json_object_ref(args));
    g_autofree char *line = vmig_json_line(object);
    /* Checked before sending anything, because the agent would end the connection. */
    if (strlen(line) >= VMIG_JSON_MAX_LINE)
        return vmig_fail(error, VMIG_ERROR_UNSUPPORTED, NULL, "cannot send a request of more than 16 MiB ('%s')",
                         vmig_method_name(method));
    g_autoptr(GMutexLocker) writing G_GNUC_UNUSED = g_mutex_locker_new(&client->writing);
    g_autoptr(GError) lost = NULL;
    if (vmig_line_write(client->out_fd, line, g_get_monotonic_time() + client->times.silence * 1000, &lost))
        return TRUE;
    lost->code = VMIG_ERROR_CONNECTION; /* an incomplete line may have been sent: nothing can follow it */
    break_connection(client, lost);
    g_propagate_error(error, g_steal_pointer(&lost));
    return FALSE;
}

/* Call with the lock held. */
static void abandon(Client *client, gint64 id)
{
    g_hash_table_remove(client->pending, &id);
    g_hash_table_add(client->abandoned, g_memdup2(&id, sizeof id));
    if (g_hash_table_size(client->abandoned) > MAX_ABANDONED) {
        g_autoptr(GError) reason = NULL;
        vmig_fail(&reason, VMIG_ERROR_CONNECTION, NULL, "the agent has too many unanswered requests");
        set_broken(client, reason);
    }
}

/* An additional ping from the waiting thread. Skipped during a write in progress: if that is stuck, no data arrives
 * either. */
static void ping_now(Client *client)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *line = NULL;
    gint64 id;

    {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&client->lock);
        id = client->next_id++;
        g_hash_table_add(client->abandoned, g_memdup2(&id, sizeof id));
    }
    line = g_strdup_printf("{\"id\":%" G_GINT64_FORMAT ",\"method\":\"ping\",\"args\":{}}", id);
    if (!g_mutex_trylock(&client->writing))
        return;
    gboolean ok = vmig_line_write(client->out_fd, line, g_get_monotonic_time() + client->times.hurry * 1000, &error);
    g_mutex_unlock(&client->writing);
    if (!ok)
        break_connection(client, error);
}

/* Call with the lock held; it is released meanwhile. A slow disk there is not silence, because pings are answered at
 * once. */
static void feel_pulse(Client *client, gint64 began)
{
    g_autoptr(GError) reason = NULL;

    if (g_get_monotonic_time() - MAX(client->heard, began) < client->times.hurry * 1000) {
        g_mutex_unlock(&client->lock);
        ping_now(client);
        g_mutex_lock(&client->lock);
        return;
    }
    vmig_fail(&reason, VMIG_ERROR_CONNECTION, NULL,
              "the agent has not answered for %" G_GINT64_FORMAT " ms, while no host runs the guest",
              client->times.hurry);
    set_broken(client, reason);
}

static void wait_answer(Client *client, Call *call, gint64 until)
{
    gint64 began = g_get_monotonic_time();

    while (!call->done && client->broken == NULL) {
        gint64 pulse = g_get_monotonic_time() + client->times.hurry * 1000 / 5;
        gint64 next = client->hurried ? MIN(until, pulse) : until;
        if (next == G_MAXINT64)
            g_cond_wait(&client->answered, &client->lock);
        else if (!g_cond_wait_until(&client->answered, &client->lock, next) && next == until)
            return;
        else if (client->hurried && g_get_monotonic_time() >= next)
            feel_pulse(client, began);
    }
}

static void client_hurry(VmigNode *self, gboolean on)
{
    Client *client = (Client *)self;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&client->lock);

    client->hurried = on;
}

static JsonObject *take_result(Call *call, GError **error)
{
    g_autoptr(JsonObject) reply = call->reply;

    if (reply == NULL) {
        g_propagate_error(error, call->failure);
        return NULL;
    }
    return json_object_ref(json_object_get_object_member(reply, "result"));
}

static JsonObject *exchange(Client *client, VmigMethod method, JsonObject *args, GError **error)
{
    Call call = {0};
    gint64 until = deadline_of(client, method);
    gint64 id;

    {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&client->lock);
        id = client->next_id++;
        g_hash_table_insert(client->pending, g_memdup2(&id, sizeof id), &call);
    }
    g_autoptr(GError) unsent = NULL;
    gboolean sent = !is_broken(client) && send_request(client, id, method, args, &unsent);
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&client->lock);
    if (sent)
        wait_answer(client, &call, until);
    if (call.done)
        return take_result(&call, error);
    if (unsent != NULL) {
        g_hash_table_remove(client->pending, &id);
        g_propagate_error(error, g_steal_pointer(&unsent));
    } else if (client->broken != NULL) {
        g_hash_table_remove(client->pending, &id);
        g_propagate_error(error, g_error_copy(client->broken));
    } else {
        abandon(client, id);
        vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "the agent did not answer '%s' in time", vmig_method_name(method));
    }
    return NULL;
}

static gboolean client_call(VmigNode *self, VmigMethod method, gconstpointer args, gpointer reply, GError **error)
{
    g_autoptr(JsonObject) request = vmig_codec_encode(vmig_method_args(method), args);
    g_autoptr(JsonObject) result = exchange((Client *)self, method, request, error);

    return result != NULL &&
           vmig_codec_decode(vmig_method_reply(method), result, reply, vmig_method_name(method), error);
}

static void client_free(VmigNode *self)
{
    Client *client = (Client *)self;

    if (client->reader != NULL) {
        g_autoptr(GError) reason = NULL;
        vmig_fail(&reason, VMIG_ERROR_CONNECTION, NULL, "the connection to the agent was closed");
        break_connection(client, reason);
        (void)!eventfd_write(client->wake_fd, 1);
        g_thread_join(client->reader);
    }
    close(client->in_fd);
    close(client->out_fd);
    if (client->wake_fd >= 0)
        close(client->wake_fd);
    vmig_lines_free(client->lines);
    g_hash_table_unref(client->pending);
    g_hash_table_unref(client->abandoned);
    g_mutex_clear(&client->writing);
    g_mutex_clear(&client->lock);
    g_cond_clear(&client->answered);
    g_clear_error(&client->broken);
    g_free(client->base.host);
    g_free(client);
}

static const VmigNodeOps client_ops = {.call = client_call, .hurry = client_hurry, .free = client_free};

VmigNode *vmig_agent_client_new_full(int in_fd, int out_fd, const char *host, const VmigAgentTimes *times,
                                     gboolean *said, GError **error)
{
    Client *client = g_new0(Client, 1);
    g_autoptr(VmigNode) owned = &client->base;

    *said = FALSE;
    client->base.ops = &client_ops;
    client->base.host = g_strdup(host);
    client->times = *times;
    client->in_fd = in_fd;
    client->out_fd = out_fd;
    client->lines = vmig_lines_new(in_fd, VMIG_JSON_MAX_LINE);
    client->pending = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    client->abandoned = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    client->next_id = 1;
    g_mutex_init(&client->writing);
    g_mutex_init(&client->lock);
    g_cond_init(&client->answered);
    client->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (client->wake_fd < 0) {
        vmig_fail_errno(error, errno, "eventfd");
        return NULL;
    }
    if (!vmig_agent_hello_await(client->lines, client->base.host, g_get_monotonic_time() + times->hello * 1000, said,
                                error))
        return NULL;
    client->reader = g_thread_new("vmig-agent", read_replies, client);
    return g_steal_pointer(&owned);
}

VmigNode *vmig_agent_client_new(int in_fd, int out_fd, const char *host, gboolean *said, GError **error)
{
    return vmig_agent_client_new_full(in_fd, out_fd, host, &VMIG_AGENT_TIMES_DEFAULT, said, error);
}

gboolean vmig_agent_client_alive(VmigNode *node)
{
    return !is_broken((Client *)node);
}
