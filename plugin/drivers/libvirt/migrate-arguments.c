/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is requested of libvirt for the guest's migration. The flags that keep two copies from running are only here. */
#include "drivers/libvirt/migrate-arguments.h"

#define MIB (1024 * 1024)

void vmig_migrate_arguments(const VmigMigrateParams *p, virTypedParameterPtr *params, int *n_params, unsigned *flags)
{
    int max = 0;

    /* Pass both definitions: without PERSIST_XML the destination keeps the source's paths (qemuMigrationSrcRun). */
    virTypedParamsAddString(params, n_params, &max, VIR_MIGRATE_PARAM_DEST_XML, p->dest_xml);
    virTypedParamsAddString(params, n_params, &max, VIR_MIGRATE_PARAM_PERSIST_XML, p->persistent_xml);
    for (const char *const *disk = p->disks; *disk != NULL; disk++)
        virTypedParamsAddString(params, n_params, &max, VIR_MIGRATE_PARAM_MIGRATE_DISKS, *disk);
    if (p->migrate_uri != NULL)
        virTypedParamsAddString(params, n_params, &max, VIR_MIGRATE_PARAM_URI, p->migrate_uri);
    if (p->disks_uri != NULL)
        virTypedParamsAddString(params, n_params, &max, VIR_MIGRATE_PARAM_DISKS_URI, p->disks_uri);
    if (p->bandwidth > 0)
        virTypedParamsAddULLong(params, n_params, &max, VIR_MIGRATE_PARAM_BANDWIDTH, MAX(p->bandwidth / MIB, 1));
    /* Peer to peer, so that the two libvirtds continue if this process dies. PAUSED, so that a lost reply cannot leave
     * the guest running on both hosts. ABORT_ON_ERROR, so that a guest with an I/O error stays. */
    *flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_PAUSED | VIR_MIGRATE_PERSIST_DEST |
             VIR_MIGRATE_NON_SHARED_INC | VIR_MIGRATE_ABORT_ON_ERROR;
    if (p->auto_converge)
        *flags |= VIR_MIGRATE_AUTO_CONVERGE;
    if (p->tls)
        *flags |= VIR_MIGRATE_TLS;
    if (p->parallel > 0) {
        *flags |= VIR_MIGRATE_PARALLEL;
        virTypedParamsAddInt(params, n_params, &max, VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS, (int)p->parallel);
    }
}
