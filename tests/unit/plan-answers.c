/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hosts of plan-env.h as the plan sees them: through VmigNode and VmigHypervisor. */
#include "plan-answers.h"

#include <string.h>

#include "definition/snapshot-tree.h"

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

static gboolean hello(const PlanHost *host, VmigNodeFacts *reply)
{
    *reply = (VmigNodeFacts){.protocol = VMIG_PROTOCOL,
                             .version = g_strdup("1"),
                             .hostname = g_strdup(host->info.hostname),
                             .machine_id = g_strdup(host->info.uuid),
                             .qemu_img_version = g_strdup("7.2"),
                             .roots = g_new0(char *, host->roots->len + 1),
                             .cpus = 4,
                             .aes = TRUE};
    for (guint i = 0; i < host->roots->len; i++)
        reply->roots[i] = g_strdup(host->roots->pdata[i]);
    return TRUE;
}

static gboolean in_roots(const PlanHost *host, const char *path)
{
    for (guint i = 0; i < host->roots->len; i++)
        if (vmig_path_is_below(path, host->roots->pdata[i]))
            return TRUE;
    return FALSE;
}

static void set_folder(VmigPathFacts *reply, const PlanHost *host, const char *path)
{
    g_autofree char *name = g_path_get_dirname(path);
    const PlanFolder *folder = NULL;

    for (guint i = 0; i < host->folders->len && folder == NULL; i++)
        if (g_str_equal(((const PlanFolder *)host->folders->pdata[i])->path, name))
            folder = host->folders->pdata[i];
    reply->folder_ok = folder != NULL;
    reply->free_bytes = folder != NULL ? folder->free : 0;
    reply->filesystem = folder != NULL ? folder->filesystem : 0;
}

static gboolean path_facts(const PlanHost *host, const char *path, VmigPathFacts *reply)
{
    const PlanFile *file = find(host, path);

    set_folder(reply, host, path);
    reply->in_roots = in_roots(host, path);
    reply->dev = reply->ino = 1;
    if (file == NULL)
        return TRUE;
    reply->exists = TRUE;
    reply->is_regular = !file->block;
    reply->shared = file->shared;
    reply->size = file->size;
    reply->owner_job = g_strdup(file->owner_job);
    reply->owner_state = g_strdup(file->owner_state);
    reply->kept_job = g_strdup(file->kept_job);
    reply->kept_domain = g_strdup(file->kept_domain);
    reply->kept_why_not = g_strdup(file->kept_why_not);
    reply->kept_bytes = file->kept_job != NULL ? file->size : 0;
    return TRUE;
}

static VmigImageFacts *image(const PlanHost *host, const PlanFile *file)
{
    VmigImageFacts *facts = g_new0(VmigImageFacts, 1);

    facts->path = g_strdup(file->path);
    facts->named = g_strdup(file->path);
    facts->format = g_strdup(file->format);
    facts->backing = file->backing != NULL ? plan_env_text(host->env, file->backing) : NULL;
    facts->backing_format = g_strdup(facts->backing != NULL ? "qcow2" : NULL);
    facts->backing_path = g_strdup(facts->backing);
    facts->size = facts->allocated = facts->virtual_size = file->size;
    facts->dev = facts->ino = facts->mtime_ns = 1;
    facts->version = file->version;
    facts->bitmaps = file->bitmaps;
    facts->encrypted = file->encrypted;
    facts->data_file = file->data_file;
    facts->snapshots = vmig_message_array(&vmig_image_snapshot_message);
    return facts;
}

static gboolean survey(const PlanHost *host, const char *path, VmigSurveyReply *reply, GError **error)
{
    g_autofree char *next = g_strdup(path);

    reply->images = vmig_message_array(&vmig_image_facts_message);
    while (next != NULL) {
        const PlanFile *file = find(host, next);
        if (file == NULL)
            return vmig_fail(error, VMIG_ERROR_IO, NULL, "there is no %s", next);
        g_ptr_array_add(reply->images, image(host, file));
        g_free(next);
        next = file->backing != NULL ? plan_env_text(host->env, file->backing) : NULL;
    }
    return TRUE;
}

static const char *content_of(const PlanFile *file)
{
    return file->content != NULL ? file->content : "zeros";
}

static gboolean identity(const PlanFile *file, VmigIdentity *reply)
{
    reply->filesystem = 0x6969;
    reply->ino = 1;
    reply->samples = g_new0(char *, 2);
    if (file == NULL)
        return TRUE;
    reply->kind = file->block ? VMIG_IDENTITY_BLOCK : VMIG_IDENTITY_FILE;
    reply->size = file->size;
    reply->shared = file->shared;
    reply->name = g_strdup(file->wwn);
    reply->denied = g_strdup(file->denied);
    reply->read_only = g_strdup(file->read_only);
    reply->samples[0] = g_strdup(content_of(file));
    return TRUE;
}

static gboolean begin_rehearsal(const VmigRehearsalArgs *args, VmigRehearsal *reply)
{
    guint length = g_strv_length((char **)args->paths);

    reply->id = g_strdup("0000000000000001");
    reply->dead = g_new0(char *, 1);
    reply->images = g_new0(char *, length + 1);
    for (guint i = 0; i < length; i++)
        reply->images[i] = g_strdup_printf("/twin-%u", i);
    return TRUE;
}

/* No other process uses an image. */
static gboolean users(const VmigUsersArgs *args, VmigUsersReply *reply)
{
    guint length = g_strv_length((char **)args->paths);

    reply->users = g_new0(char *, length + 1);
    for (guint i = 0; i < length; i++)
        reply->users[i] = g_strdup("");
    return TRUE;
}

static gboolean call(VmigNode *self, VmigMethod method, gconstpointer args, gpointer reply, GError **error)
{
    const PlanHost *host = (const PlanHost *)(gconstpointer)self;

    if (fails(host, vmig_method_name(method), error))
        return FALSE;
    switch (method) {
    case VMIG_METHOD_HELLO:
        return hello(host, reply);
    case VMIG_METHOD_PATH:
        return path_facts(host, ((const VmigPathArgs *)args)->path, reply);
    case VMIG_METHOD_REAL_PATH:
        ((VmigRealPathReply *)reply)->path = g_strdup(((const VmigPathArgs *)args)->path);
        return TRUE;
    case VMIG_METHOD_SURVEY:
        return survey(host, ((const VmigImageArgs *)args)->path, reply, error);
    case VMIG_METHOD_IDENTITY:
        return identity(find(host, ((const VmigPathArgs *)args)->path), reply);
    case VMIG_METHOD_DIGEST:
        ((VmigDigestReply *)reply)->digest = g_strdup(content_of(find(host, ((const VmigPathArgs *)args)->path)));
        return TRUE;
    case VMIG_METHOD_USERS:
        return users(args, reply);
    case VMIG_METHOD_REHEARSAL_BEGIN:
        return begin_rehearsal(args, reply);
    case VMIG_METHOD_REHEARSAL_UNLINK:
    case VMIG_METHOD_REHEARSAL_END:
        return TRUE;
    default:
        g_error("the plan must not ask '%s'", vmig_method_name(method));
    }
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

/* As a libvirt that does not know w->unknown returns a definition. */
static char *without_unknown(const PlanEnv *w, const char *xml)
{
    g_autoptr(GString) text = g_string_new(xml);

    if (w->unknown != NULL)
        g_string_replace(text, w->unknown, "", 0);
    return g_string_free(g_steal_pointer(&text), FALSE);
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
        g_autofree char *known = host_of(self)->role == THERE ? without_unknown(w, w->snapshots->pdata[i])
                                                              : g_strdup(w->snapshots->pdata[i]);
        g_autofree char *xml = plan_env_text(&escaped, known);
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

static gboolean rehearse(VmigHypervisor *self, const char *xml, char **ret, GError **error)
{
    if (fails(host_of(self), "rehearse", error))
        return FALSE;
    *ret = without_unknown(host_of(self)->env, xml);
    return TRUE;
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
