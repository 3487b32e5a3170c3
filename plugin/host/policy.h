/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Retry policies by name: /etc/vmig-snap/policy.d/NAME.conf, then the ones that are installed with the program. */
#pragma once

#include "core/retry.h"

/* NULL is "default", which also exists without any file. USAGE for a name that is none or has no file, or a file that
 * is wrong. (transfer full) */
VmigPolicy *vmig_policy_load(const char *name, GError **error);
