/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests both ends of the agent's protocol: calls from many threads get their own replies, and an error arrives
 * unchanged. A peer that lies, falls silent, disconnects or sends nonsense ends the calls, but never causes a hang, a
 * crash or a wrong reply. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <glib.h>

#include "node/agent-client.h"
#include "node/agent.h"
#include "os/json-read.h"
#include "os/lines.h"

#define HELLO "{\"hello\":{\"protocol\":" G_STRINGIFY(VMIG_PROTOCOL) ",\"version\":\"1.2\"}}\n"

/* --- a node that answers by rules --- */

typedef struct {
    VmigNode base;
    gint calls;
    gint under_way;
    gint most;
    GMutex lock;
    GCond open;
    gboolean gate_open;
} Fake;

static gboolean fake_fail(GError **error)
{
    vmig_fail(error, VMIG_ERROR_NO_SPACE, "make room", "disk vda is full\033[2J");
    vmig_error_set_foreign(*error, 10, 28);
    return FALSE;
}

static void wait_open(Fake *fake)
{
    g_mutex_lock(&fake->lock);
    while (!fake->gate_open)
        g_cond_wait(&fake->open, &fake->lock);
    g_mutex_unlock(&fake->lock);
}

static gboolean fake_call(VmigNode *self, VmigMethod method, gconstpointer args, gpointer reply, GError **error)
{
    Fake *fake = (Fake *)self;
    gint now = g_atomic_int_add(&fake->under_way, 1) + 1;
    gboolean known = TRUE;

    g_atomic_int_inc(&fake->calls);
    if (now > g_atomic_int_get(&fake->most))
        g_atomic_int_set(&fake->most, now);
    if (method == VMIG_METHOD_ALLOCATED)
        ((VmigAllocatedReply *)reply)->bytes = (guint64)atoi(((const VmigPathArgs *)args)->path + 1);
    else if (method == VMIG_METHOD_SYNC_CONFIG)
        wait_open(fake);
    else
        known = FALSE;
    g_atomic_int_add(&fake->under_way, -1);
    return known || fake_fail(error);
}

static void fake_free(VmigNode *self)
{
    Fake *fake = (Fake *)self;

    g_mutex_clear(&fake->lock);
    g_cond_clear(&fake->open);
    g_free(fake);
}

static const VmigNodeOps fake_ops = {.call = fake_call, .free = fake_free};

static void open_gate(Fake *fake)
{
    g_mutex_lock(&fake->lock);
    fake->gate_open = TRUE;
    g_cond_broadcast(&fake->open);
    g_mutex_unlock(&fake->lock);
}

/* --- an agent in a thread --- */

typedef struct {
    int fds[2]; /* the test's end, the agent's end */
    Fake *fake;
    GThread *thread;
    gint64 silence_ms;
    GError *error;
    gboolean ok;
} Server;

static gpointer run_agent(gpointer data)
{
    Server *server = data;

    server->ok =
        vmig_agent_serve_full(server->fds[1], server->fds[1], &server->fake->base, server->silence_ms, &server->error);
    shutdown(server->fds[1], SHUT_RDWR);
    return NULL;
}

static void server_start(Server *server, gint64 silence_ms)
{
    *server = (Server){.fake = g_new0(Fake, 1), .silence_ms = silence_ms};
    server->fake->base.ops = &fake_ops;
    g_mutex_init(&server->fake->lock);
    g_cond_init(&server->fake->open);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, server->fds), ==, 0);
    server->thread = g_thread_new("agent", run_agent, server);
}

static void server_end(Server *server)
{
    open_gate(server->fake);
    if (server->fds[0] >= 0)
        close(server->fds[0]);
    g_thread_join(server->thread);
    close(server->fds[1]);
    vmig_node_free(&server->fake->base);
    g_clear_error(&server->error);
}

static VmigNode *connect_client(int fd, const VmigAgentTimes *times, GError **error)
{
    gboolean said;

    return vmig_agent_client_new_full(fd, dup(fd), "b", times, &said, error);
}

/* The client takes ownership of the test's end. */
static VmigNode *server_client(Server *server, const VmigAgentTimes *times)
{
    g_autoptr(GError) error = NULL;
    VmigNode *client = connect_client(server->fds[0], times, &error);

    g_assert_no_error(error);
    server->fds[0] = -1;
    return client;
}

static const VmigAgentTimes quick = {.hello = 2000, .call = 2000, .ping = 50, .silence = 400};

/* --- many callers --- */

typedef struct {
    VmigNode *client;
    guint number;
} Caller;

static gpointer call_often(gpointer data)
{
    Caller *caller = data;

    for (guint i = 0; i < 100; i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *path = g_strdup_printf("/%u", caller->number * 1000 + i);
        guint64 bytes = 0;
        g_assert_true(vmig_node_allocated(caller->client, path, &bytes, &error));
        g_assert_no_error(error);
        g_assert_cmpuint(bytes, ==, caller->number * 1000 + i);
    }
    return NULL;
}

static void test_parallel(void)
{
    Server server;
    GThread *threads[32];
    Caller callers[G_N_ELEMENTS(threads)];

    server_start(&server, 60000);
    VmigNode *client = server_client(&server, &VMIG_AGENT_TIMES_DEFAULT);
    for (guint i = 0; i < G_N_ELEMENTS(threads); i++) {
        callers[i] = (Caller){client, i};
        threads[i] = g_thread_new("caller", call_often, &callers[i]);
    }
    for (guint i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    g_assert_cmpint(server.fake->calls, ==, 3200);
    g_assert_cmpint(server.fake->most, <=, VMIG_AGENT_MAX_THREADS);
    vmig_node_free(client);
    server_end(&server);
    g_assert_true(server.ok);
}

static void test_error(void)
{
    Server server;
    g_autoptr(GError) error = NULL;
    int domain, code;

    server_start(&server, 60000);
    VmigNode *client = server_client(&server, &quick);
    g_assert_null(vmig_node_hello(client, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_NO_SPACE);
    g_assert_cmpstr(error->message, ==, "b: disk vda is full\\x1b[2J");
    g_assert_cmpstr(vmig_error_hint(error), ==, "make room");
    g_assert_true(vmig_error_get_foreign(error, &domain, &code));
    g_assert_cmpint(domain, ==, 10);
    g_assert_cmpint(code, ==, 28);
    vmig_node_free(client);
    server_end(&server);
}

/* Pings keep the connection alive without calls, and are answered while all threads are busy. */
static gpointer call_slow(gpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(vmig_node_sync_config(data, &error));
    return NULL;
}

static void test_busy(void)
{
    Server server;
    GThread *threads[40];
    VmigAgentTimes times = quick;

    times.call = 20000;
    server_start(&server, 300);
    VmigNode *client = server_client(&server, &times);
    for (guint i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("caller", call_slow, client);
    g_usleep(900000); /* longer than either side's silence limit */
    g_assert_true(vmig_agent_client_alive(client));
    open_gate(server.fake);
    for (guint i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    g_assert_cmpint(server.fake->most, ==, VMIG_AGENT_MAX_THREADS);
    vmig_node_free(client);
    server_end(&server);
}

static void test_deadline(void)
{
    Server server;
    g_autoptr(GError) error = NULL;
    VmigAgentTimes times = quick;
    guint64 bytes = 0;

    times.call = 200;
    server_start(&server, 60000);
    VmigNode *client = server_client(&server, &times);
    g_assert_false(vmig_node_sync_config(client, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_TIMEOUT);
    open_gate(server.fake); /* the late reply must not count for another call */
    g_usleep(100000);
    g_assert_true(vmig_node_allocated(client, "/7", &bytes, NULL));
    g_assert_cmpuint(bytes, ==, 7);
    vmig_node_free(client);
    server_end(&server);
}

/* In a hurry: an agent that is busy for longer than the limit is waited for, a silent one is not. */
static void test_hurry(void)
{
    Server server;
    g_autoptr(GError) error = NULL;
    VmigAgentTimes times = {.hello = 2000, .call = 60000, .ping = 60000, .silence = 60000, .hurry = 300};

    server_start(&server, 60000);
    VmigNode *client = server_client(&server, &times);
    vmig_node_hurry(client, TRUE);
    GThread *thread = g_thread_new("caller", call_slow, client);
    g_usleep(1200000);
    g_assert_true(vmig_agent_client_alive(client));
    open_gate(server.fake);
    g_thread_join(thread);
    vmig_node_free(client);
    server_end(&server);

    int fds[2];
    static const char hello[] = "{\"hello\":{\"protocol\":" G_STRINGIFY(VMIG_PROTOCOL) ",\"version\":\"1\"}}\n";
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    g_assert_cmpint(write(fds[1], hello, strlen(hello)), ==, (gssize)strlen(hello));
    client = connect_client(fds[0], &times, &error);
    g_assert_no_error(error);
    vmig_node_hurry(client, TRUE);
    gint64 began = g_get_monotonic_time();
    g_assert_false(vmig_node_sync_config(client, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONNECTION);
    g_assert_cmpint(g_get_monotonic_time() - began, >=, 300000);
    g_assert_cmpint(g_get_monotonic_time() - began, <, 30000000); /* less than the minute of an ordinary call */
    g_assert_false(vmig_agent_client_alive(client));
    vmig_node_free(client);
    close(fds[1]);
}

static void test_request_too_large(void)
{
    Server server;
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_strnfill(VMIG_JSON_MAX_LINE, 'a');
    guint64 bytes = 0;

    server_start(&server, 60000);
    VmigNode *client = server_client(&server, &VMIG_AGENT_TIMES_DEFAULT);
    g_assert_false(vmig_node_allocated(client, path, &bytes, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_UNSUPPORTED);
    g_assert_true(vmig_node_allocated(client, "/9", &bytes, NULL));
    g_assert_cmpuint(bytes, ==, 9);
    vmig_node_free(client);
    server_end(&server);
}

/* --- an agent that lies --- */

typedef struct {
    int fd;
    const char *const *script; /* "<": read a line; "~N": wait N ms; "1": write bytewise from here; else: write it */
} Liar;

static gboolean write_all(int fd, const char *text, gsize length, gboolean bytewise)
{
    while (length > 0) {
        gssize sent = send(fd, text, bytewise ? 1 : length, MSG_NOSIGNAL);
        if (sent <= 0)
            return FALSE;
        text += sent;
        length -= (gsize)sent;
    }
    return TRUE;
}

static gpointer lie(gpointer data)
{
    Liar *liar = data;
    g_autoptr(VmigLines) lines = vmig_lines_new(liar->fd, VMIG_JSON_MAX_LINE);
    gboolean bytewise = FALSE;

    for (guint i = 0; liar->script[i] != NULL; i++) {
        const char *step = liar->script[i], *line;
        gsize length;
        if (g_str_equal(step, "<"))
            vmig_lines_next(lines, -1, g_get_monotonic_time() + 60 * G_USEC_PER_SEC, &line, &length, NULL);
        else if (*step == '~')
            g_usleep((gulong)atoi(step + 1) * 1000);
        else if (g_str_equal(step, "1"))
            bytewise = TRUE;
        else if (!write_all(liar->fd, step, strlen(step), bytewise))
            break;
    }
    shutdown(liar->fd, SHUT_RDWR);
    close(liar->fd);
    return NULL;
}

/* Expects these results of the hello and, if -1, of "allocated". Every script must end by itself. */
static void check_liar(const char *const *script, int expect_hello, int expect_call, guint64 expect_bytes)
{
    int fds[2];
    g_autoptr(GError) error = NULL;
    guint64 bytes = 0;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    Liar liar = {fds[1], script};
    GThread *thread = g_thread_new("liar", lie, &liar);
    VmigAgentTimes times = quick;
    times.hello = 300;
    VmigNode *client = connect_client(fds[0], &times, &error);
    if (expect_hello != -1) {
        g_assert_null(client);
        g_assert_error(error, VMIG_ERROR, expect_hello);
        g_assert_true(g_str_has_prefix(error->message, "b: "));
    } else {
        g_assert_no_error(error);
        gboolean ok = vmig_node_allocated(client, "/x", &bytes, &error);
        g_assert_cmpint(ok, ==, expect_call == -1);
        if (expect_call == -1)
            g_assert_cmpuint(bytes, ==, expect_bytes);
        else
            g_assert_error(error, VMIG_ERROR, expect_call);
        g_assert_true(error == NULL || (g_str_has_prefix(error->message, "b: ") && strlen(error->message) < 5000));
        g_assert_true(error == NULL || strchr(error->message, '\033') == NULL);
    }
    vmig_node_free(client);
    g_thread_join(thread);
}

static void test_hello(void)
{
    g_autofree char *large = g_strnfill(VMIG_JSON_MAX_LINE + 100000, 'x');
    g_autofree char *chat = g_strnfill(2000, '\n');
    const char *const none[] = {NULL};
    const char *const half[] = {"{\"hello\":", NULL};
    const char *const shell[] = {"Welcome to b!\033]0;x\007\n", NULL};
    const char *const polite[] = {"Welcome to b!\033]0;x\007\n\n{\n", HELLO, NULL};
    const char *const unended[] = {"Welcome to b: ", HELLO, NULL};
    const char *const chatty[] = {chat, HELLO, NULL};
    const char *const newer[] = {"{\"hello\":{\"protocol\":99,\"version\":\"9.9\"}}\n", NULL};
    const char *const no_version[] = {"{\"hello\":{\"protocol\":" G_STRINGIFY(VMIG_PROTOCOL) "}}\n", NULL};
    const char *const text[] = {"{\"hello\":{\"protocol\":\"1\",\"version\":\"1\"}}\n", NULL};
    const char *const list[] = {"[1]\n", NULL};
    const char *const silent[] = {"~600", NULL};
    const char *const oversize[] = {large, NULL};

    check_liar(none, VMIG_ERROR_NO_AGENT, -1, 0);
    check_liar(half, VMIG_ERROR_NO_AGENT, -1, 0);
    check_liar(shell, VMIG_ERROR_PROTOCOL, -1, 0);
    check_liar(polite, -1, VMIG_ERROR_CONNECTION, 0);
    check_liar(unended, -1, VMIG_ERROR_CONNECTION, 0);
    check_liar(chatty, VMIG_ERROR_PROTOCOL, -1, 0);
    check_liar(newer, VMIG_ERROR_PROTOCOL, -1, 0);
    check_liar(no_version, VMIG_ERROR_PROTOCOL, -1, 0);
    check_liar(text, VMIG_ERROR_PROTOCOL, -1, 0);
    check_liar(list, VMIG_ERROR_PROTOCOL, -1, 0);
    check_liar(silent, VMIG_ERROR_TIMEOUT, -1, 0);
    check_liar(oversize, VMIG_ERROR_PROTOCOL, -1, 0);
}

static void test_version_names_both(void)
{
    int fds[2];
    g_autoptr(GError) error = NULL;
    const char *line = "{\"hello\":{\"protocol\":99,\"version\":\"9.9\"}}\n";

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    g_assert_true(write_all(fds[1], line, strlen(line), FALSE));
    g_assert_null(connect_client(fds[0], &quick, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
    g_assert_nonnull(strstr(error->message, "9.9"));
    g_assert_nonnull(strstr(error->message, VMIG_VERSION));
    g_assert_nonnull(strstr(error->message, "version 99"));
    g_assert_nonnull(strstr(error->message, "version " G_STRINGIFY(VMIG_PROTOCOL)));
    close(fds[1]);
}

static void test_replies(void)
{
    static const struct {
        const char *reply;
        int code; /* -1: valid */
    } cases[] = {
        {"{\"id\":1,\"result\":{\"bytes\":5}}\n", -1},
        {"{\"result\":{\"bytes\":5,\"more\":[]},\"id\":1}\n", -1},
        {"{\"id\":1,\"result\":{\"bytes\":\"5\"}}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,\"result\":{\"bytes\":5.0}}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,\"result\":{\"bytes\":-5}}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,\"result\":{\"bytes\":null}}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,\"result\":{}}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,\"result\":[]}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,\"result\":true}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,\"result\":null,\"error\":null}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,\"result\":{\"bytes\":5},\"error\":{\"code\":\"io\",\"message\":\"x\"}}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":2,\"result\":{\"bytes\":5}}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":-1,\"result\":{\"bytes\":5}}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":\"1\",\"result\":{\"bytes\":5}}\n", VMIG_ERROR_PROTOCOL},
        {"{\"result\":{\"bytes\":5}}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,\"error\":{\"code\":\"io\",\"message\":\"x\"}}\n", VMIG_ERROR_IO},
        {"{\"id\":1,\"error\":{\"code\":\"locked\",\"message\":\"\\u001b[2Jx\",\"hint\":\"\\u202e\"}}\n",
         VMIG_ERROR_LOCKED},
        {"{\"id\":1,\"error\":{\"code\":\"who-knows\",\"message\":\"x\"}}\n", VMIG_ERROR_INTERNAL},
        {"{\"id\":1,\"error\":{\"code\":5,\"message\":\"x\"}}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,\"error\":{\"code\":\"io\"}}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,\"error\":\"io\"}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,\"error\":{\"code\":\"io\",\"message\":\"x\",\"foreign_code\":\"y\"}}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,\"error\":{\"code\":\"io\",\"message\":\"x\",\"foreign_code\":99999999999,\"foreign_domain\":0}}\n",
         VMIG_ERROR_IO},
        {"\n", VMIG_ERROR_PROTOCOL},
        {"null\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,\"result\":{\"bytes\":5}}{}\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,/* x */\"result\":{\"bytes\":5}}\n", VMIG_ERROR_PROTOCOL},
        {"{'id':1,'result':{'bytes':5}}\n", VMIG_ERROR_PROTOCOL},
        {"\xff\xfe\n", VMIG_ERROR_PROTOCOL},
        {"{\"id\":1,\"result\":{\"bytes\":5}", VMIG_ERROR_CONNECTION},
        {"", VMIG_ERROR_CONNECTION},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        const char *const script[] = {HELLO, "<", cases[i].reply, NULL};
        const char *const slowly[] = {"1", HELLO, "<", cases[i].reply, NULL};
        check_liar(script, -1, cases[i].code, 5);
        check_liar(slowly, -1, cases[i].code, 5);
    }
}

static void test_huge_replies(void)
{
    g_autofree char *large = g_strnfill(VMIG_JSON_MAX_LINE + 100000, 'x');
    g_autofree char *open = g_strnfill(200000, '[');
    g_autofree char *close = g_strnfill(200000, ']');
    g_autofree char *deep = g_strdup_printf("{\"id\":1,\"result\":{\"bytes\":%s%s}}", open, close);
    g_autofree char *message = g_strnfill(100000, 'm');
    g_autofree char *wordy = g_strdup_printf("{\"id\":1,\"error\":{\"code\":\"io\",\"message\":\"%s\"}}\n", message);
    g_autoptr(GString) wide = g_string_new("{\"id\":1,\"result\":{\"bytes\":[0");
    for (guint i = 0; i < 1000000; i++)
        g_string_append(wide, ",0");
    g_string_append(wide, "]}}\n");
    const char *const oversize[] = {HELLO, "<", large, NULL};
    const char *const nested[] = {HELLO, "<", deep, "\n", NULL};
    const char *const long_text[] = {HELLO, "<", wordy, NULL};
    const char *const many[] = {HELLO, "<", wide->str, NULL};

    check_liar(oversize, -1, VMIG_ERROR_PROTOCOL, 0);
    check_liar(nested, -1, VMIG_ERROR_PROTOCOL, 0);
    check_liar(long_text, -1, VMIG_ERROR_IO, 0);
    check_liar(many, -1, VMIG_ERROR_PROTOCOL, 0);
}

static void test_silence(void)
{
    const char *const script[] = {HELLO, "<", "~1500", NULL};
    gint64 before = g_get_monotonic_time();

    check_liar(script, -1, VMIG_ERROR_CONNECTION, 0);
    g_assert_cmpint(g_get_monotonic_time() - before, >=, 400000);
}

/* All waiting calls end, and later ones fail at once. */
static gpointer call_doomed(gpointer data)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(vmig_node_check(data, "/x", "qcow2", NULL, &error)); /* has no deadline of its own */
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONNECTION);
    return NULL;
}

static void test_loss(void)
{
    int fds[2];
    GThread *threads[20];
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    g_assert_true(write_all(fds[1], HELLO, strlen(HELLO), FALSE));
    VmigNode *client = connect_client(fds[0], &VMIG_AGENT_TIMES_DEFAULT, &error);
    g_assert_no_error(error);
    for (guint i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("doomed", call_doomed, client);
    g_usleep(100000);
    close(fds[1]);
    for (guint i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    g_assert_false(vmig_agent_client_alive(client));
    call_doomed(client);
    vmig_node_free(client);
}

/* A peer that does not read must not block the caller. */
static void test_no_reader(void)
{
    int fds[2];
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_strnfill(8 * 1024 * 1024, 'a');
    guint64 bytes = 0;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    g_assert_true(write_all(fds[1], HELLO, strlen(HELLO), FALSE));
    VmigNode *client = connect_client(fds[0], &quick, &error);
    g_assert_no_error(error);
    g_assert_false(vmig_node_allocated(client, path, &bytes, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONNECTION);
    vmig_node_free(client);
    close(fds[1]);
}

/* --- a client that lies --- */

static void expect_hello(VmigLines *lines)
{
    const char *line;
    gsize length;

    g_assert_cmpint(vmig_lines_next(lines, -1, g_get_monotonic_time() + 60 * G_USEC_PER_SEC, &line, &length, NULL), ==,
                    VMIG_LINE_GOT);
    g_assert_true(g_str_has_prefix(line, "{\"hello\":{\"protocol\":" G_STRINGIFY(VMIG_PROTOCOL) ","));
}

/* Sends this to an agent, which must end the connection and say why. */
static void check_agent_refuses(const char *text, gsize length, int code)
{
    Server server;

    server_start(&server, 300);
    g_autoptr(VmigLines) lines = vmig_lines_new(server.fds[0], VMIG_JSON_MAX_LINE);
    expect_hello(lines);
    (void)write_all(server.fds[0], text, length, FALSE);
    g_thread_join(server.thread);
    g_assert_false(server.ok);
    g_assert_error(server.error, VMIG_ERROR, code);
    g_assert_cmpint(server.fake->calls, ==, 0);
    server.thread = g_thread_new("nothing", (GThreadFunc)(void (*)(void))g_get_num_processors, NULL);
    server_end(&server);
}

static void test_agent_refuses(void)
{
    static const char *const lines[] = {
        "\n",
        "garbage\n",
        "[]\n",
        "{}\n",
        "{\"id\":1}\n",
        "{\"id\":1,\"method\":\"allocated\"}\n",
        "{\"id\":1,\"method\":5,\"args\":{}}\n",
        "{\"id\":\"1\",\"method\":\"allocated\",\"args\":{\"path\":\"/1\"}}\n",
        "{\"method\":\"allocated\",\"args\":{\"path\":\"/1\"}}\n",
        "{\"id\":1,\"method\":\"allocated\",\"args\":[]}\n",
        "\xff\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        /* JsonParser would read on after a scalar, and leak. */
        "1 {\"id\":1,\"method\":\"allocated\",\"args\":{\"path\":\"/1\"}}\n",
        "true{\"id\":1,\"method\":\"allocated\",\"args\":{\"path\":\"/1\"}}\n",
        "{\"id\":1,\"method\":\"allocated\",\"args\":{\"path\":\"/\\377\"}}\n",
        "{\"id\":1,\"method\":\"allocated\",\"args\":{\"path\":\"/1\\u0000\"}}\n",
        "{\"id\":1,\"method\":\"allocated\",\"args\":{\"path\":\"/1\\u00g1\"}}\n",
        /* Half a character: JsonParser would leak. */
        "{\"id\":1,\"method\":\"allocated\",\"args\":{\"path\":\"/\\udaaaA\"}}\n",
        "{\"id\":1,\"method\":\"allocated\",\"args\":{\"path\":\"/\\udaaa\"}}\n",
        "{\"id\":1,\"method\":\"allocated\",\"args\":{\"path\":\"/\\udaaa\\n\"}}\n",
        "{\"id\":1,\"method\":\"allocated\",\"args\":{\"path\":\"/\\udaaa\\udaaa\"}}\n",
        "{\"id\":1,\"method\":\"allocated\",\"args\":{\"path\":\"/\\udc00\"}}\n",
        "\"x\" {\"id\":1,\"method\":\"allocated\",\"args\":{\"path\":\"/1\"}}\n",
    };
    g_autofree char *large = g_strnfill(VMIG_JSON_MAX_LINE + 100000, 'x');
    g_autofree char *open = g_strnfill(200000, '[');
    g_autofree char *close = g_strnfill(200000, ']');
    g_autofree char *deep = g_strdup_printf("{\"id\":1,\"method\":\"hello\",\"args\":{\"a\":%s%s}}\n", open, close);

    for (guint i = 0; i < G_N_ELEMENTS(lines); i++)
        check_agent_refuses(lines[i], strlen(lines[i]), VMIG_ERROR_PROTOCOL);
    check_agent_refuses("{\"id\":1\0}\n", 10, VMIG_ERROR_PROTOCOL);
    check_agent_refuses(large, strlen(large), VMIG_ERROR_PROTOCOL);
    check_agent_refuses(deep, strlen(deep), VMIG_ERROR_PROTOCOL);
    check_agent_refuses("", 0, VMIG_ERROR_CONNECTION); /* silence */
}

static void test_agent_limits(void)
{
    Server server;
    g_autoptr(GString) text = g_string_new(NULL);
    guint refused = 0, answered = 0;

    server_start(&server, 60000);
    g_autoptr(VmigLines) lines = vmig_lines_new(server.fds[0], VMIG_JSON_MAX_LINE);
    expect_hello(lines);
    for (guint i = 1; i <= 80; i++)
        g_string_append_printf(text, "{\"id\":%u,\"method\":\"sync-config\",\"args\":{}}\n", i);
    g_assert_true(write_all(server.fds[0], text->str, text->len, FALSE));
    while (refused + answered < 80) {
        const char *line;
        gsize length;
        g_assert_cmpint(vmig_lines_next(lines, -1, g_get_monotonic_time() + 60 * G_USEC_PER_SEC, &line, &length, NULL),
                        ==, VMIG_LINE_GOT);
        if (strstr(line, "\"error\"") != NULL)
            refused++;
        else
            answered++;
        if (refused == 16)
            open_gate(server.fake);
    }
    g_assert_cmpuint(refused, ==, 16);
    server_end(&server);
    g_assert_true(server.ok);
}

/* An incomplete line and then the end, with requests in progress: nothing new begins. */
static void test_agent_end(void)
{
    Server server;
    g_autoptr(GString) text = g_string_new(NULL);

    server_start(&server, 60000);
    g_autoptr(VmigLines) lines = vmig_lines_new(server.fds[0], VMIG_JSON_MAX_LINE);
    expect_hello(lines);
    for (guint i = 1; i <= 40; i++)
        g_string_append_printf(text, "{\"id\":%u,\"method\":\"sync-config\",\"args\":{}}\n", i);
    g_string_append(text, "{\"id\":41,\"method\":");
    g_assert_true(write_all(server.fds[0], text->str, text->len, FALSE));
    while (g_atomic_int_get(&server.fake->calls) < VMIG_AGENT_MAX_THREADS)
        g_usleep(1000);
    shutdown(server.fds[0], SHUT_WR);
    g_usleep(200000);
    open_gate(server.fake);
    g_thread_join(server.thread);
    g_assert_true(server.ok);
    g_assert_cmpint(server.fake->calls, ==, VMIG_AGENT_MAX_THREADS);
    server.thread = g_thread_new("nothing", (GThreadFunc)(void (*)(void))g_get_num_processors, NULL);
    server_end(&server);
}

static void test_agent_bytewise(void)
{
    Server server;
    const char *request = "{\"id\":3,\"method\":\"allocated\",\"args\":{\"path\":\"/12\"}}\n"
                          "{\"id\":4,\"method\":\"nonsense\",\"args\":{}}\n"
                          "{\"id\":5,\"method\":\"freeze\",\"args\":{\"job\":\"0123456789abcdef\",\"paths\":[]}}\n"
                          "{\"id\":6,\"method\":\"allocated\",\"args\":{\"path\":5}}\n";
    const char *line;
    gsize length;

    server_start(&server, 60000);
    g_autoptr(VmigLines) lines = vmig_lines_new(server.fds[0], VMIG_JSON_MAX_LINE);
    expect_hello(lines);
    g_assert_true(write_all(server.fds[0], request, strlen(request), TRUE));
    for (guint i = 0; i < 4; i++) {
        g_assert_cmpint(vmig_lines_next(lines, -1, g_get_monotonic_time() + 60 * G_USEC_PER_SEC, &line, &length, NULL),
                        ==, VMIG_LINE_GOT);
        g_assert_true(strstr(line, "{\"id\":3,\"result\":{\"bytes\":12}}") != NULL ||
                      strstr(line, "{\"id\":4,\"error\":{\"code\":\"protocol\"") != NULL ||
                      strstr(line, "{\"id\":5,\"error\":{\"code\":\"no-space\"") != NULL ||
                      strstr(line, "{\"id\":6,\"error\":{\"code\":\"protocol\",\"message\":\"the request: member "
                                   "'path' is missing or not a string\"}}") != NULL);
    }
    server_end(&server);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/agent/parallel", test_parallel);
    g_test_add_func("/agent/error", test_error);
    g_test_add_func("/agent/busy", test_busy);
    g_test_add_func("/agent/deadline", test_deadline);
    g_test_add_func("/agent/hurry", test_hurry);
    g_test_add_func("/agent/request-too-large", test_request_too_large);
    g_test_add_func("/agent-client/hello", test_hello);
    g_test_add_func("/agent-client/version-names-both", test_version_names_both);
    g_test_add_func("/agent-client/replies", test_replies);
    g_test_add_func("/agent-client/huge-replies", test_huge_replies);
    g_test_add_func("/agent-client/silence", test_silence);
    g_test_add_func("/agent-client/loss", test_loss);
    g_test_add_func("/agent-client/no-reader", test_no_reader);
    g_test_add_func("/agent-server/refuses", test_agent_refuses);
    g_test_add_func("/agent-server/limits", test_agent_limits);
    g_test_add_func("/agent-server/end", test_agent_end);
    g_test_add_func("/agent-server/bytewise", test_agent_bytewise);
    return g_test_run();
}
