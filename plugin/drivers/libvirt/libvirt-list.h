/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists the domains of a libvirt. Not in the function table of hypervisor.h, because only `doctor` and `purge` need it,
 * which examine a real host. */
#pragma once

#include "port/hypervisor.h"

/* UUIDs (char*) of all domains, running or only defined. hypervisor: from vmig_libvirt_new(). (transfer full) */
GPtrArray *vmig_libvirt_domains(VmigHypervisor *hypervisor, GError **error);
