/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/host.h"

#include "definition/domain-xml.h"
#include "core/names.h"

VmigHost *vmig_host_at(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = &m->env->host[role];

    if (host->hypervisor != NULL && host->node != NULL)
        return host;
    vmig_fail(error, VMIG_ERROR_CONNECTION,
              "Bring the host back. A process that works on the job then continues by itself; otherwise run vmig-snap "
              "resume.",
              "cannot reach %s", role == VMIG_SOURCE ? "the source" : "the destination");
    return NULL;
}

VmigDomainXml *vmig_host_definition(VmigMachine *m, VmigRole role, VmigXmlKind kind, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    g_autofree char *xml = NULL;

    if (host == NULL || !host->hypervisor->ops->domain_xml(host->hypervisor, m->job->uuid, kind, &xml, error))
        return NULL;
    return vmig_domain_xml_parse(xml, error);
}

gboolean vmig_host_chain(VmigMachine *m, VmigRole role, const VmigDisk *disk, VmigXmlKind kind, VmigChain *ret,
                         GError **error)
{
    g_autoptr(VmigDomainXml) definition = vmig_host_definition(m, role, kind, error);

    if (definition == NULL)
        return FALSE;
    *ret = vmig_chain_in(definition, disk, role);
    return TRUE;
}

gboolean vmig_host_require_chain(VmigMachine *m, VmigRole role, VmigChain chain, GError **error)
{
    g_autoptr(VmigDomainXml) live = vmig_host_definition(m, role, VMIG_XML_LIVE, error);

    for (guint i = 0; live != NULL && i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        VmigChain now = vmig_chain_in(live, disk, role);
        if (chain == VMIG_CHAIN_OURS ? now == VMIG_CHAIN_OTHER : now != chain)
            return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL,
                             "disk %s of '%s' is not on the expected chain: another process changed it", disk->target,
                             m->job->domain);
    }
    return live != NULL;
}

gboolean vmig_host_note_diverged(VmigMachine *m, GError **error)
{
    if (m->job->overlays == VMIG_OVERLAYS_DIVERGED)
        return TRUE;
    m->job->overlays = VMIG_OVERLAYS_DIVERGED;
    return vmig_machine_save(m, error);
}

/* The image's own snapshots as "'one' (id 1), 'two' (id 2)". NULL if they cannot be read. */
static char *snapshot_names(VmigHost *host, const char *path)
{
    g_autoptr(GPtrArray) chain = vmig_node_survey(host->node, path, "qcow2", NULL);
    const VmigImageFacts *image = chain != NULL && chain->len > 0 ? chain->pdata[0] : NULL;
    GString *names = g_string_new(NULL);

    for (guint i = 0; image != NULL && i < image->snapshots->len && i < 10; i++) {
        const VmigImageSnapshot *snapshot = image->snapshots->pdata[i];
        g_string_append_printf(names, "%s'%s' (id %s)", i > 0 ? ", " : "", snapshot->name, snapshot->id);
    }
    return g_string_free(names, names->len == 0);
}

static gboolean fail_snapshot(VmigMachine *m, VmigHost *host, const char *overlay, guint32 count, GError **error)
{
    g_autofree char *names = snapshot_names(host, overlay);

    vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL,
              "%s: another process created %u internal snapshot(s) of '%s' in the temporary overlay %s, where they "
              "would be lost: %s",
              host->hypervisor->host, count, m->job->domain, overlay, names != NULL ? names : "(cannot be read)");
    g_autofree char *domain = vmig_shell_domain(m->job->domain, m->job->uuid);
    if (error != NULL && *error != NULL)
        vmig_error_set_hint(*error,
                            "No file was removed. Save the snapshot's content (qemu-img convert -l), delete the "
                            "snapshot (while the guest runs: virsh qemu-monitor-command %s --hmp 'delvm NAME'; "
                            "otherwise: qemu-img snapshot -d), then run vmig-snap resume.",
                            domain);
    return FALSE;
}

gboolean vmig_host_require_no_snapshot(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);

    for (guint i = 0; host != NULL && i < m->job->disks->len; i++) {
        const char *overlay = vmig_disk_overlay(m->job->disks->pdata[i], role);
        guint32 count = 0;
        if (overlay == NULL) /* merge "mirror": a snapshot made now is in the base copy and stays */
            continue;
        if (!vmig_node_count_snapshots(host->node, overlay, &count, error))
            return FALSE;
        if (count > 0)
            return fail_snapshot(m, host, overlay, count, error);
    }
    return host != NULL;
}

static gboolean persistent_on(VmigMachine *m, VmigHost *host, VmigRole role, VmigChain chain, GError **error)
{
    g_autoptr(VmigDomainXml) persistent = vmig_host_definition(m, role, VMIG_XML_PERSISTENT, error);

    for (guint i = 0; persistent != NULL && i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        if (vmig_chain_in(persistent, disk, role) != chain)
            return vmig_fail(error, VMIG_ERROR_INTERFERENCE,
                             "Check virsh dumpxml --inactive, then run vmig-snap resume.",
                             "%s: the persistent definition of disk %s does not name its %s", host->hypervisor->host,
                             disk->target, chain == VMIG_CHAIN_BASE ? "base" : "overlay");
    }
    return persistent != NULL;
}

gboolean vmig_host_require_persistent(VmigMachine *m, VmigRole role, VmigChain chain, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);

    return host != NULL && persistent_on(m, host, role, chain, error);
}

gboolean vmig_host_require_on_bases(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    VmigRun run;

    if (host == NULL || !vmig_host_run(m, role, &run, error))
        return FALSE;
    gboolean live = run != VMIG_RUN_SHUTOFF;
    return (!live || vmig_host_require_chain(m, role, VMIG_CHAIN_BASE, error)) &&
           vmig_host_require_next_start(m, role, error);
}

gboolean vmig_host_require_defined(VmigMachine *m, VmigRole role, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    const char *xml = role == VMIG_DEST ? m->job->dest_persistent_xml : m->job->persistent_xml;
    g_autoptr(VmigDomainInfo) info = NULL;

    if (host == NULL || !host->hypervisor->ops->find(host->hypervisor, m->job->uuid, &info, error))
        return FALSE;
    if (info == NULL || info->persistent || xml == NULL)
        return TRUE;
    vmig_machine_note(m, "%s: a user undefined '%s' while it ran: it was defined again", host->hypervisor->host,
                      m->job->domain);
    g_autofree char *on_bases = vmig_domain_xml_on_bases(xml, m->job, role, error);
    return on_bases != NULL && host->hypervisor->ops->define(host->hypervisor, on_bases, error);
}

void vmig_host_note_checkpoints(VmigMachine *m, VmigRole role)
{
    VmigHost *host = vmig_host_at(m, role, NULL);
    g_autoptr(VmigDomainInfo) info = NULL;

    if (host == NULL || !host->hypervisor->ops->find(host->hypervisor, m->job->uuid, &info, NULL) || info == NULL ||
        info->checkpoints <= m->checkpoints)
        return;
    m->checkpoints = info->checkpoints;
    g_autofree char *text =
        g_strdup_printf("%s: a user created %u checkpoint(s) of '%s' during the commit: they may be incomplete; delete "
                        "them (virsh checkpoint-delete) and take a full backup",
                        host->hypervisor->host, info->checkpoints, m->job->domain);
    vmig_journal_note(m->journal, m->job->id, text, NULL);
    vmig_machine_note(m, "%s", text);
}

gboolean vmig_host_run(VmigMachine *m, VmigRole role, VmigRun *ret, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);

    return host != NULL && vmig_hypervisor_run(host->hypervisor, m->job->uuid, ret, error);
}

/* A disk that the user replaced meanwhile is not the job's. If the user put a layer over the job's file, the disk is
 * still the one whose attribute was set. */
static gboolean is_the_jobs(const VmigDomainDisk *now, const VmigDisk *disk)
{
    const VmigFile *base = vmig_disk_base(disk);
    gboolean found = now != NULL && vmig_chain_has(now, base->named);

    for (VmigRole role = VMIG_SOURCE; now != NULL && role <= VMIG_DEST; role++)
        found = found || vmig_chain_has(now, vmig_disk_overlay(disk, role)) ||
                vmig_chain_has(now, vmig_file_path(base, role));
    return found;
}

static gboolean set_attribute(VmigMachine *m, VmigHost *host, VmigXmlKind kind, gboolean hold, GError **error)
{
    VmigHypervisor *hv = host->hypervisor;
    g_autofree char *xml = NULL;

    if (!hv->ops->domain_xml(hv, m->job->uuid, kind, &xml, error))
        return FALSE;
    g_autoptr(VmigDomainXml) doc = vmig_domain_xml_parse(xml, error);
    if (doc == NULL)
        return FALSE;
    for (guint i = 0; i < m->job->disks->len; i++) {
        const VmigDisk *disk = m->job->disks->pdata[i];
        const char *before = kind == VMIG_XML_PERSISTENT ? disk->next_snapshot : disk->snapshot;
        const char *value = hold ? "no" : before;
        const VmigDomainDisk *now = vmig_domain_xml_disk(doc, disk->target);
        /* The chain of a guest that is off is unknown. A job that is set aside must leave no "no" behind. */
        gboolean ours = is_the_jobs(now, disk) ||
                        (m->set_aside && now != NULL && !now->chain_known && g_strcmp0(now->snapshot, "no") == 0);
        if (now == NULL || g_strcmp0(now->snapshot, value) == 0 || !ours)
            continue;
        g_autofree char *element = vmig_disk_xml_set_snapshot(xml, disk->target, value, error);
        if (element == NULL || !hv->ops->update_disk(hv, m->job->uuid, element, kind == VMIG_XML_PERSISTENT, error))
            return FALSE;
    }
    return TRUE;
}

gboolean vmig_host_set_snapshot_attribute(VmigMachine *m, VmigRole role, gboolean hold, GError **error)
{
    VmigHost *host = vmig_host_at(m, role, error);
    VmigRun run;

    if (host == NULL || !vmig_host_run(m, role, &run, error))
        return FALSE;
    gboolean live = run != VMIG_RUN_SHUTOFF && run != VMIG_RUN_ABSENT;
    return (!live || set_attribute(m, host, VMIG_XML_LIVE, hold, error)) &&
           (run == VMIG_RUN_ABSENT || hold || set_attribute(m, host, VMIG_XML_PERSISTENT, hold, error));
}
