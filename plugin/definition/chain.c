/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "definition/chain.h"

/* The n-th file of the chain in the XML, starting with the top. NULL beyond its end or if it is not a file. */
static const char *chain_at(const VmigDomainDisk *disk, guint n)
{
    if (n == 0)
        return disk->source;
    return n <= disk->backing->len ? ((VmigChainFile *)disk->backing->pdata[n - 1])->file : NULL;
}

/* Whether the chain is exactly the overlay (if not NULL), then the files of the disk, and then ends. */
static gboolean is_exactly(const VmigDomainDisk *now, const char *overlay, const VmigDisk *disk, VmigRole role)
{
    guint n = overlay != NULL ? 1 : 0;

    if (now->backing->len + 1 != disk->files->len + n || (overlay != NULL && g_strcmp0(now->source, overlay) != 0))
        return FALSE;
    for (guint i = 0; i < disk->files->len; i++)
        if (!vmig_domain_names_file(chain_at(now, i + n), disk->files->pdata[i], role))
            return FALSE;
    return TRUE;
}

VmigChain vmig_chain_of_top(const char *top, const VmigDisk *disk, VmigRole role)
{
    if (top == NULL)
        return VMIG_CHAIN_OTHER;
    if (disk->files->len > 0 && vmig_domain_names_file(top, vmig_disk_base(disk), role))
        return VMIG_CHAIN_BASE;
    return g_strcmp0(top, vmig_disk_overlay(disk, role)) == 0 ? VMIG_CHAIN_OVERLAY : VMIG_CHAIN_OTHER;
}

VmigChain vmig_chain_of(const VmigDomainDisk *now, const VmigDisk *disk, VmigRole role)
{
    const char *overlay = vmig_disk_overlay(disk, role);

    if (!now->chain_known)
        return vmig_chain_of_top(now->source, disk, role);
    if (is_exactly(now, NULL, disk, role))
        return VMIG_CHAIN_BASE;
    return overlay != NULL && is_exactly(now, overlay, disk, role) ? VMIG_CHAIN_OVERLAY : VMIG_CHAIN_OTHER;
}

VmigChain vmig_chain_in(const VmigDomainXml *definition, const VmigDisk *disk, VmigRole role)
{
    const VmigDomainDisk *now = vmig_domain_xml_disk(definition, disk->target);

    return now != NULL ? vmig_chain_of(now, disk, role) : VMIG_CHAIN_OTHER;
}

gboolean vmig_chain_has(const VmigDomainDisk *now, const char *path)
{
    for (guint i = 0; path != NULL && i <= now->backing->len; i++)
        if (g_strcmp0(chain_at(now, i), path) == 0)
            return TRUE;
    return FALSE;
}

gboolean vmig_chain_has_file_of(const VmigDomainDisk *now, const VmigDisk *disk, VmigRole role)
{
    gboolean has = vmig_chain_has(now, vmig_disk_overlay(disk, role));

    for (guint i = 0; i < disk->files->len; i++)
        has = has || vmig_chain_has(now, vmig_file_path(disk->files->pdata[i], role));
    return has;
}

guint vmig_chain_may_be(VmigChain chain)
{
    return chain == VMIG_CHAIN_BASE ? VMIG_MAY_BE_BASE : chain == VMIG_CHAIN_OVERLAY ? VMIG_MAY_BE_OVERLAY : 0;
}
