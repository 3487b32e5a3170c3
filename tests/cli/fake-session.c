/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A library without libvirt behind it: linked to the real command line in place of api/session.c, it plays the file
 * that VMIG_FAKE names, so that the output, the exit codes and the signals can be tested anywhere. A JSON object:
 *   "plan", "migrate", "resume", "cancel", "status", "list", "verify", "verify --job", "doctor",
 *   "doctor --fix", "purge"
 *       {"steps": [STEP...], "result": DOCUMENT}, or {"steps": ..., "error": {"code", "message", "hint"}}
 *       "interrupted": the result instead, once vmig_session_interrupt() was called
 *   STEP {"emit": EVENT} | {"sleep_ms": N} | {"await": "interrupt"} | {"touch": PATH} | {"die": true}
 * What migrate and plan were asked for is written to the file that VMIG_FAKE_SEEN names. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/vmig-snap.h"
#include "core/errors.h"

struct _VmigSession {
    GObject parent;
    JsonNode *script;
    GMutex lock;
    GCond changed;
    guint interrupts;
};

G_DEFINE_TYPE(VmigSession, vmig_session, G_TYPE_OBJECT)

static guint event_signal;

static void vmig_session_finalize(GObject *object)
{
    VmigSession *self = VMIG_SESSION(object);

    json_node_unref(self->script);
    g_cond_clear(&self->changed);
    g_mutex_clear(&self->lock);
    G_OBJECT_CLASS(vmig_session_parent_class)->finalize(object);
}

static void vmig_session_class_init(VmigSessionClass *klass)
{
    G_OBJECT_CLASS(klass)->finalize = vmig_session_finalize;
    event_signal = g_signal_new("event", VMIG_TYPE_SESSION, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1,
                                JSON_TYPE_NODE);
}

static void vmig_session_init(VmigSession *self)
{
    g_mutex_init(&self->lock);
    g_cond_init(&self->changed);
}

VmigSession *vmig_session_new(const char *connect_uri G_GNUC_UNUSED, GError **error)
{
    g_autofree char *text = NULL;
    const char *path = getenv("VMIG_FAKE");

    if (path == NULL || !g_file_get_contents(path, &text, NULL, error)) {
        vmig_error_adopt(error, VMIG_ERROR_INTERNAL);
        if (path == NULL)
            vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "VMIG_FAKE names no script");
        return NULL;
    }
    VmigSession *self = g_object_new(VMIG_TYPE_SESSION, NULL);
    self->script = json_from_string(text, NULL);
    return self;
}

static void step(VmigSession *self, JsonObject *what)
{
    if (json_object_has_member(what, "emit"))
        g_signal_emit(self, event_signal, 0, json_object_get_member(what, "emit"));
    if (json_object_has_member(what, "sleep_ms"))
        g_usleep((gulong)json_object_get_int_member(what, "sleep_ms") * 1000);
    if (json_object_has_member(what, "touch"))
        g_file_set_contents(json_object_get_string_member(what, "touch"), "", 0, NULL);
    if (json_object_has_member(what, "die"))
        _exit(9);
    if (json_object_has_member(what, "await")) {
        g_mutex_lock(&self->lock);
        guint seen = self->interrupts;
        while (self->interrupts == seen)
            g_cond_wait(&self->changed, &self->lock);
        g_mutex_unlock(&self->lock);
    }
}

static JsonNode *play(VmigSession *self, const char *name, GError **error)
{
    JsonObject *all = json_node_get_object(self->script);
    JsonObject *part = json_object_has_member(all, name) ? json_object_get_object_member(all, name) : NULL;
    JsonArray *steps =
        part != NULL && json_object_has_member(part, "steps") ? json_object_get_array_member(part, "steps") : NULL;

    if (part == NULL) {
        vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "the script has no '%s'", name);
        return NULL;
    }
    for (guint i = 0; steps != NULL && i < json_array_get_length(steps); i++)
        step(self, json_array_get_object_element(steps, i));
    if (json_object_has_member(part, "error")) {
        JsonObject *e = json_object_get_object_member(part, "error");
        vmig_fail(error, vmig_error_from_name(json_object_get_string_member(e, "code")),
                  json_object_get_string_member_with_default(e, "hint", NULL), "%s",
                  json_object_get_string_member(e, "message"));
        return NULL;
    }
    const char *result = self->interrupts > 0 && json_object_has_member(part, "interrupted") ? "interrupted" : "result";
    return json_node_copy(json_object_get_member(part, result));
}

static void add_text(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    if (value != NULL)
        json_builder_add_string_value(b, value);
    else
        json_builder_add_null_value(b);
}

static void add_texts(JsonBuilder *b, const char *name, const char *const *values)
{
    json_builder_set_member_name(b, name);
    json_builder_begin_array(b);
    for (; values != NULL && *values != NULL; values++)
        json_builder_add_string_value(b, *values);
    json_builder_end_array(b);
}

static void add_number(JsonBuilder *b, const char *name, guint64 value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, (gint64)value);
}

static void write_request(const VmigRequest *r)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    const char *path = getenv("VMIG_FAKE_SEEN");

    if (path == NULL)
        return;
    json_builder_begin_object(b);
    add_text(b, "domain", r->domain);
    add_text(b, "destination", r->destination);
    add_texts(b, "disks", r->disks);
    add_texts(b, "maps", r->maps);
    add_texts(b, "map_dirs", r->map_dirs);
    add_text(b, "merge", r->merge);
    add_text(b, "transport", r->transport);
    add_text(b, "source_images", r->source_images);
    add_text(b, "policy", r->policy);
    add_number(b, "bandwidth", r->bandwidth);
    add_number(b, "max_downtime", r->max_downtime);
    add_number(b, "parallel", r->parallel);
    add_number(b, "timeout", r->timeout);
    add_number(b, "auto_converge", (guint64)r->auto_converge);
    add_number(b, "postcopy", (guint64)r->postcopy);
    add_number(b, "verify", (guint64)r->verify);
    json_builder_end_object(b);
    g_autoptr(JsonNode) node = json_builder_get_root(b);
    g_autofree char *text = json_to_string(node, FALSE);
    g_file_set_contents(path, text, -1, NULL);
}

JsonNode *vmig_session_plan(VmigSession *self, const VmigRequest *request, GError **error)
{
    write_request(request);
    return play(self, "plan", error);
}

JsonNode *vmig_session_migrate(VmigSession *self, const VmigRequest *request, GError **error)
{
    write_request(request);
    return play(self, "migrate", error);
}

JsonNode *vmig_session_resume_fenced(VmigSession *self, const char *job_or_domain, const char *host G_GNUC_UNUSED,
                                     GError **error)
{
    return vmig_session_resume(self, job_or_domain, error);
}

JsonNode *vmig_session_resume(VmigSession *self, const char *job_or_domain, GError **error)
{
    JsonObject *all = json_node_get_object(self->script);
    g_autofree char *own = g_strdup_printf("resume %s", job_or_domain);

    return play(self, json_object_has_member(all, own) ? own : "resume", error);
}

JsonNode *vmig_session_resume_without_verify(VmigSession *self, const char *job_or_domain G_GNUC_UNUSED, GError **error)
{
    return play(self, "resume --without-verify", error);
}

JsonNode *vmig_session_set_aside(VmigSession *self, const char *job_or_domain G_GNUC_UNUSED, GError **error)
{
    return play(self, "resume --set-aside", error);
}

JsonNode *vmig_session_verify(VmigSession *self, const char *domain, const char *job_id G_GNUC_UNUSED, GError **error)
{
    return play(self, domain != NULL ? "verify" : "verify --job", error);
}

JsonNode *vmig_session_cancel(VmigSession *self, const char *job_or_domain G_GNUC_UNUSED, GError **error)
{
    return play(self, "cancel", error);
}

JsonNode *vmig_session_set_bandwidth(VmigSession *self, const char *job_or_domain G_GNUC_UNUSED,
                                     guint64 bytes_per_s G_GNUC_UNUSED, GError **error)
{
    return play(self, "set", error);
}

void vmig_session_interrupt(VmigSession *self)
{
    g_mutex_lock(&self->lock);
    self->interrupts++;
    g_cond_broadcast(&self->changed);
    g_mutex_unlock(&self->lock);
}

JsonNode *vmig_session_status(VmigSession *self, const char *job_or_domain G_GNUC_UNUSED, GError **error)
{
    return play(self, "status", error);
}

JsonNode *vmig_session_list(VmigSession *self, gboolean all, GError **error)
{
    return play(self, all ? "list" : "status", error);
}

JsonNode *vmig_doctor(const char *connect_uri, const char *domain G_GNUC_UNUSED, gboolean fix, GError **error)
{
    g_autoptr(VmigSession) self = vmig_session_new(connect_uri, error);

    return self != NULL ? play(self, fix ? "doctor --fix" : "doctor", error) : NULL;
}

JsonNode *vmig_purge(const char *connect_uri, const char *domain G_GNUC_UNUSED, gboolean alone, GError **error)
{
    g_autoptr(VmigSession) self = vmig_session_new(connect_uri, error);

    return self != NULL ? play(self, alone ? "purge --without-destination" : "purge", error) : NULL;
}

const char *vmig_version(void)
{
    return VMIG_VERSION;
}
