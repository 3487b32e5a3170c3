/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads the facts. A fact that cannot be read never counts as "nothing there". */
#include "hooks/hook-facts.h"

#include <string.h>
#include <unistd.h>

#include "definition/chain.h"
#include "core/names.h"
#include "os/config.h"
#include "store/journal.h"
#include "store/oplock.h"

static char *read_machine_id(void)
{
    char *text = NULL;

    if (!g_file_get_contents("/etc/machine-id", &text, NULL, NULL) || *g_strstrip(text) == '\0')
        g_clear_pointer(&text, g_free);
    return text;
}

VmigHookPaths *vmig_hook_paths_load(const char *config, GError **error)
{
    g_autofree char *state_dir = NULL;
    g_autofree char *run_dir = NULL;

    if (!vmig_config_load_folders(config, &state_dir, &run_dir, error))
        return NULL;
    VmigHookPaths *paths = g_new0(VmigHookPaths, 1);
    paths->state_dir = g_steal_pointer(&state_dir);
    paths->run_dir = g_steal_pointer(&run_dir);
    paths->journal = g_build_filename(paths->state_dir, "journal.db", NULL);
    paths->lock_dir = g_build_filename(paths->run_dir, "lock", NULL);
    paths->machine_id = read_machine_id();
    return paths;
}

void vmig_hook_paths_free(VmigHookPaths *paths)
{
    g_free(paths->state_dir);
    g_free(paths->run_dir);
    g_free(paths->journal);
    g_free(paths->lock_dir);
    g_free(paths->machine_id);
    g_free(paths);
}

void vmig_hook_sight_free(VmigHookSight *sight)
{
    g_clear_pointer(&sight->job, vmig_job_free);
    g_clear_error(&sight->why);
    g_free(sight->holder);
    g_free(sight);
}

/* --- the definition compared with the job --- */

/* Only the top file counts: when libvirt calls the hook, it has not read the chain yet. */
static VmigHookChain chain_of_disk(const VmigDomainXml *xml, const VmigDisk *disk, VmigRole here)
{
    const VmigDomainDisk *now = vmig_domain_xml_disk(xml, disk->target);

    switch (now != NULL ? vmig_chain_of_top(now->source, disk, here) : VMIG_CHAIN_OTHER) {
    case VMIG_CHAIN_OVERLAY:
        return VMIG_HOOK_CHAIN_OVERLAYS;
    case VMIG_CHAIN_BASE:
        return VMIG_HOOK_CHAIN_BASES;
    case VMIG_CHAIN_OTHER:
    case VMIG_CHAIN_OURS:
    default:
        return VMIG_HOOK_CHAIN_OTHER;
    }
}

static VmigHookChain chain_of(const VmigDomainXml *xml, const VmigJob *job, VmigRole here)
{
    VmigHookChain all = VMIG_HOOK_CHAIN_OTHER;
    gboolean ours = FALSE, same = TRUE;

    for (guint i = 0; i < job->disks->len; i++) {
        VmigHookChain one = chain_of_disk(xml, job->disks->pdata[i], here);
        ours = ours || one != VMIG_HOOK_CHAIN_OTHER;
        same = same && (i == 0 || one == all);
        all = one;
    }
    if (same)
        return all;
    return ours ? VMIG_HOOK_CHAIN_MIXED : VMIG_HOOK_CHAIN_OTHER;
}

/* --- the journal --- */

/* Whether the job ever entered this state: its work may have been done. */
static gboolean was_in(GPtrArray *history, const char *state)
{
    for (guint i = 0; i < history->len; i++) {
        const VmigJournalEntry *entry = history->pdata[i];
        if (g_strcmp0(entry->to, state) == 0 && g_strcmp0(entry->phase, "result") == 0)
            return TRUE;
    }
    return FALSE;
}

/* On the source an existing overlay may have been written to, whether recorded or not. */
static gboolean has_overlays(const VmigJob *job, VmigRole here)
{
    if (here == VMIG_SOURCE && job->overlays != VMIG_OVERLAYS_UNUSED)
        return TRUE;
    for (guint i = 0; i < job->disks->len; i++) {
        const char *overlay = vmig_disk_overlay(job->disks->pdata[i], here);
        if (overlay != NULL && (here == VMIG_DEST || access(overlay, F_OK) == 0))
            return TRUE;
    }
    return FALSE;
}

static gboolean fill_open(VmigHookSight *sight, const VmigHookPaths *paths, VmigJournal *journal, GError **error)
{
    VmigHookFacts *f = &sight->facts;
    const VmigJob *job = sight->job;
    VmigRole token;
    gboolean known =
        vmig_journal_role(journal, job->id, &f->here, error) && vmig_journal_token(journal, job->id, &token, error);
    g_autoptr(GPtrArray) history = known ? vmig_journal_history(journal, job->id, error) : NULL;
    g_autoptr(GError) unclear = NULL;

    if (history == NULL)
        return FALSE;
    f->known = VMIG_HOOK_OPEN;
    f->owner = token == VMIG_DEST ? VMIG_DEST : job->owner;
    f->state = vmig_job_work_state(job);
    f->pivoted = job->merge == VMIG_MERGE_DONE;
    f->direct = vmig_job_merges_by_mirror(job);
    f->overlays = has_overlays(job, f->here);
    f->handed = was_in(history, "MIGRATE") || vmig_state_is(f->state, VMIG_STATE_HANDS_OVER);
    /* A lock that cannot be read counts as held. */
    f->busy = !vmig_oplock_holder(paths->lock_dir, job->uuid, &sight->holder, &unclear) || sight->holder != NULL;
    return TRUE;
}

/* Finds the guest's job by the element in the definition, if this host gave the guest away and the job has ended
 * elsewhere. */
static gboolean look_for_left(VmigHookSight *sight, VmigJournal *journal, const char *marked_job, const char *uuid,
                              GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(VmigJob) job = vmig_journal_load(journal, marked_job, &failure);
    VmigRole role;
    gboolean known = job != NULL && vmig_journal_role(journal, job->id, &role, &failure);

    if (!known && g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_JOB))
        return TRUE;
    if (!known) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    /* The journal is not fully verified here. If only the row knows of the unfinished job, the index has lost it. */
    if (!vmig_state_is_final(vmig_job_state(job)) && g_strcmp0(job->uuid, uuid) == 0)
        return vmig_fail(error, VMIG_ERROR_JOURNAL, NULL, "its index does not contain the unfinished job %s", job->id);
    if (role == VMIG_SOURCE && job->owner == VMIG_DEST && !job->source_clean && g_strcmp0(job->uuid, uuid) == 0) {
        sight->facts.known = VMIG_HOOK_LEFT;
        sight->facts.here = VMIG_SOURCE;
        sight->job = g_steal_pointer(&job);
    }
    return TRUE;
}

static gboolean look_at_journal(VmigHookSight *sight, const VmigHookPaths *paths, const char *name,
                                const VmigDomainFacts *domain, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(VmigJournal) journal = NULL;

    /* Most guests never had a job. An untrusted journal lets a guest without vmig-snap's element start, so it makes no
     * difference if a damaged one has lost the guest's job. */
    if (!sight->facts.marked && !vmig_journal_may_have_open(paths->journal, name, domain != NULL ? domain->uuid : ""))
        return TRUE;
    journal = vmig_journal_open_to_look(paths->journal, paths->machine_id, &failure);
    if (journal == NULL && g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_JOB))
        return TRUE;
    if (journal == NULL) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    /* By UUID first, because another guest may have the name by now. */
    if ((domain != NULL && !vmig_journal_find_open(journal, domain->uuid, &sight->job, error)) ||
        (sight->job == NULL && !vmig_journal_find_open(journal, name, &sight->job, error)))
        return FALSE;
    if (sight->job != NULL)
        return fill_open(sight, paths, journal, error);
    return domain == NULL || domain->metadata_job == NULL ||
           look_for_left(sight, journal, domain->metadata_job, domain->uuid, error);
}

static gboolean looks_marked(const char *xml)
{
    return strstr(xml, VMIG_METADATA_URI) != NULL;
}

VmigHookSight *vmig_hook_look(const VmigHookPaths *paths, VmigHookOp op, const char *name, const char *xml)
{
    VmigHookSight *sight = g_new0(VmigHookSight, 1);
    VmigHookFacts *f = &sight->facts;
    g_autoptr(VmigDomainXml) doc = xml != NULL ? vmig_domain_xml_parse(xml, NULL) : NULL;
    const VmigDomainFacts *domain = doc != NULL ? vmig_domain_xml_facts(doc) : NULL;

    f->op = op;
    f->marked = domain != NULL ? domain->has_metadata : xml != NULL && looks_marked(xml);
    if (!look_at_journal(sight, paths, name, domain, &sight->why)) {
        f->known = VMIG_HOOK_UNTRUSTED;
        return sight;
    }
    if (sight->job == NULL || domain == NULL)
        return sight;
    f->same_domain = g_ascii_strcasecmp(sight->job->uuid, domain->uuid) == 0;
    f->own_mark = g_strcmp0(sight->job->id, domain->metadata_job) == 0;
    f->chain = chain_of(doc, sight->job, f->here);
    if (f->known == VMIG_HOOK_OPEN && op == VMIG_HOOK_PREPARE && f->here == VMIG_DEST)
        f->incoming = f->own_mark && vmig_hook_take_incoming(paths, sight->job->uuid, sight->job->id);
    return sight;
}

/* --- the messages --- */

char *vmig_hook_words(const VmigHookSight *sight, VmigHookVerdict verdict, const char *name)
{
    g_autofree char *guest = vmig_text_escape(name, -1);
    const VmigJob *job = sight->job;
    const char *id = job != NULL ? job->id : "?";
    g_autofree char *peer =
        vmig_text_escape(job == NULL ? "the other host" : job->host[vmig_role_other(sight->facts.here)], -1);
    g_autofree char *holder = vmig_text_escape(sight->holder != NULL ? sight->holder : "a process", -1);

    switch (verdict) {
    case VMIG_HOOK_VETO_TWIN:
        return g_strdup_printf("'%s' moved to %s in job %s, and its disks on this host are out of date: start it "
                               "there; `vmig-snap resume %s` removes the job's files here.",
                               guest, peer, id, id);
    case VMIG_HOOK_VETO_NOT_YET:
        return g_strdup_printf(
            "'%s' belongs to %s until job %s has moved it to this host: start it there, or run `vmig-snap resume %s`.",
            guest, peer, id, id);
    case VMIG_HOOK_VETO_UNDECIDED:
        return g_strdup_printf("job %s was interrupted, and only `vmig-snap resume %s` can determine from which disks "
                               "and on which host '%s' may start: run that first.",
                               id, id, guest);
    case VMIG_HOOK_VETO_REPAIR:
        return g_strdup_printf("the disks of '%s' are being merged by job %s (%s): try again when `vmig-snap status "
                               "%s` reports that this is done; `vmig-snap resume %s` continues it.",
                               guest, id, sight->facts.busy ? holder : "no process works on it now", id, id);
    case VMIG_HOOK_VETO_BASE:
        return g_strdup_printf("from this definition '%s' would start without its last writes, which are still in "
                               "temporary overlays of job %s: run `vmig-snap resume %s` (or cancel) first.",
                               guest, id, id);
    case VMIG_HOOK_VETO_OVERLAY:
        return g_strdup_printf("this definition of '%s' names temporary overlays that job %s has already committed: "
                               "define its disks on their bases, or run `vmig-snap resume %s`.",
                               guest, id, id);
    case VMIG_HOOK_VETO_CHAIN:
        return g_strdup_printf("this definition of '%s' does not name the disks of the unfinished job %s: run "
                               "`vmig-snap resume %s` (or cancel) first.",
                               guest, id, id);
    case VMIG_HOOK_VETO_FILES:
        return g_strdup_printf("'%s' would start on disks of the unfinished job %s, which belongs to another guest of "
                               "that name: run `vmig-snap resume %s` (or cancel) first.",
                               guest, id, id);
    case VMIG_HOOK_VETO_MIGRATION:
        return g_strdup_printf("'%s' has the unfinished job %s on this host: run `vmig-snap resume %s` (or cancel) "
                               "before it is migrated to this host by other means.",
                               guest, id, id);
    case VMIG_HOOK_VETO_UNREADABLE:
        return g_strdup_printf(
            "'%s' has the unfinished job %s, and its definition cannot be read: run `vmig-snap resume %s` first.",
            guest, id, id);
    case VMIG_HOOK_VETO_JOURNAL:
        return g_strdup_printf(
            "'%s' has the marker of a migration, but the journal cannot be used (%s): run `vmig-snap doctor` first.",
            guest, sight->why != NULL ? sight->why->message : "?");
    case VMIG_HOOK_ALLOW:
    case VMIG_HOOK_VERDICT_LAST:
    default:
        return g_strdup("?");
    }
}
