/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The queries of PLAN: the guest, its images, and both hosts. A query that fails is noted, and the others are still
 * made. */
#include <string.h>

#include "core/amount.h"
#include "definition/snapshot-tree.h"
#include "plan/plan.h"

#define FORECAST_MIN (64ull * 1024 * 1024)

static void plan_disk_free(VmigPlanDisk *disk)
{
    g_clear_pointer(&disk->stay, g_ptr_array_unref);
    g_free(disk->why_not);
    g_clear_pointer(&disk->chain, g_ptr_array_unref);
    g_clear_error(&disk->chain_error);
    g_ptr_array_unref(disk->dest_paths);
    g_ptr_array_unref(disk->dest_facts);
    g_clear_pointer(&disk->overlay_facts, vmig_path_facts_free);
    g_clear_pointer(&disk->same_path, vmig_path_facts_free);
    g_free(disk);
}

void vmig_survey_free(VmigSurvey *s)
{
    g_clear_pointer(&s->domain, vmig_domain_info_free);
    g_clear_error(&s->domain_error);
    g_clear_pointer(&s->disks, g_ptr_array_unref);
    g_clear_pointer(&s->next_disks, g_ptr_array_unref);
    g_clear_pointer(&s->live, vmig_domain_xml_free);
    g_clear_pointer(&s->persistent, vmig_domain_xml_free);
    g_free(s->live_xml);
    g_free(s->persistent_xml);
    g_clear_pointer(&s->snapshots, g_ptr_array_unref);
    g_clear_error(&s->snapshots_error);
    g_clear_pointer(&s->source_info, vmig_hypervisor_info_free);
    g_clear_pointer(&s->dest_info, vmig_hypervisor_info_free);
    g_clear_pointer(&s->source_facts, vmig_node_facts_free);
    g_clear_pointer(&s->dest_facts, vmig_node_facts_free);
    g_clear_pointer(&s->open_job, vmig_job_free);
    g_clear_error(&s->cannot_run);
    g_clear_error(&s->unresolved);
    g_free(s->migrate_name);
    g_ptr_array_unref(s->media_missing);
    g_ptr_array_unref(s->dest_errors);
    g_ptr_array_unref(s->staying);
    g_free(s);
}

static VmigSurvey *survey_new(const VmigPlanRequest *request)
{
    VmigSurvey *s = g_new0(VmigSurvey, 1);

    s->request = request;
    s->disks = g_ptr_array_new_with_free_func((GDestroyNotify)plan_disk_free);
    s->next_disks = g_ptr_array_new_with_free_func((GDestroyNotify)plan_disk_free);
    s->media_missing = g_ptr_array_new_with_free_func(g_free);
    s->dest_errors = g_ptr_array_new_with_free_func((GDestroyNotify)g_error_free);
    s->staying = g_ptr_array_new_with_free_func(g_free);
    return s;
}

static gboolean ask_domain(VmigSurvey *s, VmigEnv *env, VmigJournal *journal, GError **error)
{
    VmigHypervisor *hv = env->source.hypervisor;

    if (!hv->ops->find(hv, s->request->domain, &s->domain, &s->domain_error)) {
        if (g_error_matches(s->domain_error, VMIG_ERROR, VMIG_ERROR_AMBIGUOUS_DOMAIN))
            return TRUE;
        g_propagate_error(error, g_steal_pointer(&s->domain_error));
        return FALSE;
    }
    /* The destination of a job knows the guest before its libvirt does. */
    if (journal != NULL &&
        !vmig_journal_find_open(journal, s->domain != NULL ? s->domain->uuid : s->request->domain, &s->open_job, error))
        return FALSE;
    if (s->domain == NULL)
        return TRUE;
    if (!hv->ops->domain_xml(hv, s->domain->uuid, VMIG_XML_LIVE, &s->live_xml, error))
        return FALSE;
    if (s->domain->persistent &&
        !hv->ops->domain_xml(hv, s->domain->uuid, VMIG_XML_PERSISTENT, &s->persistent_xml, error))
        return FALSE;
    s->live = vmig_domain_xml_parse(s->live_xml, error);
    if (s->live == NULL)
        return FALSE;
    if (s->persistent_xml != NULL && (s->persistent = vmig_domain_xml_parse(s->persistent_xml, error)) == NULL)
        return FALSE;
    VmigDomainJob job = VMIG_DOMAIN_JOB_NONE;
    /* For a domain that is off the query fails: it has no job. */
    s->has_job = hv->ops->domain_job(hv, s->domain->uuid, &job, NULL) && job != VMIG_DOMAIN_JOB_NONE;
    if (!hv->ops->snapshots(hv, s->domain->uuid, &s->snapshots, error))
        return FALSE;
    vmig_snapshot_tree_order(s->snapshots, &s->snapshots_error);
    return TRUE;
}

static gboolean is_named(const VmigPlanRequest *request, const char *target)
{
    return request->disks != NULL && g_strv_contains(request->disks, target);
}

/* The reason to leave a disk out regardless of its storage. NULL if its storage decides. */
static char *reason_to_stay(const VmigPlanRequest *request, const VmigPlanDisk *disk)
{
    const VmigDomainDisk *d = disk->disk;

    if (request->disks != NULL)
        return disk->named ? NULL : g_strdup("not named with --disk");
    if (g_strcmp0(d->device, "disk") != 0 && g_strcmp0(d->device, "lun") != 0)
        return g_strdup_printf("a %s", d->device);
    if (d->readonly)
        return g_strdup("read-only");
    if (d->shareable)
        return g_strdup("shareable");
    if (g_strcmp0(d->type, "network") == 0)
        return g_strdup("on the network, reachable from both hosts");
    return NULL;
}

/* The user did not select disks: a disk on storage that both hosts share need not be moved. */
static gboolean may_be_shared(const VmigPlanDisk *disk)
{
    return g_strcmp0(disk->disk->type, "block") == 0 || (disk->overlay_facts != NULL && disk->overlay_facts->shared &&
                                                         disk->same_path != NULL && disk->same_path->exists);
}

/* Forecast of the guest's writes while its base is copied: a tenth of the base, at least 64 MiB, at most the disk's
 * size. */
static guint64 forecast(const VmigPlanDisk *disk)
{
    const VmigImageFacts *top = disk->chain->pdata[0];

    return MIN(MAX(disk->to_copy / 10, FORECAST_MIN), top->virtual_size);
}

/* --map-dir may name the directory as the definition does, or the directory that it resolves to. */
static char *dest_path(const VmigPathMap *map, const char *target, const VmigImageFacts *file)
{
    g_autofree char *plain = g_canonicalize_filename(file->named != NULL ? file->named : file->path, "/");
    char *mapped = vmig_path_map_apply(map, target, file->path);

    if (!g_str_equal(mapped, file->path) || g_str_equal(plain, file->path))
        return mapped;
    g_autofree char *by_name = vmig_path_map_apply(map, target, plain);
    if (g_str_equal(by_name, plain))
        return mapped;
    g_free(mapped);
    return g_steal_pointer(&by_name);
}

gboolean vmig_survey_is_counted(const VmigSurvey *s, const VmigPlanDisk *disk, guint index)
{
    const VmigImageFacts *file = disk->chain->pdata[index];

    for (guint i = 0; i < s->disks->len && s->disks->pdata[i] != disk; i++) {
        const VmigPlanDisk *other = s->disks->pdata[i];
        for (guint k = 0; other->moved && other->chain != NULL && k < other->chain->len; k++)
            if (g_strcmp0(((const VmigImageFacts *)other->chain->pdata[k])->path, file->path) == 0)
                return TRUE;
    }
    return FALSE;
}

static void ask_images(VmigSurvey *s, VmigEnv *env, VmigPlanDisk *disk)
{
    VmigNode *source = env->source.node;
    const VmigDomainDisk *d = disk->disk;
    const char *format = d->driver_type != NULL ? d->driver_type : "raw";

    /* The rules refuse a disk of another kind, and a node knows no other format. */
    if (g_strcmp0(d->type, "file") != 0 || d->source == NULL ||
        (!g_str_equal(format, "qcow2") && !g_str_equal(format, "raw")))
        return;
    disk->chain = vmig_node_survey(source, d->source, format, &disk->chain_error);
    if (disk->chain == NULL)
        return;
    for (guint i = 0; i < disk->chain->len; i++) {
        const VmigImageFacts *file = disk->chain->pdata[i];
        g_ptr_array_add(disk->dest_paths, dest_path(s->request->map, i == 0 ? d->target : NULL, file));
        if (!vmig_survey_is_counted(s, disk, i))
            disk->to_copy += MIN(file->allocated, file->size);
    }
    disk->overlay_forecast = forecast(disk);
}

static void note_error(VmigSurvey *s, GError *error)
{
    if (error != NULL)
        g_ptr_array_add(s->dest_errors, error);
}

static void ask_dest_paths(VmigSurvey *s, VmigEnv *env, VmigPlanDisk *disk)
{
    for (guint i = 0; i < disk->dest_paths->len; i++) {
        GError *error = NULL;
        VmigPathFacts *facts = vmig_node_path(env->dest.node, disk->dest_paths->pdata[i], &error);
        note_error(s, g_steal_pointer(&error));
        if (facts != NULL)
            g_ptr_array_add(disk->dest_facts, facts);
    }
}

static void ask_disk(VmigSurvey *s, VmigEnv *env, const VmigDomainDisk *d)
{
    VmigPlanDisk *disk = g_new0(VmigPlanDisk, 1);
    gboolean local_file = g_strcmp0(d->type, "file") == 0 && d->source != NULL;

    g_ptr_array_add(s->disks, disk);
    disk->disk = d;
    disk->named = is_named(s->request, d->target);
    disk->dest_paths = g_ptr_array_new_with_free_func(g_free);
    disk->dest_facts = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_path_facts_free);
    if (local_file) {
        g_autofree char *real = vmig_node_real_path(env->source.node, d->source, NULL);
        const char *path = real != NULL ? real : d->source;
        disk->overlay_facts = vmig_node_path(env->source.node, path, NULL);
        if (env->dest.node != NULL)
            disk->same_path = vmig_node_path(env->dest.node, path, NULL);
    }
    disk->why_not = reason_to_stay(s->request, disk);
    if (disk->why_not != NULL || (s->request->disks == NULL && may_be_shared(disk)))
        vmig_survey_ask_stay(env, disk);
    if (disk->why_not == NULL && s->request->disks == NULL && vmig_survey_is_shared(disk))
        disk->why_not = g_strdup("on storage that both hosts share");
    disk->moved = disk->why_not == NULL;
    if (!disk->moved)
        return;
    ask_images(s, env, disk);
    if (env->dest.node != NULL)
        ask_dest_paths(s, env, disk);
}

static gboolean is_listed(GPtrArray *texts, const char *text)
{
    return g_ptr_array_find_with_equal_func(texts, text, g_str_equal, NULL);
}

/* The next start would need this disk on the destination too. If it is moved, the rules compare the definitions. */
static void ask_next_disk(VmigSurvey *s, VmigEnv *env, const VmigDomainDisk *next)
{
    const VmigDomainDisk *now = vmig_domain_xml_disk(s->live, next->target);

    for (guint i = 0; now != NULL && i < s->disks->len; i++) {
        const VmigPlanDisk *disk = s->disks->pdata[i];
        if (disk->disk == now && disk->moved)
            return;
    }
    if (now != NULL && g_strcmp0(now->type, next->type) == 0 && g_strcmp0(now->source_text, next->source_text) == 0)
        return;
    VmigPlanDisk *disk = g_new0(VmigPlanDisk, 1);
    g_ptr_array_add(s->next_disks, disk);
    disk->disk = next;
    disk->next_start = TRUE;
    disk->why_not = g_strdup("only in the definition for the next start");
    disk->dest_paths = g_ptr_array_new_with_free_func(g_free);
    disk->dest_facts = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_path_facts_free);
    vmig_survey_ask_stay(env, disk);
}

static void ask_media(VmigSurvey *s, VmigEnv *env, const VmigDomainXml *xml)
{
    const VmigDomainFacts *facts = vmig_domain_xml_facts(xml);

    for (guint i = 0; i < facts->needed_files->len; i++) {
        GError *error = NULL;
        const char *path = facts->needed_files->pdata[i];
        g_autoptr(VmigPathFacts) there = vmig_node_path(env->dest.node, path, &error);
        note_error(s, error);
        if (there != NULL && !there->exists && !is_listed(s->media_missing, path))
            g_ptr_array_add(s->media_missing, g_strdup(path));
    }
}

static void ask_destination(VmigSurvey *s, VmigEnv *env)
{
    VmigHypervisor *hv = env->dest.hypervisor;
    GError *error = NULL;

    if (env->dest.node != NULL) {
        s->dest_facts = vmig_node_hello(env->dest.node, &error);
        note_error(s, g_steal_pointer(&error));
    }
    if (hv == NULL)
        return;
    hv->ops->host_info(hv, &s->dest_info, &error);
    note_error(s, g_steal_pointer(&error));
    if (s->domain == NULL)
        return;
    g_autoptr(VmigDomainInfo) by_name = NULL;
    g_autoptr(VmigDomainInfo) by_uuid = NULL;
    hv->ops->find(hv, s->domain->name, &by_name, &error);
    note_error(s, g_steal_pointer(&error));
    hv->ops->find(hv, s->domain->uuid, &by_uuid, &error);
    note_error(s, g_steal_pointer(&error));
    vmig_plan_ask_name(s, env);
    s->name_there = by_name != NULL;
    s->uuid_there = by_uuid != NULL;
    hv->ops->can_run(hv, s->live_xml, &s->cannot_run);
    if (env->dest.node != NULL)
        ask_media(s, env, s->live);
    if (env->dest.node != NULL && s->persistent != NULL)
        ask_media(s, env, s->persistent);
}

/* The users of the source's images that CLEANUP would find, as far as they exist already. */
static void ask_users(VmigSurvey *s, VmigEnv *env)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new();
    g_autoptr(GError) why = NULL;

    for (guint i = 0; i < s->disks->len; i++) {
        const VmigPlanDisk *disk = s->disks->pdata[i];
        for (guint k = 0; disk->moved && disk->chain != NULL && k < disk->chain->len; k++)
            g_ptr_array_add(paths, ((const VmigImageFacts *)disk->chain->pdata[k])->path);
    }
    if (paths->len == 0)
        return;
    g_ptr_array_add(paths, NULL);
    g_autoptr(GPtrArray) users =
        vmig_node_users(env->source.node, (const char *const *)paths->pdata, s->domain->uuid, &why);
    if (users == NULL)
        g_ptr_array_add(s->staying,
                        g_strdup_printf("cannot determine which images will stay on this host: %s", why->message));
    for (guint i = 0; users != NULL && i < users->len; i++)
        if (users->pdata[i] != NULL)
            g_ptr_array_add(s->staying, g_strdup_printf("%s will stay on this host: %s", (const char *)paths->pdata[i],
                                                        (const char *)users->pdata[i]));
}

/* FALSE only if the caller cancelled. */
static gboolean ask_disks(VmigSurvey *s, VmigEnv *env, GError **error)
{
    const VmigStop *stop = &s->request->stop;
    GPtrArray *now = s->live != NULL ? vmig_domain_xml_facts(s->live)->disks : NULL;
    GPtrArray *next = now != NULL && s->persistent != NULL ? vmig_domain_xml_facts(s->persistent)->disks : NULL;

    for (guint i = 0; now != NULL && i < now->len; i++) {
        if (!vmig_stop_check(stop, error))
            return FALSE;
        ask_disk(s, env, now->pdata[i]);
    }
    if (now != NULL && !s->request->options->keep_source)
        ask_users(s, env);
    for (guint i = 0; next != NULL && i < next->len; i++) {
        if (!vmig_stop_check(stop, error))
            return FALSE;
        ask_next_disk(s, env, next->pdata[i]);
    }
    return TRUE;
}

VmigSurvey *vmig_survey_make(VmigEnv *env, VmigJournal *journal, const VmigPlanRequest *request, GError **error)
{
    g_autoptr(VmigSurvey) s = survey_new(request);
    VmigHypervisor *hv = env->source.hypervisor;

    if (!vmig_stop_check(&request->stop, error) || !hv->ops->host_info(hv, &s->source_info, error) ||
        !ask_domain(s, env, journal, error))
        return NULL;
    s->source_facts = vmig_node_hello(env->source.node, error);
    if (s->source_facts == NULL || !vmig_stop_check(&request->stop, error))
        return NULL;
    ask_destination(s, env);
    return ask_disks(s, env, error) ? g_steal_pointer(&s) : NULL;
}
