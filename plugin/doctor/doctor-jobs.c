/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rules for the journal and the unfinished jobs: which process works on them, and whether the guest's definitions,
 * state and files match the journal. */
#include "doctor/doctor-private.h"

#include "core/names.h"
#include "definition/chain.h"

#define BASE VMIG_MAY_BE_BASE
#define OVERLAY VMIG_MAY_BE_OVERLAY
#define ABSENT VMIG_MAY_BE_ABSENT

static const VmigDoctorDomain *domain_of(const VmigDoctorFacts *facts, const VmigJob *job)
{
    for (guint i = 0; facts->domains != NULL && i < facts->domains->len; i++) {
        const VmigDoctorDomain *domain = facts->domains->pdata[i];
        if (g_strcmp0(domain->uuid, job->uuid) == 0)
            return domain;
    }
    return NULL;
}

static const char *expected_text(guint expected)
{
    switch (expected & (BASE | OVERLAY)) {
    case BASE:
        return "its base only";
    case OVERLAY:
        return "the job's overlay on top of its base";
    case BASE | OVERLAY:
        return "its base, or the job's overlay on top of it";
    default:
        return "nothing on this host";
    }
}

static void chain_rule(const VmigDoctorJob *job, const VmigDomainXml *xml, gboolean live, GPtrArray *findings)
{
    guint expected = vmig_job_expected(job->job, job->role);
    VmigRole role = job->role;

    for (guint i = 0; xml != NULL && i < job->job->disks->len; i++) {
        const VmigDisk *disk = job->job->disks->pdata[i];
        const VmigDomainDisk *found = vmig_domain_xml_disk(xml, disk->target);
        if (found != NULL && (vmig_chain_may_be(vmig_chain_of(found, disk, role)) & expected) != 0)
            continue;
        g_autofree char *chain = found != NULL ? vmig_domain_disk_chain_text(found) : g_strdup("nothing");
        g_autofree char *target = vmig_text_escape(disk->target, -1);
        g_autofree char *name = vmig_text_escape(job->job->domain, -1);
        VmigFinding *f = vmig_finding_add(findings, "job-chain", VMIG_SEVERITY_PROBLEM,
                                          "disk %s of '%s' is on %s according to its %s definition, but job %s is in "
                                          "state %s and expects it on %s: another process changed it",
                                          target, name, chain, live ? "live" : "persistent", job->job->id,
                                          job->job->state, expected_text(expected));
        vmig_finding_repair(f,
                            "Undo that change if you know it (virsh domblklist, virsh snapshot-list), then run "
                            "vmig-snap resume %s, which reports what it cannot resolve.",
                            job->job->id);
    }
}

static void domain_rules(const VmigDoctorFacts *facts, const VmigDoctorJob *job, GPtrArray *findings)
{
    const VmigDoctorDomain *domain = domain_of(facts, job->job);
    guint expected = vmig_job_expected(job->job, job->role);
    g_autofree char *name = vmig_text_escape(job->job->domain, -1);

    if (facts->domains == NULL)
        return;
    if (domain == NULL && (expected & ABSENT) == 0) {
        VmigFinding *f = vmig_finding_add(findings, "job-domain", VMIG_SEVERITY_PROBLEM,
                                          "libvirt on this host has no domain '%s', which job %s in state %s needs",
                                          name, job->job->id, job->job->state);
        vmig_finding_repair(f, "vmig-snap resume %s, which has its definition", job->job->id);
    } else if (domain != NULL && (expected & ~(guint)ABSENT) == 0) {
        VmigFinding *f = vmig_finding_add(
            findings, "job-domain", VMIG_SEVERITY_PROBLEM,
            "libvirt on this host already has a domain '%s', which job %s in state %s has not transferred yet", name,
            job->job->id, job->job->state);
        vmig_finding_repair(f,
                            "Do not start it. Check where it comes from (virsh dumpxml), then run vmig-snap resume %s.",
                            job->job->id);
    } else if (domain != NULL) {
        if (domain->live != NULL)
            chain_rule(job, domain->live, TRUE, findings);
        chain_rule(job, domain->persistent, FALSE, findings);
    }
}

/* Applies even while a process works on the job. The token was read before the guest was examined on the source, and
 * after it on the destination, and it moves in one direction only. */
static void owner_rule(const VmigDoctorJob *job, GPtrArray *findings)
{
    VmigRole role = job->role;
    VmigRole token = role == VMIG_DEST ? job->token_after : job->token_before;
    g_autofree char *name = vmig_text_escape(job->job->domain, -1);
    g_autofree char *owner = vmig_text_escape(job->job->host[vmig_role_other(role)], -1);

    if (!job->run_known || job->run != VMIG_RUN_RUNNING || token == role)
        return;
    VmigFinding *f = vmig_finding_add(findings, "two-owners", VMIG_SEVERITY_PROBLEM,
                                      "DANGER: '%s' RUNS ON THIS HOST, BUT ACCORDING TO JOB %s THE OTHER HOST (%s) "
                                      "OWNS IT: two copies may be running, and the writes of this copy will be lost",
                                      name, job->job->id, owner);
    vmig_finding_repair(f, "virsh suspend %s, on this host and at once; then vmig-snap resume %s", job->job->uuid,
                        job->job->id);
}

static void has_snapshot_rule(const VmigDoctorJob *job, GPtrArray *findings)
{
    for (guint i = 0; job->has_snapshot != NULL && i < job->has_snapshot->len; i++) {
        g_autofree char *path = vmig_text_escape(job->has_snapshot->pdata[i], -1);
        VmigFinding *f = vmig_finding_add(findings, "snapshot-in-overlay", VMIG_SEVERITY_PROBLEM,
                                          "a user created an internal snapshot in the temporary overlay %s of job %s: "
                                          "it would be lost with the overlay",
                                          path, job->job->id);
        vmig_finding_repair(f, "Copy or delete it (qemu-img snapshot -l -U), then run vmig-snap resume %s.",
                            job->job->id);
    }
}

static void unfinished_rule(const VmigDoctorJob *job, GPtrArray *findings)
{
    const VmigJob *j = job->job;
    g_autofree char *name = vmig_text_escape(j->domain, -1);
    g_autofree char *source = vmig_text_escape(j->host[VMIG_SOURCE], -1);
    g_autofree char *dest = vmig_text_escape(j->host[VMIG_DEST], -1);
    g_autofree char *what = g_strdup_printf("job %s ('%s' from %s to %s; this host is the %s) is in state %s", j->id,
                                            name, source, dest, vmig_role_name(job->role), j->state);

    if (job->holder != NULL) {
        g_autofree char *holder = vmig_text_escape(job->holder, -1);
        vmig_finding_add(findings, "job-running", VMIG_SEVERITY_NOTE, "%s, held by %s", what, holder);
        return;
    }
    g_autofree char *why = vmig_text_escape(j->error_message, -1);
    VmigFinding *f =
        vmig_finding_add(findings, "job-unfinished", VMIG_SEVERITY_PROBLEM,
                         "%s, and no process on this host works on it%s%s", what, *why != '\0' ? ": " : "", why);
    if (j->error_hint != NULL) {
        g_autofree char *hint = vmig_text_escape(j->error_hint, -1);
        vmig_finding_repair(f, "%s Then: vmig-snap resume %s", hint, j->id);
    } else {
        vmig_finding_repair(f, "vmig-snap resume %s", j->id);
    }
}

/* The finding gets the error's code if that says more than that the journal is unusable. */
static const char *journal_code(const GError *why)
{
    if (g_error_matches(why, VMIG_ERROR, VMIG_ERROR_JOURNAL_DAMAGED) ||
        g_error_matches(why, VMIG_ERROR, VMIG_ERROR_JOURNAL_NEWER) ||
        g_error_matches(why, VMIG_ERROR, VMIG_ERROR_JOURNAL_OLDER))
        return vmig_error_name((VmigErrorCode)why->code);
    return "journal";
}

static void journal_rule(const VmigDoctorFacts *facts, GPtrArray *findings)
{
    const GError *why = facts->journal_error;
    g_autofree char *path = vmig_text_escape(facts->journal_path, -1);
    guint open = 0;

    if (why == NULL) {
        for (guint i = 0; i < facts->jobs->len; i++)
            open += ((const VmigDoctorJob *)facts->jobs->pdata[i])->finished ? 0 : 1;
        vmig_finding_add(findings, "journal", VMIG_SEVERITY_OK, "the journal %s is intact: %u job%s, %u unfinished",
                         path, facts->n_jobs, facts->n_jobs == 1 ? "" : "s", open);
        return;
    }
    if (g_error_matches(why, VMIG_ERROR, VMIG_ERROR_NO_JOB)) {
        vmig_finding_add(findings, "journal", VMIG_SEVERITY_OK, "there is no journal yet: this host never had a job");
        return;
    }
    g_autofree char *message = vmig_text_escape(why->message, -1);
    gboolean damaged = g_error_matches(why, VMIG_ERROR, VMIG_ERROR_JOURNAL_DAMAGED);
    VmigFinding *f = vmig_finding_add(findings, journal_code(why), VMIG_SEVERITY_PROBLEM,
                                      "%s; leftovers of jobs were not checked", message);
    /* A folder's mode, a full disk or another version is no reason to discard the jobs. */
    if (damaged) {
        f->fix = VMIG_FIX_JOURNAL;
        vmig_finding_repair(f, "Restore it from a backup, or: vmig-snap doctor --fix sets it aside. The jobs in it are "
                               "then forgotten: vmig-snap does not continue them, and their files, definitions and "
                               "snapshots must be checked by hand on both hosts.");
    } else if (vmig_error_hint(why) != NULL) {
        vmig_finding_repair(f, "%s", vmig_error_hint(why));
    }
}

void vmig_doctor_job_rules(const VmigDoctorFacts *facts, GPtrArray *findings)
{
    if (facts->journal_path == NULL)
        return;
    journal_rule(facts, findings);
    for (guint i = 0; facts->jobs != NULL && i < facts->jobs->len; i++) {
        const VmigDoctorJob *job = facts->jobs->pdata[i];
        if (job->finished || job->busy || !vmig_doctor_wants_job(facts, job->job))
            continue;
        owner_rule(job, findings);
        unfinished_rule(job, findings);
        if (job->holder != NULL) /* in progress: deviations are temporary */
            continue;
        has_snapshot_rule(job, findings);
        domain_rules(facts, job, findings);
    }
}
