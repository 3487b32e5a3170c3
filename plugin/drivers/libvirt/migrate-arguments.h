/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Flags and parameters of virDomainMigrateToURI3() for one migration. Asks no daemon, but needs virInitialize(),
 * which every connection has done. */
#pragma once

#include <libvirt/libvirt.h>

#include "port/hypervisor.h"

/* *params: to be freed with virTypedParamsFree(). */
void vmig_migrate_arguments(const VmigMigrateParams *p, virTypedParameterPtr *params, int *n_params, unsigned *flags);
