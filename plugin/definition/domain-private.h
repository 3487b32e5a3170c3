/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the files about domain XML, and private to them. */
#pragma once

#include "definition/domain-xml.h"
#include "definition/xml.h"

struct VmigDomainXml {
    VmigXml *xml;
    VmigDomainFacts facts;
};

/* Requires that a <disk> and each <backingStore> in it contain their parts at most once and without a namespace. Error:
 * XML. */
gboolean vmig_disk_node_check(xmlNode *disk, GError **error);
/* The <disk> of this <domain> with that target, or NULL. */
xmlNode *vmig_disk_node_find(const xmlNode *domain, const char *target);
/* Reads a checked <disk>. Error: XML. */
VmigDomainDisk *vmig_domain_disk_read(xmlNode *disk, GError **error);
void vmig_domain_disk_free(VmigDomainDisk *disk);

/* vmig-snap's element in <metadata> of that <domain>, or NULL. */
xmlNode *vmig_metadata_find(const xmlNode *domain);
/* vmig-snap's element, not yet in the tree. */
xmlNode *vmig_metadata_build(xmlDoc *doc, const VmigJob *job);
