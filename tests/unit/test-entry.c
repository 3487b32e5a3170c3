/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The check before each step: which files of the job a definition may name in which state, and what is left to the
 * step. */
#include <string.h>

#include "engine/entry.h"
#include "flows/migrate/states.h"

#define ID "0123456789abcdef"

static VmigJob *make_job(VmigState state, const char *merge)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);
    VmigDisk *disk = vmig_disk_new();
    VmigFile *file = vmig_file_new();

    job->id = g_strdup(ID);
    job->uuid = g_strdup("4dea22b3-1d52-d8f3-2516-782e98ab3fa0");
    job->domain = g_strdup("web");
    job->host[VMIG_SOURCE] = g_strdup("kvm1");
    job->host[VMIG_DEST] = g_strdup("kvm2");
    job->options.merge = g_strdup(merge);
    vmig_job_set_state(job, state);
    file->path[VMIG_SOURCE] = g_strdup("/base");
    file->path[VMIG_DEST] = g_strdup("/base");
    disk->target = g_strdup("vda");
    disk->at[VMIG_SOURCE].overlay = g_strdup("/overlay");
    disk->at[VMIG_DEST].overlay = g_str_equal(merge, "mirror") ? NULL : g_strdup("/overlay");
    g_ptr_array_add(disk->files, file);
    vmig_job_add(job, disk);
    return job;
}

static VmigDomainXml *definition(const char *mark, const char *file)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = g_strdup_printf(
        "<domain><name>web</name><uuid>u</uuid><metadata><vmig:operation xmlns:vmig='" VMIG_METADATA_URI
        "' job='%s'/></metadata><devices><disk type='file' device='disk'><source file='%s'/><target dev='vda'/></disk>"
        "</devices></domain>",
        mark, file);
    VmigDomainXml *xml = vmig_domain_xml_parse(text, &error);

    g_assert_no_error(error);
    return xml;
}

static void check(VmigState state, const char *merge, VmigRole role, const char *file, const char *says)
{
    g_autoptr(VmigJob) job = make_job(state, merge);
    g_autoptr(VmigDomainXml) xml = definition(ID, file);
    g_autoptr(VmigDomainXml) foreign = definition("fedcba9876543210", file);
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(vmig_entry_admits(xml, job, role, &error), ==, says == NULL);
    if (says == NULL) {
        g_assert_no_error(error);
    } else {
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_INTERFERENCE);
        if (strstr(error->message, says) == NULL)
            g_error("'%s' is not in '%s'", says, error->message);
        g_assert_nonnull(strstr(error->message, job->host[role]));
        g_assert_nonnull(strstr(error->message, job->state));
        g_assert_nonnull(strstr(vmig_error_hint(error), "vmig-snap resume " ID));
    }
    /* A domain without the job's mark is never judged here. */
    g_assert_true(vmig_entry_admits(foreign, job, role, NULL));
}

static void test_rows(void)
{
    check(VMIG_MIGRATE(LOCK), "commit", VMIG_SOURCE, "/base", NULL);
    check(VMIG_MIGRATE(LOCK), "commit", VMIG_SOURCE, "/overlay", "on its overlay");
    check(VMIG_MIGRATE(COPY), "commit", VMIG_SOURCE, "/overlay", NULL);
    check(VMIG_MIGRATE(COPY), "commit", VMIG_SOURCE, "/base", "on its base");
    check(VMIG_MIGRATE(COPY), "commit", VMIG_DEST, "/overlay", "must not be defined there yet");
    check(VMIG_MIGRATE(MIGRATE), "commit", VMIG_DEST, "/overlay", NULL);
    check(VMIG_MIGRATE(MIGRATE), "commit", VMIG_DEST, "/base", "on its base");
    check(VMIG_MIGRATE(PIVOT), "commit", VMIG_DEST, "/base", NULL);
    check(VMIG_MIGRATE(PIVOT), "commit", VMIG_DEST, "/overlay", NULL);
    check(VMIG_MIGRATE(CLEANUP), "commit", VMIG_DEST, "/overlay", "on its overlay");
    check(VMIG_MIGRATE(BACK_REDEFINE), "commit", VMIG_SOURCE, "/overlay", "on its overlay");
}

/* With merge "mirror" the guest arrives on its base copies. */
static void test_mirror(void)
{
    check(VMIG_MIGRATE(MIGRATE), "mirror", VMIG_DEST, "/base", NULL);
    check(VMIG_MIGRATE(CLEANUP), "mirror", VMIG_DEST, "/base", NULL);
    check(VMIG_MIGRATE(COPY), "mirror", VMIG_DEST, "/base", "must not be defined there yet");
}

/* A file that is not the job's was put there by a user: the step decides. */
static void test_other(void)
{
    VMIG_EACH_STATE (state, &vmig_states_migrate)
        check(state, "commit", VMIG_SOURCE, "/somewhere", NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/entry/rows", test_rows);
    g_test_add_func("/entry/mirror", test_mirror);
    g_test_add_func("/entry/other", test_other);
    return g_test_run();
}
