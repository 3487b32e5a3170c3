/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which domains a libvirt has. Beside the function table of hypervisor.h, because only `doctor` and `purge` ask, which
 * look at a real host. */
#pragma once

#include "port/hypervisor.h"

/* UUIDs (char*) of all domains, running or only defined. hypervisor: one of vmig_libvirt_new(). (transfer full) */
GPtrArray *vmig_libvirt_domains(VmigHypervisor *hypervisor, GError **error);
