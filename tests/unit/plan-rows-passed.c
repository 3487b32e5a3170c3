/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rows of plan-rows.h: failed calls, sizes over the limit, what the snapshots need, and the rehearsal's findings. Code,
 * message and hint of an error are passed on unchanged. */
#include "plan-rows.h"

#include <string.h>

#include "definition/snapshot-tree.h"
#include "store/journal.h"

static void nothing_fails(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->failure = (PlanFailure){0};
}

/* --- calls --- */

static void unreachable(PlanEnv *w)
{
    vmig_fail(&w->dest_error, VMIG_ERROR_UNREACHABLE, "Start sshd there.", "kvm2: ssh: connection refused");
}

static void reachable(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    g_clear_error(&w->dest_error);
}

static void hello_fails(PlanEnv *w)
{
    w->failure = (PlanFailure){"hello", THERE, VMIG_ERROR_SETUP, "no image root can be read", "Mount it."};
}

static void ambiguous(PlanEnv *w)
{
    w->failure = (PlanFailure){"find", HERE, VMIG_ERROR_AMBIGUOUS_DOMAIN, "'g' is two domains", "Name it by its UUID."};
}

static void cannot_run(PlanEnv *w)
{
    w->failure = (PlanFailure){"can_run", THERE, VMIG_ERROR_NO_EMULATOR, "no machine 'q35'", "Install QEMU there."};
}

#define SNAPSHOT(name, uuid, rest)                                                                                     \
    "<domainsnapshot><name>" name "</name><state>shutoff</state><creationTime>1</creationTime><memory "                \
    "snapshot='no'/><disks><disk name='vda' snapshot='internal'/></disks><domain type='kvm'><name>g</name><uuid>" uuid \
    "</uuid><memory>1</memory><os><type>hvm</type></os><devices>"                                                      \
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='@I@/g.qcow2'/>"                   \
    "<target dev='vda'/></disk>" rest "</devices></domain></domainsnapshot>"
#define CDROM "<disk type='file' device='cdrom'><source file='@I@/cd.iso'/><target dev='sda'/></disk>"

static void two_of_a_name(PlanEnv *w)
{
    g_ptr_array_add(w->snapshots, g_strdup(SNAPSHOT("s1", PLAN_UUID, "")));
    g_ptr_array_add(w->snapshots, g_strdup(SNAPSHOT("s1", PLAN_UUID, "")));
}

static void image_lost(PlanEnv *w)
{
    plan_env_remove(w, HERE, "@I@/data.raw");
}

/* As with a header whose backing file name contains a newline. */
static void odd_path(PlanEnv *w)
{
    plan_env_detach(w, 0, "vdb");
    plan_env_detach(w, 1, "vdb");
    w->failure = (PlanFailure){"survey", HERE, VMIG_ERROR_BAD_PATH, "the path '/a\\x0ab' contains a control character",
                               "Use a plain absolute path."};
}

/* --- sizes --- */

static void add_title(PlanEnv *w, gsize size)
{
    g_autofree char *filler = g_strnfill(size, 'x');
    g_autofree char *title = g_strdup_printf("<title>%s</title><memory>", filler);

    plan_env_edit(w, "<memory unit='KiB'>", title);
}

static void large_definition(PlanEnv *w)
{
    plan_env_edit(w, "<memory>", "<memory unit='KiB'>");
    add_title(w, 4 * 1024 * 1024);
    plan_env_edit(w, "<memory>", "<memory unit='KiB'>");
}

static void definition_shortened(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    for (guint i = 0; i < G_N_ELEMENTS(w->xml); i++) {
        const char *title = strstr(w->xml[i], "<title>"), *end = strstr(w->xml[i], "</title>");
        g_autofree char *head = g_strndup(w->xml[i], (gsize)(title - w->xml[i]));
        char *rest = g_strconcat(head, end + strlen("</title>"), NULL);
        g_free(w->xml[i]);
        w->xml[i] = rest;
    }
}

/* A quote takes two bytes in the message. */
static void large_snapshot(PlanEnv *w)
{
    g_autofree char *filler = g_strnfill(8 * 1024 * 1024, '"');

    g_ptr_array_add(w->snapshots, g_strdup_printf("<domainsnapshot><name>s1</name><description>%s</description>"
                                                  "<state>shutoff</state><creationTime>1</creationTime>"
                                                  "<memory snapshot='no'/></domainsnapshot>",
                                                  filler));
}

static void smaller_description(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    g_ptr_array_set_size(w->snapshots, 0);
    g_ptr_array_add(w->snapshots, g_strdup(SNAPSHOT("s1", PLAN_UUID, "")));
}

static void snapshots_deleted(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    g_ptr_array_set_size(w->snapshots, 0);
}

/* A GiB of definitions: the plan of a job whose snapshots contain one text many times. */
static VmigPlan *plan_with_copies(PlanEnv *w)
{
    guint copies = w->snapshots->len > 0 ? 137 : 3;
    g_autoptr(VmigSnapshot) snapshot = vmig_snapshot_new();
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_migrate);
    g_autoptr(GPtrArray) snapshots = g_ptr_array_new();
    g_autoptr(GPtrArray) listed = g_ptr_array_ref(w->snapshots);
    g_autoptr(GError) error = NULL;

    w->snapshots = g_ptr_array_new_with_free_func(g_free);
    VmigPlan *plan = plan_env_plan(w);
    g_ptr_array_unref(w->snapshots);
    w->snapshots = g_steal_pointer(&listed);
    g_assert_cmpuint(plan->refusals->len, ==, 0);
    job->domain = g_strdup("g");
    job->live_xml = g_strdup("<x/>");
    snapshot->name = g_strdup("s1");
    snapshot->state = g_strdup("shutoff");
    vmig_snapshot_take_xml(snapshot, g_strnfill(VMIG_TEXTS_MAX_BYTES / 136, 'x'));
    for (guint i = 0; i < copies; i++)
        g_ptr_array_add(snapshots, snapshot);
    g_ptr_array_unref(job->snapshots);
    job->snapshots = g_ptr_array_ref(snapshots);
    if (!vmig_plan_check_size(job, plan->survey, &error))
        vmig_plan_refuse_error(plan, NULL, error);
    return plan;
}

static void many_snapshots(PlanEnv *w)
{
    two_of_a_name(w); /* any snapshots: there only have to be some */
}

/* --- what snapshots need --- */

static void of_another_domain(PlanEnv *w)
{
    g_ptr_array_add(w->snapshots, g_strdup(SNAPSHOT("s1", "99999999-2222-4333-8444-555555555555", "")));
}

static void needs_medium(PlanEnv *w)
{
    g_ptr_array_add(w->snapshots, g_strdup(SNAPSHOT("s1", PLAN_UUID, CDROM)));
}

static void medium_copied(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_put(w, THERE, (PlanFile){.path = (char *)"@I@/cd.iso"});
}

static void accepted(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->options.accept_unrevertable = TRUE;
}

/* --- the rehearsal; test_rehearsal.py follows its hints on real hosts --- */

static void no_stage(PlanEnv *w)
{
    w->failure = (PlanFailure){"rehearsal-begin", THERE, VMIG_ERROR_NO_SPACE, "/img is full", "Free space there."};
}

static void does_not_start(PlanEnv *w)
{
    w->failure = (PlanFailure){"rehearse", THERE, VMIG_ERROR_HYPERVISOR, "internal error: qemu ended", NULL};
}

static void not_rehearsed(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->options.no_rehearsal = TRUE;
}

static const PlanRow rows[] = {
    {.name = "unreachable",
     .spoil = unreachable,
     .code = VMIG_ERROR_UNREACHABLE,
     .message = "kvm2: ssh: connection refused",
     .hint = "Start sshd there.",
     .follow = {reachable},
     .passes = "s->request->dest_error"},
    {.name = "question-fails",
     .spoil = hello_fails,
     .code = VMIG_ERROR_SETUP,
     .message = "kvm2: no image root can be read",
     .hint = "Mount it.",
     .follow = {nothing_fails},
     .passes = "s->dest_errors->pdata[i]"},
    {.name = "ambiguous",
     .spoil = ambiguous,
     .code = VMIG_ERROR_AMBIGUOUS_DOMAIN,
     .message = "'g' is two domains",
     .hint = "Name it by its UUID.",
     .follow = {nothing_fails},
     .passes = "s->domain_error"},
    {.name = "cannot-run",
     .spoil = cannot_run,
     .code = VMIG_ERROR_NO_EMULATOR,
     .message = "no machine 'q35'",
     .hint = "Install QEMU there.",
     .follow = {nothing_fails},
     .passes = "s->cannot_run"},
    {.name = "snapshot-tree",
     .spoil = two_of_a_name,
     .code = VMIG_ERROR_XML,
     .message = "the snapshot 's1' occurs twice",
     .passes = "s->snapshots_error"},
    {.name = "image-lost",
     .spoil = image_lost,
     .disk = "vdb",
     .code = VMIG_ERROR_IO,
     .message = "kvm1: there is no /img/data.raw",
     .passes = "disk->chain_error"},
    {.name = "odd-path",
     .spoil = odd_path,
     .disk = "vda",
     .code = VMIG_ERROR_ODD_PATH,
     .message = "kvm1: the path '/a\\x0ab' contains a control character",
     .hint = "Shut the guest down, give the file a plain absolute path, and use that path in the definition (virsh "
             "edit) and in the headers of the images that have it as their backing file (qemu-img rebase -u).",
     .follow = {nothing_fails},
     .passes = "disk->chain_error"},
    {.name = "large-definition",
     .spoil = large_definition,
     .code = VMIG_ERROR_UNSUPPORTED,
     .message = "cannot migrate 'g': the job's record may take 17.9 MB (the guest's definitions, and what 2 disks and "
                "0 snapshots add), and at most 15 MiB can be sent to the destination",
     .hint = "Make the guest's definition smaller, or reduce the number of its snapshots or disks.",
     .follow = {definition_shortened},
     .passes = "too_large"},
    {.name = "large-snapshot",
     .spoil = large_snapshot,
     .code = VMIG_ERROR_UNSUPPORTED,
     .message = "cannot migrate 'g': libvirt's definition of its snapshot 's1' takes 16.8 MB, and at most 15 MiB can "
                "be transferred",
     .hint = "Make the snapshot's description smaller (virsh snapshot-edit), or delete the snapshot.",
     .follow = {smaller_description, snapshots_deleted}},
    {.name = "many-snapshots",
     .spoil = many_snapshots,
     .code = VMIG_ERROR_UNSUPPORTED,
     .message = "cannot migrate 'g': libvirt's definitions of its 137 snapshots take 1.08 GB, and at most 1024 MiB can "
                "be transferred",
     .hint = "Delete snapshots, or make their descriptions smaller.",
     .follow = {snapshots_deleted},
     .plan = plan_with_copies},
    {.name = "snapshot-of-another",
     .spoil = of_another_domain,
     .code = VMIG_ERROR_XML,
     .message = "the snapshot's XML belongs to another domain: UUID '99999999-2222-4333-8444-555555555555' instead of "
                "'" PLAN_UUID "'",
     .passes = "error"},
    {.name = "unrevertable",
     .spoil = needs_medium,
     .code = VMIG_ERROR_UNREVERTABLE,
     .message = "kvm2: cannot revert to snapshot 's1': it needs /img/cd.iso, which kvm2 does not have",
     .hint = "Copy that file to the destination under the same name, or delete the snapshot; --accept-unrevertable "
             "migrates the guest anyway.",
     .follow = {medium_copied, snapshots_deleted, accepted},
     .passes = "why"},
    {.name = "no-stage",
     .spoil = no_stage,
     .code = VMIG_ERROR_NO_SPACE,
     .message = "kvm2: /img is full",
     .hint = "Free space there.",
     .follow = {nothing_fails},
     .passes = "error"},
    {.name = "does-not-start",
     .spoil = does_not_start,
     .code = VMIG_ERROR_REHEARSAL,
     .message = "kvm2: cannot start the guest: internal error: qemu ended",
     .hint = "See libvirt's log on the destination; --no-rehearsal migrates without this test.",
     .follow = {nothing_fails, not_rehearsed},
     .passes = "problems->pdata[i]"},
};

PlanRows plan_rows_passed(void)
{
    return (PlanRows){rows, G_N_ELEMENTS(rows)};
}
