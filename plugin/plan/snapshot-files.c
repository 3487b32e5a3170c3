/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot's machine may use files that the guest no longer uses: a medium, or a disk that was removed since. */
#include "plan/snapshot-files.h"

#include "definition/domain-xml.h"
#include "definition/snapshot-tree.h"

GHashTable *vmig_snapshot_files_known(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

static void add(GPtrArray *files, const char *path)
{
    if (path != NULL && *path == '/')
        g_ptr_array_add(files, (gpointer)path);
}

/* A revert omits a missing medium if the definition allows it, but never a disk (virDomainStartupPolicy,
 * qemuDomainCheckDiskStartupPolicy()). */
static gboolean may_lack(const VmigDomainDisk *disk)
{
    gboolean removable = g_strcmp0(disk->device, "cdrom") == 0 || g_strcmp0(disk->device, "floppy") == 0;

    return removable &&
           (g_strcmp0(disk->startup_policy, "optional") == 0 || g_strcmp0(disk->startup_policy, "requisite") == 0);
}

static GPtrArray *needed(const VmigDomainFacts *facts)
{
    GPtrArray *files = g_ptr_array_new();

    for (guint i = 0; i < facts->needed_files->len; i++)
        add(files, facts->needed_files->pdata[i]);
    for (guint i = 0; i < facts->disks->len; i++) {
        const VmigDomainDisk *disk = facts->disks->pdata[i];
        if ((g_strcmp0(disk->type, "file") != 0 && g_strcmp0(disk->type, "block") != 0) || may_lack(disk))
            continue;
        add(files, disk->source != NULL ? disk->source : disk->source_text);
        for (guint k = 0; k < disk->backing->len; k++)
            add(files, ((const VmigChainFile *)disk->backing->pdata[k])->file);
    }
    return files;
}

static gboolean is_there(VmigNode *node, const char *path, GHashTable *known, gboolean *ret, GError **error)
{
    gpointer answer;

    if (g_hash_table_lookup_extended(known, path, NULL, &answer)) {
        *ret = GPOINTER_TO_INT(answer);
        return TRUE;
    }
    g_autoptr(VmigPathFacts) facts = vmig_node_path(node, path, error);
    if (facts == NULL)
        return FALSE;
    *ret = facts->exists;
    g_hash_table_insert(known, g_strdup(path), GINT_TO_POINTER(facts->exists));
    return TRUE;
}

gboolean vmig_snapshot_files_missing(VmigNode *node, const char *domain_xml, GHashTable *coming, GHashTable *known,
                                     char **missing, GError **error)
{
    g_autoptr(VmigDomainXml) xml = vmig_domain_xml_parse(domain_xml, error);

    *missing = NULL;
    if (xml == NULL)
        return FALSE;
    g_autoptr(GPtrArray) files = needed(vmig_domain_xml_facts(xml));
    for (guint i = 0; i < files->len && *missing == NULL; i++) {
        const char *path = files->pdata[i];
        gboolean there = coming != NULL && g_hash_table_contains(coming, path);
        if (!there && !is_there(node, path, known, &there, error))
            return FALSE;
        if (!there)
            *missing = g_strdup(path);
    }
    return TRUE;
}

static GHashTable *files_that_come(const VmigJob *job, GHashTable *told)
{
    GHashTable *coming = g_hash_table_new(g_str_hash, g_str_equal);
    GHashTableIter iter;
    gpointer path;

    if (told != NULL) {
        g_hash_table_iter_init(&iter, told);
        while (g_hash_table_iter_next(&iter, &path, NULL))
            g_hash_table_add(coming, path);
    }

    for (guint i = 0; i < job->artifacts->len; i++) {
        const VmigArtifact *artifact = job->artifacts->pdata[i];
        for (guint k = 0; k < artifact->files->len; k++)
            g_hash_table_add(coming, ((VmigFile *)artifact->files->pdata[k])->path[VMIG_DEST]);
    }
    return coming;
}

gboolean vmig_snapshot_files_survey(VmigNode *dest, VmigJob *job, GHashTable *told, GError **error)
{
    g_autoptr(GHashTable) coming = files_that_come(job, told);
    g_autoptr(GHashTable) known = vmig_snapshot_files_known();

    for (guint i = 0; i < job->snapshots->len; i++) {
        VmigSnapshot *snapshot = job->snapshots->pdata[i];
        g_autofree char *xml = vmig_snapshot_xml_for_destination(snapshot->xml, job, error);
        const VmigSnapshot there = {.xml = xml};
        g_autofree char *domain = xml != NULL ? vmig_snapshot_domain_xml(&there) : NULL;
        g_autofree char *missing = NULL;
        if (xml == NULL ||
            (domain != NULL && !vmig_snapshot_files_missing(dest, domain, coming, known, &missing, error)))
            return FALSE;
        g_free(snapshot->unrevertable);
        snapshot->unrevertable =
            missing != NULL ? g_strdup_printf("it needs %s, which %s does not have", missing, job->host[VMIG_DEST])
                            : NULL;
    }
    return TRUE;
}
