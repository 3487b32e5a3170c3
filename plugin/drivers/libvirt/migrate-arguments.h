/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Flags and parameters of virDomainMigrateToURI3() for one migration. Contacts no daemon, but needs virInitialize(),
 * which every connection has called. */
#pragma once

#include <libvirt/libvirt.h>

#include "port/hypervisor.h"

/* Free *params with virTypedParamsFree(). */
void vmig_migrate_arguments(const VmigMigrateParams *p, virTypedParameterPtr *params, int *n_params, unsigned *flags);
