/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Snapshot metadata, and the external snapshot that creates the overlays. */
#include <stdlib.h>

#include "definition/snapshot-tree.h"
#include "drivers/libvirt/libvirt-private.h"

static VmigSnapshot *read_snapshot(VmigLibvirt *self, virDomainSnapshotPtr snapshot, GError **error)
{
    /* SECURE: the domain XML inside contains passwords, and a redefined snapshot must keep them. */
    char *raw = virDomainSnapshotGetXMLDesc(snapshot, VIR_DOMAIN_SNAPSHOT_XML_SECURE);

    if (raw == NULL) {
        vmig_libvirt_fail(self, error, "cannot read snapshot '%s'", virDomainSnapshotGetName(snapshot));
        return NULL;
    }
    g_autofree char *xml = g_strdup(raw);
    free(raw);
    g_autoptr(VmigSnapshot) result = vmig_snapshot_from_xml(xml, error);
    if (result == NULL)
        return NULL;
    int current = virDomainSnapshotIsCurrent(snapshot, 0);
    if (current < 0) {
        vmig_libvirt_fail(self, error, "cannot query which snapshot is current");
        return NULL;
    }
    result->current = current == 1;
    return g_steal_pointer(&result);
}

gboolean vmig_libvirt_snapshots(VmigHypervisor *hv, const char *uuid, GPtrArray **ret, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);
    g_autoptr(GPtrArray) result = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_snapshot_free);
    virDomainSnapshotPtr *list = NULL;

    if (domain == NULL)
        return FALSE;
    int n = virDomainListAllSnapshots(domain, &list, 0);
    if (n < 0)
        return vmig_libvirt_fail(self, error, "cannot list the snapshots");
    gboolean ok = TRUE;
    for (int i = 0; i < n; i++) {
        VmigSnapshot *snapshot = ok ? read_snapshot(self, list[i], error) : NULL;
        ok = snapshot != NULL;
        if (ok)
            g_ptr_array_add(result, snapshot);
        virDomainSnapshotFree(list[i]);
    }
    free(list);
    if (!ok)
        return FALSE;
    *ret = g_steal_pointer(&result);
    return TRUE;
}

gboolean vmig_libvirt_snapshot_forget(VmigHypervisor *hv, const char *uuid, const char *name, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);

    if (domain == NULL)
        return FALSE;
    g_autoptr(virDomainSnapshot) snapshot = virDomainSnapshotLookupByName(domain, name, 0);
    if (snapshot == NULL) {
        if (virGetLastErrorCode() == VIR_ERR_NO_DOMAIN_SNAPSHOT)
            return TRUE;
        return vmig_libvirt_fail(self, error, "cannot look up snapshot '%s'", name);
    }
    if (virDomainSnapshotDelete(snapshot, VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY) == 0)
        return TRUE;
    return vmig_libvirt_fail(self, error, "cannot delete the metadata of snapshot '%s'", name);
}

gboolean vmig_libvirt_snapshot_define(VmigHypervisor *hv, const char *uuid, const char *xml, gboolean current,
                                      GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);
    unsigned flags = VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE;

    if (domain == NULL)
        return FALSE;
    if (current)
        flags |= VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT;
    g_autoptr(virDomainSnapshot) snapshot = virDomainSnapshotCreateXML(domain, xml, flags);
    return snapshot != NULL || vmig_libvirt_fail(self, error, "cannot define a snapshot's metadata");
}

gboolean vmig_libvirt_overlay(VmigHypervisor *hv, const char *uuid, const char *xml, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);

    if (domain == NULL)
        return FALSE;
    g_autoptr(virDomainSnapshot) snapshot =
        virDomainSnapshotCreateXML(domain, xml,
                                   VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC |
                                       VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA);
    return snapshot != NULL || vmig_libvirt_fail(self, error, "cannot create the overlays of the disks");
}

/* The conversion to QEMU's command line does everything that a start does before its first side effect
 * (qemuProcessCreatePretendCmdPrepare() and qemuProcessCreatePretendCmdBuild() in libvirt's qemu_process.c). */
gboolean vmig_libvirt_would_start(VmigHypervisor *hv, const char *domain_xml, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    virConnectPtr conn = vmig_libvirt_connection(self, error);

    if (conn == NULL)
        return FALSE;
    char *command = virConnectDomainXMLToNative(conn, "qemu-argv", domain_xml, 0);
    if (command != NULL) {
        free(command);
        return TRUE;
    }
    virErrorPtr last = virGetLastError();
    if (last == NULL || last->domain == VIR_FROM_RPC || last->domain == VIR_FROM_REMOTE ||
        last->code == VIR_ERR_NO_MEMORY || last->code == VIR_ERR_ACCESS_DENIED)
        return vmig_libvirt_fail(self, error, "cannot query whether a snapshot's machine would start");
    vmig_fail(error, VMIG_ERROR_NO_EMULATOR, NULL, "%s", last->message);
    virResetLastError();
    return FALSE;
}
