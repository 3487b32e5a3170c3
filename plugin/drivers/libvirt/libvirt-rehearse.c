/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starts the twin of a rehearsal. */
#include <stdlib.h>

#include "drivers/libvirt/libvirt-private.h"

/* AUTODESTROY: libvirtd destroys the twin when this process's connection ends (virCloseCallbacks of libvirt). */
gboolean vmig_libvirt_rehearse(VmigHypervisor *hv, const char *domain_xml, char **ret, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    virConnectPtr conn = vmig_libvirt_connection(self, error);

    if (conn == NULL)
        return FALSE;
    g_autoptr(virDomain) twin =
        virDomainCreateXML(conn, domain_xml, VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_AUTODESTROY);
    if (twin == NULL)
        return vmig_libvirt_fail(self, error, "cannot start a paused twin of the guest");
    char *raw = virDomainGetXMLDesc(twin, 0);
    if (raw == NULL)
        return vmig_libvirt_fail(self, error, "cannot read the definition of the guest's twin");
    *ret = g_strdup(raw);
    free(raw);
    return TRUE;
}
