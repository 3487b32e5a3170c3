/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A domain's definition, as libvirt or the other host gives it, through everything that reads or rewrites one. What a
 * rewrite makes can be read again. */
#include "definition/chain.h"
#include "core/path-map.h"
#include "tests/fuzz/fuzz.h"

#define ID "0123456789abcdef"

static VmigFile *make_file(const char *source)
{
    VmigFile *file = vmig_file_new();

    file->path[VMIG_SOURCE] = g_strdup(source);
    file->path[VMIG_DEST] = g_strdup("/srv/images/there.qcow2");
    file->part = vmig_part_path(file->path[VMIG_DEST], ID);
    file->format = g_strdup("qcow2");
    return file;
}

/* For the first disk that is a file, and the guest that the definition is of. */
static VmigJob *make_job(const VmigDomainFacts *facts)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);

    job->id = g_strdup(ID);
    job->uuid = g_strdup(facts->uuid);
    job->domain = g_strdup(facts->name);
    job->options.merge = g_strdup("commit");
    for (guint i = 0; i < facts->disks->len && job->disks->len == 0; i++) {
        const VmigDomainDisk *found = facts->disks->pdata[i];
        if (found->source == NULL)
            continue;
        VmigDisk *disk = vmig_disk_new();
        disk->target = g_strdup(found->target);
        disk->snapshot = g_strdup(found->snapshot);
        disk->at[VMIG_SOURCE].overlay = g_strdup("/srv/images/here.overlay");
        disk->at[VMIG_DEST].overlay = g_strdup("/srv/images/there.overlay");
        g_ptr_array_add(disk->files, make_file(found->source));
        vmig_job_add(job, disk);
    }
    return job;
}

static void check_made(char *made, const GError *error)
{
    g_autofree char *owned = made;

    g_assert((made == NULL) == (error != NULL));
    if (made == NULL)
        return;
    g_autoptr(GError) failure = NULL;
    g_autoptr(VmigDomainXml) again = vmig_domain_xml_parse(made, &failure);
    g_assert_no_error(failure);
}

static void rewrite(const char *text, const VmigJob *job)
{
    for (guint i = 0; i < 4; i++) {
        g_autoptr(GError) error = NULL;
        char *made = i < 2 ? vmig_domain_xml_for_destination(text, job, i == 0, &error)
                           : vmig_domain_xml_on_bases(text, job, i == 2 ? VMIG_SOURCE : VMIG_DEST, &error);
        check_made(made, error);
    }
}

static void look(const char *text, const VmigDomainXml *xml, const VmigJob *job)
{
    const VmigDomainFacts *facts = vmig_domain_xml_facts(xml);

    for (guint i = 0; i < facts->disks->len; i++) {
        const VmigDomainDisk *disk = facts->disks->pdata[i];
        g_autofree char *chain = vmig_domain_disk_chain_text(disk);
        g_autofree char *element = vmig_disk_xml_set_snapshot(text, disk->target, i % 2 == 0 ? "no" : NULL, NULL);
        g_assert(vmig_domain_xml_disk(xml, disk->target) != NULL && chain != NULL);
        if (job->disks->len > 0)
            (void)vmig_chain_of(disk, job->disks->pdata[0], VMIG_SOURCE);
    }
    g_autofree char *overlays = vmig_overlay_snapshot_xml(job, text, NULL);
    g_autofree char *ours = vmig_metadata_xml(job);
    g_autofree char *id = vmig_metadata_job_id(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = fuzz_text(data, size);
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigDomainXml) xml = vmig_domain_xml_parse(text, &error);

    g_assert((xml == NULL) == (error != NULL));
    if (xml == NULL) {
        g_free(vmig_metadata_job_id(text));
        return 0;
    }
    g_autofree char *same = vmig_domain_xml_to_string(xml);
    check_made(g_strdup(same), NULL);
    g_autoptr(VmigJob) job = make_job(vmig_domain_xml_facts(xml));
    look(text, xml, job);
    rewrite(text, job);
    return 0;
}
