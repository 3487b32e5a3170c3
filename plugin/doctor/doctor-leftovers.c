/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rules for the leftovers of finished and unknown jobs. Leftovers of an unknown job are not repaired if the guest or
 * its files may still need them: its journal may have been lost, and then nothing else is left of the job. */
#include "doctor/doctor-private.h"

#include <string.h>

#include "core/amount.h"
#include "core/names.h"

/* A plan's folder has no record, and it exists before there is a socket in it. */
#define FOLDER_AGE_S 120

/* "finished job ID (DONE)" or "unknown job ID" */
static char *job_text(const VmigDoctorJob *job, const char *id)
{
    return job != NULL ? g_strdup_printf("finished job %s (%s)", id, job->job->state)
                       : g_strdup_printf("job %s, which is not in this host's journal", id);
}

/* FALSE: report nothing about this job's leftovers. */
static gboolean concerns(const VmigDoctorFacts *facts, const char *id, const VmigDoctorJob **job)
{
    gboolean busy = FALSE;

    *job = vmig_doctor_ended_job(facts, id, &busy);
    if (busy)
        return FALSE;
    return facts->only == NULL || (*job != NULL && vmig_doctor_wants_job(facts, (*job)->job));
}

/* --- files --- */

/* TRUE if every definition on this host was read. */
static gboolean knows_users(const VmigDoctorFacts *facts)
{
    for (guint i = 0; facts->domains != NULL && i < facts->domains->len; i++)
        if (((const VmigDoctorDomain *)facts->domains->pdata[i])->error != NULL)
            return FALSE;
    return facts->domains != NULL;
}

/* TRUE if the gate would remove the file, by its kind or because the job declared it redundant. A definition must not
 * lose a disk that it names, so a file that may be a disk is redundant only if all definitions are known. */
static gboolean is_redundant(const VmigDoctorFacts *facts, const VmigDoctorFile *file)
{
    if (vmig_doctor_user_of(facts, file->path) != NULL)
        return FALSE;
    return strcmp(file->kind, "part") == 0 || strcmp(file->kind, "hold") == 0 ||
           (strcmp(file->state, "redundant") == 0 && knows_users(facts));
}

static void listed_file(const VmigDoctorFacts *facts, const VmigDoctorJob *job, const VmigDoctorFile *file,
                        GPtrArray *findings)
{
    g_autofree char *path = vmig_text_escape(file->path, -1);
    gboolean redundant = is_redundant(facts, file);

    VmigFinding *f =
        vmig_finding_add(findings, "leftover-file", VMIG_SEVERITY_PROBLEM,
                         "%s is left over from job %s, which is finished (%s): its %s%s", path, job->job->id,
                         job->job->state, file->kind, redundant ? "" : ", which is not proven to be redundant");
    if (redundant) {
        f->fix = VMIG_FIX_FILE;
        f->job = g_strdup(job->job->id);
        f->path = g_strdup(file->path);
        vmig_finding_repair(f, "vmig-snap doctor --fix");
    } else {
        vmig_finding_repair(f,
                            "Check what it is (qemu-img info -U) and that no guest uses it; then remove it by hand.");
    }
}

static gboolean is_listed(const VmigDoctorJob *job, const char *path)
{
    for (guint i = 0; job != NULL && job->files != NULL && i < job->files->len; i++)
        if (strcmp(((const VmigDoctorFile *)job->files->pdata[i])->path, path) == 0)
            return TRUE;
    return FALSE;
}

static void stray_file(const VmigDoctorFacts *facts, const VmigOurFile *file, GPtrArray *findings)
{
    const VmigDoctorJob *job;

    if (!concerns(facts, file->job, &job) || is_listed(job, file->path) ||
        vmig_doctor_user_of(facts, file->path) != NULL)
        return;
    g_autofree char *path = vmig_text_escape(file->path, -1);
    g_autofree char *whose = job_text(job, file->job);
    g_autofree char *size = vmig_amount_format(file->allocated);
    if (job != NULL && vmig_job_end(job->job) == VMIG_END_ASIDE) {
        vmig_finding_add(findings, "set-aside", VMIG_SEVERITY_NOTE, "%s (%s) was kept when job %s was set aside", path,
                         size, file->job);
        return;
    }
    VmigFinding *f =
        vmig_finding_add(findings, "stray-file", VMIG_SEVERITY_PROBLEM,
                         "%s (%s) has the name of a file of %s; the journal does not list it", path, size, whose);
    vmig_finding_repair(f, "Check what it is (qemu-img info -U), that no guest here or on the other host needs it, and "
                           "whether vmig-snap status on that host knows the job; then remove it by hand.");
}

static void file_rules(const VmigDoctorFacts *facts, GPtrArray *findings)
{
    guint before = findings->len;

    for (guint i = 0; i < facts->jobs->len; i++) {
        const VmigDoctorJob *job = facts->jobs->pdata[i];
        for (guint k = 0; job->finished && !job->busy && vmig_doctor_wants_job(facts, job->job) && k < job->files->len;
             k++)
            listed_file(facts, job, job->files->pdata[k], findings);
    }
    for (guint i = 0; i < facts->files->len; i++)
        stray_file(facts, facts->files->pdata[i], findings);
    if (!facts->files_whole)
        vmig_finding_add(findings, "scan", VMIG_SEVERITY_NOTE,
                         "the image roots contain more than doctor searches (%d entries, %d directories deep, %d s): "
                         "there may be more files of vmig-snap",
                         VMIG_SCAN_ENTRIES, VMIG_SCAN_DEPTH, VMIG_SCAN_SECONDS);
    if (findings->len == before)
        vmig_finding_add(findings, "files", VMIG_SEVERITY_OK, "no file of a finished or unknown job is left");
}

/* --- the run folder --- */

static void folder_rules(const VmigDoctorFacts *facts, GPtrArray *findings)
{
    const VmigDoctorJob *job;

    for (guint i = 0; i < facts->folders->len; i++) {
        const VmigRunFolder *folder = facts->folders->pdata[i];
        if (folder->in_use || folder->age_s < FOLDER_AGE_S || !concerns(facts, folder->job, &job))
            continue;
        g_autofree char *path = vmig_text_escape(folder->path, -1);
        g_autofree char *whose = job_text(job, folder->job);
        VmigFinding *f =
            vmig_finding_add(findings, "run-folder", VMIG_SEVERITY_PROBLEM, "%s is left over from %s", path, whose);
        f->fix = VMIG_FIX_FOLDER;
        f->job = g_strdup(folder->job);
        vmig_finding_repair(f, "vmig-snap doctor --fix");
    }
}

static void guard_rules(const VmigDoctorFacts *facts, GPtrArray *findings)
{
    const VmigDoctorJob *job;

    for (guint i = 0; i < facts->guards->len; i++) {
        const VmigGuardFacts *guard = facts->guards->pdata[i];
        /* A socket without a listener does no harm; the next guard with this name replaces it. */
        if (!guard->answers || !concerns(facts, guard->job, &job))
            continue;
        g_autofree char *socket = vmig_text_escape(guard->socket, -1);
        g_autofree char *whose = job_text(job, guard->job);
        VmigFinding *f = vmig_finding_add(findings, "guard", VMIG_SEVERITY_PROBLEM,
                                          "a guard (%s) still runs for %s: it holds %u images frozen and %u fenced",
                                          socket, whose, guard->frozen, guard->armed);
        if (job == NULL && guard->armed > 0) {
            vmig_finding_repair(
                f, "Its fence may be the only protection against a second running copy of a guest. Make sure on which "
                   "host the guest is, and that it is off on this host; then end the process.");
            continue;
        }
        f->fix = VMIG_FIX_GUARD;
        f->job = g_strdup(guard->job);
        f->path = g_strdup(guard->socket);
        vmig_finding_repair(f, "vmig-snap doctor --fix");
    }
}

/* --- the guests' definitions --- */

/* TRUE if a file of a chain is vmig-snap's and its job is over. */
static gboolean ended_file(const VmigDoctorFacts *facts, const VmigDoctorDomain *domain, const char *path, char **id,
                           const VmigDoctorJob **job)
{
    gboolean busy = FALSE;

    *id = vmig_our_job_of_path(path);
    if (*id == NULL)
        return FALSE;
    *job = vmig_doctor_ended_job(facts, *id, &busy);
    /* An unfinished job of another guest does not concern this one. */
    const VmigDoctorJob *open = busy ? vmig_doctor_find_job(facts, *id) : NULL;
    if (open != NULL && g_strcmp0(open->job->uuid, domain->uuid) != 0)
        busy = FALSE;
    if (busy)
        g_clear_pointer(id, g_free);
    return !busy;
}

/* A finished job has committed its overlay, and the base was written to since then: committing it again would restore
 * old content. What an unknown job did cannot be determined here. */
static void repair_overlay(VmigFinding *f, const VmigDoctorDomain *domain, const VmigDomainDisk *disk,
                           const char *overlay, gboolean top, gboolean finished)
{
    g_autofree char *target = vmig_shell_word(disk->target);
    g_autofree char *file = vmig_shell_word(overlay);

    if (finished && domain->live != NULL)
        vmig_finding_repair(
            f,
            "The job has committed it: it is stale and must not be committed again. Shut the guest down, save what it "
            "wrote since it was started, and name the overlay's backing file in its definition (virsh edit %s).",
            domain->uuid);
    else if (finished)
        vmig_finding_repair(f,
                            "The job has committed it: do not commit it again. Name its backing file in the definition "
                            "(virsh edit %s).",
                            domain->uuid);
    else if (!top)
        vmig_finding_repair(
            f, "Another overlay has it as its backing file. Find out which host's guest is the right one, then commit "
               "the overlays from the top down (virsh blockcommit, or qemu-img commit -d while the guest is off).");
    else if (domain->live != NULL)
        vmig_finding_repair(f,
                            "Make sure that no other host has this guest or knows the job. Then: virsh blockcommit "
                            "%s %s --active --shallow --pivot --wait",
                            domain->uuid, target);
    else
        vmig_finding_repair(f,
                            "Make sure that no other host has this guest or knows the job, and that the overlay "
                            "contains no snapshot (qemu-img snapshot -l). Then: qemu-img commit -d %s, and name its "
                            "backing file in the definition (virsh edit %s).",
                            file, domain->uuid);
}

static void overlay_finding(const VmigDoctorFacts *facts, const VmigDoctorDomain *domain, const VmigDomainDisk *disk,
                            const char *path, gboolean top, GPtrArray *findings)
{
    g_autofree char *id = NULL;
    const VmigDoctorJob *job = NULL;

    if (!ended_file(facts, domain, path, &id, &job))
        return;
    g_autofree char *shown = vmig_text_escape(path, -1);
    g_autofree char *name = vmig_text_escape(domain->name, -1);
    g_autofree char *target = vmig_text_escape(disk->target, -1);
    g_autofree char *whose = job_text(job, id);
    if (job != NULL && vmig_job_end(job->job) == VMIG_END_ASIDE) {
        vmig_finding_add(findings, "set-aside", VMIG_SEVERITY_NOTE,
                         "disk %s of '%s' is on %s, the overlay of job %s, which was set aside: it is part of the "
                         "disk. If it contains no snapshot (qemu-img snapshot -l -U), virsh blockcommit %s %s --active "
                         "--pivot --wait merges it into its base",
                         target, name, shown, id, domain->uuid, target);
        return;
    }
    VmigFinding *f =
        vmig_finding_add(findings, "overlay-in-chain", VMIG_SEVERITY_PROBLEM,
                         "disk %s of '%s' is on %s, the temporary overlay of %s", target, name, shown, whose);
    repair_overlay(f, domain, disk, path, top, job != NULL);
}

static void copy_finding(const VmigDoctorFacts *facts, const VmigDoctorDomain *domain, const VmigDomainDisk *disk,
                         GPtrArray *findings)
{
    g_autofree char *id = NULL;
    const VmigDoctorJob *job = NULL;

    if (!disk->mirror || disk->mirror_file == NULL || !ended_file(facts, domain, disk->mirror_file, &id, &job))
        return;
    g_autofree char *name = vmig_text_escape(domain->name, -1);
    g_autofree char *target = vmig_text_escape(disk->target, -1);
    g_autofree char *word = vmig_shell_word(disk->target);
    g_autofree char *whose = job_text(job, id);
    VmigFinding *f = vmig_finding_add(
        findings, "hold", VMIG_SEVERITY_PROBLEM,
        "a hold still runs on disk %s of '%s' for %s: libvirt refuses snapshots of the guest", target, name, whose);
    vmig_finding_repair(f, "virsh blockjob %s %s --abort", domain->uuid, word);
}

static guint chain_rules(const VmigDoctorFacts *facts, const VmigDoctorDomain *domain, GPtrArray *findings)
{
    guint before = findings->len;
    const VmigDomainXml *xml = domain->live != NULL ? domain->live : domain->persistent;
    GPtrArray *disks = xml != NULL ? vmig_domain_xml_facts(xml)->disks : NULL;

    for (guint i = 0; disks != NULL && i < disks->len; i++) {
        const VmigDomainDisk *disk = disks->pdata[i];
        const VmigDomainDisk *other =
            domain->persistent != NULL ? vmig_domain_xml_disk(domain->persistent, disk->target) : NULL;
        overlay_finding(facts, domain, disk, disk->source, TRUE, findings);
        for (guint k = 0; k < disk->backing->len; k++)
            overlay_finding(facts, domain, disk, ((const VmigChainFile *)disk->backing->pdata[k])->file, FALSE,
                            findings);
        copy_finding(facts, domain, disk, findings);
        if (other != NULL && g_strcmp0(other->source, disk->source) != 0)
            overlay_finding(facts, domain, other, other->source, TRUE, findings);
    }
    return findings->len - before;
}

/* The ID in vmig-snap's element; "?" if the element has none; NULL without an element. */
static const char *mark_of(const VmigDoctorDomain *domain)
{
    const VmigDomainXml *xmls[] = {domain->live, domain->persistent};

    for (guint i = 0; i < G_N_ELEMENTS(xmls); i++) {
        const VmigDomainFacts *f = xmls[i] != NULL ? vmig_domain_xml_facts(xmls[i]) : NULL;
        if (f != NULL && f->has_metadata)
            return f->metadata_job != NULL ? f->metadata_job : "?";
    }
    return NULL;
}

static gboolean has_files(const VmigDoctorFacts *facts, const char *id)
{
    for (guint i = 0; i < facts->files->len; i++)
        if (strcmp(((const VmigOurFile *)facts->files->pdata[i])->job, id) == 0)
            return TRUE;
    return FALSE;
}

/* blocked: the guest is on a vmig-snap overlay. If the job is unknown, the mark is the only trace of it. */
static void metadata_rule(const VmigDoctorFacts *facts, const VmigDoctorDomain *domain, gboolean blocked,
                          GPtrArray *findings)
{
    const char *id = mark_of(domain);
    gboolean busy = FALSE;

    if (id == NULL)
        return;
    const VmigDoctorJob *job = vmig_doctor_ended_job(facts, id, &busy);
    const VmigDoctorJob *open = busy ? vmig_doctor_find_job(facts, id) : NULL;
    gboolean another = open != NULL && g_strcmp0(open->job->uuid, domain->uuid) != 0; /* copied by cloning the guest */
    if (busy && !another)
        return;
    g_autofree char *name = vmig_text_escape(domain->name, -1);
    g_autofree char *whose = another                ? g_strdup_printf("job %s of another guest", id)
                             : strcmp(id, "?") == 0 ? g_strdup("a job that it does not name")
                                                    : job_text(job, id);
    VmigFinding *f = vmig_finding_add(findings, "metadata", VMIG_SEVERITY_PROBLEM,
                                      "the definition of '%s' still has the marker of %s", name, whose);
    if (blocked || (job == NULL && !another && has_files(facts, id))) {
        vmig_finding_repair(
            f,
            "First check the files of that job; the marker describes them (virsh metadata %s " VMIG_METADATA_URI ").",
            domain->uuid);
        return;
    }
    f->fix = VMIG_FIX_METADATA;
    f->job = g_strdup(id);
    f->uuid = g_strdup(domain->uuid);
    vmig_finding_repair(f, "vmig-snap doctor --fix");
}

/* The newest job of the guest, if it left the guest here. */
static const VmigDoctorJob *job_that_left(const VmigDoctorFacts *facts, const VmigDoctorDomain *domain)
{
    for (guint i = 0; i < facts->jobs->len; i++) {
        const VmigDoctorJob *job = facts->jobs->pdata[i];
        if (g_strcmp0(job->job->uuid, domain->uuid) != 0)
            continue;
        gboolean went = job->role == VMIG_SOURCE;
        gboolean done = vmig_job_end(job->job) == VMIG_END_MOVED;
        return job->finished && !job->busy && went != done ? job : NULL;
    }
    return NULL;
}

static void snapshot_rule(const VmigDoctorJob *job, const VmigDoctorDomain *domain, gboolean persistent,
                          GPtrArray *findings)
{
    const VmigDomainXml *xml = persistent ? domain->persistent : domain->live;

    for (guint i = 0; xml != NULL && i < job->job->disks->len; i++) {
        const VmigDisk *disk = job->job->disks->pdata[i];
        const VmigDomainDisk *now = vmig_domain_xml_disk(xml, disk->target);
        if (now == NULL || g_strcmp0(now->snapshot, "no") != 0 || g_strcmp0(disk->snapshot, "no") == 0)
            continue;
        g_autofree char *name = vmig_text_escape(domain->name, -1);
        g_autofree char *target = vmig_text_escape(disk->target, -1);
        g_autofree char *value = vmig_text_escape(disk->snapshot, -1);
        VmigFinding *f = vmig_finding_add(
            findings, "snapshot-no", VMIG_SEVERITY_PROBLEM,
            "disk %s of '%s' is excluded from snapshots (snapshot='no' in its %s definition); before job %s it %s%s%s",
            target, name, persistent ? "persistent" : "live", job->job->id,
            disk->snapshot != NULL ? "had snapshot='" : "was not", value, disk->snapshot != NULL ? "'" : "");
        f->fix = VMIG_FIX_SNAPSHOT;
        f->job = g_strdup(job->job->id);
        f->uuid = g_strdup(domain->uuid);
        f->target = g_strdup(disk->target);
        f->value = g_strdup(disk->snapshot);
        f->persistent = persistent;
        vmig_finding_repair(f, "vmig-snap doctor --fix");
    }
}

static void unreadable_rule(const VmigDoctorDomain *domain, GPtrArray *findings)
{
    g_autofree char *name = vmig_text_escape(domain->name, -1);
    g_autofree char *why = vmig_text_escape(domain->error->message, -1);
    VmigFinding *f =
        vmig_finding_add(findings, "definition", VMIG_SEVERITY_PROBLEM,
                         "cannot read the definition of '%s', so it is unknown which files it uses: %s", name, why);

    vmig_finding_repair(f, "Find the cause (virsh dumpxml %s), then run vmig-snap doctor again.", domain->uuid);
}

static void definition_rules(const VmigDoctorFacts *facts, GPtrArray *findings)
{
    guint before = findings->len;

    for (guint i = 0; i < facts->domains->len; i++) {
        const VmigDoctorDomain *domain = facts->domains->pdata[i];
        if (!vmig_doctor_wants_domain(facts, domain))
            continue;
        if (domain->error != NULL) {
            unreadable_rule(domain, findings);
            continue;
        }
        guint overlays = chain_rules(facts, domain, findings);
        metadata_rule(facts, domain, overlays > 0, findings);
        const VmigDoctorJob *job = job_that_left(facts, domain);
        if (job == NULL || overlays > 0)
            continue;
        if (domain->live != NULL)
            snapshot_rule(job, domain, FALSE, findings);
        snapshot_rule(job, domain, TRUE, findings);
    }
    if (findings->len == before)
        vmig_finding_add(findings, "definitions", VMIG_SEVERITY_OK,
                         "no guest's definition contains anything of a finished or unknown job");
}

void vmig_doctor_leftover_rules(const VmigDoctorFacts *facts, GPtrArray *findings)
{
    if (facts->jobs == NULL)
        return;
    file_rules(facts, findings);
    folder_rules(facts, findings);
    guard_rules(facts, findings);
    if (facts->domains != NULL)
        definition_rules(facts, findings);
}
