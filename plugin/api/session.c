/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session: its events, and how its calls begin, are cancelled and end. */
#include <signal.h>

#include "api/documents.h"
#include "api/hints.h"
#include "api/session-private.h"
#include "core/errors.h"

G_DEFINE_FINAL_TYPE(VmigSession, vmig_session, G_TYPE_OBJECT)

enum { PROP_CONNECT_URI = 1 };
enum { SIGNAL_EVENT, N_SIGNALS };

static guint signals[N_SIGNALS];

static void vmig_session_finalize(GObject *object)
{
    VmigSession *self = VMIG_SESSION(object);

    g_free(self->connect_uri);
    g_clear_pointer(&self->config, vmig_config_free);
    g_clear_pointer(&self->waker, vmig_waker_unref);
    g_hash_table_unref(self->told);
    g_mutex_clear(&self->mutex);
    G_OBJECT_CLASS(vmig_session_parent_class)->finalize(object);
}

static void vmig_session_get_property(GObject *object, guint id G_GNUC_UNUSED, GValue *value,
                                      GParamSpec *spec G_GNUC_UNUSED)
{
    g_value_set_string(value, VMIG_SESSION(object)->connect_uri);
}

static void vmig_session_set_property(GObject *object, guint id G_GNUC_UNUSED, const GValue *value,
                                      GParamSpec *spec G_GNUC_UNUSED)
{
    const char *uri = g_value_get_string(value);

    VMIG_SESSION(object)->connect_uri = g_strdup(uri != NULL ? uri : "qemu:///system");
}

/* A write to a peer that is gone must not end the process. GSocket does the same: it cannot be done for one socket. */
static void ignore_sigpipe(void)
{
    struct sigaction now;

    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

static void vmig_session_class_init(VmigSessionClass *klass)
{
    GObjectClass *object_class = G_OBJECT_CLASS(klass);

    object_class->finalize = vmig_session_finalize;
    object_class->get_property = vmig_session_get_property;
    object_class->set_property = vmig_session_set_property;
    /**
     * VmigSession:connect-uri:
     *
     * libvirt on this host, which is the source of a migration.
     */
    g_object_class_install_property(
        object_class, PROP_CONNECT_URI,
        g_param_spec_string("connect-uri", NULL, NULL, "qemu:///system",
                            G_PARAM_READWRITE | G_PARAM_CONSTRUCT_ONLY | G_PARAM_STATIC_STRINGS));
    /**
     * VmigSession::event:
     * @session: the session
     * @event: a JSON object, which must not be changed
     *
     * States, progress, retries and notes of a running call, as docs/json.md describes them. A blocking call may emit
     * it in any thread, but never in two threads at once. An asynchronous call emits it in the thread-default main
     * context of its caller, before it calls the callback.
     */
    signals[SIGNAL_EVENT] = g_signal_new("event", VMIG_TYPE_SESSION, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                                         G_TYPE_NONE, 1, JSON_TYPE_NODE);
    ignore_sigpipe();
}

static void vmig_session_init(VmigSession *self)
{
    g_mutex_init(&self->mutex);
    self->waker = vmig_waker_new();
    self->told = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
}

/**
 * vmig_session_new:
 * @connect_uri: (nullable): libvirt on this host; %NULL: qemu:///system
 *
 * Neither reads the configuration nor connects to a host. A process can have several sessions. Each session works on
 * one guest at a time.
 *
 * Returns: (transfer full): a new session
 */
VmigSession *vmig_session_new(const char *connect_uri)
{
    return g_object_new(VMIG_TYPE_SESSION, "connect-uri", connect_uri, NULL);
}

const VmigConfig *vmig_session_config(VmigSession *self, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&self->mutex);

    if (self->config == NULL) {
        g_autoptr(VmigConfig) config = vmig_config_load(NULL, error);
        if (config == NULL || !vmig_config_check_user(config, error))
            return NULL;
        self->config = g_steal_pointer(&config);
    }
    return self->config;
}

/* --- events --- */

typedef struct {
    VmigSession *session;
    JsonNode *node;
} Event;

static gboolean deliver(gpointer data)
{
    const Event *event = data;

    g_signal_emit(event->session, signals[SIGNAL_EVENT], 0, event->node);
    return G_SOURCE_REMOVE;
}

static void event_free(gpointer data)
{
    Event *event = data;

    g_object_unref(event->session);
    json_node_unref(event->node);
    g_free(event);
}

void vmig_session_emit(VmigSession *self, JsonNode *node)
{
    Event *event = g_new0(Event, 1);

    event->session = g_object_ref(self);
    event->node = node;
    if (self->context == NULL) {
        deliver(event);
        event_free(event);
        return;
    }
    /* GTask calls back with the same priority: events that were queued before come first. */
    g_autoptr(GSource) source = g_idle_source_new();
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, deliver, event, event_free);
    g_source_attach(source, self->context);
}

#define TOLD_A_SECOND 4

typedef struct {
    gint64 at[TOLD_A_SECOND]; /* when the last ones were reported, as a ring; 0: not yet */
    guint next;
    gboolean complete; /* the last one reported completion */
} Told;

/* At most four in any second for each phase and disk: three by the clock, plus the one that reports completion. */
static gboolean is_due(VmigSession *self, const VmigProgress *progress)
{
    g_autofree char *key = g_strdup_printf("%s/%s", progress->phase, progress->disk != NULL ? progress->disk : "");
    Told *told = g_hash_table_lookup(self->told, key);
    gboolean complete = progress->total > 0 && progress->done >= progress->total;
    gint64 now = g_get_monotonic_time();

    if (told == NULL) {
        told = g_new0(Told, 1);
        g_hash_table_insert(self->told, g_steal_pointer(&key), told);
    }
    gint64 last = told->at[(told->next + TOLD_A_SECOND - 1) % TOLD_A_SECOND];
    gint64 oldest = told->at[told->next];
    gboolean by_clock = last == 0 || now - last >= G_USEC_PER_SEC / 3;
    if ((!by_clock && (!complete || told->complete)) || (oldest != 0 && now - oldest <= G_USEC_PER_SEC))
        return FALSE;
    told->at[told->next] = now;
    told->next = (told->next + 1) % TOLD_A_SECOND;
    told->complete = complete;
    return TRUE;
}

void vmig_session_tell_progress(VmigSession *self, const VmigJob *job, const VmigProgress *progress)
{
    if (is_due(self, progress))
        vmig_session_emit(self, vmig_event_progress(job, progress));
}

void vmig_session_note(VmigSession *self, const VmigJob *job, const char *text)
{
    vmig_session_emit(self, vmig_event_note(job, text));
}

/* --- calls --- */

void vmig_session_set_machine(VmigSession *self, VmigMachine *machine)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&self->mutex);

    self->machine = machine;
    if (machine != NULL && self->interrupted)
        vmig_machine_cancel(machine);
}

gboolean vmig_session_is_interrupted(VmigSession *self)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&self->mutex);

    return self->interrupted;
}

static void on_cancelled(GCancellable *cancellable G_GNUC_UNUSED, gpointer user)
{
    VmigSession *self = user;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&self->mutex);

    self->interrupted = TRUE;
    if (self->machine != NULL)
        vmig_machine_cancel(self->machine);
    vmig_waker_wake(self->waker);
}

static gboolean claim(VmigSession *self, GMainContext *context, GCancellable *cancellable, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&self->mutex);

    if (self->busy)
        return vmig_fail(error, VMIG_ERROR_LOCKED, "Use another session, or wait.",
                         "the session is busy with another call");
    self->busy = TRUE;
    self->interrupted = FALSE;
    self->context = context;
    self->cancellable = cancellable;
    g_hash_table_remove_all(self->told);
    return TRUE;
}

static void release(VmigSession *self)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&self->mutex);

    self->busy = FALSE;
    self->context = NULL;
    self->cancellable = NULL;
}

static JsonNode *run(const VmigCall *call, GMainContext *context, GCancellable *cancellable, GError **error)
{
    VmigSession *self = call->session;
    gulong handler = 0;

    if (g_cancellable_is_cancelled(cancellable)) {
        vmig_fail(error, VMIG_ERROR_CANCELLED, NULL, "the call was cancelled before it began");
        return NULL;
    }
    if (!vmig_check_connect_uri(self->connect_uri, error)) {
        g_prefix_error(error, "connect-uri: ");
        return NULL;
    }
    if (!call->alone)
        return call->work(call, error);
    if (!claim(self, context, cancellable, error))
        return NULL;
    if (cancellable != NULL)
        handler = g_cancellable_connect(cancellable, G_CALLBACK(on_cancelled), self, NULL);
    JsonNode *document = call->work(call, error);
    g_cancellable_disconnect(cancellable, handler);
    release(self);
    return document;
}

JsonNode *vmig_session_run(const VmigCall *call, GMainContext *context, GCancellable *cancellable, GError **error)
{
    GError *why = NULL;
    JsonNode *document = run(call, context, cancellable, &why);

    vmig_hints_pass(document != NULL, why, error);
    return document;
}
