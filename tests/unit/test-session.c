/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The calls of a session, with work that needs no host: in which thread events and callbacks are delivered, that a
 * cancellation reaches the work, and that a session refuses a second call that works on the hosts. */
#include <gio/gio.h>

#include "api/session-private.h"
#include "core/errors.h"

typedef struct {
    VmigSession *session;
    GMainLoop *loop;
    GThread *thread; /* of the test */
    GCond changed;
    GMutex lock;
    gboolean working; /* the work has begun */
    guint events, events_at_end, elsewhere;
    JsonNode *document;
    GError *error;
} Fixture;

static JsonNode *text_node(const char *text)
{
    JsonNode *node = json_node_new(JSON_NODE_VALUE);

    json_node_set_string(node, text);
    return node;
}

static void on_event(VmigSession *session G_GNUC_UNUSED, JsonNode *event G_GNUC_UNUSED, gpointer user)
{
    Fixture *f = user;

    f->events++;
    f->elsewhere += g_thread_self() != f->thread ? 1 : 0;
}

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->session = vmig_session_new(NULL);
    f->loop = g_main_loop_new(NULL, FALSE);
    f->thread = g_thread_self();
    g_mutex_init(&f->lock);
    g_cond_init(&f->changed);
    g_signal_connect(f->session, "event", G_CALLBACK(on_event), f);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_clear_pointer(&f->document, json_node_unref);
    g_clear_error(&f->error);
    g_main_loop_unref(f->loop);
    g_object_unref(f->session);
    g_cond_clear(&f->changed);
    g_mutex_clear(&f->lock);
}

static gpointer emit_one(gpointer data)
{
    vmig_session_emit(data, text_node("event"));
    return NULL;
}

/* Two events of its own thread, and one of another thread. */
static JsonNode *work_emits(const VmigCall *call, GError **error G_GNUC_UNUSED)
{
    emit_one(call->session);
    emit_one(call->session);
    g_thread_join(g_thread_new("copier", emit_one, call->session));
    return text_node(call->job);
}

static void on_end(GObject *source, GAsyncResult *result, gpointer user)
{
    Fixture *f = user;

    f->events_at_end = f->events;
    f->elsewhere += g_thread_self() != f->thread ? 1 : 0;
    f->document = vmig_call_finish(VMIG_SESSION(source), result, g_task_get_source_tag(G_TASK(result)), &f->error);
    g_main_loop_quit(f->loop);
}

static void test_blocking(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const VmigCall call = {.session = f->session, .work = work_emits, .alone = TRUE, .job = "j"};

    f->document = vmig_session_run(&call, NULL, NULL, &f->error);
    g_assert_no_error(f->error);
    g_assert_cmpstr(json_node_get_string(f->document), ==, "j");
    g_assert_cmpuint(f->events, ==, 3);
    g_assert_cmpuint(f->elsewhere, ==, 1);
}

/* The thread of the call has its own copy of the arguments. */
static void test_async(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *job = g_strdup("j");
    const VmigCall call = {.session = f->session, .work = work_emits, .alone = TRUE, .job = job};

    vmig_call_start(&call, NULL, on_end, f);
    *job = 'x';
    g_main_loop_run(f->loop);
    g_assert_no_error(f->error);
    g_assert_cmpstr(json_node_get_string(f->document), ==, "j");
    g_assert_cmpuint(f->events_at_end, ==, 3);
    g_assert_cmpuint(f->elsewhere, ==, 0);
}

/* Until it is cancelled; then it returns a document, as a migration does. */
static JsonNode *work_waits(const VmigCall *call, GError **error G_GNUC_UNUSED)
{
    Fixture *f = call->request;

    g_mutex_lock(&f->lock);
    f->working = TRUE;
    g_cond_signal(&f->changed);
    g_mutex_unlock(&f->lock);
    while (!vmig_session_is_interrupted(call->session))
        vmig_waker_wait(call->session->waker, 10 * G_USEC_PER_SEC);
    return text_node("rolled-back");
}

static JsonNode *work_returns(const VmigCall *call G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    return text_node("done");
}

typedef struct {
    Fixture *fixture;
    GCancellable *cancellable;
} Waiting;

static gpointer run_waiting(gpointer data)
{
    const Waiting *waiting = data;
    Fixture *f = waiting->fixture;
    const VmigCall call = {.session = f->session, .work = work_waits, .alone = TRUE, .request = f};

    f->document = vmig_session_run(&call, NULL, waiting->cancellable, &f->error);
    return NULL;
}

/* A second call is refused, one that works on no host is not; the cancellation ends the first, and the next begins
 * without it. */
static void test_busy(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const VmigCall second = {.session = f->session, .work = work_returns, .alone = TRUE};
    const VmigCall look = {.session = f->session, .work = work_returns};
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) refused = NULL, error = NULL;
    Waiting waiting = {f, cancellable};
    GThread *thread = g_thread_new("first", run_waiting, &waiting);

    g_mutex_lock(&f->lock);
    while (!f->working)
        g_cond_wait(&f->changed, &f->lock);
    g_mutex_unlock(&f->lock);
    g_assert_null(vmig_session_run(&second, NULL, NULL, &refused));
    g_assert_error(refused, VMIG_ERROR, VMIG_ERROR_LOCKED);
    g_autoptr(JsonNode) looked = vmig_session_run(&look, NULL, NULL, &error);
    g_assert_no_error(error);
    g_assert_nonnull(looked);
    gint64 began = g_get_monotonic_time();
    g_cancellable_cancel(cancellable);
    g_thread_join(thread);
    g_assert_cmpint(g_get_monotonic_time() - began, <, 5 * G_USEC_PER_SEC);
    g_assert_cmpstr(json_node_get_string(f->document), ==, "rolled-back");
    g_autoptr(JsonNode) next = vmig_session_run(&second, NULL, NULL, &error);
    g_assert_no_error(error);
    g_assert_nonnull(next);
    g_assert_false(vmig_session_is_interrupted(f->session));
}

static JsonNode *work_emits_and_waits(const VmigCall *call, GError **error G_GNUC_UNUSED)
{
    emit_one(call->session);
    while (!vmig_session_is_interrupted(call->session))
        vmig_waker_wait(call->session->waker, 10 * G_USEC_PER_SEC);
    return text_node("rolled-back");
}

static void cancel(VmigSession *session G_GNUC_UNUSED, JsonNode *event G_GNUC_UNUSED, gpointer user)
{
    g_cancellable_cancel(user);
}

/* The callback of a cancelled call receives the document and not G_IO_ERROR_CANCELLED. */
static void test_async_cancelled(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    const VmigCall call = {.session = f->session, .work = work_emits_and_waits, .alone = TRUE};

    g_signal_connect(f->session, "event", G_CALLBACK(cancel), cancellable);
    vmig_call_start(&call, cancellable, on_end, f);
    g_main_loop_run(f->loop);
    g_assert_no_error(f->error);
    g_assert_cmpstr(json_node_get_string(f->document), ==, "rolled-back");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name, function) g_test_add("/session/" name, Fixture, NULL, set_up, function, tear_down)
    TEST("blocking", test_blocking);
    TEST("async", test_async);
    TEST("busy", test_busy);
    TEST("async-cancelled", test_async_cancelled);
    return g_test_run();
}
