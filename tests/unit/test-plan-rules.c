/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the rules say of a survey in which questions failed. */
#include "core/errors.h"
#include "flow/plan.h"

typedef struct {
    VmigPlan plan;
    VmigSurvey survey;
    VmigPlanRequest request;
    VmigOptions options;
} Fixture;

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->options.fold = g_strdup("commit");
    f->request.options = &f->options;
    f->request.domain = "g";
    f->survey.request = &f->request;
    f->survey.dest_errors = g_ptr_array_new_with_free_func((GDestroyNotify)g_error_free);
    f->plan.survey = &f->survey;
    f->plan.refusals = g_ptr_array_new();
    f->plan.notes = g_ptr_array_new_with_free_func(g_free);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    for (guint i = 0; i < f->plan.refusals->len; i++) {
        VmigRefusal *refusal = f->plan.refusals->pdata[i];
        g_free(refusal->disk);
        g_free(refusal->message);
        g_free(refusal->hint);
        g_free(refusal);
    }
    g_ptr_array_unref(f->plan.refusals);
    g_ptr_array_unref(f->plan.notes);
    g_ptr_array_unref(f->survey.dest_errors);
    g_free(f->plan.fold_why);
    g_free(f->options.fold);
}

static void answer(Fixture *f, VmigErrorCode code, const char *message)
{
    GError *error = NULL;

    vmig_fail(&error, code, NULL, "%s", message);
    g_ptr_array_add(f->survey.dest_errors, error);
}

static const VmigRefusal *refusal(const Fixture *f, guint i)
{
    g_assert_cmpuint(i, <, f->plan.refusals->len);
    return f->plan.refusals->pdata[i];
}

/* libvirt there went away in the middle: it is one reason, whatever was asked; another one is told beside it. */
static void test_said_once(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    answer(f, VMIG_ERROR_CONNECTION, "the destination's libvirt went away");
    answer(f, VMIG_ERROR_CONNECTION, "the destination's libvirt went away");
    answer(f, VMIG_ERROR_IO, "the destination's libvirt went away");
    answer(f, VMIG_ERROR_CONNECTION, "the destination's libvirt went away");
    answer(f, VMIG_ERROR_CONNECTION, "another\nline");
    answer(f, VMIG_ERROR_CONNECTION, "another\nline");
    vmig_plan_apply_rules(&f->plan);
    g_assert_cmpuint(f->plan.refusals->len, ==, 4);
    g_assert_cmpint(refusal(f, 0)->code, ==, VMIG_ERROR_CONNECTION);
    g_assert_cmpint(refusal(f, 1)->code, ==, VMIG_ERROR_IO);
    g_assert_cmpint(refusal(f, 2)->code, ==, VMIG_ERROR_CONNECTION);
    g_assert_cmpint(refusal(f, 3)->code, ==, VMIG_ERROR_NO_DOMAIN);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/plan-rules/said-once", Fixture, NULL, set_up, test_said_once, tear_down);
    return g_test_run();
}
