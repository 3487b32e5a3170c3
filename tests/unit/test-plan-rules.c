/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every refusal of the plan: it is made exactly if its fact is present, its complete text is right, and following its
 * hint helps. The rows are in plan-rows-*.c. */
#include <string.h>

#include "plan-rows.h"
#include "plan-sites.h"

typedef struct {
    VmigPlan plan;
    VmigSurvey survey;
    VmigPlanRequest request;
    VmigOptions options;
} Fixture;

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->options.merge = g_strdup("commit");
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
    g_free(f->plan.merge_why);
    g_free(f->options.merge);
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

/* libvirt there disconnected in the middle: this is a single reason for all calls; another reason is reported beside
 * it. */
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

/* --- the table of plan-rows.h --- */

static const PlanRow *all_rows[256];
static guint row_count;

static void collect_rows(void)
{
    const PlanRows tables[] = {plan_rows_hosts(), plan_rows_guest(), plan_rows_disks(), plan_rows_images(),
                               plan_rows_paths(), plan_rows_stay(),  plan_rows_passed()};

    for (guint t = 0; t < G_N_ELEMENTS(tables); t++)
        for (guint i = 0; i < tables[t].length; i++)
            all_rows[row_count++] = &tables[t].rows[i];
}

char **plan_hint_words(const char *hint, const char *begin)
{
    const char *at = strstr(hint, begin);
    char **words = NULL;

    g_assert_nonnull(at);
    g_autofree char *command = g_strdup(at);
    gsize length = strlen(command);
    if (command[length - 1] == '.')
        command[length - 1] = '\0';
    if (!g_shell_parse_argv(command, NULL, &words, NULL))
        g_error("the shell does not take: %s", command);
    return words;
}

static VmigPlan *plan_row(const PlanRow *row, PlanEnv *w)
{
    return row->plan != NULL ? row->plan(w) : plan_env_plan(w);
}

static char *all_messages(const VmigPlan *plan)
{
    GString *all = g_string_new(NULL);

    for (guint i = 0; i < plan->refusals->len; i++)
        g_string_append_printf(all, "%s\n", ((const VmigRefusal *)plan->refusals->pdata[i])->message);
    return g_string_free(all, FALSE);
}

static gboolean comes_with(const PlanRow *row, VmigErrorCode code)
{
    for (guint i = 0; i < G_N_ELEMENTS(row->also) && row->also[i] != 0; i++)
        if (row->also[i] == code)
            return TRUE;
    return FALSE;
}

/* The row's refusal, and no other one except those that come with it. */
static const VmigRefusal *only_refusal(const VmigPlan *plan, const PlanRow *row)
{
    g_autofree char *all = all_messages(plan);
    const VmigRefusal *own = NULL;

    for (guint i = 0; i < plan->refusals->len; i++) {
        const VmigRefusal *refusal = plan->refusals->pdata[i];
        if (refusal->code == row->code && own == NULL)
            own = refusal;
        else if (!comes_with(row, refusal->code))
            g_error("%s: not this refusal alone: %s", row->name, all);
    }
    if (own == NULL || (row->also[0] != 0 && plan->refusals->len == 1))
        g_error("%s: not refused as it should be: %s", row->name, all);
    g_assert_true(plan->job == NULL || row->plan != NULL);
    return own;
}

static void check_silent(PlanEnv *w, const PlanRow *row)
{
    g_autoptr(VmigPlan) plan = plan_row(row, w);
    g_autofree char *all = all_messages(plan);

    if (row->after != 0 && plan->refusals->len == 1 &&
        ((const VmigRefusal *)plan->refusals->pdata[0])->code == row->after)
        return;
    if (plan->refusals->len > 0 || row->after != 0)
        g_error("%s: still refused: %s", row->name, all);
    g_assert_true(plan->job != NULL);
}

/* Follows one way that the hint offers. */
static void follow(const PlanRow *row, guint way, const char *folder, const char *name)
{
    g_autoptr(PlanEnv) w = plan_env_new(folder, name);
    g_autofree char *hint = NULL;

    row->spoil(w);
    {
        g_autoptr(VmigPlan) plan = plan_row(row, w);
        hint = g_strdup(only_refusal(plan, row)->hint);
    }
    row->follow[way](w, hint);
    check_silent(w, row);
}

static void test_base(void)
{
    g_autoptr(PlanEnv) w = plan_env_new(PLAN_FOLDER, PLAN_NAME);
    g_autoptr(VmigPlan) plan = plan_env_plan(w);
    g_autofree char *all = all_messages(plan);

    g_assert_cmpstr(all, ==, "");
    g_assert_nonnull(plan->job);
    g_assert_cmpuint(plan->job->disks->len, ==, 2);
}

/* Cases close to a refusal that are permitted. */
static void test_not_refused(void)
{
    g_autoptr(PlanEnv) w = plan_env_new(PLAN_FOLDER, PLAN_NAME);

    w->guest.run = VMIG_RUN_PAUSED;
    w->hosts[THERE].info.libvirt_version = 11002000;
    w->options.transport = (char *)"tcp";
    w->options.parallel = 4;
    w->options.merge = (char *)"mirror";
    plan_env_put(w, THERE,
                 (PlanFile){.path = (char *)"@I@/g.qcow2",
                            .size = GIB,
                            .kept_job = "fedcba9876543210",
                            .kept_domain = PLAN_UUID,
                            .owner_job = "fedcba9876543210",
                            .owner_state = "DONE"});
    plan_env_file(w, HERE, "@I@/base.qcow2")->version = 2;
    g_autoptr(VmigPlan) plan = plan_env_plan(w);
    g_autofree char *all = all_messages(plan);
    g_assert_cmpstr(all, ==, "");
    g_assert_nonnull(plan->job);
    g_assert_true(plan->job->was_paused);
    g_assert_cmpuint(plan->notes->len, ==, 3);
}

static void assert_not_refused(PlanEnv *w)
{
    g_autoptr(VmigPlan) plan = plan_env_plan(w);
    g_autofree char *all = all_messages(plan);

    g_assert_cmpstr(all, ==, "");
}

/* The base is copied to one place, once. */
static void test_two_disks_on_one_base(void)
{
    g_autoptr(PlanEnv) w = plan_env_new(PLAN_FOLDER, PLAN_NAME);

    plan_env_put(
        w, HERE,
        (PlanFile){.path = (char *)"@I@/h.qcow2", .format = "qcow2", .backing = "@I@/base.qcow2", .size = GIB});
    plan_env_add_device(w, "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
                           "<source file='@I@/h.qcow2'/><backingStore type='file'><format type='qcow2'/>"
                           "<source file='@I@/base.qcow2'/><backingStore/></backingStore><target dev='vdc'/></disk>");
    assert_not_refused(w);
}

/* An image that an earlier migration left needs no additional space: the row no-space-there has as much data, without
 * it. */
static void test_room_of_a_base_copy(void)
{
    g_autoptr(PlanEnv) w = plan_env_new(PLAN_FOLDER, PLAN_NAME);

    plan_env_folder(w, THERE, "@I@")->free = 3 * GIB;
    plan_env_put(
        w, THERE,
        (PlanFile){
            .path = (char *)"@I@/g.qcow2", .size = GIB, .kept_job = "fedcba9876543210", .kept_domain = PLAN_UUID});
    assert_not_refused(w);
}

static void test_row(gconstpointer data)
{
    const PlanRow *row = data;
    g_autoptr(PlanEnv) w = plan_env_new(PLAN_FOLDER, PLAN_NAME);

    row->spoil(w);
    g_autoptr(VmigPlan) plan = plan_row(row, w);
    const VmigRefusal *refusal = only_refusal(plan, row);
    g_assert_cmpstr(refusal->disk, ==, row->disk);
    g_assert_cmpstr(refusal->message, ==, row->message);
    g_assert_cmpstr(refusal->hint, ==, row->hint);
    /* A hint must be possible to follow. */
    g_assert_true((row->hint != NULL) == (row->follow[0] != NULL));
    for (guint way = 0; way < G_N_ELEMENTS(row->follow) && row->follow[way] != NULL; way++)
        follow(row, way, PLAN_FOLDER, PLAN_NAME);
}

/* --- names that a shell would split or expand --- */

#define NASTY "$(touch x)"
#define NASTY_FOLDER "/img 'it\"s' " NASTY " -n; ls"
#define NASTY_NAME "-g 'x' \"y\" " NASTY " | z"

/* Where the first command of a hint begins, or NULL. */
static const char *find_command(const char *hint)
{
    static const char *const commands[] = {"mkdir ", "truncate ", "virsh ", "qemu-img ", "vmig-snap ", "--map"};
    const char *first = NULL;

    for (guint i = 0; i < G_N_ELEMENTS(commands); i++) {
        const char *at = strstr(hint, commands[i]);
        first = at != NULL && (first == NULL || at < first) ? at : first;
    }
    return first;
}

static guint count_nasty(const char *text, const char *what)
{
    guint found = 0;

    for (const char *p = strstr(text, what); p != NULL; p = strstr(p + 1, what))
        found++;
    return found;
}

/* Every word that contains a part of a nasty name contains the whole name, and it never becomes an option. */
static guint check_words(const PlanRow *row, const char *hint)
{
    const char *command = find_command(hint);
    guint found = 0;

    if (strstr(hint, "touch x") == NULL)
        return 0;
    if (command == NULL || command > strstr(hint, "touch x"))
        g_error("%s: a name outside a command: %s", row->name, hint);
    g_auto(GStrv) words = plan_hint_words(command, "");
    for (guint i = 0; words[i] != NULL; i++) {
        guint whole = count_nasty(words[i], NASTY_FOLDER) + count_nasty(words[i], NASTY_NAME);
        if (count_nasty(words[i], "touch") != whole || count_nasty(words[i], NASTY) != whole ||
            g_str_has_prefix(words[i], "-g"))
            g_error("%s: the shell takes the word %s of: %s", row->name, words[i], hint);
        found += whole;
    }
    g_assert_cmpuint(found, >, 0);
    return 1;
}

static void test_nasty_names(void)
{
    guint with_names = 0;

    for (guint i = 0; i < row_count; i++) {
        const PlanRow *row = all_rows[i];
        if (row->plan != NULL) /* its own job with other names */
            continue;
        g_autoptr(PlanEnv) w = plan_env_new(NASTY_FOLDER, NASTY_NAME);
        row->spoil(w);
        g_autoptr(VmigPlan) plan = plan_row(row, w);
        for (guint k = 0; k < plan->refusals->len; k++) {
            const VmigRefusal *refusal = plan->refusals->pdata[k];
            with_names += refusal->hint != NULL ? check_words(row, refusal->hint) : 0;
        }
        for (guint way = 0; way < G_N_ELEMENTS(row->follow) && row->follow[way] != NULL; way++)
            follow(row, way, NASTY_FOLDER, NASTY_NAME);
    }
    g_assert_cmpuint(with_names, >=, 2); /* truncate, and mkdir with --map-dir */
}

/* --- every rule has a row --- */

static void assert_found(GHashTable *sources, const char *file, const char *text, const char *finding)
{
    g_autofree char *before = g_strdup(g_hash_table_lookup(sources, file));

    g_hash_table_insert(sources, g_strdup(file), g_strconcat(before != NULL ? before : "", text, NULL));
    g_autoptr(GPtrArray) findings = plan_sites_without_row(sources, all_rows, row_count);
    if (findings->len != 1 || strstr(findings->pdata[0], finding) == NULL)
        g_error("%s: %u findings of %s: %s", file, findings->len, text,
                findings->len > 0 ? (const char *)findings->pdata[0] : "");
    if (before != NULL)
        g_hash_table_insert(sources, g_strdup(file), g_steal_pointer(&before));
    else
        g_hash_table_remove(sources, file);
}

static void test_every_rule_has_a_row(void)
{
    g_autoptr(GHashTable) sources = plan_sites_sources();
    g_autoptr(GPtrArray) findings = plan_sites_without_row(sources, all_rows, row_count);

    for (guint i = 0; i < findings->len; i++)
        g_test_message("%s", (const char *)findings->pdata[i]);
    g_assert_cmpuint(findings->len, ==, 0);
}

/* The test above detects a rule that is added without a row. */
static void test_rule_without_a_row(void)
{
    g_autoptr(GHashTable) sources = plan_sites_sources();

    assert_found(sources, "plan-rules.c", "refuse(plan, VMIG_ERROR_NVRAM, t, NULL, \"disk %s is odd\", t);", "is odd");
    /* the words of another rule, and of a rule with another code */
    assert_found(sources, "plan-stay.c",
                 "refuse(plan, VMIG_ERROR_MANAGED_SAVE, NULL, NULL, \"'%s' has a managed save image\", n);"
                 "refuse(plan, VMIG_ERROR_MANAGED_SAVE, NULL, NULL, \"'%s' has a managed save image\", n);",
                 "managed save");
    assert_found(sources, "plan-rules.c",
                 "refuse(plan, VMIG_ERROR_NVRAM, NULL, NULL, \"a libvirt job runs on '%s'\", n);",
                 "a libvirt job runs");
    assert_found(sources, "plan-rules.c",
                 "refuse(plan, VMIG_ERROR_DOMAIN_JOB, NULL, hint, \"a libvirt job \" /* */ \"runs on '%s'\", n);",
                 "a libvirt job runs");
    assert_found(sources, "plan-rules.c", "vmig_plan_refuse_error(plan, NULL, s->new_error);", "new_error");
    assert_found(sources, "plan-new.c", "vmig_plan_refuse(plan, code, disk, hint, text);", "plan-new.c");
    assert_found(sources, "plan-new.c", "refuse_all(plan, list);", "refuse_all");
    assert_found(sources, "plan-hints.c", "return \"Buy another host.\";", "Buy another host");
    assert_found(sources, "survey.c", "vmig_plan_refuse(plan, code, disk, hint, text);", "survey.c");
    assert_found(sources, "plan-rules.c", "g_ptr_array_add(plan->refusals, refusal);", "2 places");
}

int main(int argc, char **argv)
{
    g_setenv("TZ", "UTC", TRUE);
    g_test_init(&argc, &argv, NULL);
    collect_rows();
    g_test_add("/plan-rules/said-once", Fixture, NULL, set_up, test_said_once, tear_down);
    g_test_add_func("/plan-rules/base", test_base);
    g_test_add_func("/plan-rules/not-refused", test_not_refused);
    g_test_add_func("/plan-rules/two-disks-on-one-base", test_two_disks_on_one_base);
    g_test_add_func("/plan-rules/room-of-a-base-copy", test_room_of_a_base_copy);
    for (guint i = 0; i < row_count; i++) {
        g_autofree char *path = g_strconcat("/plan-rules/row/", all_rows[i]->name, NULL);
        g_test_add_data_func(path, all_rows[i], test_row);
    }
    g_test_add_func("/plan-rules/nasty-names", test_nasty_names);
    g_test_add_func("/plan-rules/every-rule-has-a-row", test_every_rule_has_a_row);
    g_test_add_func("/plan-rules/rule-without-a-row", test_rule_without_a_row);
    return g_test_run();
}
