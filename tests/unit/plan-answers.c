/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hosts of plan-env.h as the plan sees them: through VmigNode and VmigHypervisor. */
#include "plan-answers.h"

#include <string.h>

#include "definition/snapshot-tree.h"
#include "os/json-read.h"

static gboolean fails(const PlanHost *host, const char *method, GError **error)
{
    const PlanFailure *f = &host->env->failure;

    if (f->method == NULL || f->role != host->role || !g_str_equal(f->method, method))
        return FALSE;
    return !vmig_fail(error, f->code, f->hint, "%s", f->message);
}

/* --- the node --- */

static const PlanFile *find(const PlanHost *host, const char *path)
{
    for (guint i = 0; i < host->files->len; i++)
        if (g_str_equal(((const PlanFile *)host->files->pdata[i])->path, path))
            return host->files->pdata[i];
    return NULL;
}

static void set_text(JsonObject *object, const char *name, const char *text)
{
    if (text != NULL)
        json_object_set_string_member(object, name, text);
}

static JsonObject *hello(const PlanHost *host)
{
    JsonObject *reply = json_object_new();
    JsonArray *roots = json_array_new();

    for (guint i = 0; i < host->roots->len; i++)
        json_array_add_string_element(roots, host->roots->pdata[i]);
    json_object_set_int_member(reply, "protocol", VMIG_PROTOCOL);
    set_text(reply, "version", "1");
    set_text(reply, "hostname", host->info.hostname);
    set_text(reply, "machine_id", host->info.uuid);
    set_text(reply, "qemu_img_version", "7.2");
    json_object_set_array_member(reply, "roots", roots);
    json_object_set_int_member(reply, "cpus", 4);
    json_object_set_boolean_member(reply, "aes", TRUE);
    json_object_set_boolean_member(reply, "images_denied", host->images_denied);
    return reply;
}

static gboolean in_roots(const PlanHost *host, const char *path)
{
    for (guint i = 0; i < host->roots->len; i++)
        if (vmig_path_is_below(path, host->roots->pdata[i]))
            return TRUE;
    return FALSE;
}

static void set_folder(JsonObject *reply, const PlanHost *host, const char *path)
{
    g_autofree char *name = g_path_get_dirname(path);
    const PlanFolder *folder = NULL;

    for (guint i = 0; i < host->folders->len && folder == NULL; i++)
        if (g_str_equal(((const PlanFolder *)host->folders->pdata[i])->path, name))
            folder = host->folders->pdata[i];
    json_object_set_boolean_member(reply, "folder_ok", folder != NULL);
    json_object_set_int_member(reply, "free_bytes", folder != NULL ? (gint64)folder->free : 0);
    json_object_set_int_member(reply, "filesystem", folder != NULL ? (gint64)folder->filesystem : 0);
}

static JsonObject *path_facts(const PlanHost *host, const char *path)
{
    JsonObject *reply = json_object_new();
    const PlanFile *file = find(host, path);

    set_folder(reply, host, path);
    json_object_set_boolean_member(reply, "in_roots", in_roots(host, path));
    json_object_set_boolean_member(reply, "exists", file != NULL);
    json_object_set_boolean_member(reply, "is_regular", file != NULL && !file->block);
    json_object_set_boolean_member(reply, "shared", file != NULL && file->shared);
    json_object_set_int_member(reply, "size", file != NULL ? (gint64)file->size : 0);
    json_object_set_int_member(reply, "dev", 1);
    json_object_set_int_member(reply, "ino", 1);
    if (file == NULL)
        return reply;
    set_text(reply, "owner_job", file->owner_job);
    set_text(reply, "owner_state", file->owner_state);
    set_text(reply, "kept_job", file->kept_job);
    set_text(reply, "kept_domain", file->kept_domain);
    set_text(reply, "kept_why_not", file->kept_why_not);
    if (file->kept_job != NULL)
        json_object_set_int_member(reply, "kept_bytes", (gint64)file->size);
    return reply;
}

static JsonObject *image(const PlanHost *host, const PlanFile *file)
{
    JsonObject *object = json_object_new();
    g_autofree char *backing = file->backing != NULL ? plan_env_text(host->env, file->backing) : NULL;

    set_text(object, "path", file->path);
    set_text(object, "named", file->path);
    set_text(object, "format", file->format);
    set_text(object, "backing", backing);
    set_text(object, "backing_format", backing != NULL ? "qcow2" : NULL);
    set_text(object, "backing_path", backing);
    json_object_set_int_member(object, "size", (gint64)file->size);
    json_object_set_int_member(object, "allocated", (gint64)file->size);
    json_object_set_int_member(object, "virtual_size", (gint64)file->size);
    json_object_set_int_member(object, "dev", 1);
    json_object_set_int_member(object, "ino", 1);
    json_object_set_int_member(object, "mtime_ns", 1);
    json_object_set_int_member(object, "version", (gint64)file->version);
    json_object_set_int_member(object, "bitmaps", (gint64)file->bitmaps);
    json_object_set_boolean_member(object, "encrypted", file->encrypted);
    json_object_set_boolean_member(object, "data_file", file->data_file);
    json_object_set_boolean_member(object, "dirty", FALSE);
    json_object_set_array_member(object, "snapshots", json_array_new());
    return object;
}

static JsonObject *survey(const PlanHost *host, const char *path, GError **error)
{
    g_autoptr(JsonObject) reply = json_object_new();
    JsonArray *images = json_array_new();
    g_autofree char *next = g_strdup(path);

    json_object_set_array_member(reply, "images", images);
    while (next != NULL) {
        const PlanFile *file = find(host, next);
        if (file == NULL) {
            vmig_fail(error, VMIG_ERROR_IO, NULL, "there is no %s", next);
            return NULL;
        }
        json_array_add_object_element(images, image(host, file));
        g_free(next);
        next = file->backing != NULL ? plan_env_text(host->env, file->backing) : NULL;
    }
    return g_steal_pointer(&reply);
}

static JsonObject *identity(const PlanFile *file)
{
    JsonObject *reply = json_object_new();
    JsonArray *samples = json_array_new();

    set_text(reply, "kind", file == NULL ? "absent" : file->block ? "block" : "file");
    json_object_set_int_member(reply, "size", file != NULL ? (gint64)file->size : 0);
    json_object_set_boolean_member(reply, "shared", file != NULL && file->shared);
    json_object_set_int_member(reply, "filesystem", 0x6969);
    json_object_set_int_member(reply, "ino", 1);
    if (file != NULL) {
        set_text(reply, "name", file->wwn);
        set_text(reply, "denied", file->denied);
        set_text(reply, "read_only", file->read_only);
        json_array_add_string_element(samples, file->content != NULL ? file->content : "zeros");
    }
    json_object_set_array_member(reply, "samples", samples);
    return reply;
}

static JsonObject *one_text(const char *name, const char *text)
{
    JsonObject *reply = json_object_new();

    set_text(reply, name, text);
    return reply;
}

static JsonObject *begin_rehearsal(JsonObject *args)
{
    JsonObject *reply = one_text("id", "0000000000000001");
    JsonArray *images = json_array_new();
    guint length = json_array_get_length(json_object_get_array_member(args, "paths"));

    for (guint i = 0; i < length; i++) {
        g_autofree char *path = g_strdup_printf("/twin-%u", i);
        json_array_add_string_element(images, path);
    }
    json_object_set_array_member(reply, "images", images);
    json_object_set_array_member(reply, "dead", json_array_new());
    return reply;
}

/* No other process uses an image. */
static JsonObject *users(JsonObject *args)
{
    JsonObject *reply = json_object_new();
    JsonArray *array = json_array_new();
    guint length = json_array_get_length(json_object_get_array_member(args, "paths"));

    for (guint i = 0; i < length; i++)
        json_array_add_string_element(array, "");
    json_object_set_array_member(reply, "users", array);
    return reply;
}

static JsonObject *call(VmigNode *self, VmigMethod id, JsonObject *args, GError **error)
{
    const char *method = vmig_method_name(id);
    const PlanHost *host = (const PlanHost *)(gconstpointer)self;
    const char *path = json_object_get_string_member_with_default(args, "path", NULL);

    if (fails(host, method, error))
        return NULL;
    if (g_str_equal(method, "hello"))
        return hello(host);
    if (g_str_equal(method, "path"))
        return path_facts(host, path);
    if (g_str_equal(method, "real-path"))
        return one_text("path", path);
    if (g_str_equal(method, "survey"))
        return survey(host, path, error);
    if (g_str_equal(method, "identity"))
        return identity(find(host, path));
    if (g_str_equal(method, "digest"))
        return one_text("digest", find(host, path)->content != NULL ? find(host, path)->content : "zeros");
    if (g_str_equal(method, "users"))
        return users(args);
    if (g_str_equal(method, "rehearsal-begin"))
        return begin_rehearsal(args);
    if (!g_str_has_prefix(method, "rehearsal-"))
        g_error("the plan must not ask '%s'", method);
    return json_object_new();
}

static const VmigNodeOps node_ops = {.call = call};

/* --- hypervisor --- */

static PlanHost *host_of(VmigHypervisor *self)
{
    return (PlanHost *)(gpointer)((char *)self - G_STRUCT_OFFSET(PlanHost, hypervisor));
}

static gboolean host_info(VmigHypervisor *self, VmigHypervisorInfo **ret, GError **error)
{
    const PlanHost *host = host_of(self);

    if (fails(host, "host_info", error))
        return FALSE;
    *ret = g_memdup2(&host->info, sizeof host->info);
    (*ret)->hostname = g_strdup(host->info.hostname);
    (*ret)->uuid = g_strdup(host->info.uuid);
    return TRUE;
}

static gboolean find_domain(VmigHypervisor *self, const char *name_or_uuid, VmigDomainInfo **ret, GError **error)
{
    const PlanHost *host = host_of(self);
    const PlanEnv *w = host->env;
    gboolean by_name = g_str_equal(name_or_uuid, w->name), by_uuid = g_str_equal(name_or_uuid, PLAN_UUID);

    *ret = NULL;
    if (fails(host, "find", error))
        return FALSE;
    if (host->role == HERE ? w->guest_gone || (!by_name && !by_uuid)
                           : !(by_name && host->has_name) && !(by_uuid && host->has_uuid))
        return TRUE;
    *ret = g_memdup2(&w->guest, sizeof w->guest);
    (*ret)->name = g_strdup(w->name);
    (*ret)->uuid = g_strdup(PLAN_UUID);
    return TRUE;
}

static gboolean domain_xml(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, VmigXmlKind kind, char **ret,
                           GError **error)
{
    const PlanHost *host = host_of(self);
    const PlanEnv *w = host->env;
    gboolean live = kind == VMIG_XML_LIVE || kind == VMIG_XML_MIGRATABLE;
    g_autofree char *folder = g_markup_escape_text(w->folder, -1);
    g_autofree char *name = g_markup_escape_text(w->name, -1);
    const PlanEnv escaped = {.folder = folder, .name = name};

    if (fails(host, "domain_xml", error))
        return FALSE;
    *ret = plan_env_text(&escaped, w->xml[live ? 0 : 1]);
    return TRUE;
}

static gboolean snapshots(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, GPtrArray **ret,
                          GError **error G_GNUC_UNUSED)
{
    const PlanEnv *w = host_of(self)->env;
    g_autofree char *folder = g_markup_escape_text(w->folder, -1);
    const PlanEnv escaped = {.folder = folder, .name = ""};

    *ret = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_snapshot_free);
    for (guint i = 0; i < w->snapshots->len; i++) {
        g_autoptr(GError) why = NULL;
        g_autofree char *xml = plan_env_text(&escaped, w->snapshots->pdata[i]);
        VmigSnapshot *snapshot = vmig_snapshot_from_xml(xml, &why);
        g_assert_no_error(why);
        g_ptr_array_add(*ret, snapshot);
    }
    return TRUE;
}

static gboolean domain_job(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, VmigDomainJob *ret,
                           GError **error G_GNUC_UNUSED)
{
    *ret = host_of(self)->env->busy ? VMIG_DOMAIN_JOB_OTHER : VMIG_DOMAIN_JOB_NONE;
    return TRUE;
}

static gboolean can_run(VmigHypervisor *self, const char *xml G_GNUC_UNUSED, GError **error)
{
    return !fails(host_of(self), "can_run", error);
}

static gboolean would_start(VmigHypervisor *self, const char *xml G_GNUC_UNUSED, GError **error)
{
    return !fails(host_of(self), "would_start", error);
}

static gboolean rehearse(VmigHypervisor *self, const char *xml G_GNUC_UNUSED, GError **error)
{
    return !fails(host_of(self), "rehearse", error);
}

static gboolean snapshot_define(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *xml G_GNUC_UNUSED,
                                gboolean current G_GNUC_UNUSED, GError **error)
{
    return !fails(host_of(self), "snapshot_define", error);
}

static const VmigHypervisorOps hypervisor_ops = {.host_info = host_info,
                                                 .find = find_domain,
                                                 .domain_xml = domain_xml,
                                                 .snapshots = snapshots,
                                                 .domain_job = domain_job,
                                                 .can_run = can_run,
                                                 .would_start = would_start,
                                                 .rehearse = rehearse,
                                                 .snapshot_define = snapshot_define};

void plan_answers_set(PlanHost *host)
{
    host->node = (VmigNode){&node_ops, host->info.hostname};
    host->hypervisor = (VmigHypervisor){&hypervisor_ops, host->info.hostname};
}

/* --- the environment --- */

static gint64 wall(VmigClock *self G_GNUC_UNUSED)
{
    return G_GINT64_CONSTANT(1700000000) * G_USEC_PER_SEC;
}

static PlanEnv *env_of(VmigClock *self)
{
    return (PlanEnv *)(gpointer)((char *)self - G_STRUCT_OFFSET(PlanEnv, clock));
}

static gint64 now(VmigClock *self)
{
    return env_of(self)->now;
}

static void wait_until(VmigClock *self, gint64 until)
{
    env_of(self)->now = until;
}

static const VmigClockOps clock_ops = {.now = now, .wall = wall, .wait = wait_until};

static gboolean resolves(VmigEnv *self, const char *name G_GNUC_UNUSED, GError **error)
{
    const PlanEnv *w = (const PlanEnv *)(gconstpointer)((char *)self - G_STRUCT_OFFSET(PlanEnv, env));

    /* A name that the user gave does resolve. */
    return w->options.migrate_host != NULL || !fails(&w->hosts[HERE], "resolves", error);
}

void plan_answers_connect(PlanEnv *w)
{
    gboolean answers = w->dest_error == NULL;

    w->clock.ops = &clock_ops;
    w->env = (VmigEnv){.source = {&w->hosts[HERE].hypervisor, &w->hosts[HERE].node},
                       .dest = {answers ? &w->hosts[THERE].hypervisor : NULL, answers ? &w->hosts[THERE].node : NULL},
                       .clock = &w->clock,
                       .resolves = resolves};
}
