/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The repairs. Each checks again before it acts, with the domain's operation lock if it concerns a domain, because a
 * job may have begun since the facts were collected. */
#include "doctor/doctor-private.h"

#include <string.h>

#include "guard/guard.h"
#include "node/node-local.h"
#include "store/oplock.h"

typedef struct {
    const VmigDoctorFacts *facts;
    VmigHypervisor *hypervisor;
    const VmigConfig *config;
    VmigFinding *finding;
    VmigNode *node; /* opened when a repair needs it */
} Repair;

static void repair_clear(Repair *repair)
{
    g_clear_pointer(&repair->node, vmig_node_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Repair, repair_clear)

static gboolean open_node(Repair *r, GError **error)
{
    VmigNodeConfig config = {
        .state_dir = r->config->state_dir,
        .run_dir = r->config->run_dir,
        .roots = (const char *const *)r->config->image_roots,
        .role = VMIG_SOURCE,
    };

    r->node = vmig_node_local_new(g_get_host_name(), &config, error);
    return r->node != NULL;
}

/* An unknown job is over, too: no job can start with an ID that is in use. */
static gboolean check_over(Repair *r, GError **error)
{
    g_autoptr(GError) failure = NULL;
    VmigJournal *journal = vmig_node_local_journal(r->node, error);
    g_autoptr(VmigJob) job = journal != NULL ? vmig_journal_load(journal, r->finding->job, &failure) : NULL;

    if (journal == NULL)
        return FALSE;
    if (job == NULL && !g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_JOB)) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    return job == NULL || vmig_state_is_final(vmig_job_state(job)) ||
           vmig_fail(error, VMIG_ERROR_LOCKED, NULL, "job %s is no longer finished", r->finding->job);
}

/* The journal must say that the file is redundant, or its kind must imply it; doctor never declares it. */
static gboolean check_redundant(Repair *r, GError **error)
{
    VmigJournal *journal = vmig_node_local_journal(r->node, error);
    g_autoptr(VmigJournalFile) row = NULL;

    if (journal == NULL || !vmig_journal_file_get(journal, r->finding->job, r->finding->path, &row, error))
        return FALSE;
    if (row != NULL &&
        (strcmp(row->kind, "part") == 0 || strcmp(row->kind, "hold") == 0 || strcmp(row->state, "redundant") == 0))
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_GATE, NULL, "%s: the journal does not say that it is redundant",
                     r->finding->path);
}

/* The node checks whether the guest or another process uses the file, then asks the gate. */
static gboolean fix_file(Repair *r, GError **error)
{
    g_autoptr(VmigJob) job = vmig_job_only_id(r->finding->job);
    gboolean held = FALSE;

    if (!open_node(r, error) || !check_over(r, error) || !check_redundant(r, error) ||
        !vmig_image_is_held(r->finding->path, &held, error))
        return FALSE;
    if (held)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "%s is in use", r->finding->path);
    return vmig_node_remove(r->node, job, r->finding->path, "left over by a finished job", error);
}

static gboolean fix_folder(Repair *r, GError **error)
{
    g_autoptr(VmigJob) job = vmig_job_only_id(r->finding->job);

    return open_node(r, error) && check_over(r, error) && vmig_node_rundir_remove(r->node, job, error);
}

static gboolean fix_guard(Repair *r, GError **error)
{
    return open_node(r, error) && check_over(r, error) && vmig_guard_stop(r->finding->path, error);
}

/* --- the guest's definition, with the lock held --- */

/* Checks that the mark still names a job that is over. */
static gboolean remove_mark(Repair *r, GError **error)
{
    static const VmigXmlKind kinds[] = {VMIG_XML_LIVE, VMIG_XML_PERSISTENT};
    VmigHypervisor *hv = r->hypervisor;

    for (guint i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autofree char *xml = NULL;
        g_autofree char *id = NULL;
        /* A transient domain has no persistent definition. */
        if (!hv->ops->domain_xml(hv, r->finding->uuid, kinds[i], &xml, kinds[i] == VMIG_XML_LIVE ? error : NULL))
            return kinds[i] != VMIG_XML_LIVE && hv->ops->set_metadata(hv, r->finding->uuid, NULL, error);
        id = vmig_metadata_job_id(xml);
        if (id != NULL && strcmp(id, r->finding->job) != 0)
            return vmig_fail(error, VMIG_ERROR_LOCKED, NULL, "the marker now names job %s", id);
    }
    return hv->ops->set_metadata(hv, r->finding->uuid, NULL, error);
}

static gboolean restore_snapshot(Repair *r, GError **error)
{
    VmigHypervisor *hv = r->hypervisor;
    VmigXmlKind kind = r->finding->persistent ? VMIG_XML_PERSISTENT : VMIG_XML_LIVE;
    g_autofree char *xml = NULL;

    if (!hv->ops->domain_xml(hv, r->finding->uuid, kind, &xml, error))
        return FALSE;
    g_autoptr(VmigDomainXml) doc = vmig_domain_xml_parse(xml, error);
    const VmigDomainDisk *disk = doc != NULL ? vmig_domain_xml_disk(doc, r->finding->target) : NULL;
    if (doc == NULL || disk == NULL)
        return doc == NULL ? FALSE : vmig_fail(error, VMIG_ERROR_UNKNOWN_DISK, NULL, "the disk no longer exists");
    if (g_strcmp0(disk->snapshot, "no") != 0)
        return TRUE;
    g_autofree char *element = vmig_disk_xml_set_snapshot(xml, r->finding->target, r->finding->value, error);
    return element != NULL && hv->ops->update_disk(hv, r->finding->uuid, element, kind == VMIG_XML_PERSISTENT, error);
}

/* Checks that the domain has no unfinished job; the lock keeps new ones from starting. */
static gboolean check_free(Repair *r, GError **error)
{
    VmigJournal *journal = vmig_node_local_journal(r->node, error);
    g_autoptr(VmigJob) job = NULL;

    if (journal == NULL || !vmig_journal_find_open(journal, r->finding->uuid, &job, error))
        return FALSE;
    return job == NULL || vmig_fail(error, VMIG_ERROR_LOCKED, NULL, "job %s has started on the guest", job->id);
}

static gboolean fix_domain(Repair *r, gboolean (*act)(Repair *, GError **), GError **error)
{
    g_autofree char *dir = g_build_filename(r->config->run_dir, "lock", NULL);
    const char *id = vmig_doctor_find_job(r->facts, r->finding->job) != NULL ? r->finding->job : "doctor";

    if (!open_node(r, error))
        return FALSE;
    g_autoptr(VmigOpLock) lock = vmig_oplock_take(dir, r->finding->uuid, id, "doctor", error);
    return lock != NULL && check_free(r, error) && act(r, error);
}

/* --- the host --- */

/* The journal may be intact once it is opened for writing, which rolls back the remains of a crash. Only otherwise is
 * it set aside; a new one is created on demand. */
static gboolean fix_journal(Repair *r, GError **error)
{
    g_autofree char *machine_id = vmig_machine_id();
    g_autofree char *new_name = NULL;
    g_autoptr(GError) why = NULL;
    g_autoptr(VmigJournal) journal = vmig_journal_open(r->facts->journal_path, machine_id, &why);

    if (journal != NULL && vmig_journal_check(journal, &why)) {
        vmig_finding_repair(r->finding, "The journal is intact again; run vmig-snap doctor again");
        return TRUE;
    }
    if (!g_error_matches(why, VMIG_ERROR, VMIG_ERROR_JOURNAL_DAMAGED)) {
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    g_clear_pointer(&journal, vmig_journal_close); /* an open journal cannot be renamed */
    if (!vmig_journal_set_aside(r->facts->journal_path, &new_name, error))
        return FALSE;
    vmig_finding_repair(
        r->finding,
        "It was renamed to %s. The jobs in it are forgotten: check their files, definitions and snapshots by hand on "
        "both hosts (vmig-snap doctor lists what it finds; vmig-snap status on the other host may know the jobs).",
        new_name);
    return TRUE;
}

gboolean vmig_doctor_repair(const VmigDoctorFacts *facts, const VmigDoctorRequest *request, const VmigConfig *config,
                            VmigFinding *finding, GError **error)
{
    g_auto(Repair) r = {facts, request->hypervisor, config, finding, NULL};

    switch (finding->fix) {
    case VMIG_FIX_RELOAD:
        return vmig_host_setup_reload(facts->setup, config->run_dir, error);
    case VMIG_FIX_APPARMOR:
        return vmig_apparmor_include(&(VmigAppArmorPlaces){0}, error);
    case VMIG_FIX_JOURNAL:
        return fix_journal(&r, error);
    case VMIG_FIX_FILE:
        return fix_file(&r, error);
    case VMIG_FIX_FOLDER:
        return fix_folder(&r, error);
    case VMIG_FIX_GUARD:
        return fix_guard(&r, error);
    case VMIG_FIX_METADATA:
        return fix_domain(&r, remove_mark, error);
    case VMIG_FIX_SNAPSHOT:
        return fix_domain(&r, restore_snapshot, error);
    case VMIG_FIX_REHEARSAL:
        return open_node(&r, error) && vmig_doctor_fix_rehearsal(request->hypervisor, r.node, finding->job, error);
    case VMIG_FIX_NONE:
        break;
    }
    return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "there is no repair for this finding");
}
