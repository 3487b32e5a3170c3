/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The server side of the agent's protocol. */
#include "node/agent.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "os/json-read.h"
#include "os/lines.h"
#include "port/codec.h"
#include "node/node-local.h"

/* A peer that reads nothing for this long is gone. */
#define WRITE_US (60 * G_USEC_PER_SEC)
/* How long requests may continue after the peer has disconnected. */
#define STOP_US (10 * G_USEC_PER_SEC)

typedef struct {
    VmigNode *local;
    int out_fd;
    int wake_fd; /* readable once a reply could not be written: wakes the reader */
    GThreadPool *pool;
    GMutex lock; /* for the members below */
    GCond ended; /* signaled when a request ends */
    guint under_way;
    gboolean stopping;
    GMutex writing; /* protects out_fd */
} Agent;

/* Owns the whole message: json-glib's reference counts are not atomic, so only one thread may have a tree. */
typedef struct {
    gint64 id;
    JsonObject *message;
} Request;

static void request_free(Request *request)
{
    json_object_unref(request->message);
    g_free(request);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Request, request_free)

static gboolean write_object(int out_fd, JsonObject *object, GError **error)
{
    g_autofree char *line = vmig_json_line(object);

    return vmig_line_write(out_fd, line, g_get_monotonic_time() + WRITE_US, error);
}

static gboolean send_object(Agent *agent, JsonObject *object, GError **error)
{
    g_autoptr(GMutexLocker) writing G_GNUC_UNUSED = g_mutex_locker_new(&agent->writing);

    return write_object(agent->out_fd, object, error);
}

static JsonObject *error_object(const GError *failure)
{
    JsonObject *object = json_object_new();
    int domain, code;

    json_object_set_string_member(object, "code", vmig_error_name_of(failure));
    /* json-glib would write a message that is not UTF-8 (it may contain a file name) unchanged. */
    g_autofree char *message = g_utf8_make_valid(failure->message, -1);
    json_object_set_string_member(object, "message", message);
    if (vmig_error_hint(failure) != NULL) {
        g_autofree char *hint = g_utf8_make_valid(vmig_error_hint(failure), -1);
        json_object_set_string_member(object, "hint", hint);
    }
    if (vmig_error_get_foreign(failure, &domain, &code)) {
        json_object_set_int_member(object, "foreign_domain", domain);
        json_object_set_int_member(object, "foreign_code", code);
    }
    return object;
}

/* Exactly one of result and failure must be set. */
static gboolean reply(Agent *agent, gint64 id, JsonObject *result, const GError *failure, GError **error)
{
    g_autoptr(JsonObject) object = json_object_new();

    json_object_set_int_member(object, "id", id);
    if (failure != NULL)
        json_object_set_object_member(object, "error", error_object(failure));
    else
        json_object_set_object_member(object, "result", json_object_ref(result));
    return send_object(agent, object, error);
}

static gboolean is_stopping(Agent *agent)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&agent->lock);
    return agent->stopping;
}

/* The method's result as JSON; NULL with the error set. */
static JsonObject *call_method(VmigNode *local, JsonObject *request, GError **error)
{
    VmigMethod method = vmig_method_from_name(json_object_get_string_member(request, "method"));
    JsonObject *object = json_object_get_object_member(request, "args");
    JsonObject *result = NULL;

    if (method == VMIG_METHOD_LAST) {
        vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "there is no method with that name");
        return NULL;
    }
    const VmigMessage *args_message = vmig_method_args(method), *reply_message = vmig_method_reply(method);
    gpointer args = vmig_message_new(args_message), reply = vmig_message_new(reply_message);
    if (vmig_codec_decode(args_message, object, args, NULL, error) &&
        local->ops->call(local, method, args, reply, error) &&
        vmig_message_check(reply_message, reply, vmig_method_name(method), error))
        result = vmig_codec_encode(reply_message, reply);
    vmig_message_free(args_message, args);
    vmig_message_free(reply_message, reply);
    return result;
}

/* Runs in a thread of the pool. */
static void serve_request(gpointer data, gpointer user)
{
    g_autoptr(Request) request = data;
    Agent *agent = user;
    g_autoptr(GError) failure = NULL;
    g_autoptr(GError) lost = NULL;

    if (!is_stopping(agent)) {
        g_autoptr(JsonObject) result = call_method(agent->local, request->message, &failure);
        /* The reader also finds the end of the connection, but not that the peer merely stops reading. */
        if (!reply(agent, request->id, result, failure, &lost))
            (void)!eventfd_write(agent->wake_fd, 1);
    }
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&agent->lock);
    agent->under_way--;
    g_cond_broadcast(&agent->ended);
}

static gboolean start_request(Agent *agent, Request *request, GError **error)
{
    g_autoptr(Request) owned = request;

    {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&agent->lock);
        if (agent->under_way < VMIG_AGENT_MAX_REQUESTS) {
            agent->under_way++;
            /* Fails only if no thread can be created; then the request waits for an existing one. */
            g_thread_pool_push(agent->pool, g_steal_pointer(&owned), NULL);
            return TRUE;
        }
    }
    g_autoptr(GError) failure = NULL;
    vmig_fail(&failure, VMIG_ERROR_PROTOCOL, NULL, "more than %d requests are in progress", VMIG_AGENT_MAX_REQUESTS);
    return reply(agent, owned->id, NULL, failure, error);
}

static gboolean handle_line(Agent *agent, const char *line, gsize length, GError **error)
{
    g_autoptr(JsonObject) object = vmig_json_parse(line, length, error);

    if (object == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(object);
    gint64 id = vmig_reader_number(&reader, "id");
    const char *method = vmig_reader_text(&reader, "method");
    (void)vmig_reader_object(&reader, "args");
    if (!vmig_reader_end(&reader, error, "a request"))
        return FALSE;
    if (g_str_equal(method, "ping")) {
        g_autoptr(JsonObject) empty = json_object_new();
        return reply(agent, id, empty, NULL, error);
    }
    Request *request = g_new0(Request, 1);
    request->id = id;
    request->message = g_steal_pointer(&object);
    return start_request(agent, request, error);
}

static gboolean serve_lines(Agent *agent, VmigLines *lines, gint64 silence_us, GError **error)
{
    while (TRUE) {
        const char *line;
        gsize length;
        switch (vmig_lines_next(lines, agent->wake_fd, g_get_monotonic_time() + silence_us, &line, &length, error)) {
        case VMIG_LINE_GOT:
            if (!handle_line(agent, line, length, error))
                return FALSE;
            break;
        case VMIG_LINE_END:
            return TRUE;
        case VMIG_LINE_LATE:
            return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "the peer does not answer");
        case VMIG_LINE_FAILED:
        default:
            return FALSE;
        }
    }
}

static gboolean say_hello(Agent *agent, GError **error)
{
    g_autoptr(JsonObject) object = json_object_new();
    JsonObject *hello = json_object_new();

    json_object_set_int_member(hello, "protocol", VMIG_PROTOCOL);
    json_object_set_string_member(hello, "version", VMIG_VERSION);
    json_object_set_object_member(object, "hello", hello);
    return send_object(agent, object, error);
}

static Agent *agent_new(int out_fd, VmigNode *local, int wake_fd)
{
    Agent *agent = g_new0(Agent, 1);

    agent->local = local;
    agent->out_fd = out_fd;
    agent->wake_fd = wake_fd;
    g_mutex_init(&agent->lock);
    g_mutex_init(&agent->writing);
    g_cond_init(&agent->ended);
    agent->pool = g_thread_pool_new(serve_request, agent, VMIG_AGENT_MAX_THREADS, FALSE, NULL);
    return agent;
}

static gboolean wait_for_requests(Agent *agent)
{
    gint64 until = g_get_monotonic_time() + STOP_US;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&agent->lock);

    while (agent->under_way > 0)
        if (!g_cond_wait_until(&agent->ended, &agent->lock, until))
            return FALSE;
    return TRUE;
}

/* The locks are released last, because a request in progress may be writing to an image that they protect. If one takes
 * too long (the hash of a large file), it ends with the process, and so do its children and the locks. */
static void agent_stop(Agent *agent)
{
    {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&agent->lock);
        agent->stopping = TRUE;
    }
    vmig_node_local_cancel(agent->local);
    if (!wait_for_requests(agent))
        return;
    g_thread_pool_free(agent->pool, FALSE, TRUE);
    vmig_node_local_release(agent->local);
    g_mutex_clear(&agent->writing);
    g_mutex_clear(&agent->lock);
    g_cond_clear(&agent->ended);
    close(agent->wake_fd);
    g_free(agent);
}

gboolean vmig_agent_serve_full(int in_fd, int out_fd, VmigNode *local, gint64 silence_ms, GError **error)
{
    int wake_fd = eventfd(0, EFD_CLOEXEC);

    if (wake_fd < 0)
        return vmig_fail_errno(error, errno, "eventfd");
    signal(SIGPIPE, SIG_IGN);
    Agent *agent = agent_new(out_fd, local, wake_fd);
    g_autoptr(VmigLines) lines = vmig_lines_new(in_fd, VMIG_JSON_MAX_LINE);
    gboolean ok = say_hello(agent, error) && serve_lines(agent, lines, silence_ms * 1000, error);
    agent_stop(agent);
    return ok;
}

gboolean vmig_agent_serve(int in_fd, int out_fd, VmigNode *local, GError **error)
{
    return vmig_agent_serve_full(in_fd, out_fd, local, VMIG_AGENT_SILENCE_MS, error);
}

void vmig_agent_refuse(int out_fd, const GError *why)
{
    g_autoptr(JsonObject) object = json_object_new();

    signal(SIGPIPE, SIG_IGN);
    json_object_set_object_member(object, "error", error_object(why));
    write_object(out_fd, object, NULL); /* also printed to standard error */
}
