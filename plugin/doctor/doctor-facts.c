/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Collects doctor's facts. The journal is read before and after everything else, because a job that began or ended
 * meanwhile has no leftovers. */
#include "doctor/doctor-private.h"

#include <string.h>
#include <unistd.h>

#include "core/path-map.h"
#include "image/image.h"
#include "drivers/libvirt/libvirt-list.h"
#include "store/gate.h"
#include "store/oplock.h"

static void doctor_file_free(VmigDoctorFile *file)
{
    g_free(file->path);
    g_free(file->kind);
    g_free(file->state);
    g_free(file);
}

void vmig_doctor_job_free(VmigDoctorJob *job)
{
    g_clear_pointer(&job->job, vmig_job_free);
    g_clear_pointer(&job->files, g_ptr_array_unref);
    g_clear_pointer(&job->has_snapshot, g_ptr_array_unref);
    g_free(job->holder);
    g_free(job);
}

VmigDoctorDomain *vmig_doctor_domain_new(const char *uuid, const char *name)
{
    VmigDoctorDomain *domain = g_new0(VmigDoctorDomain, 1);

    domain->uuid = g_strdup(uuid);
    domain->name = g_strdup(name);
    return domain;
}

void vmig_doctor_domain_free(VmigDoctorDomain *domain)
{
    g_clear_pointer(&domain->live, vmig_domain_xml_free);
    g_clear_pointer(&domain->persistent, vmig_domain_xml_free);
    g_clear_error(&domain->error);
    g_free(domain->uuid);
    g_free(domain->name);
    g_free(domain);
}

VmigDoctorFacts *vmig_doctor_facts_new(void)
{
    return g_new0(VmigDoctorFacts, 1);
}

void vmig_doctor_facts_free(VmigDoctorFacts *facts)
{
    g_clear_error(&facts->config_error);
    g_clear_error(&facts->libvirt_error);
    g_clear_error(&facts->journal_error);
    g_clear_pointer(&facts->libvirt, vmig_hypervisor_info_free);
    g_clear_pointer(&facts->setup, vmig_host_setup_free);
    g_clear_pointer(&facts->jobs, g_ptr_array_unref);
    g_clear_pointer(&facts->open_before, g_hash_table_unref);
    g_clear_pointer(&facts->journal, vmig_journal_close);
    g_clear_pointer(&facts->domains, g_ptr_array_unref);
    g_clear_pointer(&facts->files, g_ptr_array_unref);
    g_clear_pointer(&facts->folders, g_ptr_array_unref);
    g_clear_pointer(&facts->guards, g_ptr_array_unref);
    g_free(facts->journal_path);
    g_free(facts);
}

/* --- lookups in the facts --- */

static VmigDoctorJob *look_at_job(const VmigDoctorFacts *facts, const char *id, GError **error);

/* A journal may contain years of jobs, and nearly none of them matters: jobs that something here refers to are read on
 * demand. */
const VmigDoctorJob *vmig_doctor_find_job(const VmigDoctorFacts *facts, const char *id)
{
    for (guint i = 0; facts->jobs != NULL && i < facts->jobs->len; i++) {
        const VmigDoctorJob *job = facts->jobs->pdata[i];
        if (g_strcmp0(job->job->id, id) == 0)
            return job;
    }
    if (facts->jobs == NULL || facts->journal == NULL || id == NULL || !vmig_job_id_is_valid(id))
        return NULL;
    VmigDoctorJob *job = look_at_job(facts, id, NULL);
    if (job != NULL)
        g_ptr_array_add(facts->jobs, job);
    return job;
}

const VmigDoctorJob *vmig_doctor_ended_job(const VmigDoctorFacts *facts, const char *id, gboolean *busy)
{
    const VmigDoctorJob *job = vmig_doctor_find_job(facts, id);

    *busy = job != NULL && (job->busy || !job->finished);
    return *busy ? NULL : job;
}

gboolean vmig_doctor_wants_job(const VmigDoctorFacts *facts, const VmigJob *job)
{
    return facts->only == NULL || g_strcmp0(facts->only, job->uuid) == 0 || g_strcmp0(facts->only, job->domain) == 0;
}

gboolean vmig_doctor_wants_domain(const VmigDoctorFacts *facts, const VmigDoctorDomain *domain)
{
    return facts->only == NULL || g_strcmp0(facts->only, domain->uuid) == 0 ||
           g_strcmp0(facts->only, domain->name) == 0;
}

static gboolean xml_has_file(const VmigDomainXml *xml, const char *path)
{
    GPtrArray *disks = xml != NULL ? vmig_domain_xml_facts(xml)->disks : NULL;

    for (guint i = 0; disks != NULL && i < disks->len; i++) {
        const VmigDomainDisk *disk = disks->pdata[i];
        gboolean found = g_strcmp0(disk->source, path) == 0 || g_strcmp0(disk->mirror_file, path) == 0;
        for (guint k = 0; k < disk->backing->len && !found; k++)
            found = g_strcmp0(((const VmigChainFile *)disk->backing->pdata[k])->file, path) == 0;
        if (found)
            return TRUE;
    }
    return FALSE;
}

const VmigDoctorDomain *vmig_doctor_user_of(const VmigDoctorFacts *facts, const char *path)
{
    for (guint i = 0; facts->domains != NULL && i < facts->domains->len; i++) {
        const VmigDoctorDomain *domain = facts->domains->pdata[i];
        if (xml_has_file(domain->live, path) || xml_has_file(domain->persistent, path))
            return domain;
    }
    return NULL;
}

/* --- libvirt --- */

static VmigDomainXml *read_xml(VmigHypervisor *hv, const char *uuid, VmigXmlKind kind, GError **error)
{
    g_autofree char *xml = NULL;

    return hv->ops->domain_xml(hv, uuid, kind, &xml, error) ? vmig_domain_xml_parse(xml, error) : NULL;
}

/* The domain as it is now, with ->error if part of it cannot be read; NULL if it does not exist. */
static VmigDoctorDomain *read_domain(VmigHypervisor *hv, const char *uuid)
{
    g_autoptr(VmigDomainInfo) info = NULL;
    g_autoptr(GError) why = NULL;

    if (!hv->ops->find(hv, uuid, &info, &why)) {
        VmigDoctorDomain *unknown = vmig_doctor_domain_new(uuid, uuid);
        unknown->error = g_steal_pointer(&why);
        return unknown;
    }
    if (info == NULL)
        return NULL;
    VmigDoctorDomain *domain = vmig_doctor_domain_new(uuid, info->name);
    if (info->run != VMIG_RUN_SHUTOFF && info->run != VMIG_RUN_CRASHED)
        domain->live = read_xml(hv, uuid, VMIG_XML_LIVE, &domain->error);
    if (info->persistent && domain->error == NULL)
        domain->persistent = read_xml(hv, uuid, VMIG_XML_PERSISTENT, &domain->error);
    return domain;
}

/* A domain may leave, stop or lose its definition between two calls: retry once after an error. */
static void look_at_domain(VmigHypervisor *hv, const char *uuid, GPtrArray *domains)
{
    g_autoptr(VmigDoctorDomain) domain = read_domain(hv, uuid);

    if (domain != NULL && domain->error != NULL) {
        g_clear_pointer(&domain, vmig_doctor_domain_free);
        domain = read_domain(hv, uuid);
    }
    if (domain != NULL)
        g_ptr_array_add(domains, g_steal_pointer(&domain));
}

static void look_at_libvirt(VmigDoctorFacts *facts, const VmigDoctorRequest *request)
{
    VmigHypervisor *hv = request->hypervisor;

    if (hv == NULL) {
        facts->libvirt_error = request->hypervisor_error != NULL ? g_error_copy(request->hypervisor_error) : NULL;
        return;
    }
    if (!hv->ops->host_info(hv, &facts->libvirt, &facts->libvirt_error))
        return;
    g_autoptr(GPtrArray) uuids = vmig_libvirt_domains(hv, &facts->libvirt_error);
    if (uuids == NULL) {
        g_clear_pointer(&facts->libvirt, vmig_hypervisor_info_free);
        return;
    }
    facts->domains = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_doctor_domain_free);
    for (guint i = 0; i < uuids->len; i++)
        look_at_domain(hv, uuids->pdata[i], facts->domains);
}

/* --- the journal --- */

/* The gate's rule: excludes bases, which no job makes, and the disks of a guest that lives here now. */
static gboolean is_left(const VmigJournalFile *file, const VmigDoctorJob *job)
{
    gboolean dest = job->job->owner == VMIG_DEST;

    return strcmp(file->kind, "base") != 0 && !(dest && strcmp(file->kind, "copy") == 0) &&
           access(file->path, F_OK) == 0;
}

static gboolean list_files(VmigJournal *journal, VmigDoctorJob *job, GError **error)
{
    g_autoptr(GPtrArray) rows = vmig_gate_list(journal, job->job->id, error);

    job->files = g_ptr_array_new_with_free_func((GDestroyNotify)doctor_file_free);
    for (guint i = 0; rows != NULL && i < rows->len; i++) {
        const VmigJournalFile *row = rows->pdata[i];
        if (!is_left(row, job))
            continue;
        VmigDoctorFile *file = g_new0(VmigDoctorFile, 1);
        file->path = g_strdup(row->path);
        file->kind = g_strdup(row->kind);
        file->state = g_strdup(row->state);
        g_ptr_array_add(job->files, file);
    }
    return rows != NULL;
}

static void find_has_snapshot(VmigDoctorJob *job, GPtrArray *roots)
{
    VmigRole here = job->role;

    job->has_snapshot = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < job->job->disks->len; i++) {
        const VmigDisk *disk = job->job->disks->pdata[i];
        const char *overlay = vmig_disk_overlay(disk, here);
        guint32 count = 0;
        if (overlay != NULL && access(overlay, F_OK) == 0 && vmig_image_count_snapshots(overlay, roots, &count, NULL) &&
            count > 0)
            g_ptr_array_add(job->has_snapshot, g_strdup(overlay));
    }
}

static gboolean look_at_open_job(VmigJournal *journal, VmigDoctorJob *job, const VmigDoctorRequest *request,
                                 const VmigConfig *config, GError **error)
{
    g_autofree char *locks = g_build_filename(config->run_dir, "lock", NULL);
    g_autoptr(GPtrArray) roots = g_ptr_array_new();

    for (char **root = config->image_roots; *root != NULL; root++)
        g_ptr_array_add(roots, *root);
    if (!vmig_oplock_holder(locks, job->job->uuid, &job->holder, NULL))
        job->holder = NULL;
    find_has_snapshot(job, roots);
    if (!vmig_journal_token(journal, job->job->id, &job->token_before, error))
        return FALSE;
    job->run_known =
        request->hypervisor != NULL && vmig_hypervisor_run(request->hypervisor, job->job->uuid, &job->run, NULL);
    return vmig_journal_token(journal, job->job->id, &job->token_after, error);
}

static VmigDoctorJob *look_at_job(const VmigDoctorFacts *facts, const char *id, GError **error)
{
    g_autoptr(VmigDoctorJob) job = g_new0(VmigDoctorJob, 1);

    job->job = vmig_journal_load(facts->journal, id, error);
    if (job->job == NULL)
        return NULL;
    job->finished = vmig_state_is_final(vmig_job_state(job->job));
    job->busy = job->finished && g_hash_table_contains(facts->open_before, job->job->id);
    if (!vmig_journal_role(facts->journal, job->job->id, &job->role, error) ||
        (job->finished ? !list_files(facts->journal, job, error)
                       : !look_at_open_job(facts->journal, job, facts->request, facts->config, error)))
        return NULL;
    return g_steal_pointer(&job);
}

/* IDs of the finished jobs that have a file here that should not exist. */
static GHashTable *jobs_with_files(VmigJournal *journal, GError **error)
{
    g_autoptr(GPtrArray) rows = vmig_journal_files_left(journal, error);
    g_autoptr(GHashTable) ids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (guint i = 0; rows != NULL && i < rows->len; i++) {
        const VmigJournalFile *row = rows->pdata[i];
        if (access(row->path, F_OK) == 0)
            g_hash_table_add(ids, g_strdup(row->job));
    }
    return rows != NULL ? g_steal_pointer(&ids) : NULL;
}

/* The guests here and the requested one: their newest jobs are needed. */
static GHashTable *guests_of(const VmigDoctorFacts *facts)
{
    GHashTable *guests = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; facts->domains != NULL && i < facts->domains->len; i++)
        g_hash_table_add(guests, ((const VmigDoctorDomain *)facts->domains->pdata[i])->uuid);
    if (facts->only != NULL)
        g_hash_table_add(guests, (char *)facts->only);
    return guests;
}

static GPtrArray *read_jobs(VmigDoctorFacts *facts, GError **error)
{
    g_autoptr(GPtrArray) heads = vmig_journal_heads(facts->journal, error);
    g_autoptr(GHashTable) with_files = heads != NULL ? jobs_with_files(facts->journal, error) : NULL;
    g_autoptr(GHashTable) guests = guests_of(facts);
    g_autoptr(GPtrArray) jobs = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_doctor_job_free);

    if (with_files == NULL)
        return NULL;
    facts->n_jobs = heads->len;
    for (guint i = 0; i < heads->len; i++) {
        const VmigJournalHead *head = heads->pdata[i];
        gboolean newest = g_hash_table_remove(guests, head->uuid);
        newest = g_hash_table_remove(guests, head->domain) || newest;
        if (head->finished && !newest && !g_hash_table_contains(with_files, head->id))
            continue;
        VmigDoctorJob *job = look_at_job(facts, head->id, error);
        if (job == NULL)
            return NULL;
        g_ptr_array_add(jobs, job);
    }
    return g_steal_pointer(&jobs);
}

static VmigJournal *open_journal(VmigDoctorFacts *facts)
{
    g_autofree char *machine_id = vmig_machine_id();
    g_autoptr(VmigJournal) journal = vmig_journal_open_to_look(facts->journal_path, machine_id, &facts->journal_error);

    if (journal == NULL || !vmig_journal_check(journal, &facts->journal_error))
        return NULL;
    return g_steal_pointer(&journal);
}

static GHashTable *open_jobs(VmigDoctorFacts *facts, VmigJournal *journal)
{
    GHashTable *ids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GPtrArray) jobs = journal != NULL ? vmig_journal_list(journal, FALSE, &facts->journal_error) : NULL;

    for (guint i = 0; jobs != NULL && i < jobs->len; i++)
        g_hash_table_add(ids, g_strdup(((const VmigJob *)jobs->pdata[i])->id));
    return ids;
}

static void drop_vanished(GPtrArray *files)
{
    for (guint i = files->len; i > 0; i--)
        if (access(((const VmigOurFile *)files->pdata[i - 1])->path, F_OK) != 0)
            g_ptr_array_remove_index(files, i - 1);
}

static VmigHostSetup *look_at_setup(const VmigConfig *config)
{
    /* The defaults, because this file does not exist. */
    g_autoptr(VmigConfig) plain = vmig_config_load("/proc/self/no-such-file", NULL);
    VmigHostSetupPlaces places = {
        .roots = (const char *const *)config->image_roots,
        .default_roots = plain != NULL && g_strv_equal((const char *const *)plain->image_roots,
                                                       (const char *const *)config->image_roots),
        .run_dir = config->run_dir,
        .ssh_command = config->ssh_command,
    };

    return vmig_host_setup_look(&places);
}

void vmig_doctor_look(VmigDoctorFacts *facts, const VmigDoctorRequest *request, const VmigConfig *config)
{
    facts->connect_uri = request->connect_uri;
    facts->only = request->domain;
    if (config == NULL) {
        look_at_libvirt(facts, request);
        return;
    }
    facts->setup = look_at_setup(config);
    facts->journal_path = g_build_filename(config->state_dir, "journal.db", NULL);
    facts->request = request;
    facts->config = config;
    facts->journal = open_journal(facts);
    facts->open_before = open_jobs(facts, facts->journal);
    look_at_libvirt(facts, request);
    facts->files = vmig_scan_files((const char *const *)config->image_roots, &facts->files_whole);
    facts->folders = vmig_scan_run_folders(config->run_dir);
    facts->guards = vmig_scan_guards(config->run_dir);
    if (facts->journal != NULL && facts->journal_error == NULL)
        facts->jobs = read_jobs(facts, &facts->journal_error);
    else if (g_error_matches(facts->journal_error, VMIG_ERROR, VMIG_ERROR_NO_JOB))
        facts->jobs = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_doctor_job_free);
    drop_vanished(facts->files);
}
