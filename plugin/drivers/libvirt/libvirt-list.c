/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists domains. */
#include "drivers/libvirt/libvirt-list.h"

#include <stdlib.h>

#include "drivers/libvirt/libvirt-private.h"

GPtrArray *vmig_libvirt_domains(VmigHypervisor *hypervisor, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hypervisor;
    virConnectPtr conn = vmig_libvirt_connection(self, error);
    g_autoptr(GPtrArray) uuids = g_ptr_array_new_with_free_func(g_free);
    virDomainPtr *domains = NULL;

    if (conn == NULL)
        return NULL;
    int n = virConnectListAllDomains(conn, &domains, 0);
    if (n < 0) {
        vmig_libvirt_fail(self, error, "cannot list the domains");
        return NULL;
    }
    for (int i = 0; i < n; i++) {
        char uuid[VIR_UUID_STRING_BUFLEN];
        if (virDomainGetUUIDString(domains[i], uuid) == 0)
            g_ptr_array_add(uuids, g_strdup(uuid));
        virDomainFree(domains[i]);
    }
    free(domains);
    return g_steal_pointer(&uuids);
}
