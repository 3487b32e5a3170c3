/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Everything that can speak against removing an image is looked for first. */
#include "flow/kept-images.h"

#include <string.h>
#include <unistd.h>

#include "core/domain-xml.h"
#include "core/names.h"
#include "host/host-setup.h"
#include "host/image.h"
#include "host/leftovers.h"
#include "host/libvirt-list.h"
#include "host/storage-local.h"

#define ALONE_HINT                                                                                                     \
    "Bring the other host back; or, if you know that the guest is complete there: vmig-snap clean "                    \
    "--without-destination"

static void removed_free(VmigRemovedImage *image)
{
    g_free(image->path);
    g_free(image);
}

void vmig_cleaned_free(VmigCleaned *cleaned)
{
    g_clear_pointer(&cleaned->job, vmig_job_free);
    g_ptr_array_unref(cleaned->removed);
    g_free(cleaned);
}

/* --- which job --- */

static GPtrArray *jobs_of(VmigJournal *journal, const char *domain, GError **error)
{
    g_autoptr(GPtrArray) heads = vmig_journal_heads(journal, error);
    g_autoptr(GPtrArray) jobs = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_job_free);

    for (guint i = 0; heads != NULL && i < heads->len; i++) {
        const VmigJournalHead *head = heads->pdata[i];
        if (g_strcmp0(head->uuid, domain) != 0 && g_strcmp0(head->domain, domain) != 0)
            continue;
        VmigJob *job = vmig_journal_load(journal, head->id, error);
        if (job == NULL)
            return NULL;
        g_ptr_array_add(jobs, job);
    }
    return heads != NULL ? g_steal_pointer(&jobs) : NULL;
}

static gboolean check_jobs(GPtrArray *jobs, const char *domain, GError **error)
{
    g_autofree char *shown = vmig_text_escape(domain, -1);

    if (jobs->len == 0)
        return vmig_fail(error, VMIG_ERROR_NO_JOB, "`vmig-snap list --all` shows the jobs.",
                         "the journal of this host has no job of '%s'", shown);
    for (guint i = 0; i < jobs->len; i++) {
        const VmigJob *job = jobs->pdata[i];
        if (!vmig_state_is_final(vmig_job_state(job)))
            return vmig_fail(error, VMIG_ERROR_REFUSED, "vmig-snap resume carries it on.",
                             "job %s of '%s' is not finished (%s): its images are needed", job->id, shown, job->state);
    }
    return TRUE;
}

static gboolean kept_images(VmigJournal *journal, const VmigJob *job, gboolean *ret, GError **error)
{
    g_autofree char *role = vmig_journal_role(journal, job->id, error);

    *ret = g_strcmp0(role, VMIG_ROLE_SOURCE) == 0 && vmig_job_state(job) == VMIG_STATE_DONE && job->options.keep_source;
    return role != NULL;
}

/* Any of them, as it was. */
static gboolean has_images(const VmigJob *job)
{
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++) {
            const VmigFile *file = disk->files->pdata[k];
            if (vmig_file_is(file->source, file->ino, file->size, file->mtime_ns))
                return TRUE;
        }
    }
    return FALSE;
}

/* Why the newest job left nothing to remove. */
static gboolean refuse_newest(VmigJournal *journal, const VmigJob *job, GError **error)
{
    g_autofree char *name = vmig_text_escape(job->domain, -1);
    g_autofree char *role = vmig_journal_role(journal, job->id, error);

    if (role == NULL)
        return FALSE;
    if (strcmp(role, VMIG_ROLE_SOURCE) != 0)
        return vmig_fail(error, VMIG_ERROR_REFUSED, "Run vmig-snap clean on the host that it came from.",
                         "job %s brought '%s' to this host: the images here are its disks", job->id, name);
    if (vmig_job_state(job) != VMIG_STATE_DONE)
        return vmig_fail(error, VMIG_ERROR_REFUSED, NULL,
                         "job %s ended as %s: '%s' stayed on this host, and its images are its disks", job->id,
                         job->state, name);
    return vmig_fail(error, VMIG_ERROR_REFUSED, NULL, "job %s was told not to keep the images of '%s'", job->id, name);
}

/* The newest job whose images are still here; else the newest of all, if it kept any: they are gone, or changed. A name
 * may have been another guest's before: it counts only while images of that one are here too. (transfer full) */
static VmigJob *find_job(VmigJournal *journal, const char *domain, GError **error)
{
    g_autoptr(GPtrArray) jobs = jobs_of(journal, domain, error);
    const VmigJob *found = NULL;
    gboolean kept = FALSE;

    if (jobs == NULL || !check_jobs(jobs, domain, error))
        return NULL;
    for (guint i = 0; i < jobs->len; i++) {
        const VmigJob *job = jobs->pdata[i];
        if (!kept_images(journal, job, &kept, error))
            return NULL;
        if (!kept || !has_images(job))
            continue;
        if (found != NULL && g_strcmp0(found->uuid, job->uuid) != 0) {
            g_autofree char *shown = vmig_text_escape(domain, -1);
            vmig_fail(error, VMIG_ERROR_AMBIGUOUS_DOMAIN, "Use the UUID (vmig-snap list --all --json).",
                      "images of several domains called '%s' are here", shown);
            return NULL;
        }
        found = found != NULL ? found : job;
    }
    if (found != NULL)
        return vmig_job_copy(found);
    if (!kept_images(journal, jobs->pdata[0], &kept, error) ||
        (!kept && !refuse_newest(journal, jobs->pdata[0], error)))
        return NULL;
    return vmig_job_copy(jobs->pdata[0]);
}

/* --- what speaks against it --- */

/* Top first, so that no image is ever left without what it lies on. VmigFile, not owned. */
static GPtrArray *images_of(const VmigJob *job)
{
    GPtrArray *files = g_ptr_array_new();
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++) {
            VmigFile *file = disk->files->pdata[k];
            if (access(file->source, F_OK) == 0 && g_hash_table_add(seen, file->source))
                g_ptr_array_add(files, file);
        }
    }
    return files;
}

static gboolean check_image(VmigStorage *storage, const VmigFile *file, GError **error)
{
    guint64 size = 0, dev = 0, ino = 0, mtime_ns = 0;
    gboolean held = FALSE;
    g_autofree char *path = vmig_text_escape(file->source, -1);

    if (!vmig_storage_stat(storage, file->source, &size, &dev, &ino, &mtime_ns, error))
        return FALSE;
    /* Not the device: its number is given anew at each boot. */
    if (size != file->size || ino != file->ino || mtime_ns != file->mtime_ns)
        return vmig_fail(error, VMIG_ERROR_REFUSED, "See what is in it; remove it by hand if nobody needs it.",
                         "%s is not as it was when it was copied: somebody used it since", path);
    if (!vmig_image_is_held(file->source, &held, error))
        return FALSE;
    return !held || vmig_fail(error, VMIG_ERROR_REFUSED, "See who has it open (lsof).", "%s is in use", path);
}

static const VmigFile *find_same(GPtrArray *files, const char *path)
{
    for (guint i = 0; path != NULL && i < files->len; i++)
        if (vmig_is_same_file(((const VmigFile *)files->pdata[i])->source, path))
            return files->pdata[i];
    return NULL;
}

static gboolean refuse_used(const VmigFile *file, const char *domain, const VmigDomainDisk *disk, GError **error)
{
    g_autofree char *path = vmig_text_escape(file->source, -1);
    g_autofree char *name = vmig_text_escape(domain, -1);

    return vmig_fail(error, VMIG_ERROR_REFUSED, "Undefine that domain, or give it other disks, if it is not needed.",
                     "%s is in the chain of disk %s of '%s'", path, disk->target, name);
}

/* What the definition does not tell of the chain, the headers do. */
static gboolean check_headers(GPtrArray *files, const char *domain, const VmigDomainDisk *disk, GError **error)
{
    g_autoptr(GError) why = NULL;

    if (disk->source == NULL || g_strcmp0(disk->driver_type, "qcow2") != 0 || access(disk->source, F_OK) != 0)
        return TRUE; /* raw: no chain */
    g_autoptr(GPtrArray) chain = vmig_image_survey_chain(disk->source, "qcow2", NULL, &why);
    if (chain == NULL) {
        g_autofree char *name = vmig_text_escape(domain, -1);
        g_autofree char *shown = vmig_text_escape(why->message, -1);
        return vmig_fail(error, VMIG_ERROR_REFUSED, NULL, "nobody can tell what disk %s of '%s' lies on: %s",
                         disk->target, name, shown);
    }
    for (guint i = 0; i < chain->len; i++) {
        const VmigFile *file = find_same(files, ((const VmigImage *)chain->pdata[i])->path);
        if (file != NULL)
            return refuse_used(file, domain, disk, error);
    }
    return TRUE;
}

/* A volume is named by its pool and its own name, which is that of its file. */
static const VmigFile *find_volume(GPtrArray *files, const VmigDomainDisk *disk)
{
    for (guint i = 0; g_strcmp0(disk->type, "volume") == 0 && i < files->len; i++) {
        g_autofree char *name = g_path_get_basename(((const VmigFile *)files->pdata[i])->source);
        if (disk->source_text != NULL && g_str_has_suffix(disk->source_text, name))
            return files->pdata[i];
    }
    return NULL;
}

static gboolean check_disk(GPtrArray *files, const char *domain, const VmigDomainDisk *disk, GError **error)
{
    const VmigFile *used = find_same(files, disk->source);

    if (used == NULL)
        used = find_same(files, disk->mirror_file);
    if (used == NULL)
        used = find_volume(files, disk);
    for (guint i = 0; used == NULL && i < disk->backing->len; i++)
        used = find_same(files, ((const VmigChainFile *)disk->backing->pdata[i])->file);
    if (used != NULL)
        return refuse_used(used, domain, disk, error);
    return disk->chain_known || check_headers(files, domain, disk, error);
}

static gboolean check_definition(VmigHypervisor *hv, const char *uuid, VmigXmlKind kind, GPtrArray *files,
                                 GError **error)
{
    g_autofree char *xml = NULL;

    if (!hv->ops->domain_xml(hv, uuid, kind, &xml, error))
        return FALSE;
    g_autoptr(VmigDomainXml) doc = vmig_domain_xml_parse(xml, error);
    if (doc == NULL)
        return FALSE;
    const VmigDomainFacts *facts = vmig_domain_xml_facts(doc);
    for (guint i = 0; i < facts->disks->len; i++)
        if (!check_disk(files, facts->name, facts->disks->pdata[i], error))
            return FALSE;
    return TRUE;
}

static gboolean check_domains(VmigHypervisor *hv, GPtrArray *files, GError **error)
{
    g_autoptr(GPtrArray) uuids = vmig_libvirt_domains(hv, error);

    for (guint i = 0; uuids != NULL && i < uuids->len; i++) {
        g_autoptr(VmigDomainInfo) info = NULL;
        if (!hv->ops->find(hv, uuids->pdata[i], &info, error))
            return FALSE;
        if (info == NULL) /* gone since it was listed */
            continue;
        if (!check_definition(hv, uuids->pdata[i], VMIG_XML_LIVE, files, error) ||
            (info->persistent && !check_definition(hv, uuids->pdata[i], VMIG_XML_PERSISTENT, files, error)))
            return FALSE;
    }
    return uuids != NULL;
}

/* By name alone: the files are another host's. */
static gboolean disk_names(const VmigDomainDisk *disk, const char *path)
{
    gboolean named = g_strcmp0(disk->source, path) == 0 || g_strcmp0(disk->mirror_file, path) == 0;

    for (guint i = 0; !named && i < disk->backing->len; i++)
        named = g_strcmp0(((const VmigChainFile *)disk->backing->pdata[i])->file, path) == 0;
    return named;
}

static char *definition_names(VmigHypervisor *hv, const char *uuid, VmigXmlKind kind, const char *path, GError **error)
{
    g_autofree char *xml = NULL;

    if (!hv->ops->domain_xml(hv, uuid, kind, &xml, error))
        return NULL;
    g_autoptr(VmigDomainXml) doc = vmig_domain_xml_parse(xml, error);
    const VmigDomainFacts *facts = doc != NULL ? vmig_domain_xml_facts(doc) : NULL;
    for (guint i = 0; facts != NULL && i < facts->disks->len; i++) {
        const VmigDomainDisk *disk = facts->disks->pdata[i];
        if (disk_names(disk, path))
            return g_strdup_printf("'%s' has it as disk %s", facts->name, disk->target);
    }
    return NULL;
}

char *vmig_kept_image_user(VmigHypervisor *hv, const char *path, GError **error)
{
    g_autoptr(GPtrArray) uuids = vmig_libvirt_domains(hv, error);

    for (guint i = 0; uuids != NULL && i < uuids->len; i++) {
        g_autoptr(VmigDomainInfo) info = NULL;
        g_autoptr(GError) why = NULL;
        if (!hv->ops->find(hv, uuids->pdata[i], &info, error))
            return NULL;
        if (info == NULL)
            continue;
        char *user = definition_names(hv, uuids->pdata[i], VMIG_XML_LIVE, path, &why);
        if (user == NULL && why == NULL && info->persistent)
            user = definition_names(hv, uuids->pdata[i], VMIG_XML_PERSISTENT, path, &why);
        if (why != NULL)
            g_propagate_error(error, g_steal_pointer(&why));
        if (user != NULL || (error != NULL && *error != NULL))
            return user;
    }
    return NULL;
}

/* Images that no domain has now, such as clones that are not defined yet. */
static gboolean check_others(const VmigConfig *config, GPtrArray *files, GError **error)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new();
    g_autofree char *on_top = NULL;
    gboolean whole = FALSE;

    for (guint i = 0; i < files->len; i++)
        g_ptr_array_add(paths, ((const VmigFile *)files->pdata[i])->source);
    g_ptr_array_add(paths, NULL);
    on_top = vmig_scan_for_overlay((const char *const *)config->image_roots, (const char *const *)paths->pdata, &whole);
    if (on_top != NULL) {
        g_autofree char *shown = vmig_text_escape(on_top, -1);
        return vmig_fail(error, VMIG_ERROR_REFUSED, "`vmig-snap doctor` knows it if it is one of ours.",
                         "the image %s lies on one that would be removed", shown);
    }
    return whole || vmig_fail(error, VMIG_ERROR_REFUSED, "Name the folders that hold images in image-roots, no others.",
                              "the image roots hold more than can be looked through, so that nobody can tell whether "
                              "another image lies on these");
}

/* --- the other host --- */

static gboolean check_record(VmigStorage *peer, const VmigJob *job, GError **error)
{
    g_autoptr(VmigJob) record = NULL;
    g_autofree char *dest = vmig_text_escape(job->dest_host, -1);

    if (!vmig_storage_record_get(peer, job->id, &record, error))
        return FALSE;
    if (record == NULL)
        return vmig_fail(error, VMIG_ERROR_REFUSED, ALONE_HINT, "%s does not know job %s", dest, job->id);
    if (vmig_job_state(record) == VMIG_STATE_DONE && vmig_job_token_is_dest(record))
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_REFUSED, "vmig-snap resume there.", "by the journal of %s job %s is %s", dest,
                     job->id, record->state);
}

static gboolean check_copies(VmigStorage *peer, const VmigJob *job, GPtrArray *files, GError **error)
{
    for (guint i = 0; i < files->len; i++) {
        const VmigFile *file = files->pdata[i];
        g_autoptr(VmigPathFacts) facts = vmig_storage_path(peer, file->dest, error);
        if (facts == NULL)
            return FALSE;
        if (facts->exists)
            continue;
        g_autofree char *path = vmig_text_escape(file->dest, -1);
        g_autofree char *dest = vmig_text_escape(job->dest_host, -1);
        return vmig_fail(error, VMIG_ERROR_REFUSED,
                         "If the guest went on to a third host and is well there: vmig-snap clean "
                         "--without-destination",
                         "%s has no %s any more: what is here may be the last copy", dest, path);
    }
    return TRUE;
}

static gboolean check_peer(const VmigCleanRequest *request, const VmigJob *job, GPtrArray *files, GError **error)
{
    g_autoptr(GError) why = NULL;

    if (request->open_peer == NULL)
        return TRUE;
    g_autoptr(VmigStorage) peer = request->open_peer(request->user, job, &why);
    if (peer != NULL && check_record(peer, job, &why) && check_copies(peer, job, files, &why))
        return TRUE;
    g_autofree char *hint = g_strdup(vmig_error_hint(why));
    if (hint == NULL)
        vmig_error_set_hint(why, "%s", ALONE_HINT);
    else if (strstr(hint, "--without-destination") == NULL)
        vmig_error_set_hint(why, "%s. " ALONE_HINT, hint);
    /* Whatever it was, nothing was touched. */
    if (why->domain == VMIG_ERROR && vmig_error_class((VmigErrorCode)why->code) != VMIG_CLASS_REFUSAL)
        why->code = VMIG_ERROR_REFUSED;
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

/* --- removing --- */

static gboolean remove_one(VmigStorage *storage, const VmigFile *file, VmigCleaned *cleaned, GError **error)
{
    guint64 bytes = 0;

    if (!vmig_storage_allocated(storage, file->source, &bytes, error) ||
        !vmig_storage_remove_base(storage, cleaned->job, file, error)) {
        g_autofree char *before =
            cleaned->removed->len > 0 ? g_strdup_printf("after %u images were removed: ", cleaned->removed->len) : NULL;
        if (before != NULL)
            g_prefix_error(error, "%s", before);
        return FALSE;
    }
    VmigRemovedImage *image = g_new0(VmigRemovedImage, 1);
    image->path = g_strdup(file->source);
    image->bytes = bytes;
    g_ptr_array_add(cleaned->removed, image);
    cleaned->freed += bytes;
    return TRUE;
}

static gboolean clean_locked(const VmigCleanRequest *request, VmigStorage *storage, VmigCleaned *cleaned,
                             GError **error)
{
    g_autoptr(GPtrArray) files = images_of(cleaned->job);
    VmigJournal *journal = vmig_storage_local_journal(storage, error);
    g_autoptr(VmigJob) open = NULL;

    if (files->len == 0)
        return TRUE;
    if (journal == NULL || !vmig_journal_find_open(journal, cleaned->job->uuid, &open, error))
        return FALSE;
    if (open != NULL)
        return vmig_fail(error, VMIG_ERROR_LOCKED, NULL, "job %s has begun on the guest", open->id);
    for (guint i = 0; i < files->len; i++)
        if (!check_image(storage, files->pdata[i], error))
            return FALSE;
    if (!check_domains(request->hypervisor, files, error) || !check_others(request->config, files, error) ||
        !check_peer(request, cleaned->job, files, error))
        return FALSE;
    for (guint i = 0; i < files->len; i++)
        if (!remove_one(storage, files->pdata[i], cleaned, error))
            return FALSE;
    return TRUE;
}

VmigCleaned *vmig_clean_kept_images(const VmigCleanRequest *request, GError **error)
{
    const VmigConfig *config = request->config;
    VmigStorageConfig local = {
        .state_dir = config->state_dir,
        .run_dir = config->run_dir,
        .roots = (const char *const *)config->image_roots,
        .role = VMIG_ROLE_SOURCE,
    };
    g_autofree char *path = g_build_filename(config->state_dir, "journal.db", NULL);
    g_autofree char *machine_id = vmig_machine_id();
    g_autoptr(VmigCleaned) cleaned = g_new0(VmigCleaned, 1);

    cleaned->removed = g_ptr_array_new_with_free_func((GDestroyNotify)removed_free);
    g_autoptr(VmigJournal) reader = vmig_journal_open_read_only(path, machine_id, error);
    cleaned->job = reader != NULL ? find_job(reader, request->domain, error) : NULL;
    if (cleaned->job == NULL)
        return NULL;
    g_autoptr(VmigStorage) storage = vmig_storage_local_new(request->hypervisor->host, &local, error);
    if (storage == NULL || !vmig_storage_lock(storage, cleaned->job, NULL, error) ||
        !clean_locked(request, storage, cleaned, error))
        return NULL;
    return g_steal_pointer(&cleaned);
}
