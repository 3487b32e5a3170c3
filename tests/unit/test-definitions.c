/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests the reports about a guest whose running definition differs from the one for its next start, and that a
 * definition that another user changed is left unchanged. */
#include <string.h>

#include "definition/domain-xml.h"
#include "plan/plan.h"

#define UUID "11111111-2222-3333-4444-555555555555"
#define DOMAIN(disks)                                                                                                  \
    "<domain type='kvm'><name>g</name><uuid>" UUID "</uuid><memory>1</memory><devices>" disks "</devices></domain>"
#define DISK(attributes, format, source, target)                                                                       \
    "<disk type='file' device='disk'" attributes "><driver name='qemu' type='" format "'/><source file='" source "'/>" \
    "<target dev='" target "'/></disk>"
#define A DISK("", "qcow2", "/i/a.qcow2", "vda")
#define CDROM(source) "<disk type='file' device='cdrom'>" source "<target dev='sda'/></disk>"

static VmigJob *make_job(void)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);
    VmigDisk *disk = vmig_disk_new();
    VmigFile *file = vmig_file_new();

    job->uuid = g_strdup(UUID);
    file->path[VMIG_SOURCE] = g_strdup("/i/a.qcow2");
    file->path[VMIG_DEST] = g_strdup("/d/a.qcow2");
    file->format = g_strdup("qcow2");
    disk->target = g_strdup("vda");
    disk->at[VMIG_SOURCE].overlay = g_strdup("/i/a.vmig.qcow2");
    disk->at[VMIG_DEST].overlay = g_strdup("/d/a.vmig.qcow2");
    disk->snapshot = g_strdup("internal");
    disk->next_snapshot = g_strdup("external");
    g_ptr_array_add(disk->files, file);
    vmig_job_add(job, disk);
    return job;
}

static void assert_planned(const char *now, const char *planned, const char *word)
{
    g_autoptr(VmigJob) job = make_job();
    g_autoptr(GError) error = NULL;
    gboolean same = vmig_domain_xml_as_planned(now, planned, job, &error);

    g_assert_cmpint(same, ==, word == NULL);
    if (word == NULL) {
        g_assert_no_error(error);
        return;
    }
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_INTERFERENCE);
    g_assert_nonnull(strstr(error->message, word));
}

static void test_planned(void)
{
    const char *planned = DOMAIN(A DISK("", "raw", "/i/b.raw", "vdb") CDROM("<source file='/m.iso'/>"));

    assert_planned(planned, planned, NULL);
    assert_planned(DOMAIN(A), planned, NULL); /* detached meanwhile: it is not migrated */
    assert_planned(DOMAIN(DISK("", "qcow2", "/i/a.vmig.qcow2", "vda")), planned, NULL);
    assert_planned(DOMAIN(A CDROM("")), planned, NULL);
    assert_planned(DOMAIN(A CDROM("<source file='/other.iso'/>")), planned, "sda (/other.iso)");
    assert_planned(DOMAIN(A DISK("", "raw", "/i/c.raw", "vdb")), planned, "vdb (/i/c.raw)");
    assert_planned(DOMAIN(A DISK("", "raw", "/i/c.raw", "vdc")), planned, "vdc (/i/c.raw)");
    assert_planned(DOMAIN(A "<disk type='block' device='disk'><source dev='/i/b.raw'/><target dev='vdb'/></disk>"),
                   planned, "vdb");
}

static void assert_on_bases(const char *xml, VmigRole role, const char *expected)
{
    g_autoptr(VmigJob) job = make_job();
    g_autoptr(GError) error = NULL;
    g_autofree char *result = vmig_domain_xml_on_bases(xml, job, role, &error);

    g_assert_no_error(error);
    g_autoptr(VmigDomainXml) doc = vmig_domain_xml_parse(expected, &error);
    g_assert_no_error(error);
    g_autofree char *text = vmig_domain_xml_to_string(doc);
    g_assert_cmpstr(result, ==, text);
}

static void test_on_bases(void)
{
    assert_on_bases(DOMAIN(DISK(" snapshot='no'", "qcow2", "/i/a.vmig.qcow2", "vda")), VMIG_SOURCE,
                    DOMAIN(DISK(" snapshot='external'", "qcow2", "/i/a.qcow2", "vda")));
    assert_on_bases(DOMAIN(DISK(" snapshot='no'", "qcow2", "/d/a.vmig.qcow2", "vda")), VMIG_DEST,
                    DOMAIN(DISK(" snapshot='external'", "qcow2", "/d/a.qcow2", "vda")));
    /* Another user's additions and removals are kept. */
    assert_on_bases(DOMAIN(DISK("", "raw", "/i/other.raw", "vda")), VMIG_SOURCE,
                    DOMAIN(DISK("", "raw", "/i/other.raw", "vda")));
    assert_on_bases(DOMAIN(CDROM("")), VMIG_SOURCE, DOMAIN(CDROM("")));
}

/* The plan's message for two definitions of one disk: a part of its text, NULL for none. */
static void assert_plan(const char *live, const char *persistent, const char *word)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigDomainXml) now = vmig_domain_xml_parse(live, &error);
    g_autoptr(VmigDomainXml) next = vmig_domain_xml_parse(persistent, &error);
    g_autoptr(GPtrArray) chain = g_ptr_array_new();
    g_autoptr(GPtrArray) disks = g_ptr_array_new();
    g_autoptr(GPtrArray) next_disks = g_ptr_array_new();
    VmigImageFacts image = {.path = (char *)"/i/a.qcow2", .format = (char *)"qcow2"};
    VmigImageFacts below = {.path = (char *)"/i/below.qcow2", .format = (char *)"qcow2"};
    VmigPlanDisk disk = {.moved = TRUE, .chain = chain};
    VmigSurvey survey = {.live = now, .persistent = next, .disks = disks, .next_disks = next_disks};
    VmigPlan plan = {.survey = &survey};

    g_assert_no_error(error);
    g_ptr_array_add(chain, &image);
    g_ptr_array_add(chain, &below);
    g_ptr_array_add(disks, &disk);
    disk.disk = vmig_domain_xml_disk(now, "vda");
    plan.refusals = g_ptr_array_new();
    vmig_plan_rule_definitions(&plan);
    g_assert_cmpuint(plan.refusals->len, ==, word == NULL ? 0 : 1);
    for (guint i = 0; i < plan.refusals->len; i++) {
        VmigRefusal *refusal = plan.refusals->pdata[i];
        g_assert_cmpint(refusal->code, ==, VMIG_ERROR_DEFINITIONS_DIFFER);
        if (strstr(refusal->message, word) == NULL)
            g_error("'%s' does not say '%s'", refusal->message, word);
        g_assert_nonnull(refusal->hint);
        g_free(refusal->disk);
        g_free(refusal->message);
        g_free(refusal->hint);
        g_free(refusal);
    }
    g_ptr_array_unref(plan.refusals);
}

#define CHAIN(below)                                                                                                   \
    "<disk type='file' device='disk'><driver type='qcow2'/><source file='/i/a.qcow2'/><backingStore type='file'>"      \
    "<format type='qcow2'/><source file='" below "'/><backingStore/></backingStore><target dev='vda'/></disk>"

static void test_plan(void)
{
    assert_plan(DOMAIN(A), DOMAIN(A), NULL);
    assert_plan(DOMAIN(A), DOMAIN(DISK(" snapshot='no'", "qcow2", "/i/a.qcow2", "vda")), NULL);
    assert_plan(DOMAIN(A), DOMAIN(DISK("", "qcow2", "/i/b.qcow2", "vda")), "names /i/b.qcow2");
    assert_plan(DOMAIN(A), DOMAIN(DISK("", "raw", "/i/a.qcow2", "vda")), "says raw");
    assert_plan(DOMAIN(A), DOMAIN(CDROM("")), "only to the running guest");
    assert_plan(DOMAIN(A),
                DOMAIN("<disk type='block' device='disk'><source dev='/i/a.qcow2'/><target dev='vda'/></disk>"),
                "next start names");
    assert_plan(DOMAIN(A), DOMAIN(CHAIN("/i/below.qcow2")), NULL);
    assert_plan(DOMAIN(A), DOMAIN(CHAIN("/i/other.qcow2")), "the backing files");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/definitions/planned", test_planned);
    g_test_add_func("/definitions/on-bases", test_on_bases);
    g_test_add_func("/definitions/plan", test_plan);
    return g_test_run();
}
