/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verification: first the tables, then the contents, then libvirt's metadata. */
#include "verify/verify.h"

#include <string.h>

#include "definition/chain.h"
#include "core/names.h"
#include "definition/snapshot-tree.h"
#include "plan/snapshot-files.h"
#include "verify/verify-private.h"

static void verified_file_free(gpointer data)
{
    VmigVerifiedFile *file = data;

    g_clear_pointer(&file->left, g_ptr_array_unref);
    g_clear_pointer(&file->arrived, g_ptr_array_unref);
    g_free(file->check);
    g_free(file->check_text);
    g_free(file);
}

static void revert_free(gpointer data)
{
    VmigRevert *revert = data;

    g_free(revert->snapshot);
    g_free(revert->reason);
    g_free(revert);
}

void vmig_verdict_free(VmigVerdict *verdict)
{
    if (verdict == NULL)
        return;
    g_ptr_array_unref(verdict->files);
    g_ptr_array_unref(verdict->reverts);
    g_ptr_array_unref(verdict->differences);
    g_ptr_array_unref(verdict->unproven);
    g_ptr_array_unref(verdict->notes);
    g_free(verdict);
}

static VmigVerdict *verdict_new(void)
{
    VmigVerdict *verdict = g_new0(VmigVerdict, 1);

    verdict->files = g_ptr_array_new_with_free_func(verified_file_free);
    verdict->reverts = g_ptr_array_new_with_free_func(revert_free);
    verdict->differences = vmig_differences_new();
    verdict->unproven = vmig_differences_new();
    verdict->notes = g_ptr_array_new_with_free_func(g_free);
    return verdict;
}

/* One verification. */
typedef struct {
    const VmigVerifyRequest *request;
    VmigVerdict *verdict;
    VmigVerifyMeter meter;
    GPtrArray *stamps; /* char *: of each file's two tables, or NULL */
} Run;

static void run_clear(Run *run)
{
    g_clear_pointer(&run->meter.disks, g_hash_table_unref);
    g_clear_pointer(&run->stamps, g_ptr_array_unref);
    g_mutex_clear(&run->meter.mutex);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

/* FALSE with the error set if the query itself failed. Otherwise the failure is recorded in the verdict and cleared. */
static gboolean told(GPtrArray *where, const VmigVerifiedFile *file, const char *path, GError **failure, GError **error)
{
    if (vmig_verify_is_fatal(*failure)) {
        g_propagate_error(error, g_steal_pointer(failure));
        return FALSE;
    }
    vmig_differences_add(where, VMIG_DIFFERS_IMAGE, file->target, file->file->path[VMIG_DEST], NULL,
                         "disk %s: cannot read %s: %s", file->target, path, (*failure)->message);
    g_clear_error(failure);
    return TRUE;
}

/* Whether the source's image exists unchanged since it was copied. *why explains to people why not. */
static gboolean source_is_kept(Run *run, const VmigFile *file, gboolean *kept, char **why, GError **error)
{
    VmigNode *node = run->request->source.node;
    guint64 size, dev, ino, mtime_ns;
    g_autoptr(GError) failure = NULL;

    *kept = FALSE;
    if (node == NULL) {
        *why = g_strdup("the source cannot be reached");
        return TRUE;
    }
    g_autoptr(VmigPathFacts) facts = vmig_node_path(node, file->path[VMIG_SOURCE], error);
    if (facts == NULL)
        return FALSE;
    if (!facts->exists) {
        *why = g_strdup("the source's image no longer exists");
        return TRUE;
    }
    if (!vmig_node_stat(node, file->path[VMIG_SOURCE], &size, &dev, &ino, &mtime_ns, &failure)) {
        if (vmig_verify_is_fatal(failure)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return FALSE;
        }
        *why = g_strdup(failure->message);
        return TRUE;
    }
    *kept = size == file->size && ino == file->ino && mtime_ns == file->mtime_ns;
    if (!*kept)
        *why = g_strdup("the source's image was changed after it was copied");
    return TRUE;
}

static GPtrArray *copy_recorded(GPtrArray *contents)
{
    GPtrArray *copy = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_content_free);

    for (guint i = 0; i < contents->len; i++) {
        const VmigContent *from = contents->pdata[i];
        VmigContent *to = vmig_content_new();
        *to = *from;
        to->id = g_strdup(from->id);
        to->name = g_strdup(from->name);
        to->disk_hash = g_strdup(from->disk_hash);
        to->memory_hash = g_strdup(from->memory_hash);
        g_ptr_array_add(copy, to);
    }
    return copy;
}

/* A verification that found no snapshots leaves none in the record, as if it had not run. The job's flag `verified`
 * distinguishes the two. Hashes without their key cannot be compared. */
static gboolean is_recorded(const VmigJob *job, const VmigFile *file)
{
    return job->content_key != NULL && (file->contents->len > 0 || job->verified);
}

static gboolean read_left(Run *run, VmigVerifiedFile *file, char **stamp, GError **error)
{
    gboolean kept = FALSE;
    g_autofree char *why = NULL;
    g_autoptr(GError) failure = NULL;

    if (!source_is_kept(run, file->file, &kept, &why, error))
        return FALSE;
    if (kept) {
        file->left = vmig_node_contents(run->request->source.node, file->file->path[VMIG_SOURCE], stamp, &failure);
        file->against = file->left != NULL ? VMIG_AGAINST_IMAGE : VMIG_AGAINST_NOTHING;
        if (file->left != NULL)
            return TRUE;
        if (!is_recorded(run->request->job, file->file))
            return told(run->verdict->unproven, file, file->file->path[VMIG_SOURCE], &failure, error);
        if (vmig_verify_is_fatal(failure)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return FALSE;
        }
    }
    if (is_recorded(run->request->job, file->file)) {
        file->left = copy_recorded(file->file->contents);
        file->against = VMIG_AGAINST_RECORD;
        return TRUE;
    }
    vmig_differences_add(run->verdict->unproven, VMIG_DIFFERS_IMAGE, file->target, file->file->path[VMIG_DEST], NULL,
                         "disk %s: %s cannot be compared: %s, and the job's record has no hashes", file->target,
                         file->file->path[VMIG_DEST], why);
    return TRUE;
}

static gboolean read_arrived(Run *run, VmigVerifiedFile *file, char **stamp, GError **error)
{
    g_autoptr(GError) failure = NULL;

    file->arrived = vmig_node_contents(run->request->dest.node, file->file->path[VMIG_DEST], stamp, &failure);
    return file->arrived != NULL || told(run->verdict->differences, file, file->file->path[VMIG_DEST], &failure, error);
}

static guint64 bytes_of(GPtrArray *contents)
{
    guint64 bytes = 0;

    for (guint i = 0; i < contents->len; i++)
        bytes += ((const VmigContent *)contents->pdata[i])->disk_size +
                 ((const VmigContent *)contents->pdata[i])->vm_state_size;
    return bytes;
}

static gboolean read_tables(Run *run, const VmigDisk *disk, const VmigFile *source, GError **error)
{
    VmigVerifiedFile *file = g_new0(VmigVerifiedFile, 1);
    char *left = NULL, *arrived = NULL;

    file->target = disk->target;
    file->file = source;
    g_ptr_array_add(run->verdict->files, file);
    gboolean ok = read_left(run, file, &left, error) && read_arrived(run, file, &arrived, error);
    g_ptr_array_add(run->stamps, left);
    g_ptr_array_add(run->stamps, arrived);
    if (!ok)
        return FALSE;
    if (file->left == NULL || file->arrived == NULL)
        return TRUE;
    vmig_verify_tables(file->target, source->path[VMIG_DEST], file->left, file->arrived, run->verdict->differences);
    vmig_verify_meter_expect(&run->meter, file->target,
                             bytes_of(file->left) * (file->against == VMIG_AGAINST_IMAGE ? 2 : 1));
    return TRUE;
}

/* Raw files have no snapshots. Each file of a chain may have its own. */
static gboolean read_all_tables(Run *run, GError **error)
{
    const VmigJob *job = run->request->job;

    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++) {
            const VmigFile *file = disk->files->pdata[k];
            if (g_strcmp0(file->format, "qcow2") == 0 && !read_tables(run, disk, file, error))
                return FALSE;
        }
    }
    return TRUE;
}

#define CHECK_TRIES 3

/* While QEMU writes, the check reads tables and reference counts at different moments, so it may report errors that do
 * not exist. A check without errors is valid in any case. A check with errors is repeated. */
static gboolean check_image(Run *run, VmigVerifiedFile *file, GError **error)
{
    VmigNode *node = run->request->dest.node;
    VmigImageLocks locks = {0};
    g_autoptr(GError) failure = NULL;
    gint64 leaks = 0;
    gboolean good = FALSE;

    if (!vmig_node_locks(node, file->file->path[VMIG_DEST], &locks, &failure))
        return told(run->verdict->unproven, file, file->file->path[VMIG_DEST], &failure, error);
    for (guint i = 0; !good && i < (locks.writer ? CHECK_TRIES : 1); i++) {
        g_clear_error(&failure);
        good = vmig_node_check(node, file->file->path[VMIG_DEST], "qcow2", &leaks, &failure);
        if (!good && vmig_verify_is_fatal(failure)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return FALSE;
        }
    }
    if (good) {
        /* Leaks only waste space. An image in use always appears to have some. */
        file->check = g_strdup(leaks > 0 && !locks.writer ? "leaks" : "ok");
        if (leaks > 0 && !locks.writer)
            file->check_text = g_strdup_printf("%" G_GINT64_FORMAT " clusters are reserved but not used", leaks);
        return TRUE;
    }
    file->check = g_strdup(locks.writer ? "unsure" : "damaged");
    file->check_text = g_strdup(failure->message);
    if (!locks.writer)
        vmig_differences_add(run->verdict->differences, VMIG_DIFFERS_IMAGE, file->target, file->file->path[VMIG_DEST],
                             NULL, "disk %s: %s", file->target, failure->message);
    else
        g_ptr_array_add(run->verdict->notes,
                        g_strdup_printf("disk %s: qemu-img check found errors, which may be harmless while the guest "
                                        "writes: verify again while it is off",
                                        file->target));
    return TRUE;
}

static gboolean compare_files(Run *run, GError **error)
{
    for (guint i = 0; i < run->verdict->files->len; i++) {
        VmigVerifiedFile *file = run->verdict->files->pdata[i];
        const char *left = run->stamps->pdata[2 * i], *arrived = run->stamps->pdata[2 * i + 1];
        if (file->arrived == NULL)
            continue;
        if (file->left != NULL && !vmig_verify_contents(run->verdict, file, left, arrived, &run->meter, error))
            return FALSE;
        if (!check_image(run, file, error))
            return FALSE;
    }
    run->verdict->bytes = run->meter.bytes;
    return TRUE;
}

/* --- libvirt --- */

/* The comparison is of use only if the guest uses the compared image. */
static gboolean check_definition(Run *run, GError **error)
{
    VmigHypervisor *hv = run->request->dest.hypervisor;
    const VmigJob *job = run->request->job;
    gboolean off = run->verdict->run == VMIG_RUN_SHUTOFF || run->verdict->run == VMIG_RUN_CRASHED;
    g_autofree char *xml = NULL;

    if (!hv->ops->domain_xml(hv, job->uuid, off ? VMIG_XML_PERSISTENT : VMIG_XML_LIVE, &xml, error))
        return FALSE;
    g_autoptr(VmigDomainXml) doc = vmig_domain_xml_parse(xml, error);
    if (doc == NULL)
        return FALSE;
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        const VmigDomainDisk *now = vmig_domain_xml_disk(doc, disk->target);
        if (now != NULL && vmig_chain_has(now, vmig_disk_base(disk)->path[VMIG_DEST]))
            continue;
        vmig_differences_add(run->verdict->differences, VMIG_DIFFERS_DEFINITION, disk->target,
                             vmig_disk_base(disk)->path[VMIG_DEST], NULL, "disk %s: the guest does not use %s",
                             disk->target, vmig_disk_base(disk)->path[VMIG_DEST]);
    }
    return TRUE;
}

/* The operator was told before the migration and accepted it. */
static gboolean is_accepted(const VmigJob *job, const char *name)
{
    for (guint i = 0; i < job->snapshots->len; i++) {
        const VmigSnapshot *snapshot = job->snapshots->pdata[i];
        if (snapshot->unrevertable != NULL && g_strcmp0(snapshot->name, name) == 0)
            return TRUE;
    }
    return FALSE;
}

/* Checks snapshots with memory, and all accepted snapshots: the machine of an accepted snapshot does not start even
 * without memory. */
static gboolean check_reverts(Run *run, GPtrArray *snapshots, GError **error)
{
    VmigHypervisor *hv = run->request->dest.hypervisor;
    g_autoptr(GHashTable) known = vmig_snapshot_files_known();

    for (guint i = 0; i < snapshots->len; i++) {
        const VmigSnapshot *snapshot = snapshots->pdata[i];
        gboolean accepted = is_accepted(run->request->job, snapshot->name);
        g_autofree char *domain = snapshot->memory || accepted ? vmig_snapshot_domain_xml(snapshot) : NULL;
        g_autoptr(GError) why = NULL;
        if (domain == NULL)
            continue;
        if (!hv->ops->would_start(hv, domain, &why) && vmig_verify_is_fatal(why)) {
            g_propagate_error(error, g_steal_pointer(&why));
            return FALSE;
        }
        g_autofree char *missing = NULL;
        if (!vmig_snapshot_files_missing(run->request->dest.node, domain, NULL, known, &missing, error))
            return FALSE;
        VmigRevert *revert = g_new0(VmigRevert, 1);
        revert->snapshot = vmig_text_escape(snapshot->name, -1);
        revert->memory = snapshot->memory;
        revert->accepted = accepted;
        revert->reason = why != NULL       ? g_strdup(why->message)
                         : missing != NULL ? g_strdup_printf("it needs %s, which %s does not have", missing,
                                                             run->request->job->host[VMIG_DEST])
                                           : NULL;
        g_ptr_array_add(run->verdict->reverts, revert);
    }
    return TRUE;
}

static gboolean compare_tree(Run *run, GError **error)
{
    VmigHypervisor *hv = run->request->dest.hypervisor;
    const VmigJob *job = run->request->job;
    g_autoptr(GPtrArray) now = NULL;

    run->verdict->snapshots = job->snapshots->len;
    if (!vmig_hypervisor_run(hv, job->uuid, &run->verdict->run, error))
        return FALSE;
    if (run->verdict->run == VMIG_RUN_ABSENT) {
        vmig_differences_add(run->verdict->differences, VMIG_DIFFERS_DEFINITION, NULL, NULL, NULL,
                             "'%s' is no longer on %s", job->domain, job->host[VMIG_DEST]);
        return TRUE;
    }
    if (!check_definition(run, error) || !hv->ops->snapshots(hv, job->uuid, &now, error))
        return FALSE;
    vmig_verify_trees(job->snapshots, now, run->verdict->differences);
    return check_reverts(run, now, error);
}

/* The key of the recorded hashes, or a new one. */
static gboolean choose_key(const VmigJob *job, VmigHashKey *key, GError **error)
{
    if (job->content_key != NULL)
        return vmig_hash_key_read(job->content_key, key, error) ||
               (g_prefix_error(error, "the record of job %s: ", job->id), FALSE);
    return vmig_hash_key_draw(key, error);
}

VmigVerdict *vmig_verify(const VmigVerifyRequest *request, GError **error)
{
    g_autoptr(VmigVerdict) verdict = verdict_new();
    g_auto(Run) run = {.request = request, .verdict = verdict, .meter = {.request = request}};

    g_mutex_init(&run.meter.mutex);
    run.meter.disks = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
    run.stamps = g_ptr_array_new_with_free_func(g_free);
    if (!choose_key(request->job, &run.meter.key, error) || !compare_tree(&run, error) ||
        !read_all_tables(&run, error) || !compare_files(&run, error))
        return NULL;
    verdict->key = run.meter.key;
    return g_steal_pointer(&verdict);
}

/* --- the outcome --- */

static const VmigRevert *first_stuck(const VmigVerdict *verdict)
{
    for (guint i = 0; i < verdict->reverts->len; i++)
        if (((const VmigRevert *)verdict->reverts->pdata[i])->reason != NULL)
            return verdict->reverts->pdata[i];
    return NULL;
}

const char *vmig_verdict_outcome(const VmigVerdict *verdict)
{
    return verdict->differences->len > 0  ? "different"
           : verdict->unproven->len > 0   ? "unproven"
           : first_stuck(verdict) != NULL ? "not-revertable"
                                          : "equal";
}

static gboolean fail_with(GPtrArray *list, const VmigJob *job, VmigErrorCode code, const char *what, const char *hint,
                          GError **error)
{
    const VmigDifference *first = list->pdata[0];
    g_autofree char *more = list->len > 1 ? g_strdup_printf(" (and %u more)", list->len - 1) : g_strdup("");

    return vmig_fail(error, code, hint, "'%s' %s: %s%s", job->domain, what, first->message, more);
}

gboolean vmig_verdict_to_error(const VmigVerdict *verdict, const VmigJob *job, GError **error)
{
    const VmigRevert *stuck = first_stuck(verdict);

    if (verdict->differences->len > 0)
        return fail_with(verdict->differences, job, VMIG_ERROR_DIFFERS, "differs from the guest on the source",
                         "Keep the source's images. vmig-snap verify lists every difference.", error);
    if (verdict->unproven->len > 0)
        return fail_with(verdict->unproven, job, VMIG_ERROR_UNPROVEN, "could not be proven equal",
                         "vmig-snap verify lists everything that was not compared.", error);
    if (stuck != NULL)
        return vmig_fail(error, VMIG_ERROR_NOT_REVERTABLE,
                         "Every snapshot arrived, but that host cannot start this one.",
                         "cannot revert '%s' to snapshot '%s': %s", job->domain, stuck->snapshot, stuck->reason);
    return TRUE;
}

void vmig_verdict_record(const VmigVerdict *verdict, VmigJob *job)
{
    guint n = 0;

    g_free(job->content_key);
    job->content_key = vmig_hash_key_to_text(&verdict->key);
    for (guint i = 0; i < job->disks->len; i++) {
        VmigDisk *disk = job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++) {
            VmigFile *file = disk->files->pdata[k];
            const VmigVerifiedFile *verified = n < verdict->files->len ? verdict->files->pdata[n] : NULL;
            if (verified == NULL || g_strcmp0(verified->file->path[VMIG_DEST], file->path[VMIG_DEST]) != 0)
                continue;
            n++;
            if (verified->against != VMIG_AGAINST_IMAGE)
                continue;
            g_ptr_array_unref(file->contents);
            file->contents = copy_recorded(verified->left);
        }
    }
}
