/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compares the chain of a disk in a definition with the files of a job. All decisions about chains use these functions.
 */
#pragma once

#include "definition/domain-xml.h"

typedef enum {
    VMIG_CHAIN_OVERLAY, /* the overlay over the base, as during the job */
    VMIG_CHAIN_BASE,    /* the base alone, as before and after the job */
    VMIG_CHAIN_OTHER,   /* anything else: the disk was changed outside vmig-snap */
    VMIG_CHAIN_OURS,    /* only as an expected value: one of the first two */
} VmigChain;

/* Compares the whole chain if libvirt reports it. A persistent definition normally names only the top file. */
VmigChain vmig_chain_of(const VmigDomainDisk *now, const VmigDisk *disk, VmigRole role);
/* OTHER if the definition has no such disk. */
VmigChain vmig_chain_in(const VmigDomainXml *definition, const VmigDisk *disk, VmigRole role);
/* Compares only the top file; NULL is OTHER. */
VmigChain vmig_chain_of_top(const char *top, const VmigDisk *disk, VmigRole role);
/* Whether the file is in the disk's chain; NULL never is. */
gboolean vmig_chain_has(const VmigDomainDisk *now, const char *path);
/* Whether a file of the job's disk is in the chain: another layer may lie on top of it. */
gboolean vmig_chain_has_file_of(const VmigDomainDisk *now, const VmigDisk *disk, VmigRole role);
/* The VmigMayBe bit of a chain; 0 for OTHER. */
guint vmig_chain_may_be(VmigChain chain);
