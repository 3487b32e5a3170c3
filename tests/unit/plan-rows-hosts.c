/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rows of plan-rows.h: the request and the hosts. */
#include "plan-rows.h"

/* --- the request --- */

static void merge_mirror(PlanEnv *w)
{
    w->options.merge = (char *)"mirror";
    w->hosts[HERE].info.qemu_version = 6002000;
}

static void merge_commit(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->options.merge = (char *)"commit";
}

static void merge_auto(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->options.merge = (char *)"auto";
}

static void postcopy(PlanEnv *w)
{
    w->options.postcopy = TRUE;
}

static void auto_converge(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->options.postcopy = FALSE;
    w->options.auto_converge = TRUE;
}

static void parallel(PlanEnv *w)
{
    w->options.parallel = 4;
}

static void no_parallel(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->options.parallel = 0;
}

static void migrate_host(PlanEnv *w)
{
    w->options.migrate_host = (char *)"10.0.0.2";
}

static void no_migrate_host(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->options.migrate_host = NULL;
}

/* --- the hosts --- */

static void same_host(PlanEnv *w)
{
    w->hosts[THERE].info.uuid = (char *)"uuid-1";
}

static void another_host(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->hosts[THERE].info = (VmigHypervisorInfo){
        .hostname = (char *)"kvm3", .uuid = (char *)"uuid-3", .libvirt_version = 9000000, .qemu_version = 7002000};
}

static void own_uuid(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->hosts[THERE].info.uuid = (char *)"uuid-2";
}

static void unresolved(PlanEnv *w)
{
    w->options.transport = (char *)"tls";
    w->failure = (PlanFailure){"resolves", HERE, VMIG_ERROR_UNRESOLVED, "no such name", NULL};
}

static void no_failure(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->failure = (PlanFailure){0};
}

static void name_given(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->options.migrate_host = (char *)"10.0.0.2";
}

static void localhost(PlanEnv *w)
{
    w->options.transport = (char *)"tls";
    w->hosts[THERE].info.hostname = (char *)"localhost.localdomain";
}

static void named_there(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->hosts[THERE].info.hostname = (char *)"kvm2";
}

static void images_denied(PlanEnv *w)
{
    w->hosts[THERE].images_denied = TRUE;
}

static void images_given(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->hosts[THERE].images_denied = FALSE;
}

static const PlanRow rows[] = {
    {.name = "merge",
     .spoil = merge_mirror,
     .code = VMIG_ERROR_MERGE,
     .message = "the merge 'mirror' cannot be used: it needs libvirt 9.0 and QEMU 7.2 on both hosts, but the source "
                "has libvirt 9.0 and QEMU 6.2",
     .hint = "Use --merge commit, or --merge auto.",
     .follow = {merge_commit, merge_auto}},
    {.name = "postcopy",
     .spoil = postcopy,
     .code = VMIG_ERROR_UNSUPPORTED,
     .message = "--postcopy cannot be used: the guest must arrive paused, so that two copies of it cannot run",
     .hint = "Omit --postcopy; --auto-converge helps with a busy guest.",
     .follow = {auto_converge}},
    {.name = "parallel",
     .spoil = parallel,
     .code = VMIG_ERROR_UNSUPPORTED,
     .message = "--parallel opens several connections for the memory, but with ssh everything uses one connection",
     .hint = "Omit --parallel.",
     .follow = {no_parallel}},
    {.name = "migrate-host",
     .spoil = migrate_host,
     .code = VMIG_ERROR_UNSUPPORTED,
     .message = "--migrate-host is only for tls and tcp: with ssh everything uses the ssh connection",
     .hint = "Omit --migrate-host.",
     .follow = {no_migrate_host}},
    {.name = "same-host",
     .spoil = same_host,
     .code = VMIG_ERROR_SAME_HOST,
     .message = "'qemu+ssh://kvm2/system' is this host itself (libvirt's host UUID uuid-1)",
     .hint = "Name another host. If this is another host, give it its own UUID (host_uuid in "
             "/etc/libvirt/libvirtd.conf, or in virtqemud.conf with modular daemons) and restart libvirt's daemon.",
     .follow = {another_host, own_uuid}},
    {.name = "unresolved",
     .spoil = unresolved,
     .code = VMIG_ERROR_UNRESOLVED,
     .message = "libvirt on this host cannot send the guest to 'kvm2': the destination's name does not resolve here: "
                "no such name",
     .hint = "Make that name resolve on this host (DNS, /etc/hosts), or give another name with --migrate-host.",
     .follow = {no_failure, name_given}},
    {.name = "localhost",
     .spoil = localhost,
     .code = VMIG_ERROR_UNRESOLVED,
     .message = "the destination calls itself 'localhost.localdomain', which is the name of this host",
     .hint = "Give the destination a host name of its own, or give its name with --migrate-host.",
     .follow = {named_there, name_given}},
    {.name = "dynamic-ownership",
     .spoil = images_denied,
     .code = VMIG_ERROR_DYNAMIC_OWNERSHIP,
     .message = "kvm2: QEMU could not open the copied images: libvirt does not change the owner of images "
                "(dynamic_ownership=0 in qemu.conf), and QEMU does not run as root",
     .hint = "Set dynamic_ownership = 1 in /etc/libvirt/qemu.conf on the destination and restart libvirt's daemon, or "
             "run QEMU as root there.",
     .follow = {images_given}},
};

PlanRows plan_rows_hosts(void)
{
    return (PlanRows){rows, G_N_ELEMENTS(rows)};
}
