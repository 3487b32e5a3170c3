/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files about domain XML share and nobody else sees. */
#pragma once

#include "definition/domain-xml.h"
#include "definition/xml.h"

struct VmigDomainXml {
    VmigXml *xml;
    VmigDomainFacts facts;
};

/* A <disk> and each <backingStore> in it name their parts once and in no namespace. Error: XML. */
gboolean vmig_disk_node_check(xmlNode *disk, GError **error);
/* The <disk> of this <domain> with that target, or NULL. */
xmlNode *vmig_disk_node_find(const xmlNode *domain, const char *target);
/* Reads a checked <disk>. Error: XML. */
VmigDomainDisk *vmig_domain_disk_read(xmlNode *disk, GError **error);
void vmig_domain_disk_free(VmigDomainDisk *disk);

/* Our element in <metadata> of that <domain>, or NULL. */
xmlNode *vmig_metadata_find(const xmlNode *domain);
/* Our element, not yet in the tree. */
xmlNode *vmig_metadata_build(xmlDoc *doc, const VmigJob *job);
