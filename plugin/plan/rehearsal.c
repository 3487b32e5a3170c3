/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds problems of a start before anything is copied: see rehearsal.h. */
#include "plan/rehearsal.h"

#include <string.h>

#include "definition/domain-xml.h"
#include "definition/ignored.h"
#include "definition/rehearsal.h"
#include "core/setup-cause.h"
#include "definition/snapshot-tree.h"
#include "os/fault.h"

#define END_LIMIT (10 * G_USEC_PER_SEC)
#define END_POLL (G_USEC_PER_SEC / 4)

typedef struct {
    VmigEnv *env;
    VmigJob *job;
    VmigTwinLack lack;
    const VmigStop *stop;
    VmigHypervisor *hv; /* the destination's */
    char *dest_xml;
    char *persistent_xml;
    GPtrArray *images; /* VmigRehearsalImage */
    VmigRehearsal *stage;
    GPtrArray *problems; /* GError */
} Rehearsal;

static void rehearsal_clear(Rehearsal *r)
{
    g_free(r->dest_xml);
    g_free(r->persistent_xml);
    g_clear_pointer(&r->images, g_ptr_array_unref);
    g_clear_pointer(&r->stage, vmig_rehearsal_reply_free);
    g_clear_pointer(&r->problems, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Rehearsal, rehearsal_clear)

/* The host did not answer, or this process was asked to end: this says nothing about the guest. */
static gboolean is_no_answer(const GError *error)
{
    static const VmigErrorCode codes[] = {VMIG_ERROR_CONNECTION, VMIG_ERROR_UNREACHABLE, VMIG_ERROR_TIMEOUT,
                                          VMIG_ERROR_CANCELLED,  VMIG_ERROR_CRASHED,     VMIG_ERROR_INJECTED};

    for (guint i = 0; i < G_N_ELEMENTS(codes); i++)
        if (g_error_matches(error, VMIG_ERROR, (gint)codes[i]))
            return TRUE;
    return FALSE;
}

/* Adds "HOST: cannot WHAT: TEXT" with the element and the remedy that the text implies. Takes why. FALSE if the failure
 * says nothing about the guest. */
static gboolean add_problem(Rehearsal *r, VmigErrorCode code, const char *what, GError *why, GError **error)
{
    g_autoptr(GError) owned = why;
    g_autoptr(VmigSetupCause) cause = NULL;
    GError *problem = NULL;

    if (is_no_answer(owned)) {
        g_propagate_error(error, g_steal_pointer(&owned));
        return FALSE;
    }
    cause = vmig_setup_cause(owned->message);
    const char *hint = cause != NULL ? cause->remedy : vmig_error_hint(owned);
    vmig_fail(&problem, code,
              hint != NULL ? hint : "See libvirt's log on the destination; --no-rehearsal migrates without this test.",
              "%s: %s%s%s%s: %s", r->job->host[VMIG_DEST], what, cause != NULL ? " (" : "",
              cause != NULL ? cause->element : "", cause != NULL ? ")" : "", owned->message);
    g_ptr_array_add(r->problems, problem);
    return TRUE;
}

gboolean vmig_stop_check(const VmigStop *stop, GError **error)
{
    return stop == NULL || stop->wanted == NULL || !stop->wanted(stop->user) ||
           vmig_fail(error, VMIG_ERROR_CANCELLED, NULL, "the plan was cancelled; nothing was changed");
}

static gboolean drop_boot_files(Rehearsal *r, GError **error)
{
    if ((r->lack & VMIG_TWIN_NO_BOOT_FILES) == 0)
        return TRUE;
    char *without = vmig_rehearsal_without_boot_files(r->dest_xml, error);
    g_free(r->dest_xml);
    r->dest_xml = without;
    return without != NULL;
}

static gboolean read_definitions(Rehearsal *r, GError **error)
{
    VmigHypervisor *source = r->env->source.hypervisor;
    g_autofree char *live = NULL;
    g_autofree char *persistent = NULL;

    if (!source->ops->domain_xml(source, r->job->uuid, VMIG_XML_MIGRATABLE, &live, error))
        return FALSE;
    r->dest_xml = vmig_domain_xml_for_destination(live, r->job, TRUE, error);
    if (r->dest_xml == NULL || !drop_boot_files(r, error))
        return FALSE;
    if (r->job->persistent_xml != NULL) { /* otherwise the guest is transient, which is refused */
        if (!source->ops->domain_xml(source, r->job->uuid, VMIG_XML_PERSISTENT_MIGRATABLE, &persistent, error))
            return FALSE;
        r->persistent_xml = vmig_domain_xml_for_destination(persistent, r->job, FALSE, error);
        if (r->persistent_xml == NULL)
            return FALSE;
    }
    r->images = vmig_rehearsal_images(r->dest_xml, r->job, error);
    return r->images != NULL;
}

static char **present_media(Rehearsal *r, GError **error)
{
    g_auto(GStrv) media = vmig_rehearsal_media(r->dest_xml, error);
    g_autoptr(GPtrArray) there = g_ptr_array_new_with_free_func(g_free);

    for (guint i = 0; media != NULL && media[i] != NULL; i++) {
        g_autoptr(VmigPathFacts) facts = vmig_node_path(r->env->dest.node, media[i], NULL);
        if (facts != NULL && facts->exists)
            g_ptr_array_add(there, g_strdup(media[i]));
    }
    g_ptr_array_add(there, NULL);
    return media != NULL ? (char **)g_ptr_array_free(g_steal_pointer(&there), FALSE) : NULL;
}

static gboolean begin(Rehearsal *r, GError **error)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new();
    g_autoptr(GPtrArray) formats = g_ptr_array_new();

    for (guint i = 0; i < r->images->len; i++) {
        const VmigRehearsalImage *image = r->images->pdata[i];
        g_ptr_array_add(paths, image->path);
        g_ptr_array_add(formats, image->format);
    }
    g_ptr_array_add(paths, NULL);
    g_ptr_array_add(formats, NULL);
    r->stage = vmig_node_rehearsal_begin(r->env->dest.node, r->job->domain, (const char *const *)paths->pdata,
                                         (const char *const *)formats->pdata, error);
    return r->stage != NULL;
}

static gboolean is_gone(const GError *error)
{
    return g_error_matches(error, VMIG_ERROR, VMIG_ERROR_NO_DOMAIN);
}

/* Ends only a domain with the mark of that rehearsal, and only the instance that had the mark. */
static gboolean end_twin(VmigHypervisor *hv, const char *id, GError **error)
{
    g_autofree char *uuid = vmig_rehearsal_uuid(id);
    g_autofree char *xml = NULL;
    g_autoptr(VmigDomainInfo) info = NULL;
    g_autoptr(GError) why = NULL;

    if (!vmig_rehearsal_id_is_valid(id))
        return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the id of the rehearsal is invalid");
    if (!hv->ops->find(hv, uuid, &info, error))
        return FALSE;
    if (info == NULL)
        return TRUE;
    if (hv->ops->domain_xml(hv, uuid, VMIG_XML_LIVE, &xml, &why)) {
        g_autofree char *marked = vmig_rehearsal_id(xml);
        if (g_strcmp0(marked, id) != 0)
            return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL,
                             "%s: the domain %s has the UUID of a rehearsal but is not one", hv->host, uuid);
        if (hv->ops->destroy(hv, uuid, info->id, &why))
            return TRUE;
    }
    if (is_gone(why))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

/* Removes the images and the record. LOCKED: another process still works with them. */
static gboolean end_record(VmigNode *node, const char *id, GError **error)
{
    g_autoptr(GError) why = NULL;

    if (vmig_node_rehearsal_end(node, id, &why) || g_error_matches(why, VMIG_ERROR, VMIG_ERROR_LOCKED))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

gboolean vmig_rehearsal_clear(VmigHost *host, const char *id, GError **error)
{
    return end_twin(host->hypervisor, id, error) && end_record(host->node, id, error);
}

/* A libvirtd that was killed no longer ends the twin with this connection (AUTODESTROY), and its supervisor soon starts
 * it again. A twin that cannot be ended stays for the next rehearsal there, or for doctor. */
static gboolean end_twin_in_time(Rehearsal *r, GError **error)
{
    VmigClock *clock = r->env->clock;
    gint64 until = clock->ops->now(clock) + END_LIMIT;
    g_autoptr(GError) why = NULL;

    while (!end_twin(r->hv, r->stage->id, &why)) {
        gint64 now = clock->ops->now(clock);
        if (!is_no_answer(why) || now >= until || !vmig_stop_check(r->stop, NULL)) {
            g_propagate_error(error, g_steal_pointer(&why));
            return FALSE;
        }
        g_clear_error(&why);
        clock->ops->wait(clock, now + END_POLL);
    }
    return TRUE;
}

/* Removes the leftovers of this rehearsal and of earlier ones. A twin that cannot be ended keeps its record. */
static gboolean clear_all(Rehearsal *r, GError **error)
{
    for (guint i = 0; r->stage->dead[i] != NULL; i++)
        vmig_rehearsal_clear(&r->env->dest, r->stage->dead[i], NULL);
    return end_twin_in_time(r, error) && end_record(r->env->dest.node, r->stage->id, error);
}

static char *make_twin(Rehearsal *r, GError **error)
{
    g_autoptr(GHashTable) twins = g_hash_table_new(g_str_hash, g_str_equal);
    g_auto(GStrv) media = present_media(r, error);

    if (media == NULL)
        return NULL;
    for (guint i = 0; i < r->images->len; i++)
        g_hash_table_insert(twins, ((const VmigRehearsalImage *)r->images->pdata[i])->path, r->stage->images[i]);
    return vmig_rehearsal_xml(r->dest_xml, r->job, r->stage->id, (const char *const *)media, twins, error);
}

/* Whether the destination's libvirt kept every element of a definition. It ignores those that it does not know, and the
 * guest would arrive without them, which QEMU notices at the end of the migration or at a revert. *why: the element
 * that is missing. */
static gboolean check_kept(const char *given, const char *kept, GError **why, GError **error)
{
    g_autofree char *ignored = NULL;

    if (!vmig_definition_ignored(given, kept, &ignored, error))
        return FALSE;
    return ignored == NULL || vmig_fail(why, VMIG_ERROR_NO_EMULATOR,
                                        "Install the source's version of libvirt there, or remove the element.",
                                        "libvirt ignores %s, which it does not know", ignored);
}

static gboolean check_twin(Rehearsal *r, const char *xml, const char *kept, GError **error)
{
    g_autoptr(GError) why = NULL;

    if (check_kept(xml, kept, &why, error))
        return TRUE;
    return why != NULL && add_problem(r, VMIG_ERROR_REHEARSAL, "cannot start the guest with all of its parts",
                                      g_steal_pointer(&why), error);
}

/* *started: the twin runs. */
static gboolean start_twin(Rehearsal *r, gboolean *started, GError **error)
{
    g_autofree char *xml = make_twin(r, error);
    g_autofree char *kept = NULL;
    g_autoptr(GError) why = NULL;

    if (xml == NULL)
        return FALSE;
    *started = r->hv->ops->rehearse(r->hv, xml, &kept, &why);
    if (!*started)
        return add_problem(r, VMIG_ERROR_REHEARSAL, "cannot start the guest", g_steal_pointer(&why), error);
    if (!vmig_fault("rehearsal.started", error) ||
        !vmig_node_rehearsal_unlink(r->env->dest.node, r->stage->id, error) || !check_twin(r, xml, kept, error))
        return FALSE;
    if (r->persistent_xml == NULL || r->hv->ops->would_start(r->hv, r->persistent_xml, &why))
        return TRUE;
    return add_problem(r, VMIG_ERROR_REHEARSAL, "cannot start the guest from its persistent definition",
                       g_steal_pointer(&why), error);
}

/* Defines the snapshot for the twin as REDEFINE will define it for the guest. */
static gboolean redefine(Rehearsal *r, const VmigSnapshot *snapshot, const char *dest_xml, gboolean *taken,
                         GError **error)
{
    g_autofree char *xml = vmig_rehearsal_snapshot_xml(dest_xml, r->stage->id, error);
    g_autofree char *uuid = vmig_rehearsal_uuid(r->stage->id);
    g_autofree char *what = g_strdup_printf("libvirt does not accept snapshot '%s'", snapshot->name);
    g_autoptr(GError) why = NULL;

    if (xml == NULL)
        return FALSE;
    *taken = r->hv->ops->snapshot_define(r->hv, uuid, xml, FALSE, &why);
    return *taken || add_problem(r, VMIG_ERROR_SNAPSHOT_DEFINITION, what, g_steal_pointer(&why), error);
}

/* The operator accepts that the snapshot cannot be reverted to. The record keeps the reason. Takes why. */
static gboolean accept(VmigSnapshot *snapshot, GError *why, GError **error)
{
    if (is_no_answer(why)) {
        g_propagate_error(error, why);
        return FALSE;
    }
    g_free(snapshot->unrevertable);
    snapshot->unrevertable = g_strdup(why->message);
    g_error_free(why);
    return TRUE;
}

/* Takes why. */
static gboolean judge_revert(Rehearsal *r, VmigSnapshot *snapshot, GError *why, GError **error)
{
    g_autofree char *what = g_strdup_printf("cannot revert to snapshot '%s'", snapshot->name);

    return r->job->options.accept_unrevertable ? accept(snapshot, why, error)
                                               : add_problem(r, VMIG_ERROR_UNREVERTABLE, what, why, error);
}

/* Checks the machine that a revert starts. Many snapshots share one machine. known: machines that would start. */
static gboolean check_machine(Rehearsal *r, VmigSnapshot *snapshot, char *dest_xml, GHashTable *known, GError **error)
{
    const VmigSnapshot there = {.xml = dest_xml};
    g_autofree char *domain = vmig_snapshot_domain_xml(&there);
    g_autoptr(GError) why = NULL;

    if (domain == NULL || snapshot->unrevertable != NULL || g_hash_table_contains(known, domain))
        return TRUE;
    if (!r->hv->ops->would_start(r->hv, domain, &why))
        return judge_revert(r, snapshot, g_steal_pointer(&why), error);
    g_hash_table_add(known, g_steal_pointer(&domain));
    return TRUE;
}

/* Compares each definition with what the destination's libvirt made of it. */
static gboolean check_snapshots(Rehearsal *r, GError **error)
{
    g_autofree char *uuid = vmig_rehearsal_uuid(r->stage->id);
    g_autoptr(GHashTable) kept = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GPtrArray) there = NULL;

    if (r->job->snapshots->len > 0 && !r->hv->ops->snapshots(r->hv, uuid, &there, error))
        return FALSE;
    for (guint i = 0; there != NULL && i < there->len; i++)
        g_hash_table_insert(kept, ((VmigSnapshot *)there->pdata[i])->name, there->pdata[i]);
    for (guint i = 0; i < r->job->snapshots->len; i++) {
        VmigSnapshot *snapshot = r->job->snapshots->pdata[i];
        const VmigSnapshot *other = g_hash_table_lookup(kept, snapshot->name);
        g_autofree char *xml = vmig_snapshot_xml_for_destination(snapshot->xml, r->job, error);
        g_autoptr(GError) why = NULL;
        if (xml == NULL || !vmig_stop_check(r->stop, error))
            return FALSE;
        if (other == NULL || snapshot->unrevertable != NULL || check_kept(xml, other->xml, &why, error))
            continue;
        if (why == NULL || !judge_revert(r, snapshot, g_steal_pointer(&why), error))
            return FALSE;
    }
    return TRUE;
}

static gboolean rehearse_snapshots(Rehearsal *r, GError **error)
{
    g_autoptr(GHashTable) known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (guint i = 0; i < r->job->snapshots->len; i++) {
        VmigSnapshot *snapshot = r->job->snapshots->pdata[i];
        g_autofree char *xml = vmig_snapshot_xml_for_destination(snapshot->xml, r->job, error);
        gboolean taken = FALSE;
        if (xml == NULL || !vmig_stop_check(r->stop, error) || !redefine(r, snapshot, xml, &taken, error) ||
            (taken && !check_machine(r, snapshot, xml, known, error)))
            return FALSE;
    }
    return check_snapshots(r, error);
}

static gboolean perform(Rehearsal *r, GError **error)
{
    gboolean started = FALSE;

    if (!vmig_stop_check(r->stop, error) || !start_twin(r, &started, error))
        return FALSE;
    return !started || (r->lack & VMIG_TWIN_NO_SNAPSHOTS) != 0 || rehearse_snapshots(r, error);
}

GPtrArray *vmig_rehearse(VmigEnv *env, VmigJob *job, VmigTwinLack lack, const VmigStop *stop, char **left,
                         GError **error)
{
    g_auto(Rehearsal) r = {.env = env, .job = job, .lack = lack, .stop = stop, .hv = env->dest.hypervisor};
    g_autoptr(GError) why = NULL;

    *left = NULL;
    r.problems = g_ptr_array_new_with_free_func((GDestroyNotify)g_error_free);
    if (job->options.no_rehearsal || r.hv->ops->rehearse == NULL)
        return g_steal_pointer(&r.problems);
    if (!read_definitions(&r, error) || !begin(&r, error))
        return NULL;
    gboolean ok = perform(&r, &why);
    if (!g_error_matches(why, VMIG_ERROR, VMIG_ERROR_CRASHED)) {
        g_autoptr(GError) unclear = NULL;
        if (!clear_all(&r, &unclear)) {
            *left = is_no_answer(unclear) ? g_strdup(r.stage->id) : NULL;
            if (ok)
                why = g_steal_pointer(&unclear);
            ok = FALSE;
        }
    }
    if (ok)
        return g_steal_pointer(&r.problems);
    g_propagate_error(error, g_steal_pointer(&why));
    return NULL;
}

gboolean vmig_rehearsal_passed(GPtrArray *problems, GError **error)
{
    g_autoptr(GString) all = g_string_new(NULL);

    for (guint i = 0; i < problems->len; i++)
        g_string_append_printf(all, "%s%s", i > 0 ? "\n" : "", ((const GError *)problems->pdata[i])->message);
    if (problems->len > 1)
        return vmig_fail(error, VMIG_ERROR_REFUSED, NULL, "%s", all->str);
    if (problems->len == 1)
        g_propagate_error(error, g_error_copy(problems->pdata[0]));
    return problems->len == 0;
}
