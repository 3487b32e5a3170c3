/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A refusal removes from the rehearsal only what it makes impossible or meaningless, and a new code cannot be forgotten
 * there. */
#include <string.h>

#include "core/errors.h"
#include "definition/rehearsal.h"
#include "plan/plan.h"
#include "plan-env.h"

typedef struct {
    VmigPlan plan;
    VmigSurvey survey;
    VmigDomainInfo domain;
    VmigHypervisorInfo info;
    VmigNodeFacts facts;
} Fixture;

static void refusal_free(gpointer data)
{
    VmigRefusal *refusal = data;

    g_free(refusal->disk);
    g_free(refusal->message);
    g_free(refusal->hint);
    g_free(refusal);
}

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->survey.domain = &f->domain;
    f->survey.live = (VmigDomainXml *)&f->domain; /* only its existence is checked */
    f->survey.snapshots = g_ptr_array_new();
    f->survey.source_info = f->survey.dest_info = &f->info;
    f->survey.dest_facts = &f->facts;
    f->plan.survey = &f->survey;
    f->plan.refusals = g_ptr_array_new_with_free_func(refusal_free);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_ptr_array_unref(f->plan.refusals);
    g_ptr_array_unref(f->survey.snapshots);
}

static void refuse(Fixture *f, VmigErrorCode code, const char *disk)
{
    vmig_plan_refuse(&f->plan, code, disk, NULL, "no");
}

static void test_every_code(void)
{
    for (guint code = 0; code < VMIG_ERROR_LAST; code++) {
        VmigTwinLack lack;
        gboolean listed = vmig_plan_twin_lack((VmigErrorCode)code, &lack);
        VmigErrorClass cls = vmig_error_class((VmigErrorCode)code);
        /* Too little space is a refusal in a plan, and an error that a retry may end in a job. */
        if (listed != (cls == VMIG_CLASS_REFUSAL || cls == VMIG_CLASS_NO_SPACE))
            g_error("'%s' %s what a refusal takes from the rehearsal", vmig_error_name((VmigErrorCode)code),
                    listed ? "is among" : "is not among");
    }
}

static void test_lack(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const struct {
        VmigErrorCode code;
        const char *disk;
        guint lack;
    } cases[] = {
        {VMIG_ERROR_DESTINATION_EXISTS, "vda", VMIG_TWIN_WHOLE},
        {VMIG_ERROR_NO_DIRECTORY, "vda", VMIG_TWIN_NO_DISK},
        {VMIG_ERROR_EXTERNAL_SNAPSHOT, NULL, VMIG_TWIN_NO_SNAPSHOTS},
        {VMIG_ERROR_MEDIA_MISSING, NULL, VMIG_TWIN_NO_BOOT_FILES},
        {VMIG_ERROR_MEDIA_MISSING, "sda", VMIG_TWIN_WHOLE},
        {VMIG_ERROR_SAME_HOST, NULL, VMIG_TWIN_NONE},
        {VMIG_ERROR_LOCKED, NULL, VMIG_TWIN_NONE},
        {VMIG_ERROR_CONNECTION, NULL, VMIG_TWIN_NONE}, /* a failed call to the host */
        {VMIG_ERROR_IO, "vda", VMIG_TWIN_NO_DISK},     /* and one about a disk */
    };

    g_assert_cmpuint(vmig_plan_lack(&f->plan), ==, VMIG_TWIN_WHOLE);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_ptr_array_set_size(f->plan.refusals, 0);
        refuse(f, cases[i].code, cases[i].disk);
        g_assert_cmpuint(vmig_plan_lack(&f->plan), ==, cases[i].lack);
    }
    g_ptr_array_set_size(f->plan.refusals, 0);
    refuse(f, VMIG_ERROR_EXTERNAL_SNAPSHOT, NULL);
    refuse(f, VMIG_ERROR_PATH_CLASH, "vdb");
    g_assert_cmpuint(vmig_plan_lack(&f->plan), ==, VMIG_TWIN_NO_SNAPSHOTS | VMIG_TWIN_NO_DISK);
    f->survey.dest_info = NULL; /* the destination did not answer */
    g_assert_cmpuint(vmig_plan_lack(&f->plan) & VMIG_TWIN_NONE, ==, VMIG_TWIN_NONE);
}

static VmigJob *job_with_disks(void)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);

    for (guint i = 0; i < 3; i++) {
        VmigDisk *disk = vmig_disk_new();
        disk->target = g_strdup_printf("vd%c", 'a' + (char)i);
        vmig_job_add(job, disk);
    }
    return job;
}

static guint left_of(const Fixture *f)
{
    g_autoptr(VmigJob) job = job_with_disks();

    vmig_plan_drop_disks(&f->plan, job);
    return job->disks->len;
}

static void test_disks(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    refuse(f, VMIG_ERROR_DESTINATION_EXISTS, "vda");
    g_assert_cmpuint(left_of(f), ==, 3);
    refuse(f, VMIG_ERROR_OUTSIDE_ROOTS, "vdb");
    g_assert_cmpuint(left_of(f), ==, 2);
    refuse(f, VMIG_ERROR_NOT_SHARED, "vdc");
    g_assert_cmpuint(left_of(f), ==, 2);
    refuse(f, VMIG_ERROR_NO_SPACE, NULL);
    g_assert_cmpuint(left_of(f), ==, 0);
}

static void test_boot_files(void)
{
    static const char definition[] =
        "<domain type='kvm'><name>g</name><os "
        "firmware='efi'><type>hvm</type><kernel>/f/k0</kernel><initrd>/f/i0</initrd>"
        "<cmdline>c</cmdline><loader>/f/l0</loader><acpi><table type='slic'>/f/t0</table></acpi><boot dev='hd'/></os>"
        "<sysinfo type='fwcfg'><entry name='opt/x' file='/f/f0'/></sysinfo><devices/></domain>";
    static const char *const gone[] = {"efi", "/f/k0", "/f/i0", "cmdline", "/f/l0", "/f/t0", "/f/f0"};
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = vmig_rehearsal_without_boot_files(definition, &error);

    g_assert_no_error(error);
    for (guint i = 0; i < G_N_ELEMENTS(gone); i++)
        g_assert_null(strstr(xml, gone[i]));
    g_assert_nonnull(strstr(xml, "hvm"));
    g_assert_nonnull(strstr(xml, "boot dev"));
}

/* A missing bridge and an existing file are refused in the same plan. */
static void test_beside(void)
{
    g_autoptr(PlanEnv) w = plan_env_new(PLAN_FOLDER, PLAN_NAME);

    plan_env_put(w, THERE, (PlanFile){.path = (char *)"@I@/g.qcow2", .format = "qcow2", .size = 1});
    plan_env_put(w, THERE, (PlanFile){.path = (char *)"@I@/base.qcow2", .format = "qcow2", .size = 1});
    g_autoptr(VmigPlan) before = plan_env_plan(w);
    guint in_the_way = before->refusals->len;
    g_clear_pointer(&before, vmig_plan_free);
    g_assert_cmpuint(in_the_way, >, 0);
    w->failure = (PlanFailure){"rehearse", THERE, VMIG_ERROR_HYPERVISOR, "Cannot get interface MTU on 'br9'", NULL};
    g_autoptr(VmigPlan) plan = plan_env_plan(w);
    g_assert_cmpuint(plan->refusals->len, ==, in_the_way + 1);
    const VmigRefusal *last = plan->refusals->pdata[in_the_way];
    g_assert_cmpint(last->code, ==, VMIG_ERROR_REHEARSAL);
    g_assert_nonnull(strstr(last->message, "br9"));
    g_assert_null(plan->job);
}

/* A snapshot with memory, of a machine with this device. */
static void add_snapshot(PlanEnv *w, const char *device)
{
    g_ptr_array_add(w->snapshots, g_strconcat("<domainsnapshot><name>s1</name><state>running</state>"
                                              "<creationTime>1</creationTime><memory snapshot='internal'/>"
                                              "<domain type='kvm'><name>g</name><uuid>" PLAN_UUID "</uuid>"
                                              "<memory>1</memory><os><type>hvm</type></os><devices>",
                                              device, "</devices></domain></domainsnapshot>", NULL));
}

/* An element that the destination's libvirt ignores, in the guest or in a snapshot: refused with its name. */
static void test_ignored(void)
{
    g_autoptr(PlanEnv) w = plan_env_new(PLAN_FOLDER, PLAN_NAME);

    w->unknown = "<pstore backend='acpi-erst'/>";
    add_snapshot(w, "<pstore backend='acpi-erst'/>");
    g_autoptr(VmigPlan) refused = plan_env_plan(w);
    g_assert_cmpuint(refused->refusals->len, ==, 1);
    const VmigRefusal *refusal = refused->refusals->pdata[0];
    g_assert_cmpint(refusal->code, ==, VMIG_ERROR_UNREVERTABLE);
    g_assert_nonnull(strstr(refusal->message, "'s1'"));
    g_assert_nonnull(strstr(refusal->message, "<devices><pstore>"));
    w->options.accept_unrevertable = TRUE;
    g_autoptr(VmigPlan) accepted = plan_env_plan(w);
    g_assert_cmpuint(accepted->refusals->len, ==, 0);
    const VmigSnapshot *snapshot = accepted->job->snapshots->pdata[0];
    g_assert_nonnull(strstr(snapshot->unrevertable, "<pstore>"));
    plan_env_edit(w, "</devices>", "<pstore backend='acpi-erst'/></devices>");
    w->unknown = "<pstore backend=\"acpi-erst\"/>"; /* as the rewritten definition has it */
    g_autoptr(VmigPlan) guest = plan_env_plan(w);
    g_assert_cmpuint(guest->refusals->len, ==, 1);
    refusal = guest->refusals->pdata[0];
    g_assert_cmpint(refusal->code, ==, VMIG_ERROR_REHEARSAL);
    g_assert_nonnull(strstr(refusal->message, "<devices><pstore>"));
}

static gboolean no_watchdog(VmigHypervisor *self G_GNUC_UNUSED, const char *xml, GError **error)
{
    return strstr(xml, "watchdog") == NULL || vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL, "no such watchdog");
}

/* A snapshot whose machine the destination cannot start: refused, or accepted and listed with the reason. */
static void test_accepted(void)
{
    g_autoptr(PlanEnv) w = plan_env_new(PLAN_FOLDER, PLAN_NAME);
    VmigHypervisorOps ops = *w->hosts[THERE].hypervisor.ops;

    ops.would_start = no_watchdog;
    w->hosts[THERE].hypervisor.ops = &ops;
    add_snapshot(w, "<watchdog model='itco'/>");
    g_autoptr(VmigPlan) refused = plan_env_plan(w);
    g_assert_cmpuint(refused->refusals->len, ==, 1);
    g_assert_cmpint(((const VmigRefusal *)refused->refusals->pdata[0])->code, ==, VMIG_ERROR_UNREVERTABLE);
    g_clear_pointer(&refused, vmig_plan_free);
    w->options.accept_unrevertable = TRUE;
    g_autoptr(VmigPlan) plan = plan_env_plan(w);
    g_assert_cmpuint(plan->refusals->len, ==, 0);
    const VmigSnapshot *snapshot = plan->job->snapshots->pdata[0];
    g_assert_cmpstr(snapshot->unrevertable, ==, "no such watchdog");
    gboolean told = FALSE;
    for (guint i = 0; i < plan->notes->len; i++)
        told = told || strstr(plan->notes->pdata[i], "no such watchdog") != NULL;
    g_assert_true(told);
}

/* Cancelled when it is asked for the n-th time. */
typedef struct {
    guint n, asked;
} Patience;

static gboolean is_impatient(gpointer user)
{
    Patience *patience = user;

    return ++patience->asked >= patience->n;
}

static const VmigNodeOps *node_of_plan;
static guint begun, ended;

static gboolean count_rehearsals(VmigNode *self, VmigMethod method, gconstpointer args, gpointer reply, GError **error)
{
    begun += method == VMIG_METHOD_REHEARSAL_BEGIN ? 1 : 0;
    ended += method == VMIG_METHOD_REHEARSAL_END ? 1 : 0;
    return node_of_plan->call(self, method, args, reply, error);
}

/* Wherever a plan is cancelled, it returns no plan, and a rehearsal that has begun is ended. */
static void test_cancelled(void)
{
    g_autoptr(PlanEnv) w = plan_env_new(PLAN_FOLDER, PLAN_NAME);
    g_autoptr(VmigPlan) whole = plan_env_plan(w);
    const VmigNodeOps counting = {.call = count_rehearsals};
    g_autoptr(VmigPlan) plan = NULL;
    Patience patience = {1, 0};

    node_of_plan = w->hosts[THERE].node.ops;
    w->hosts[THERE].node.ops = &counting;
    w->request.stop = (VmigStop){is_impatient, &patience};
    for (; plan == NULL; patience.n++) {
        g_autoptr(GError) error = NULL;
        patience.asked = 0;
        plan = vmig_plan_make(&w->env, w->journal, &w->request, &error);
        if (plan == NULL)
            g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CANCELLED);
        else
            g_assert_no_error(error);
        g_assert_cmpuint(begun, ==, ended);
    }
    g_assert_cmpuint(patience.n, >, 6);
    g_assert_cmpuint(begun, >, 1); /* also in a plan that was cancelled */
    g_assert_cmpuint(plan->refusals->len, ==, whole->refusals->len);
    w->hosts[THERE].node.ops = node_of_plan;
}

static const VmigHypervisorOps *hypervisor_of_plan;
static guint dead_calls;

/* libvirtd is killed as soon as the twin runs, and started again before this many calls have failed. */
static gboolean kill_libvirtd(VmigHypervisor *self G_GNUC_UNUSED, const char *xml G_GNUC_UNUSED, GError **error)
{
    return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "End of file while reading data");
}

static gboolean find_if_alive(VmigHypervisor *self, const char *name_or_uuid, VmigDomainInfo **ret, GError **error)
{
    gboolean twin = !g_str_equal(name_or_uuid, PLAN_UUID) && !g_str_equal(name_or_uuid, PLAN_NAME);

    if (twin && dead_calls > 0) {
        dead_calls--;
        return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "Cannot connect");
    }
    return hypervisor_of_plan->find(self, name_or_uuid, ret, error);
}

/* The rehearsal waits ten seconds for libvirtd, so that no twin is left on a host whose libvirtd is started again. The
 * record of a twin that could not be ended stays, and leads to it. */
static void test_libvirtd_killed(void)
{
    static const VmigNodeOps counting = {.call = count_rehearsals};
    VmigHypervisorOps ops;

    for (guint round = 0; round < 2; round++) {
        g_autoptr(PlanEnv) w = plan_env_new(PLAN_FOLDER, PLAN_NAME);
        g_autoptr(VmigPlan) whole = plan_env_plan(w);
        g_autoptr(GError) error = NULL;
        hypervisor_of_plan = w->hosts[THERE].hypervisor.ops;
        ops = *hypervisor_of_plan;
        ops.would_start = kill_libvirtd;
        ops.find = find_if_alive;
        w->hosts[THERE].hypervisor.ops = &ops;
        node_of_plan = w->hosts[THERE].node.ops;
        w->hosts[THERE].node.ops = &counting;
        begun = ended = 0;
        dead_calls = round == 0 ? 3 : 1000;
        g_autoptr(VmigPlan) plan = vmig_plan_make(&w->env, w->journal, &w->request, &error);
        g_assert_cmpuint(begun, ==, 1);
        g_assert_cmpuint(ended, ==, round == 0 ? 1 : 0);
        g_assert_cmpint(w->now, <=, 11 * G_USEC_PER_SEC);
        if (round == 1)
            g_assert_cmpint(w->now, >=, 10 * G_USEC_PER_SEC);
        w->hosts[THERE].node.ops = node_of_plan;
        w->hosts[THERE].hypervisor.ops = hypervisor_of_plan;
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/plan-prove/every-code", test_every_code);
    g_test_add("/plan-prove/lack", Fixture, NULL, set_up, test_lack, tear_down);
    g_test_add("/plan-prove/disks", Fixture, NULL, set_up, test_disks, tear_down);
    g_test_add_func("/plan-prove/boot-files", test_boot_files);
    g_test_add_func("/plan-prove/beside", test_beside);
    g_test_add_func("/plan-prove/accepted", test_accepted);
    g_test_add_func("/plan-prove/ignored", test_ignored);
    g_test_add_func("/plan-prove/cancelled", test_cancelled);
    g_test_add_func("/plan-prove/libvirtd-killed", test_libvirtd_killed);
    return g_test_run();
}
