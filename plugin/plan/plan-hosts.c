/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks how the hosts reach each other, and how the destination's libvirt treats images, before anything is copied. */
#include "plan/plan.h"

/* The destination's libvirt chooses the name that the source connects to: its own (virGetHostname()), unless its
 * qemu.conf or --migrate-host sets another (qemuMigrationDstPrepareDirect()). Through ssh there are only sockets. */
void vmig_plan_ask_name(VmigSurvey *s, VmigEnv *env)
{
    const VmigOptions *options = s->request->options;

    if (env->resolves == NULL || g_strcmp0(options->transport, "ssh") == 0 || s->dest_info == NULL ||
        s->dest_facts == NULL)
        return;
    const char *name = options->migrate_host != NULL         ? options->migrate_host
                       : s->dest_facts->migrate_host != NULL ? s->dest_facts->migrate_host
                                                             : s->dest_info->hostname;
    s->migrate_name = g_strdup(name);
    env->resolves(env, name, &s->unresolved);
}

static void refuse(VmigPlan *plan, VmigErrorCode code, const char *hint, const char *format, ...) G_GNUC_PRINTF(4, 5);

static void refuse(VmigPlan *plan, VmigErrorCode code, const char *hint, const char *format, ...)
{
    g_autoptr(GError) error = NULL;
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    vmig_fail(&error, code, hint, "%s", text);
    vmig_plan_refuse_error(plan, NULL, error);
}

/* libvirt itself refuses to migrate to a name that begins with "localhost". */
void vmig_plan_host_rules(VmigPlan *plan)
{
    const VmigSurvey *s = plan->survey;
    const char *hint =
        "Make that name resolve on this host (DNS, /etc/hosts), or give another name with --migrate-host.";

    if (s->unresolved != NULL)
        refuse(plan, VMIG_ERROR_UNRESOLVED, hint,
               "libvirt on this host cannot send the guest to '%s': the destination's name does not resolve here: %s",
               s->migrate_name, s->unresolved->message);
    else if (s->migrate_name != NULL && g_str_has_prefix(s->migrate_name, "localhost"))
        refuse(plan, VMIG_ERROR_UNRESOLVED,
               "Give the destination a host name of its own, or give its name with --migrate-host.",
               "the destination calls itself '%s', which is the name of this host", s->migrate_name);
    if (s->request->options->migrate_host != NULL && g_strcmp0(s->request->options->transport, "ssh") == 0)
        refuse(plan, VMIG_ERROR_UNSUPPORTED, "Omit --migrate-host.",
               "--migrate-host is only for tls and tcp: with ssh everything uses the ssh connection");
}
