/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Definitions of snapshots, as libvirt or the other host gives them; a form feed is between two of them. */
#include "definition/domain-xml.h"
#include "core/path-map.h"
#include "definition/snapshot-tree.h"
#include "tests/fuzz/fuzz.h"

static void add_disk(VmigJob *job)
{
    VmigDisk *disk = vmig_disk_new();
    VmigFile *file = vmig_file_new();

    file->path[VMIG_SOURCE] = g_strdup("/var/lib/libvirt/images/web1.qcow2");
    file->path[VMIG_DEST] = g_strdup("/srv/images/there.qcow2");
    disk->target = g_strdup("vda");
    g_ptr_array_add(disk->files, file);
    vmig_job_add(job, disk);
}

static void read_one(const char *text, GPtrArray *tree)
{
    g_autoptr(GError) error = NULL, failure = NULL;
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_migrate);
    VmigSnapshot *snapshot = vmig_snapshot_from_xml(text, &error);

    g_assert((snapshot == NULL) == (error != NULL));
    if (snapshot == NULL)
        return;
    g_ptr_array_add(tree, snapshot);
    g_autofree char *domain = vmig_snapshot_domain_xml(snapshot);
    g_autoptr(VmigDomainXml) inner = domain != NULL ? vmig_domain_xml_parse(domain, NULL) : NULL;
    job->uuid = g_strdup(inner != NULL ? vmig_domain_xml_facts(inner)->uuid : "6f1d3f4e-6a53-4a8f-9d0d-2f5a8b1c7e90");
    job->domain = g_strdup(inner != NULL ? vmig_domain_xml_facts(inner)->name : "web1");
    add_disk(job);
    g_autofree char *moved = vmig_snapshot_xml_for_destination(text, job, &failure);
    g_assert((moved == NULL) == (failure != NULL));
    if (moved == NULL)
        return;
    VmigSnapshot *again = vmig_snapshot_from_xml(moved, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(again->name, ==, snapshot->name);
    g_assert_cmpstr(again->parent, ==, snapshot->parent);
    vmig_snapshot_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = fuzz_text(data, size);
    g_auto(GStrv) texts = g_strsplit(text, "\f", 16);
    g_autoptr(GPtrArray) tree = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_snapshot_free);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    g_autofree char *difference = NULL;

    for (guint i = 0; texts[i] != NULL; i++)
        read_one(texts[i], tree);
    if (vmig_snapshot_tree_order(tree, NULL))
        g_assert(vmig_snapshot_tree_equal(tree, tree, &difference) && difference == NULL);
    for (guint i = 0; i < tree->len; i++) {
        const VmigSnapshot *snapshot = tree->pdata[i];
        g_ptr_array_add(names, g_bytes_new(snapshot->name, strlen(snapshot->name)));
    }
    g_autoptr(GPtrArray) lines = vmig_snapshot_tree_compare_image(tree, "vda", names);
    return 0;
}
