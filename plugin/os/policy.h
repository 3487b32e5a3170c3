/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Retry policies by name: /etc/vmig-snap/policy.d/NAME.conf, then the ones that are installed with the program. */
#pragma once

#include "core/retry.h"

/* The same from these folders, the first that has it. */
VmigPolicy *vmig_policy_load_from(const char *const *folders, const char *name, GError **error);
/* NULL is "default", which also exists without any file. USAGE for a name that is none or has no file, or a file that
 * is wrong, or that others than root can write, or whose folder they can: its command runs as root. (transfer full) */
VmigPolicy *vmig_policy_load(const char *name, GError **error);
