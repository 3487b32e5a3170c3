/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Definitions: stored as structures, returned as XML that looks like libvirt's, parsed when they are defined. */
#include "sim.h"

#include <string.h>

static void disk_clear(SimDefDisk *disk)
{
    g_free(disk->target);
    g_free(disk->snapshot);
    for (guint i = 0; i < disk->n_chain; i++)
        g_free(disk->chain[i]);
}

void sim_def_clear(SimDef *def)
{
    for (guint i = 0; i < def->n; i++)
        disk_clear(&def->disks[i]);
    g_free(def->metadata);
    memset(def, 0, sizeof *def);
}

void sim_def_copy(SimDef *to, const SimDef *from)
{
    SimDef copy = *from;

    for (guint i = 0; i < copy.n; i++) {
        SimDefDisk *disk = &copy.disks[i];
        disk->target = g_strdup(disk->target);
        disk->snapshot = g_strdup(disk->snapshot);
        for (guint k = 0; k < disk->n_chain; k++)
            disk->chain[k] = g_strdup(disk->chain[k]);
    }
    copy.metadata = g_strdup(copy.metadata);
    sim_def_clear(to);
    *to = copy;
}

SimDefDisk *sim_def_disk(SimDef *def, const char *target)
{
    for (guint i = 0; i < def->n; i++)
        if (g_strcmp0(def->disks[i].target, target) == 0)
            return &def->disks[i];
    return NULL;
}

void sim_def_push(SimDefDisk *disk, const char *path)
{
    if (!disk->chain_known) {
        g_free(disk->chain[0]);
        disk->chain[0] = g_strdup(path);
        return;
    }
    g_assert(disk->n_chain < SIM_CHAIN);
    memmove(&disk->chain[1], &disk->chain[0], disk->n_chain * sizeof disk->chain[0]);
    disk->chain[0] = g_strdup(path);
    disk->n_chain++;
}

void sim_def_pop(SimDefDisk *disk)
{
    g_free(disk->chain[0]);
    disk->n_chain--;
    memmove(&disk->chain[0], &disk->chain[1], disk->n_chain * sizeof disk->chain[0]);
}

static void add_mirror(GString *xml, const SimQemuDisk *disk)
{
    if (disk->job.kind == VMIG_BLOCK_JOB_NONE)
        return;
    g_string_append_printf(xml, "<mirror type='file' job='%s'%s><format type='qcow2'/></mirror>",
                           disk->job.kind == VMIG_BLOCK_JOB_COPY ? "copy" : "active-commit",
                           disk->job.ready ? " ready='yes'" : "");
}

static void add_disk(GString *xml, const SimDefDisk *disk, const SimQemuDisk *open)
{
    g_string_append(xml, "    <disk type='file' device='disk'");
    if (disk->snapshot != NULL)
        g_string_append_printf(xml, " snapshot='%s'", disk->snapshot);
    g_string_append_printf(xml, ">\n      <driver name='qemu' type='qcow2'/>\n      <source file='%s'%s/>\n",
                           disk->chain[0], open != NULL ? " index='1'" : "");
    if (disk->chain_known) {
        for (guint i = 1; i < disk->n_chain; i++)
            g_string_append_printf(xml, "<backingStore type='file'><format type='qcow2'/><source file='%s'/>",
                                   disk->chain[i]);
        g_string_append(xml, "<backingStore/>");
        for (guint i = 1; i < disk->n_chain; i++)
            g_string_append(xml, "</backingStore>");
    }
    if (open != NULL)
        add_mirror(xml, open);
    g_string_append_printf(xml, "\n      <target dev='%s' bus='virtio'/>\n    </disk>\n", disk->target);
}

char *sim_def_to_xml(Sim *sim, const SimDef *def, const SimQemu *qemu)
{
    GString *xml = g_string_sized_new(2048);

    g_string_append_printf(xml, "<domain type='kvm'%s>\n  <name>guest</name>\n  <uuid>%s</uuid>\n",
                           qemu != NULL ? " id='1'" : "", sim->uuid);
    if (def->metadata != NULL)
        g_string_append_printf(xml, "  <metadata>\n    %s\n  </metadata>\n", def->metadata);
    g_string_append(xml, "  <memory unit='KiB'>65536</memory>\n  <vcpu>1</vcpu>\n"
                         "  <os><type arch='x86_64' machine='pc'>hvm</type></os>\n  <devices>\n"
                         "    <emulator>/usr/bin/qemu</emulator>\n");
    for (guint i = 0; i < def->n; i++)
        add_disk(xml, &def->disks[i], qemu != NULL ? &qemu->disks[i] : NULL);
    g_string_append(xml, "  </devices>\n</domain>\n");
    return g_string_free(xml, FALSE);
}

/* vmig-snap's element as text. libvirt keeps unknown elements unchanged. */
static char *find_metadata(const char *xml)
{
    const char *start = strstr(xml, "<vmig:operation");
    const char *end = start != NULL ? strstr(start, "</vmig:operation>") : NULL;

    if (start == NULL)
        return NULL;
    if (end != NULL)
        return g_strndup(start, (gsize)(end - start) + strlen("</vmig:operation>"));
    end = strstr(start, "/>");
    return end != NULL ? g_strndup(start, (gsize)(end - start) + 2) : NULL;
}

gboolean sim_def_parse(SimDef *def, const char *xml, GError **error)
{
    g_autoptr(VmigDomainXml) doc = vmig_domain_xml_parse(xml, error);
    SimDef parsed = {0};

    if (doc == NULL)
        return FALSE;
    const VmigDomainFacts *facts = vmig_domain_xml_facts(doc);
    g_assert(facts->disks->len <= SIM_DISKS);
    parsed.n = facts->disks->len;
    for (guint i = 0; i < parsed.n; i++) {
        const VmigDomainDisk *from = facts->disks->pdata[i];
        SimDefDisk *to = &parsed.disks[i];
        g_assert(from->backing->len < SIM_CHAIN);
        to->target = g_strdup(from->target);
        to->snapshot = g_strdup(from->snapshot);
        to->chain_known = from->chain_known;
        to->chain[to->n_chain++] = g_strdup(from->source);
        for (guint k = 0; from->chain_known && k < from->backing->len; k++)
            to->chain[to->n_chain++] = g_strdup(((VmigChainFile *)from->backing->pdata[k])->file);
    }
    parsed.metadata = find_metadata(xml);
    sim_def_clear(def);
    *def = parsed;
    return TRUE;
}
