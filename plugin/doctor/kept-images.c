/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks every possible reason against removing an image first. */
#include "doctor/kept-images.h"

#include <string.h>
#include <unistd.h>

#include "core/names.h"
#include "drivers/libvirt/host-setup.h"
#include "node/leftovers.h"
#include "node/node-local.h"

#define ALONE_HINT                                                                                                     \
    "Bring the other host back; or, if you know that the guest is complete there: vmig-snap purge "                    \
    "--without-destination"

static void removed_free(VmigRemovedImage *image)
{
    g_free(image->path);
    g_free(image);
}

void vmig_purged_free(VmigPurged *cleaned)
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
            return vmig_fail(error, VMIG_ERROR_REFUSED, "vmig-snap resume continues the job.",
                             "job %s of '%s' is not finished (%s): its images are needed", job->id, shown, job->state);
    }
    return TRUE;
}

static gboolean kept_images(VmigJournal *journal, const VmigJob *job, gboolean *ret, GError **error)
{
    VmigRole role = VMIG_DEST;
    gboolean known = vmig_journal_role(journal, job->id, &role, error);

    *ret = role == VMIG_SOURCE && vmig_job_end(job) == VMIG_END_MOVED && job->options.keep_source;
    return known;
}

/* TRUE if at least one image is still unchanged. */
static gboolean has_images(const VmigJob *job)
{
    for (guint i = 0; i < job->artifacts->len; i++) {
        const VmigArtifact *artifact = job->artifacts->pdata[i];
        for (guint k = 0; k < artifact->files->len; k++) {
            const VmigFile *file = artifact->files->pdata[k];
            if (vmig_file_is(file->path[VMIG_SOURCE], file->ino, file->size, file->mtime_ns))
                return TRUE;
        }
    }
    return FALSE;
}

/* Explains why the newest job left nothing to remove. */
static gboolean refuse_newest(VmigJournal *journal, const VmigJob *job, GError **error)
{
    g_autofree char *name = vmig_text_escape(job->domain, -1);
    VmigRole role;

    if (!vmig_journal_role(journal, job->id, &role, error))
        return FALSE;
    if (role != VMIG_SOURCE)
        return vmig_fail(error, VMIG_ERROR_REFUSED, "Run vmig-snap purge on the host that the guest came from.",
                         "job %s moved '%s' to this host: the images here are its disks", job->id, name);
    if (vmig_job_end(job) != VMIG_END_MOVED)
        return vmig_fail(error, VMIG_ERROR_REFUSED, NULL,
                         "job %s ended as %s: '%s' stayed on this host, and the images here are its disks", job->id,
                         job->state, name);
    return vmig_fail(error, VMIG_ERROR_REFUSED, NULL,
                     "job %s was started with the option not to keep the images of '%s'", job->id, name);
}

/* The newest job whose images still exist here; otherwise the newest of all, if it kept any: they are gone or changed.
 * A name may earlier have belonged to another guest, whose job counts only while its images are here, too. (transfer
 * full) */
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
                      "this host has images of several domains called '%s'", shown);
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

/* --- reasons against it --- */

/* VmigFile, not owned; each comes before its backing file. */
static GPtrArray *images_of(const VmigJob *job)
{
    GPtrArray *files = vmig_job_images(job);

    for (guint i = files->len; i > 0; i--)
        if (access(((const VmigFile *)files->pdata[i - 1])->path[VMIG_SOURCE], F_OK) != 0)
            g_ptr_array_remove_index(files, i - 1);
    return files;
}

static gboolean check_image(const VmigFile *file, GError **error)
{
    g_autofree char *path = vmig_text_escape(file->path[VMIG_SOURCE], -1);

    /* The device is not compared: its number may change at each boot. */
    return vmig_file_is(file->path[VMIG_SOURCE], file->ino, file->size, file->mtime_ns) ||
           vmig_fail(error, VMIG_ERROR_REFUSED, "Check its content; remove it by hand if it is not needed.",
                     "%s was changed after it was copied", path);
}

static gboolean refuse_used(const VmigFile *file, const char *user, GError **error)
{
    g_autofree char *path = vmig_text_escape(file->path[VMIG_SOURCE], -1);

    return vmig_fail(error, VMIG_ERROR_REFUSED,
                     "Remove or undefine what uses it, if that is not needed; a file that cannot be read must become "
                     "readable or be outside the image roots.",
                     "%s is kept: %s", path, user);
}

static gboolean check_users(VmigNode *node, GPtrArray *files, GError **error)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new();

    for (guint i = 0; i < files->len; i++)
        g_ptr_array_add(paths, ((const VmigFile *)files->pdata[i])->path[VMIG_SOURCE]);
    g_ptr_array_add(paths, NULL);
    g_autoptr(GPtrArray) users = vmig_node_users(node, (const char *const *)paths->pdata, NULL, error);
    for (guint i = 0; users != NULL && i < users->len; i++)
        if (users->pdata[i] != NULL)
            return refuse_used(files->pdata[i], users->pdata[i], error);
    return users != NULL;
}

/* --- the other host --- */

static gboolean check_record(VmigNode *peer, const VmigJob *job, GError **error)
{
    g_autoptr(VmigJob) record = NULL;
    g_autofree char *dest = vmig_text_escape(job->host[VMIG_DEST], -1);

    if (!vmig_node_record_get(peer, job->id, &record, error))
        return FALSE;
    if (record == NULL)
        return vmig_fail(error, VMIG_ERROR_REFUSED, ALONE_HINT, "%s does not know job %s", dest, job->id);
    if (vmig_job_end(record) == VMIG_END_MOVED && record->owner == VMIG_DEST)
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_REFUSED, "Run vmig-snap resume there.",
                     "according to the journal of %s, job %s is %s", dest, job->id, record->state);
}

/* *told: the hint already explains how to do without the other host. */
static gboolean check_copies(VmigNode *peer, const VmigJob *job, GPtrArray *files, gboolean *told, GError **error)
{
    for (guint i = 0; i < files->len; i++) {
        const VmigFile *file = files->pdata[i];
        g_autoptr(VmigPathFacts) facts = vmig_node_path(peer, file->path[VMIG_DEST], error);
        if (facts == NULL)
            return FALSE;
        if (facts->exists)
            continue;
        g_autofree char *path = vmig_text_escape(file->path[VMIG_DEST], -1);
        g_autofree char *dest = vmig_text_escape(job->host[VMIG_DEST], -1);
        *told = TRUE;
        return vmig_fail(
            error, VMIG_ERROR_REFUSED,
            "If the guest moved on to a third host and is complete there: vmig-snap purge --without-destination",
            "%s no longer has %s: the images here may be the last copy", dest, path);
    }
    return TRUE;
}

static gboolean check_peer(const VmigPurgeRequest *request, const VmigJob *job, GPtrArray *files, GError **error)
{
    g_autoptr(GError) why = NULL;
    gboolean told = FALSE;

    if (request->open_peer == NULL)
        return TRUE;
    g_autoptr(VmigNode) peer = request->open_peer(request->user, job, &why);
    if (peer != NULL && check_record(peer, job, &why) && check_copies(peer, job, files, &told, &why))
        return TRUE;
    g_autofree char *hint = g_strdup(vmig_error_hint(why));
    if (hint == NULL)
        vmig_error_set_hint(why, "%s", ALONE_HINT);
    else if (!told)
        vmig_error_set_hint(why, "%s. " ALONE_HINT, hint);
    /* Whatever it was, nothing was changed. */
    if (why->domain == VMIG_ERROR && vmig_error_class((VmigErrorCode)why->code) != VMIG_CLASS_REFUSAL)
        why->code = VMIG_ERROR_REFUSED;
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

/* --- removing --- */

static gboolean remove_one(VmigNode *node, const VmigFile *file, VmigPurged *cleaned, GError **error)
{
    guint64 bytes = 0;
    g_autofree char *user = NULL;

    if (!vmig_node_allocated(node, file->path[VMIG_SOURCE], &bytes, error) ||
        !vmig_node_remove_base(node, cleaned->job, file, &user, error) ||
        (user != NULL && !refuse_used(file, user, error))) {
        g_autofree char *before =
            cleaned->removed->len > 0 ? g_strdup_printf("after %u images were removed: ", cleaned->removed->len) : NULL;
        if (before != NULL)
            g_prefix_error(error, "%s", before);
        return FALSE;
    }
    VmigRemovedImage *image = g_new0(VmigRemovedImage, 1);
    image->path = g_strdup(file->path[VMIG_SOURCE]);
    image->bytes = bytes;
    g_ptr_array_add(cleaned->removed, image);
    cleaned->freed += bytes;
    return TRUE;
}

static gboolean clean_locked(const VmigPurgeRequest *request, VmigNode *node, VmigPurged *cleaned, GError **error)
{
    g_autoptr(GPtrArray) files = images_of(cleaned->job);
    VmigJournal *journal = vmig_node_local_journal(node, error);
    g_autoptr(VmigJob) open = NULL;

    if (files->len == 0)
        return TRUE;
    if (journal == NULL || !vmig_journal_find_open(journal, cleaned->job->uuid, &open, error))
        return FALSE;
    if (open != NULL)
        return vmig_fail(error, VMIG_ERROR_LOCKED, NULL, "job %s has started on the guest", open->id);
    for (guint i = 0; i < files->len; i++)
        if (!check_image(files->pdata[i], error))
            return FALSE;
    if (!check_users(node, files, error) || !check_peer(request, cleaned->job, files, error))
        return FALSE;
    for (guint i = 0; i < files->len; i++)
        if (!remove_one(node, files->pdata[i], cleaned, error))
            return FALSE;
    return TRUE;
}

VmigPurged *vmig_purge_kept_images(const VmigPurgeRequest *request, GError **error)
{
    const VmigConfig *config = request->config;
    VmigNodeConfig local = {
        .state_dir = config->state_dir,
        .run_dir = config->run_dir,
        .roots = (const char *const *)config->image_roots,
        .role = VMIG_SOURCE,
        .libvirt_uri = request->connect_uri,
    };
    g_autofree char *path = g_build_filename(config->state_dir, "journal.db", NULL);
    g_autofree char *machine_id = vmig_machine_id();
    g_autoptr(VmigPurged) cleaned = g_new0(VmigPurged, 1);

    cleaned->removed = g_ptr_array_new_with_free_func((GDestroyNotify)removed_free);
    g_autoptr(VmigJournal) reader = vmig_journal_open_read_only(path, machine_id, error);
    cleaned->job = reader != NULL ? find_job(reader, request->domain, error) : NULL;
    if (cleaned->job == NULL)
        return NULL;
    g_autoptr(VmigNode) node = vmig_node_local_new(g_get_host_name(), &local, error);
    if (node == NULL || !vmig_node_lock(node, cleaned->job, NULL, error) ||
        !clean_locked(request, node, cleaned, error))
        return NULL;
    return g_steal_pointer(&cleaned);
}
