/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Functions common to all implementations of VmigHypervisor. */
#include "port/hypervisor.h"

void vmig_domain_info_free(VmigDomainInfo *info)
{
    g_free(info->name);
    g_free(info->uuid);
    g_free(info);
}

void vmig_hypervisor_info_free(VmigHypervisorInfo *info)
{
    g_free(info->hostname);
    g_free(info->uuid);
    g_free(info);
}

void vmig_hypervisor_free(VmigHypervisor *hypervisor)
{
    hypervisor->ops->free(hypervisor);
}

gboolean vmig_hypervisor_run(VmigHypervisor *hypervisor, const char *uuid, VmigRun *ret, GError **error)
{
    g_autoptr(VmigDomainInfo) info = NULL;

    if (hypervisor->ops->run != NULL)
        return hypervisor->ops->run(hypervisor, uuid, ret, error);
    if (!hypervisor->ops->find(hypervisor, uuid, &info, error))
        return FALSE;
    *ret = info != NULL ? info->run : VMIG_RUN_ABSENT;
    return TRUE;
}

void vmig_hypervisor_attend(VmigHypervisor *hypervisor, const char *uuid)
{
    if (hypervisor != NULL && hypervisor->ops->attend != NULL)
        hypervisor->ops->attend(hypervisor, uuid);
}

const char *vmig_run_name(VmigRun run)
{
    static const char *const names[] = {
        [VMIG_RUN_ABSENT] = "absent",       [VMIG_RUN_SHUTOFF] = "shut off",
        [VMIG_RUN_RUNNING] = "running",     [VMIG_RUN_PAUSED] = "paused",
        [VMIG_RUN_MIGRATING] = "migrating", [VMIG_RUN_IO_ERROR] = "paused on an I/O error",
        [VMIG_RUN_CRASHED] = "crashed",
    };
    return names[run];
}
