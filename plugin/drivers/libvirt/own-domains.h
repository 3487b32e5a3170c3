/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What this host's libvirt has of one guest, read from libvirt's own files: the persistent definition in
 * /etc/libvirt/qemu, the running one in /run/libvirt/qemu. It answers while libvirtd does not, and nobody but root can
 * write there: what the other host says of a guest is held against it. */
#pragma once

#include "definition/domain-xml.h"

typedef struct {
    VmigDomainXml *persistent; /* or NULL */
    VmigDomainXml *running;    /* or NULL */
} VmigOwnDomain;
void vmig_own_domain_clear(VmigOwnDomain *own);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmigOwnDomain, vmig_own_domain_clear)

/* FALSE with the error set where a folder or a file with that UUID in it cannot be read. Folders that are missing have
 * no domains. */
gboolean vmig_own_domain_find(const char *config_dir, const char *run_dir, const char *uuid, VmigOwnDomain *own,
                              GError **error);
/* Has a definition of it the mark of that job? */
gboolean vmig_own_domain_is_marked(const VmigOwnDomain *own, const char *job);
/* Does a definition of it name that file, as a disk or in a disk's chain? */
gboolean vmig_own_domain_names(const VmigOwnDomain *own, const char *path);
/* Is each disk of the job, in each definition, on the overlay or the base that the record says of the source? */
gboolean vmig_own_domain_is_source(const VmigOwnDomain *own, const VmigJob *job);
