/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's definitions of one guest, read from libvirt's own files: the persistent one in /etc/libvirt/qemu, the
 * running one in /run/libvirt/qemu. They are available while libvirtd is not, and only root can write there. The other
 * host's statements about a guest are checked against them. */
#pragma once

#include "definition/domain-xml.h"

typedef struct {
    VmigDomainXml *persistent; /* or NULL */
    VmigDomainXml *running;    /* or NULL */
} VmigOwnDomain;
void vmig_own_domain_clear(VmigOwnDomain *own);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VmigOwnDomain, vmig_own_domain_clear)

/* FALSE with the error set if a folder, or a file that contains this UUID, cannot be read. A missing folder contains no
 * domains. */
gboolean vmig_own_domain_find(const char *config_dir, const char *run_dir, const char *uuid, VmigOwnDomain *own,
                              GError **error);
/* TRUE if one of its definitions has the mark of this job. */
gboolean vmig_own_domain_is_marked(const VmigOwnDomain *own, const char *job);
/* TRUE if one of its definitions names the file as a disk or in a disk's chain. */
gboolean vmig_own_domain_names(const VmigOwnDomain *own, const char *path);
/* TRUE if, in every definition, each disk of the job is on the overlay or the base that the record has for the source.
 */
gboolean vmig_own_domain_is_source(const VmigOwnDomain *own, const VmigJob *job);
