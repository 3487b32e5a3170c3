/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A session without libvirt behind it: linked to the real command line in place of the library's, it plays the file
 * that VMIG_FAKE names, so that the output, the exit codes and the signals can be tested anywhere. A JSON object:
 *   "plan", "migrate", "resume", "cancel", "status", "list", "verify", "verify --job", "doctor",
 *   "doctor --fix", "purge"
 *       {"steps": [STEP...], "result": DOCUMENT}, or {"steps": ..., "error": {"code", "message", "hint"}}
 *       "interrupted": the result instead, once the call was cancelled
 *   STEP {"emit": EVENT} | {"sleep_ms": N} | {"await": "interrupt"} | {"touch": PATH} | {"die": true}
 * What migrate and plan were asked for is written to the file that VMIG_FAKE_SEEN names. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/errors.h"
#include "vmig-snap/vmig-snap.h"

struct _VmigSession {
    GObject parent;
    JsonNode *script; /* NULL: the first call says why */
};

G_DEFINE_TYPE(VmigSession, vmig_session, G_TYPE_OBJECT)

static guint event_signal;

static void vmig_session_finalize(GObject *object)
{
    VmigSession *self = VMIG_SESSION(object);

    g_clear_pointer(&self->script, json_node_unref);
    G_OBJECT_CLASS(vmig_session_parent_class)->finalize(object);
}

static void vmig_session_class_init(VmigSessionClass *klass)
{
    G_OBJECT_CLASS(klass)->finalize = vmig_session_finalize;
    event_signal = g_signal_new("event", VMIG_TYPE_SESSION, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1,
                                JSON_TYPE_NODE);
}

static void vmig_session_init(VmigSession *self G_GNUC_UNUSED)
{
}

VmigSession *vmig_session_new(const char *connect_uri G_GNUC_UNUSED)
{
    return g_object_new(VMIG_TYPE_SESSION, NULL);
}

static gboolean read_script(VmigSession *self, GError **error)
{
    g_autofree char *text = NULL;
    const char *path = getenv("VMIG_FAKE");

    if (self->script != NULL)
        return TRUE;
    if (path == NULL)
        return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "VMIG_FAKE names no script");
    if (!g_file_get_contents(path, &text, NULL, error)) {
        vmig_error_adopt(error, VMIG_ERROR_INTERNAL);
        return FALSE;
    }
    self->script = json_from_string(text, NULL);
    return TRUE;
}

static void step(VmigSession *self, JsonObject *what, GCancellable *cancellable)
{
    if (json_object_has_member(what, "emit"))
        g_signal_emit(self, event_signal, 0, json_object_get_member(what, "emit"));
    if (json_object_has_member(what, "sleep_ms"))
        g_usleep((gulong)json_object_get_int_member(what, "sleep_ms") * 1000);
    if (json_object_has_member(what, "touch"))
        g_file_set_contents(json_object_get_string_member(what, "touch"), "", 0, NULL);
    if (json_object_has_member(what, "die"))
        _exit(9);
    while (json_object_has_member(what, "await") && !g_cancellable_is_cancelled(cancellable))
        g_usleep(5000);
}

static JsonNode *play(VmigSession *self, const char *name, GCancellable *cancellable, GError **error)
{
    if (!read_script(self, error))
        return NULL;
    JsonObject *all = json_node_get_object(self->script);
    JsonObject *part = json_object_has_member(all, name) ? json_object_get_object_member(all, name) : NULL;
    JsonArray *steps =
        part != NULL && json_object_has_member(part, "steps") ? json_object_get_array_member(part, "steps") : NULL;

    if (part == NULL) {
        vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "the script has no '%s'", name);
        return NULL;
    }
    for (guint i = 0; steps != NULL && i < json_array_get_length(steps); i++)
        step(self, json_array_get_object_element(steps, i), cancellable);
    if (json_object_has_member(part, "error")) {
        JsonObject *e = json_object_get_object_member(part, "error");
        vmig_fail(error, vmig_error_from_name(json_object_get_string_member(e, "code")),
                  json_object_get_string_member_with_default(e, "hint", NULL), "%s",
                  json_object_get_string_member(e, "message"));
        return NULL;
    }
    gboolean cancelled = g_cancellable_is_cancelled(cancellable) && json_object_has_member(part, "interrupted");
    const char *result = cancelled ? "interrupted" : "result";
    return json_node_copy(json_object_get_member(part, result));
}

/* The member of the property "max-downtime" is "max_downtime". */
static void write_property(JsonBuilder *b, GObject *request, GParamSpec *spec)
{
    g_autofree char *name = g_strdelimit(g_strdup(spec->name), "-", '_');
    g_auto(GValue) value = G_VALUE_INIT;

    g_value_init(&value, spec->value_type);
    g_object_get_property(request, spec->name, &value);
    json_builder_set_member_name(b, name);
    if (G_VALUE_HOLDS_STRING(&value)) {
        const char *text = g_value_get_string(&value);
        text != NULL ? json_builder_add_string_value(b, text) : json_builder_add_null_value(b);
    } else if (G_VALUE_HOLDS_ENUM(&value)) {
        g_autoptr(GEnumClass) klass = g_type_class_ref(spec->value_type);
        json_builder_add_string_value(b, g_enum_get_value(klass, g_value_get_enum(&value))->value_nick);
    } else if (G_VALUE_HOLDS_BOOLEAN(&value)) {
        json_builder_add_int_value(b, g_value_get_boolean(&value));
    } else if (G_VALUE_HOLDS_UINT64(&value)) {
        json_builder_add_int_value(b, (gint64)g_value_get_uint64(&value));
    } else {
        json_builder_begin_array(b);
        for (char **text = g_value_get_boxed(&value); text != NULL && *text != NULL; text++)
            json_builder_add_string_value(b, *text);
        json_builder_end_array(b);
    }
}

static void write_request(VmigMigrateRequest *request)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    const char *path = getenv("VMIG_FAKE_SEEN");
    guint n;

    if (path == NULL)
        return;
    g_autofree GParamSpec **specs = g_object_class_list_properties(G_OBJECT_GET_CLASS(request), &n);
    json_builder_begin_object(b);
    for (guint i = 0; i < n; i++)
        write_property(b, G_OBJECT(request), specs[i]);
    json_builder_end_object(b);
    g_autoptr(JsonNode) node = json_builder_get_root(b);
    g_autofree char *text = json_to_string(node, FALSE);
    g_file_set_contents(path, text, -1, NULL);
}

JsonNode *vmig_session_plan(VmigSession *self, VmigMigrateRequest *request, GCancellable *cancellable, GError **error)
{
    write_request(request);
    return play(self, "plan", cancellable, error);
}

JsonNode *vmig_session_migrate(VmigSession *self, VmigMigrateRequest *request, GCancellable *cancellable,
                               GError **error)
{
    write_request(request);
    return play(self, "migrate", cancellable, error);
}

static const char *resume_part(VmigSession *self, VmigResumeRequest *request, char **own)
{
    g_autofree char *job = NULL;
    gboolean without_verify, set_aside;

    g_object_get(request, "job", &job, "without-verify", &without_verify, "set-aside", &set_aside, NULL);
    if (without_verify || set_aside)
        return set_aside ? "resume --set-aside" : "resume --without-verify";
    *own = g_strdup_printf("resume %s", job);
    return json_object_has_member(json_node_get_object(self->script), *own) ? *own : "resume";
}

JsonNode *vmig_session_resume(VmigSession *self, VmigResumeRequest *request, GCancellable *cancellable, GError **error)
{
    g_autofree char *own = NULL;

    return read_script(self, error) ? play(self, resume_part(self, request, &own), cancellable, error) : NULL;
}

JsonNode *vmig_session_verify(VmigSession *self, const char *domain, const char *job G_GNUC_UNUSED,
                              GCancellable *cancellable, GError **error)
{
    return play(self, domain != NULL ? "verify" : "verify --job", cancellable, error);
}

JsonNode *vmig_session_cancel(VmigSession *self, const char *job G_GNUC_UNUSED, GCancellable *cancellable,
                              GError **error)
{
    return play(self, "cancel", cancellable, error);
}

JsonNode *vmig_session_set_bandwidth(VmigSession *self, const char *job G_GNUC_UNUSED, guint64 bandwidth G_GNUC_UNUSED,
                                     GCancellable *cancellable, GError **error)
{
    return play(self, "set", cancellable, error);
}

JsonNode *vmig_session_status(VmigSession *self, const char *job G_GNUC_UNUSED, GCancellable *cancellable,
                              GError **error)
{
    return play(self, "status", cancellable, error);
}

JsonNode *vmig_session_list(VmigSession *self, VmigListFlags flags, GCancellable *cancellable, GError **error)
{
    return play(self, flags & VMIG_LIST_ALL ? "list" : "status", cancellable, error);
}

JsonNode *vmig_session_doctor(VmigSession *self, const char *domain G_GNUC_UNUSED, VmigDoctorFlags flags,
                              GCancellable *cancellable, GError **error)
{
    return play(self, flags & VMIG_DOCTOR_FIX ? "doctor --fix" : "doctor", cancellable, error);
}

JsonNode *vmig_session_purge(VmigSession *self, const char *domain G_GNUC_UNUSED, VmigPurgeFlags flags,
                             GCancellable *cancellable, GError **error)
{
    gboolean alone = flags & VMIG_PURGE_WITHOUT_DESTINATION;

    return play(self, alone ? "purge --without-destination" : "purge", cancellable, error);
}
