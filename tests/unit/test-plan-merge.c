/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which merge is chosen, and that the reason is reported. */
#include <string.h>

#include "plan/plan.h"

typedef struct {
    VmigPlan plan;
    VmigSurvey survey;
    VmigPlanRequest request;
    VmigOptions options;
    VmigHypervisorInfo source, dest;
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    f->source = f->dest = (VmigHypervisorInfo){.libvirt_version = 9000000, .qemu_version = 7002022};
    f->options.merge = g_strdup(data);
    f->request.options = &f->options;
    f->survey.request = &f->request;
    f->survey.source_info = &f->source;
    f->survey.dest_info = &f->dest;
    f->plan.survey = &f->survey;
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_free(f->plan.merge_why);
    g_free(f->options.merge);
}

static char *choose(Fixture *f)
{
    g_clear_pointer(&f->plan.merge_why, g_free);
    return vmig_plan_choose_merge(&f->plan);
}

static void check(Fixture *f, const char *merge, const char *why, const char *against)
{
    g_autofree char *got = choose(f);

    g_assert_cmpstr(f->plan.merge, ==, merge);
    g_assert_nonnull(strstr(f->plan.merge_why, why));
    g_assert_true((got == NULL) == (against == NULL));
    if (against != NULL)
        g_assert_nonnull(strstr(got, against));
}

static void test_commit(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    check(f, "commit", "default", NULL);
    f->source.qemu_version = 4000000;
    check(f, "commit", "default", NULL);
}

static void test_mirror(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    check(f, "mirror", "requested", NULL);
    f->source.qemu_version = 7001999;
    check(f, "mirror", "requested", "the source has libvirt 9.0 and QEMU 7.1");
    f->source.qemu_version = 10000000;
    f->dest.libvirt_version = 8999999;
    check(f, "mirror", "requested", "the destination has libvirt 8.999 and QEMU 7.2");
}

static void test_auto(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    check(f, "mirror", "conditions of the merge 'mirror' are met", NULL);
    f->dest.qemu_version = 6002000;
    check(f, "commit", "the destination has libvirt 9.0 and QEMU 6.2", NULL);
    /* A host that does not answer is refused for that. */
    f->survey.dest_info = NULL;
    check(f, "mirror", "conditions of the merge 'mirror' are met", NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/plan-merge/commit", Fixture, "commit", set_up, test_commit, tear_down);
    g_test_add("/plan-merge/mirror", Fixture, "mirror", set_up, test_mirror, tear_down);
    g_test_add("/plan-merge/auto", Fixture, "auto", set_up, test_auto, tear_down);
    return g_test_run();
}
